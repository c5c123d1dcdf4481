"""Predictive downloading: a user's day, and who fetches which model when (paper, section 3).

The user goes from place to place; each needs its own model, and no stay lasts exactly as long as
expected. On demand, a model is asked for on arrival. The predictive network knows how likely
each next place is and how long stays last, and fetches ahead what fits into the storage. The
oracle knows the next place and the hour. Time is simulated; sizes are the catalogue's.
Needs no torch.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import load_catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

POLICIES = ("on demand", "predictive", "oracle")


@dataclass(frozen=True)
class Place:
    """Somewhere that the user stays.

    Parameters
    ----------
    recipe
        The sub-model that is used there.
    stay_s
        How long a stay lasts on average, 1 s … 1 day.
    rate_bps
        Rate of the link there.
    onward
        Next place -> its probability; they add up to 1.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    recipe: Recipe
    stay_s: float
    rate_bps: float
    onward: Mapping[str, float]

    def __post_init__(self) -> None:
        in_range("stay_s", self.stay_s, 1.0, 86_400.0, "s")
        in_range("rate_bps", self.rate_bps, 1.0, 1e15, "bit/s")
        total = sum(in_range("onward", p, 0.0, 1.0) for p in self.onward.values())
        if abs(total - 1) > 1e-9:
            msg = f"onward must add up to 1; got {total:g}. Give each next place its probability."
            raise ValueError(msg)


#: An example. Rates are one user's share, as small as the digits roots are beside the paper's
#: models; a sub-model stands for the application that one uses there.
PLACES: Mapping[str, Place] = MappingProxyType(
    {
        "home": Place(
            Recipe("resnet-digits", bits=8), 3600.0, 2e6, {"car": 0.7, "bus": 0.2, "café": 0.1}
        ),
        "car": Place(
            Recipe("vit-digits", bits=8), 1200.0, 1e5, {"office": 0.6, "museum": 0.3, "home": 0.1}
        ),
        "bus": Place(Recipe("vit-digits", bits=4), 1800.0, 5e4, {"office": 0.5, "museum": 0.5}),
        "office": Place(
            Recipe("vgg-digits", bits=8), 7200.0, 5e5, {"car": 0.5, "bus": 0.3, "café": 0.2}
        ),
        "museum": Place(
            Recipe("resnet-digits", bits=6), 5400.0, 3e4, {"car": 0.5, "bus": 0.2, "café": 0.3}
        ),
        "café": Place(Recipe("vgg-digits", bits=4), 1800.0, 2e5, {"office": 0.6, "home": 0.4}),
    }
)


@dataclass(frozen=True)
class Visit:
    """One stay."""

    place: str
    arrives_s: float
    leaves_s: float


@dataclass(frozen=True)
class Transfer:
    """One download, ahead of its use or not."""

    recipe: Recipe
    begins_s: float
    ends_s: float
    ahead: bool


@dataclass(frozen=True)
class Outcome:
    """What a day came to, or several.

    Attributes
    ----------
    arrivals, hits : int
        Places arrived at (but for the first), and how often the model was there already.
    stall_s : float
        Time spent without the model of the place.
    downloaded_bytes, wasted_bytes : float
        All that was received, and what of it was never used.
    energy_j : float
        Time of reception times the receiver's power: a proxy for the battery.
    transfers : tuple[Transfer, …]
        Every download, in order.
    """

    arrivals: int = 0
    hits: int = 0
    stall_s: float = 0.0
    downloaded_bytes: float = 0.0
    wasted_bytes: float = 0.0
    energy_j: float = 0.0
    transfers: tuple[Transfer, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.arrivals + other.arrivals,
            self.hits + other.hits,
            self.stall_s + other.stall_s,
            self.downloaded_bytes + other.downloaded_bytes,
            self.wasted_bytes + other.wasted_bytes,
            self.energy_j + other.energy_j,
            self.transfers + other.transfers,
        )

    @property
    def hit_rate(self) -> float:
        """Share of arrivals that found their model; 0 before the first."""
        return self.hits / self.arrivals if self.arrivals else 0.0


