"""What was measured before of the depth level, for where a root's images are missing.

Four tables a root are shipped: split inference, early exits by confidence, a download layer by
layer, and what an attacker rebuilds. ``python -m insitu_widgets.network.depth_tables ROOT``
measures them. They hold some settings only; another one is refused, and the message says which
there are. Nothing is put in between. Reading them needs neither images nor torch.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from insitu_widgets.cards import ROOTS
from insitu_widgets.cifar100 import FETCH
from insitu_widgets.estimate import Estimate
from insitu_widgets.levels.recipe import WIDEST_CODE
from insitu_widgets.levels.routing import Routing
from insitu_widgets.network.catalogue import shipped_lines
from insitu_widgets.units import error_rate, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SPLITS, EXITS, PROGRESSIVE, PRIVACY = (
    *("-splits.csv", "-exits.csv", "-progressive.csv", "-privacy.csv"),
)
#: What each table's heading says.
COLUMNS = {
    SPLITS: (
        *("root", "keep", "bits", "feature_bits", "bit_error_rate", "seed"),
        *("point", "right", "seen"),
    ),
    EXITS: (
        *("root", "bits", "point", "measure", "source", "threshold", "right", "seen"),
        *("left_reported", "right_reported"),
    ),
    PROGRESSIVE: (
        *("root", "keep", "bits", "bit_error_rate", "guard", "seed"),
        *("exit", "num_bits", "right", "seen"),
    ),
    PRIVACY: ("root", "bits", "attacker", "point", "psnr_db"),
}
#: What the first table says where every image leaves at one exit, the second where all arrives at
#: once, and the third of those who hear no feature.
ALONE, WHOLE, GUESSES = "alone", "whole", ("class", "nothing")
#: Bits a feature value that change none of them, so that it matters not where the network is split.
EXACT = 32


@dataclass(frozen=True)
class Together:
    """A device with a sub-model and a server with the root: accuracy by split point.

    Attributes
    ----------
    keep, bits
        Of the device's half.
    feature_bits, bit_error_rate
        Bits for each value that goes up, and how many of them are turned over.
    estimates : Mapping[int, Estimate]
        Split point -> accuracy; at 0 the image itself goes up, at the last one nothing does.
    """

    keep: float
    bits: int
    feature_bits: int
    bit_error_rate: float
    estimates: Mapping[int, Estimate]

    @property
    def sent(self) -> tuple[float, int, int, float]:
        """What tells it from another one."""
        return self.keep, self.bits, self.feature_bits, self.bit_error_rate

    def __str__(self) -> str:
        """What was sent either way, in words."""
        return (
            f"{percent(self.keep, 0)} at {self.bits:g} bit · features {self.feature_bits:g} bit · "
            f"bit-error rate {error_rate(self.bit_error_rate)}"
        )


@dataclass(frozen=True)
class Chosen:
    """A threshold, and what it achieves on the images that it is chosen on."""

    threshold: float
    estimate: Estimate


@dataclass(frozen=True)
class Exits:
    """Early exits at the thresholds that were measured, of one way to split and to be sure.

    Attributes
    ----------
    aside : tuple[Chosen, ...]
        Every threshold, from the lowest, on the images that one is chosen on.
    reported : tuple[Routing, ...]
        The same thresholds on the images that are reported on.
    alone : tuple[Estimate, ...]
        These images, if all left at exit 1 … n.
    """

    aside: tuple[Chosen, ...]
    reported: tuple[Routing, ...]
    alone: tuple[Estimate, ...]

    def cheapest(self, target: float) -> Chosen | None:
        """The lowest threshold that reaches an accuracy; ``None`` if none of them does."""
        return next((each for each in self.aside if each.estimate.accuracy >= target), None)

    def route(self, threshold: float) -> Routing:
        """What a measured threshold makes of the images that are reported on.

        Raises
        ------
        ValueError
            For a threshold that was not measured.
        """
        for routing in self.reported:
            if routing.threshold == threshold:
                return routing
        known = [f"{routing.threshold:g}" for routing in self.reported]
        msg = f"threshold must be a measured one ({', '.join(known)}); got {threshold:g}. Take one."
        raise ValueError(msg)


@dataclass(frozen=True)
class Download:
    """A download layer by layer, and in one piece: bits and accuracy.

    Attributes
    ----------
    keep, bits, bit_error_rate, guard, seed
        What was sent, over which channel, to which receiver.
    exits : tuple[tuple[int, Estimate], ...]
        Bits so far, and the accuracy of exit 1 … n, when it has arrived.
    whole : tuple[int, Estimate]
        The same of the root in one packet.
    """

    keep: float
    bits: int
    bit_error_rate: float
    guard: str
    seed: int
    exits: tuple[tuple[int, Estimate], ...]
    whole: tuple[int, Estimate]

    @property
    def sent(self) -> tuple[float, int, float, str, int]:
        """What tells it from another one; what plays no part is left out."""
        guarded = self.bit_error_rate > 0 and self.bits > WIDEST_CODE
        guard, seed = self.guard if guarded else "", self.seed if self.bit_error_rate else 0
        return self.keep, self.bits, self.bit_error_rate, guard, seed

    def __str__(self) -> str:
        """What was sent, over which channel, in words."""
        words = [f"{percent(self.keep, 0)} of the weights", f"{self.bits:g} bit"]
        if self.bit_error_rate:
            words.append(f"bit-error rate {error_rate(self.bit_error_rate)}")
            words += [f"guard {self.guard}"] if self.bits > WIDEST_CODE else []
            words.append(f"seed {self.seed}")
        else:
            words.append("no bit errors")
        return " · ".join(words)


@dataclass(frozen=True)
class Heard:
    """What an attacker rebuilds from what goes up: decibels by split point."""

    bits: int
    attacker: str
    psnr_db: Mapping[int, float]


def split_of(
    root: str, *, keep: float, bits: int, feature_bits: int, bit_error_rate: float
) -> Together:
    """Split inference, as it was measured.

    Raises
    ------
    ValueError
        If no table is shipped for that root, or that setting was not measured.
    """
    wanted = Together(keep, bits, feature_bits, bit_error_rate, {})
    for each in load_splits(root):
        if each.sent == wanted.sent:
            return each
    raise _refusal(root, "the split", splits_measured(root), str(wanted))


def splits_measured(root: str) -> str:
    """The settings of the table of split inference, in words."""
    return "; ".join(map(str, load_splits(root)))


def exits_of(root: str, *, bits: int, point: int, measure: str, source: str) -> Exits:
    """Early exits by confidence, as they were measured.

    Parameters
    ----------
    root
        A root whose table is shipped.
    bits
        Bits for each value that goes up.
    point
        Blocks on the device: with :data:`EXACT` bits any, and at the last one any bits, because
        nothing goes up.
    measure
        How confidence is read.
    source
        Which images a threshold is chosen on: ``"aside"`` or ``"train"``.

    Raises
    ------
    ValueError
        If no table is shipped for that root, or that setting was not measured.
    """
    tables = load_exits(root)
    exact = bits == EXACT or point == ROOTS[root].num_exits
    wanted = (EXACT if exact else bits, None if exact else point, measure, source)
    if wanted not in tables:
        places: dict[tuple[int, str], list[int]] = {}
        for held, at, how, where in tables:
            if how == measure:
                places.setdefault((held, where), []).extend([] if at is None else [at])
        said = [
            f"{held} bit with thresholds from {_SOURCES[where]} ({_at(points)})"
            for (held, where), points in places.items()
        ]
        asked = f"{bits} bit, {point} on the device, thresholds from {_SOURCES[source]}"
        raise _refusal(root, "feature bits and blocks on the device", "; ".join(said), asked)
    return tables[wanted]


_SOURCES = {"aside": "test images", "train": "training images"}


def _at(points: list[int]) -> str:
    return f"{', '.join(map(str, points))} blocks on the device" if points else "any split"


def download_of(
    root: str, *, keep: float, bits: int, bit_error_rate: float, guard: str, seed: int
) -> Download:
    """A download layer by layer, as it was measured.

    Without bit errors there is nothing to guard against and nothing to draw, and no guard changes
    codes of 8 bits and fewer: then these match whatever they are.

    Raises
    ------
    ValueError
        If no table is shipped for that root, or that setting was not measured.
    """
    wanted = Download(keep, bits, bit_error_rate, guard, seed, (), (0, Estimate(0, 1)))
    found = load_progressive(root)
    for each in found:
        if each.sent == wanted.sent:
            return each
    raise _refusal(root, "the download", "; ".join(map(str, found)), str(wanted))


def heard_of(root: str, *, bits: int, attacker: str) -> Heard:
    """What an attacker rebuilds, as it was measured.

    Raises
    ------
    ValueError
        If no table is shipped for that root, or that setting was not measured.
    """
    for each in load_privacy(root):
        if (each.bits, each.attacker) == (bits, attacker) and attacker not in GUESSES:
            return each
    raise _refusal(root, "the attack", attacks_measured(root), f"{attacker} on {bits} bit")


def attacks_measured(root: str) -> str:
    """The attacks of the table, in words."""
    found = [each for each in load_privacy(root) if each.attacker not in GUESSES]
    return "; ".join(f"{each.attacker} on {each.bits} bit" for each in found)


def guesses_of(root: str) -> dict[str, float]:
    """Decibels of those who hear no feature: who knows the class only, and who knows nothing."""
    found = {each.attacker: each.psnr_db[0] for each in load_privacy(root)}
    return {name: found[name] for name in GUESSES}


def _refusal(root: str, field: str, measured: str, got: str) -> ValueError:
    return ValueError(
        f"{field} must be one that was measured of {root}, whose images are not here: "
        f"{measured}. Got {got}. Choose one of these, or get the images: {FETCH}"
    )


@lru_cache(maxsize=8)
def load_splits(root: str) -> tuple[Together, ...]:
    """The table of split inference."""
    return tuple(read_splits(shipped_lines(root, SPLITS)))


@lru_cache(maxsize=8)
def load_exits(root: str) -> Mapping[tuple[int, int | None, str, str], Exits]:
    """The table of early exits: by bits, split point (``None``: any), measure and source."""
    return dict(read_exits(shipped_lines(root, EXITS)))


@lru_cache(maxsize=8)
def load_progressive(root: str) -> tuple[Download, ...]:
    """The table of downloads layer by layer."""
    return tuple(read_progressive(shipped_lines(root, PROGRESSIVE)))


@lru_cache(maxsize=8)
def load_privacy(root: str) -> tuple[Heard, ...]:
    """The table of attacks, those of :data:`GUESSES` among them."""
    return tuple(read_privacy(shipped_lines(root, PRIVACY)))


def values_in(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Rows of a table by column: lines of notes that begin with #, a heading, then values."""
    return csv.DictReader(line for line in lines if not line.startswith("#"))


