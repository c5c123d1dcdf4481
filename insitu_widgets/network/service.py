"""The downloading service under load: slices of the air, three tiers, and a menu of sub-models.

Time is simulated (SimPy), accuracies and packet sizes are the catalogue's measured ones. Each slice
sends one packet at a time over its whole band, first come, first served. When a request arrives the
network knows the slice's backlog and how often it is asked (section 3: it monitors connectivity and
utilisation). By the rule ``"choose"`` it sends the most accurate packet on the menu that arrives in
time and takes no more than one request's share of the air; failing that, the smallest that arrives
in time; failing that, none. By the rule ``"price"`` it sends what is worth most after paying for
its time on the air, at a price that rises while the slice is too busy; nothing where nothing is
worth it. Both rules hold for every menu: one size for all, a few sizes, and in-situ differ in what
is on it. Needs no torch.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from math import exp
from typing import TYPE_CHECKING

import numpy as np
import simpy

from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import load_catalogue
from insitu_widgets.network.menu import Staircase, best_sizes
from insitu_widgets.network.population import Population, Requests, draw
from insitu_widgets.network.tiers import KINDS, TIERS, Tier, home, in_order, way_s

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from numpy.typing import NDArray

#: Policies and how many sizes each offers; ``None`` is the whole catalogue.
POLICIES: Mapping[str, int | None] = {"one size": 1, "a few sizes": 3, "in-situ": None}
#: By root and by sort of device, what is on the menu.
Stairs = list[list[Staircase]]
RULES = ("choose", "price")
#: How fast the price of the air follows what is used of it.
PRICE_STEP = 0.05
#: Of the time between two requests, how much one of them may be sending: the rest absorbs bursts.
MOST_BUSY = 0.8
#: Over how many requests the time between two of them is averaged.
WATCHED = 64
ROOTS_SERVED = ("resnet-digits", "vgg-digits", "vit-digits")


@dataclass(frozen=True)
class Service:
    """How requests are served.

    Parameters
    ----------
    policy
        ``"one size"``, ``"a few sizes"`` or ``"in-situ"``.
    rule
        ``"choose"``: for each device what is best for it; ``"price"``: what is best for all.
    tiers
        The library's, nearest first or linked.
    making_s
        Seconds that making a sub-model on demand takes (see :meth:`makes`). Measure it with
        :func:`insitu_widgets.network.making.making_s`.
    delay_s
        Of the radio link.
    tuned_for
        The share of its latency, in (0, 1], that a packet may be on the air, for which the fixed
        sizes are the best ones: 1 suits an empty cell, 0.01 a busy one.
    least_accuracy
        What a device has to get, in [0, 1] (the DSI's accuracy need): less is not sent to it.
    roots
        Root models; the applications take them in turn.

    Raises
    ------
    ValueError
        For a value out of its range, or no root.
    """

    policy: str
    rule: str = "choose"
    tiers: tuple[Tier, ...] = TIERS
    making_s: float = 0.0
    delay_s: float = 0.001
    tuned_for: float = 0.1
    least_accuracy: float = 0.0
    roots: tuple[str, ...] = ROOTS_SERVED

    def __post_init__(self) -> None:
        one_of("policy", self.policy, POLICIES)
        one_of("rule", self.rule, RULES)
        in_range("making_s", self.making_s, 0.0, 3600.0, "s")
        in_range("delay_s", self.delay_s, 0.0, 10.0, "s")
        in_range("tuned_for", self.tuned_for, 1e-3, 1.0)
        in_range("least_accuracy", self.least_accuracy, 0.0, 1.0)
        object.__setattr__(self, "tiers", in_order(self.tiers))
        if not self.roots:
            msg = "roots must hold at least one root; got none. A library must not be empty."
            raise ValueError(msg)

    def makes(self, kind: int) -> bool:
        """Whether models of that kind are made on demand, from roots that hold them nested.

        Fixed sizes are kept ready, and in-situ keeps the variants of real-time models ready
        (section 2.2: "in latency-critical scenarios").
        """
        return POLICIES[self.policy] is None and kind > 0


@dataclass(frozen=True)
class Served:
    """What became of each request; every array has one entry a request.

    Attributes
    ----------
    num_bits : int64
        Bits sent; 0 where nothing was.
    ready_s, start_s, end_s : float64
        When the packet was at the edge, when its first bit went on the air, when the last one had;
        NaN where nothing was sent.
    accuracy : float64
        Measured accuracy of what arrived in time, else 0.
    tier : int64
        From which tier it came; -1 where nothing was sent.
    made, hit : bool
        Whether it was made on demand, and whether it arrived in time.
    """

    num_bits: NDArray[np.int64]
    ready_s: NDArray[np.float64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    tier: NDArray[np.int64]
    made: NDArray[np.bool_]
    hit: NDArray[np.bool_]


@lru_cache(maxsize=64)
def menu(service: Service, population: Population) -> dict[str, tuple[Recipe, ...]]:
    """The recipes that a service offers, by root: the best few for this population, or all.

    They are the root's own: an edge that makes them keeps one set of weights.

    The few are chosen on a thousand requests of the same population.
    """
    count = POLICIES[service.policy]
    if count is None:
        return {
            root: tuple(
                dict.fromkeys(
                    row.recipe for row in load_catalogue(root).rows if row.recipe.root == root
                )
            )
            for root in service.roots
        }
    sample = draw(population, 1.0, 1000, 0)
    latency = np.array([kind.latency_s for kind in KINDS])[sample.kind]
    memory = np.array([s.memory_bytes for s in population.species])[sample.species]
    most = np.minimum(8 * memory, (latency - service.delay_s) * sample.rate_bps * service.tuned_for)
    offered = {}
    for root in service.roots:
        groups, limits = [], []
        for number, species in enumerate(population.species):
            groups.append(load_catalogue(root).at(root, species.bit_error_rate, species.guard))
            limits.append(np.where(sample.species == number, most, -1.0))
        offered[root] = best_sizes(np.array(limits), groups, count, service.least_accuracy)
    return offered


class _Edge:
    """The edge's room beside the models that live there: the longest unused packets make room."""

    def __init__(self, room_bits: float) -> None:
        self._room_bits, self._used_bits = room_bits, 0
        self._held: OrderedDict[tuple[int, int], int] = OrderedDict()

    def find(self, key: tuple[int, int]) -> bool:
        """Whether it is here; it is thereby the last used."""
        if key not in self._held:
            return False
        self._held.move_to_end(key)
        return True

    def put(self, key: tuple[int, int], num_bits: int) -> None:
        """Keep a packet, unless it is larger than all the room."""
        if num_bits > self._room_bits:
            return
        while self._used_bits + num_bits > self._room_bits:
            self._used_bits -= self._held.popitem(last=False)[1]
        self._held[key] = num_bits
        self._used_bits += num_bits


def homes(
    service: Service, population: Population, stairs: Stairs
) -> tuple[list[int], list[float]]:
    """Where each application's models live, and how many bytes each tier has left.

    Packets that are kept ready: fixed sizes, and real-time models' variants, all that any sort of
    device may be sent. Else the root is kept, in which all variants are nested. The popular
    applications come first; what a tier has no room for goes to the next one outwards.

    Raises
    ------
    ValueError
        If the farthest tier has too little room.
    """
    left = [tier.capacity_bytes for tier in service.tiers]
    places = []
    for number, kind in enumerate(KINDS):
        sizes = []
        for root, stair in zip(service.roots, stairs, strict=True):
            whole = load_catalogue(root).find(Recipe(root), 0.0, "none")
            ready = {row.recipe: row.num_bits for each in stair for row in each.rows}
            nested = service.makes(number) and whole is not None
            sizes.append((whole.num_bits if nested and whole else sum(ready.values())) / 8)
        first = service.tiers.index(home(service.tiers, kind.latency_s))
        for rank in range(population.applications):
            size = sizes[rank % len(sizes)]
            place = next((i for i in range(first, len(left)) if left[i] >= size), None)
            if place is None:
                msg = (
                    f"capacity_bytes of {service.tiers[-1].name} must hold every application's "
                    f"models; it has {left[-1]:g} bytes left, {size:g} are needed. Enlarge it."
                )
                raise ValueError(msg)
            left[place] -= size
            places.append(place)
    return places, left


class _Slice:
    """One slice of the air, as the network monitors it: backlog, how often it is asked, price."""

    def __init__(self, rule: str, environment: simpy.Environment) -> None:
        self._rule = rule
        self.turns = simpy.Resource(environment)
        self.free_s = 0.0  # when all that is queued will have been sent: the backlog
        self._last_s, self._gap_s, self._count = 0.0, 0.0, 0
        self._price = 1.0  # what a second of the air costs, in accuracy

    def watch(self, now: float) -> None:
        """Note a request: the mean time between two of them follows the last :data:`WATCHED`."""
        self._count += 1
        self._gap_s += (now - self._last_s - self._gap_s) / min(self._count, WATCHED)
        self._last_s = now

    def pick(self, stair: Staircase, left_s: float, memory_bits: float, rate_bps: float) -> int:
        """What to send within ``left_s`` seconds, by the service's rule; -1 is nothing."""
        most, share_s = min(left_s * rate_bps, memory_bits), MOST_BUSY * self._gap_s
        if self._rule == "choose":
            best = stair.best(min(most, share_s * rate_bps))
            return 0 if best < 0 and stair.sizes[0] <= most else best
        # The price follows what would be sent if nobody waited: else a full queue would lower it.
        wish = stair.worth(memory_bits, self._price / rate_bps)
        best = stair.worth(most, self._price / rate_bps)
        wish_s = stair.sizes[wish] / rate_bps if wish >= 0 else 0.0
        self._price *= exp(PRICE_STEP * min(wish_s / share_s - 1.0, 2.0))
        return best


def serve(service: Service, population: Population, requests: Requests) -> Served:
    """Serve requests in the order of their arrival; the same requests, the same result."""
    return _Cell(service, population, requests).run()


class _Cell:
    """The requests in SimPy's time: one resource a slice of the air, one process a packet."""

    def __init__(self, service: Service, population: Population, requests: Requests) -> None:
        self._service, self._requests = service, requests
        self._stairs = _stairs(service, population, menu(service, population))
        self._places, left_bytes = homes(service, population, self._stairs)
        self._edge = _Edge(8 * left_bytes[0])
        self._making_s = [service.making_s * service.makes(kind) for kind in range(len(KINDS))]
        self._memory_bits = [8 * species.memory_bytes for species in population.species]
        self._applications = population.applications
        self._environment = simpy.Environment()
        self._slices = [_Slice(service.rule, self._environment) for _ in KINDS]
        total = len(requests)
        self._size, self._came = np.zeros(total, int), np.full(total, -1)
        self._made, self._right = np.zeros(total, bool), np.zeros(total)
        self._ready, self._start, self._end = np.full((3, total), np.nan)

    def run(self) -> Served:
        """Let all requests come, and all packets go."""
        self._environment.process(self._arrivals())
        self._environment.run()
        latency = np.array([kind.latency_s for kind in KINDS])[self._requests.kind]
        took = self._end + self._service.delay_s - self._requests.arrival_s
        hit = took <= latency * (1 + 1e-9)  # NaN, where nothing was sent, is no hit
        right = np.where(hit, self._right, 0.0)
        return Served(
            self._size, self._ready, self._start, self._end, right, self._came, self._made, hit
        )

    def _arrivals(self) -> Generator[simpy.Event]:
        asked = self._requests
        columns = (
            asked.arrival_s, asked.species, asked.kind, asked.application, asked.rate_bps,
            asked.believed_bps,
        )  # fmt: skip
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for i, (now, species, kind, application, rate_bps, believed_bps) in enumerate(rows):
            yield self._environment.timeout(max(0.0, now - self._environment.now))
            air, place = self._slices[kind], self._places[application]
            air.watch(now)
            stair = self._stairs[application % self._applications % len(self._stairs)][species]
            if not stair.sizes:
                continue
            left_s = self._left_s(now, kind, place, stair.sizes[-1])
            best = air.pick(stair, left_s, self._memory_bits[species], believed_bps)
            if best < 0:
                continue
            self._size[i], self._right[i] = stair.sizes[best], stair.accuracies[best]
            self._fetch(i, now, kind, application)
            sending_s = stair.sizes[best] / rate_bps
            air.free_s = max(float(self._ready[i]), air.free_s) + sending_s
            self._environment.process(self._send(i, air.turns, sending_s))

    def _left_s(self, now: float, kind: int, place: int, most_bits: int) -> float:
        """What is left of the latency for sending, after the backlog and the longest way."""
        fetch_s = way_s(self._service.tiers, place, most_bits) + self._making_s[kind]
        waiting_s = max(fetch_s, self._slices[kind].free_s - now)
        return KINDS[kind].latency_s - self._service.delay_s - waiting_s

    def _fetch(self, i: int, now: float, kind: int, application: int) -> None:
        """Note where the packet comes from, and when it is at the edge."""
        num_bits, place = int(self._size[i]), self._places[application]
        self._came[i], self._ready[i] = 0, now
        if self._edge.find((application, num_bits)):
            return
        making_s = self._making_s[kind]
        self._came[i], self._made[i] = place, making_s > 0
        self._ready[i] += way_s(self._service.tiers, place, num_bits) + making_s
        if place or making_s:
            self._edge.put((application, num_bits), num_bits)

    def _send(self, i: int, turns: simpy.Resource, sending_s: float) -> Generator[simpy.Event]:
        """Wait for the air, then for the packet, then send it."""
        with turns.request() as turn:
            yield turn
            yield self._environment.timeout(max(0.0, self._ready[i] - self._environment.now))
            self._start[i] = self._environment.now
            yield self._environment.timeout(sending_s)
            self._end[i] = self._environment.now


def _stairs(
    service: Service, population: Population, offered: Mapping[str, tuple[Recipe, ...]]
) -> Stairs:
    """What is on the menu, by root and by sort of device."""
    stairs = []
    for root in service.roots:
        wanted = set(offered[root])
        stairs.append(
            [
                Staircase(
                    row
                    for row in load_catalogue(root).at(root, each.bit_error_rate, each.guard)
                    if row.recipe in wanted and row.accuracy >= service.least_accuracy
                )
                for each in population.species
            ]
        )
    return stairs
