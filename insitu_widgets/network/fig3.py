"""The paper's Fig. 3 and what its section 4 says of it, from a measured catalogue.

Accuracy against sub-model size, each level alone: exits at full precision, the largest weights at
full precision, k-bit codes. Nothing is interpolated: a point that was not measured is not there.
Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import exp
from typing import TYPE_CHECKING

from insitu_widgets.cards import ROOTS
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.network.claims import HOLDS, PARTLY, Claim, verdict
from insitu_widgets.units import error_rate, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from insitu_widgets.network.catalogue import Catalogue, Measurement

LEVELS = ("depth", "parameter", "bit")
#: The widest code in the paper's bit level, whose sizes are against this model's.
PAPER_BITS = 4
#: What a size is counted in: the whole packet, or as the paper does parameters × bits.
COUNTS = ("packets", "parameters")
#: The bit-error rate that the paper calls sufficient.
PAPER_RATE = 1e-3
#: A loss of so many accuracy points is "reined in"; the paper names no number.
TOLERATED = 0.02
#: "Compressed" is: at most this share of the size. Half of the weights, or of the bits, with mask
#: or scales are a little more than half of the packet.
COMPRESSED = 0.6


@dataclass(frozen=True)
class Spot:
    """A point of the figure: its size as a share of the reference model's, and its measurement."""

    size: float
    row: Measurement


def ladder(catalogue: Catalogue, root: str, level: str) -> tuple[Recipe, ...]:
    """The measured sub-models of one level alone, small ones first."""
    alone: dict[str, Callable[[Recipe], Recipe]] = {
        "depth": lambda recipe: Recipe(root, recipe.exit),
        "parameter": lambda recipe: Recipe(root, keep=recipe.keep),
        "bit": lambda recipe: Recipe(root, bits=min(recipe.bits, WIDEST_CODE)),
    }
    found = dict.fromkeys(row.recipe for row in catalogue.rows if row.recipe.root == root)
    return tuple(sorted(recipe for recipe in found if recipe == alone[level](recipe)))


def measured(
    catalogue: Catalogue, recipe: Recipe, bit_error_rate: float, guard: str
) -> Measurement | None:
    """The measurement at exactly this bit-error rate, if there is one."""
    rows = catalogue.curve(recipe, guard if bit_error_rate else "none")
    return next((row for row in rows if row.bit_error_rate == bit_error_rate), None)


def reference(root: str, level: str, against: int = PAPER_BITS) -> Recipe:
    """The model whose size is 100 %: the float32 root; at the bit level the one of so many bits."""
    return Recipe(root, bits=against if level == "bit" else 32)


def spots(
    catalogue: Catalogue,
    root: str,
    level: str,
    channel: tuple[float, str] = (0.0, "none"),
    *,
    count: str = "packets",
    against: int = PAPER_BITS,
) -> tuple[Spot, ...]:
    """The points of one level at one bit-error rate and guard, no larger than the reference."""
    whole = measured(catalogue, reference(root, level, against), 0.0, "none")
    if whole is None:
        return ()
    found = (measured(catalogue, recipe, *channel) for recipe in ladder(catalogue, root, level))
    points = (Spot(_size(row, count) / _size(whole, count), row) for row in found if row)
    return tuple(spot for spot in points if spot.size <= 1.0)


def _size(row: Measurement, count: str) -> float:
    return row.num_bits if count == "packets" else row.num_parameters * row.recipe.bits


def claims(catalogue: Catalogue, root: str) -> tuple[Claim, ...]:
    """The sentences of section 4 that Fig. 3 stands for, each beside a number of this root's."""
    return (
        _the_root(root),
        _topology(catalogue, root),
        _compression(catalogue, root),
        _sufficient(catalogue, root),
        _overkill(catalogue, root),
    )


def _the_root(root: str) -> Claim:
    card = ROOTS[root]
    same = card.family == "resnet18" and card.data == "cifar100"
    return Claim(
        "ResNet-18 with 11.69 million parameters, trained on CIFAR-100.",
        f"{root}: {card.parameters / 1e6:.2f} million parameters, {card.classes} classes, "
        f"{percent(card.accuracy[-1])} at the last exit.",
        HOLDS if same else PARTLY,
        "11.69 million is the count with ImageNet's 1,000 classes; with 100 classes and a 3×3 "
        "stem the network has 11.22 million, the other exits' heads come on top."
        if same
        else "Another network and other images: the shapes of the curves carry over, the numbers "
        "do not.",
    )


def _topology(catalogue: Catalogue, root: str) -> Claim:
    shares = {}
    for bits in (32, PAPER_BITS):
        row = measured(catalogue, Recipe(root, bits=bits), 0.0, "none")
        if row:
            shares[bits] = 1 - row.num_parameters * bits / row.num_bits
    said = ", ".join(f"{percent(max(0.0, s), 2)} of the {b}-bit packet" for b, s in shares.items())
    return Claim(
        "Topology is much smaller than the parameters (1 Mb against 800 Mb for ResNet-50), and "
        "travels on a reliable channel.",
        f"What is no parameter: {said}." if said else "",
        verdict([share < 0.02 for share in shares.values()]),
        "Codes need a scale for each channel, and norms stay in single precision: at few bits the "
        "reliable part grows.",
    )