def read_splits(lines: Iterable[str]) -> Iterator[Together]:
    """The rows of one setting stand together, split point by split point."""
    fields = ("keep", "bits", "feature_bits", "bit_error_rate")
    for (keep, bits, feature_bits, rate), rows in groupby(
        values_in(lines), lambda row: tuple(row[field] for field in fields)
    ):
        estimates = {
            int(row["point"]): Estimate(int(row["right"]), int(row["seen"])) for row in rows
        }
        yield Together(float(keep), int(bits), int(feature_bits), float(rate), estimates)


def read_exits(lines: Iterable[str]) -> Iterator[tuple[tuple[int, int | None, str, str], Exits]]:
    """The rows of one setting stand together: each exit alone, then threshold by threshold."""
    alone: tuple[Estimate, ...] = ()
    fields = ("bits", "point", "measure", "source")
    for (bits, point, measure, source), group in groupby(
        values_in(lines), lambda row: tuple(row[field] for field in fields)
    ):
        rows = list(group)
        left = [tuple(map(int, row["left_reported"].split())) for row in rows]
        found = [
            Estimate(int(row["right_reported"]), sum(counts))
            for row, counts in zip(rows, left, strict=True)
        ]
        if source == ALONE:
            alone = tuple(found)
            continue
        thresholds = [float(row["threshold"]) for row in rows]
        aside = [Estimate(int(row["right"]), int(row["seen"])) for row in rows]
        yield (
            (int(bits), int(point) if point else None, measure, source),
            Exits(
                tuple(map(Chosen, thresholds, aside)),
                tuple(map(Routing, thresholds, left, found)),
                alone,
            ),
        )


def read_progressive(lines: Iterable[str]) -> Iterator[Download]:
    """The rows of one download stand together: exit by exit, then the root in one piece."""
    fields = ("keep", "bits", "bit_error_rate", "guard", "seed")
    for (keep, bits, rate, guard, seed), rows in groupby(
        values_in(lines), lambda row: tuple(row[field] for field in fields)
    ):
        *exits, whole = [
            (int(row["num_bits"]), Estimate(int(row["right"]), int(row["seen"]))) for row in rows
        ]
        yield Download(float(keep), int(bits), float(rate), guard, int(seed), tuple(exits), whole)


def read_privacy(lines: Iterable[str]) -> Iterator[Heard]:
    """One row for each split point; the two who hear no feature have one row each."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in values_in(lines):
        heard = found.setdefault((row["bits"], row["attacker"]), {})
        heard[int(row["point"] or 0)] = float(row["psnr_db"])
    for (bits, attacker), psnr_db in found.items():
        yield Heard(int(bits or 0), attacker, psnr_db)