@dataclass(frozen=True)
class Device:
    """The user's device and how far ahead it is served.

    Parameters
    ----------
    storage_bytes
        For all models, the one in use included.
    least_probability
        Next places less likely than this are not prepared for, in [0, 1].
    caution
        A download ahead is to be ready so many standard deviations before the expected end of the
        stay, 0 … 10.
    receive_power_w
        Assumed power of the receiver; the energy for a bit is this over the rate.
    delay_s
        From a request to its first bit.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    storage_bytes: float = 1.5e6
    least_probability: float = 0.15
    caution: float = 1.0
    receive_power_w: float = 1.0
    delay_s: float = 0.05

    def __post_init__(self) -> None:
        in_range("storage_bytes", self.storage_bytes, 1e3, 1e12, "B")
        in_range("least_probability", self.least_probability, 0.0, 1.0)
        in_range("caution", self.caution, 0.0, 10.0)
        in_range("receive_power_w", self.receive_power_w, 0.0, 1e3, "W")
        in_range("delay_s", self.delay_s, 0.0, 60.0, "s")


def draw_day(
    random: np.random.Generator,
    spread: float = 0.3,
    places: Mapping[str, Place] = PLACES,
    day_s: float = 57_600.0,
) -> tuple[Visit, ...]:
    """Draw a day that begins at the first place and ends with the stay that passes ``day_s``.

    A stay is normal with the place's mean and ``spread`` times it as standard deviation, at least
    one minute; ``spread`` is in [0, 1].
    """
    in_range("spread", spread, 0.0, 1.0)
    in_range("day_s", day_s, 1.0, 1e6, "s")
    place, now_s = next(iter(places)), 0.0
    visits = []
    while now_s < day_s:
        mean_s = places[place].stay_s
        stay_s = max(60.0, mean_s * (1 + spread * random.standard_normal()))
        visits.append(Visit(place, now_s, now_s + stay_s))
        now_s += stay_s
        onward = places[place].onward
        place = str(random.choice(list(onward), p=list(onward.values())))
    return tuple(visits)


def catalogue_bits(places: Mapping[str, Place] = PLACES) -> dict[Recipe, int]:
    """Bits of each place's packet, from the shipped catalogues.

    Raises
    ------
    ValueError
        If a recipe was never measured.
    """
    sizes = {}
    for recipe in {place.recipe for place in places.values()}:
        row = load_catalogue(recipe.root).find(recipe, 0.0, "none")
        if row is None:
            msg = f"recipe must be in the catalogue; {recipe} is not. Choose one that is."
            raise ValueError(msg)
        sizes[recipe] = row.num_bits
    return sizes


def live(
    day: Sequence[Visit],
    policy: str,
    device: Device,
    sizes: Mapping[Recipe, int],
    *,
    spread: float = 0.3,
    places: Mapping[str, Place] = PLACES,
) -> Outcome:
    """Go through a day. The first place's model is on the device when it begins.

    Parameters
    ----------
    day
        Where the user really was.
    policy
        One of :data:`POLICIES`.
    device
        Its limits, and how far ahead it is served.
    sizes
        Recipe -> bits of its packet.
    spread
        What the predictive network believes of the stays.
    places
        What it believes of the user's ways.

    Raises
    ------
    ValueError
        For a policy that does not exist, or storage that cannot hold each single model.
    """
    one_of("policy", policy, POLICIES)
    largest = max(sizes[place.recipe] for place in places.values()) / 8
    in_range("storage_bytes", device.storage_bytes, largest, 1e12, "B")
    store = _Store(device, sizes)
    first = places[day[0].place].recipe
    store.hold(first, ahead=False)
    for visit, following in zip(day, [*day[1:], None], strict=True):
        place = places[visit.place]
        ready_s = visit.arrives_s if visit is day[0] else store.arrive(visit, place)
        if policy == "on demand":
            continue
        if policy == "oracle":
            chances = {following.place: 1.0} if following else {}
            begin_s = ready_s
        else:
            chances = {n: p for n, p in place.onward.items() if p >= device.least_probability}
            bits = sum(sizes[places[name].recipe] for name in chances)
            margin_s = device.caution * spread * place.stay_s + bits / place.rate_bps
            begin_s = max(ready_s, visit.arrives_s + place.stay_s - margin_s)
        order = sorted(chances, key=lambda name: -chances[name])
        wanted = list(dict.fromkeys(places[name].recipe for name in order))
        store.prepare(wanted, place, begin_s, visit.leaves_s)
    return store.outcome()


@dataclass
class _Store:
    """What is on the device, the longest unused first, and what it cost."""

    device: Device
    sizes: Mapping[Recipe, int]
    held: OrderedDict[Recipe, None] = field(default_factory=OrderedDict)
    unused: dict[Recipe, float] = field(default_factory=dict)
    begun: dict[Recipe, float] = field(default_factory=dict)
    arrivals: int = 0
    hits: int = 0
    stall_s: float = 0.0
    wasted_bits: float = 0.0
    received_bits: float = 0.0
    energy_j: float = 0.0
    transfers: list[Transfer] = field(default_factory=list)

    def arrive(self, visit: Visit, place: Place) -> float:
        """Have the place's model, downloading what is missing; returns when it is there."""
        recipe = place.recipe
        self.arrivals += 1
        ready_s = visit.arrives_s
        if recipe in self.held:
            self.hits += 1
        else:
            start_s = visit.arrives_s + self.device.delay_s
            ready_s = self._download(recipe, place, start_s, visit.leaves_s, ahead=False)
            self.stall_s += ready_s - visit.arrives_s
        self._drop_begun()
        self.unused.pop(recipe, None)
        if recipe in self.held:
            self.held.move_to_end(recipe)
        return ready_s

    def prepare(self, wanted: Iterable[Recipe], place: Place, start_s: float, end_s: float) -> None:
        """Download ahead, one after the other, what fits beside the model in use."""
        kept = {place.recipe}
        for recipe in wanted:
            if sum(self.sizes[r] for r in kept | {recipe}) > 8 * self.device.storage_bytes:
                continue
            kept.add(recipe)
            if recipe in self.held:
                self.held.move_to_end(recipe)
            elif start_s < end_s:
                self._make_room(self.sizes[recipe], kept)
                start_s = self._download(recipe, place, start_s, end_s, ahead=True)

    def _download(
        self, recipe: Recipe, place: Place, start_s: float, end_s: float, *, ahead: bool
    ) -> float:
        """Receive what is missing of a model, until ``end_s`` at the latest."""
        missing = self.sizes[recipe] - self.begun.pop(recipe, 0.0)
        done_s = min(max(start_s, end_s), start_s + missing / place.rate_bps)
        bits = min(missing, max(0.0, done_s - start_s) * place.rate_bps)
        complete = bits >= missing * (1 - 1e-9)
        self.received_bits += bits
        self.energy_j += bits / place.rate_bps * self.device.receive_power_w
        self.transfers.append(Transfer(recipe, start_s, done_s, ahead))
        if complete:
            self.hold(recipe, ahead=ahead)
        else:
            self.begun[recipe] = self.sizes[recipe] - missing + bits
        return done_s

    def hold(self, recipe: Recipe, *, ahead: bool) -> None:
        """Keep a complete model; the longest unused others make room."""
        self._make_room(self.sizes[recipe], {recipe})
        self.held[recipe] = None
        if ahead:
            self.unused[recipe] = float(self.sizes[recipe])

    def _make_room(self, bits: int, kept: set[Recipe]) -> None:
        for old in [recipe for recipe in self.held if recipe not in kept]:
            if sum(self.sizes[r] for r in self.held) + bits <= 8 * self.device.storage_bytes:
                return
            del self.held[old]
            self.wasted_bits += self.unused.pop(old, 0.0)

    def _drop_begun(self) -> None:
        self.wasted_bits += sum(self.begun.values())
        self.begun.clear()

    def outcome(self) -> Outcome:
        """The day's sums; what is still unused has been wasted."""
        self._drop_begun()
        return Outcome(
            self.arrivals,
            self.hits,
            self.stall_s,
            self.received_bits / 8,
            (self.wasted_bits + sum(self.unused.values())) / 8,
            self.energy_j,
            tuple(self.transfers),
        )