def _compression(catalogue: Catalogue, root: str) -> Claim:
    """The best sub-model that is much smaller, against the whole one."""
    said, good = [], []
    for level in LEVELS:
        points = spots(catalogue, root, level)
        half = max(
            (spot for spot in points if spot.size <= COMPRESSED),
            key=lambda spot: spot.row.accuracy,
            default=None,
        )
        if not half or not points:
            continue
        loss = max(points, key=lambda spot: spot.size).row.accuracy - half.row.accuracy
        good.append(loss <= TOLERATED)
        said.append(f"{level} {_points(-loss)} at {percent(half.size, 0)}")
    return Claim(
        "All techniques are robust against model compression.",
        "; ".join(said) + "." if said else "",
        verdict(good),
        f"The best sub-model of at most {percent(COMPRESSED, 0)} of the size, without bit errors "
        f"and without re-training; the bit level against {PAPER_BITS} bit. "
        f"Robust is: loses at most {_points(TOLERATED, sign=False)}.",
    )


def _sufficient(catalogue: Catalogue, root: str) -> Claim:
    said, good = [], []
    for level, guard in _receivers():
        loss = loss_at(catalogue, root, level, (PAPER_RATE, guard))
        if loss is not None:
            good.append(loss <= TOLERATED)
            name = "codes" if level == "bit" else f"{level}, guard {guard}"
            said.append(f"{name} {_points(-loss)}")
    weights = ROOTS[root].exit_parameters[-1]
    return Claim(
        "A bit-error rate of 10⁻³ is sufficient to rein in the performance loss.",
        "Mean over the sub-models that are any good: " + "; ".join(said) + "." if said else "",
        verdict(good),
        f"A float's exponent can turn a weight into 10³⁸. Of {weights / 1e6:.1f} million, "
        f"{weights * PAPER_RATE:,.0f} suffer that at 10⁻³; at 10⁻⁷ the chance that none does is "
        f"{exp(-weights * 1e-7):.2f}. A receiver that knows each layer's range sees it, and a "
        f"code of few bits has no such bit: the paper must have had one of the two.",
    )


def _receivers() -> Sequence[tuple[str, str]]:
    floats = product(("depth", "parameter"), ("none", "clamp", "zero"))
    return (*floats, ("bit", "none"))


def loss_at(
    catalogue: Catalogue, root: str, level: str, channel: tuple[float, str]
) -> float | None:
    """Mean loss of accuracy over a level's sub-models against the same ones without errors.

    Of sub-models that are half as accurate as the best or more: what knows nothing loses nothing.
    """
    ideal = {spot.row.recipe: spot.row.accuracy for spot in spots(catalogue, root, level)}
    useful = max(ideal.values(), default=0.0) / 2
    ideal = {recipe: share for recipe, share in ideal.items() if share >= useful}
    real = spots(catalogue, root, level, channel)
    losses = [ideal[s.row.recipe] - s.row.accuracy for s in real if s.row.recipe in ideal]
    return sum(losses) / len(losses) if losses else None


def _overkill(catalogue: Catalogue, root: str) -> Claim:
    """The highest measured bit-error rate that costs no more than is tolerated."""
    said, good = [], []
    for recipe, guard, name in (
        (Recipe(root), "none", "float32, no guard"),
        (Recipe(root), "clamp", "float32, clamp"),
        (Recipe(root), "zero", "float32, zero"),
        (Recipe(root, bits=PAPER_BITS), "none", f"{PAPER_BITS} bit"),
    ):
        rows = catalogue.curve(recipe, guard)
        if len(rows) < 2 or rows[0].bit_error_rate > 0:
            continue
        bound = rows[0].accuracy - TOLERATED
        kept = [row.bit_error_rate for row in rows[1:] if row.accuracy >= bound]
        good.append(bool(kept) and max(kept) >= 1e-4)
        at = error_rate(max(kept)) if kept else f"below {error_rate(rows[1].bit_error_rate)}"
        said.append(f"{name} {at}")
    return Claim(
        "Ultra-reliable links (below 10⁻⁹) are an overkill; normal reliability is sufficient.",
        "Highest rate that is harmless: " + "; ".join(said) + "." if said else "",
        verdict(good),
        f"Harmless is: loses at most {_points(TOLERATED, sign=False)}. Without a guard floats do "
        "need such a link; with one, or as codes, they do not.",
    )


def _points(share: float, *, sign: bool = True) -> str:
    signed = f"{100 * share:+.1f} points".replace("-", "\N{MINUS SIGN}")
    return signed if sign else f"{100 * share:g} points"
