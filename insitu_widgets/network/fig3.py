"""The paper's Fig. 3 and what its section 4 says of it, from a measured catalogue.

Accuracy against sub-model size, each level alone: exits at full precision, the largest weights at
full precision, codes of k bits and of mixed precision. Nothing is interpolated: a point that was
not measured is not there, and none is compared with one of other images. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.cards import ROOTS
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.network.claims import HOLDS, PARTLY, Claim, verdict
from insitu_widgets.units import error_rate, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from insitu_widgets.network.catalogue import Catalogue, Measurement

LEVELS = ("depth", "parameter", "bit")
#: Codes whose layers have widths of their own: the second kind of sub-model at the bit level.
MIXED = "mixed"
#: Level -> the kinds of sub-models there.
KINDS = {"depth": ("depth",), "parameter": ("parameter",), "bit": ("bit", MIXED)}
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


def ladder(catalogue: Catalogue, root: str, kind: str) -> tuple[Recipe, ...]:
    """The measured sub-models of one kind, which changes one thing alone, small ones first."""
    alone: dict[str, Callable[[Recipe], bool]] = {
        "depth": lambda recipe: recipe == Recipe(root, recipe.exit),
        "parameter": lambda recipe: recipe == Recipe(root, keep=recipe.keep),
        "bit": lambda recipe: recipe == Recipe(root, bits=min(recipe.bits, WIDEST_CODE)),
        MIXED: lambda recipe: recipe.mixed and recipe == Recipe(root, bits=recipe.bits, mixed=True),
    }
    found = dict.fromkeys(row.recipe for row in catalogue.rows if row.recipe.root == root)
    return tuple(sorted(recipe for recipe in found if alone[kind](recipe)))


def measured(
    catalogue: Catalogue, recipe: Recipe, bit_error_rate: float, guard: str
) -> Measurement | None:
    """The measurement at exactly this bit-error rate, if there is one."""
    rows = catalogue.curve(recipe, guard if bit_error_rate else "none")
    return next((row for row in rows if row.bit_error_rate == bit_error_rate), None)


def reference(root: str, kind: str, against: int = PAPER_BITS) -> Recipe:
    """The model whose size is 100 %: the float32 root; at the bit level the one of so many bits."""
    return Recipe(root, bits=against if kind in KINDS["bit"] else 32)


def spots(
    catalogue: Catalogue,
    root: str,
    kind: str,
    channel: tuple[float, str] = (0.0, "none"),
    *,
    count: str = "packets",
    against: int = PAPER_BITS,
) -> tuple[Spot, ...]:
    """The points of one kind at one bit-error rate and guard, no larger than the reference."""
    whole = measured(catalogue, reference(root, kind, against), 0.0, "none")
    if whole is None:
        return ()
    found = (measured(catalogue, recipe, *channel) for recipe in ladder(catalogue, root, kind))
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
    """The best sub-model that is much smaller, against the whole one on the same images."""
    said, good, others = [], [], []
    for level, kinds in KINDS.items():
        whole = measured(catalogue, reference(root, level), 0.0, "none")
        small = [
            spot
            for kind in kinds
            for spot in spots(catalogue, root, kind)
            if spot.size <= COMPRESSED
        ]
        others += [spot.row for spot in small if whole and spot.row.images != whole.images]
        small = [spot for spot in small if spot.row not in others]
        if not whole or not small:
            continue
        half = max(small, key=lambda spot: spot.row.accuracy)
        loss = whole.accuracy - half.row.accuracy
        good.append(loss <= TOLERATED)
        name = "bit, mixed" if half.row.recipe.mixed else level
        said.append(f"{name} {_points(-loss)} at {percent(half.size, 0)}")
    cuts = ", ".join(f"{row.recipe.cut} ({row.images:,} images)" for row in others)
    return Claim(
        "All techniques are robust against model compression.",
        "; ".join(said) + "." if said else "",
        verdict(good),
        f"The best sub-model of at most {percent(COMPRESSED, 0)} of the size, without bit errors "
        f"and without re-training; the bit level against {PAPER_BITS} bit. "
        f"Robust is: loses at most {_points(TOLERATED, sign=False)}."
        + (f" Left out, as the whole was measured on other images: {cuts}." if cuts else ""),
    )


def _sufficient(catalogue: Catalogue, root: str) -> Claim:
    """For which receiver it is true, and of what: the whole root, or sub-models."""
    whole = {name: _loss(catalogue, *sent) for sent, name in _wholes(root).items()}
    cut = {
        name: loss_at(catalogue, root, kind, (PAPER_RATE, guard))
        for (kind, guard), name in _CUT.items()
    }
    said, true, good = [], [], []
    for what, losses in (("the whole root", whole), ("useful sub-models (mean)", cut)):
        known = {name: loss for name, loss in losses.items() if loss is not None}
        if known:
            each = ", ".join(f"{name} {_points(-loss)}" for name, loss in known.items())
            said.append(f"{what.capitalize()}: {each}.")
            fine = [name for name, loss in known.items() if loss <= TOLERATED]
            true.append(f"{what}: {', '.join(fine) or 'none'}")
            good += [loss <= TOLERATED for loss in known.values()]
    weights = ROOTS[root].exit_parameters[-1]
    return Claim(
        "A bit-error rate of 10⁻³ is sufficient to rein in the performance loss.",
        " ".join(said),
        verdict(good),
        (f"At most {_points(TOLERATED, sign=False)} lost: {'; '.join(true)}. " if true else "")
        + "Useful is: half as accurate as the best, or more. A float's exponent can turn "
        f"a weight into 10³⁸. Of {weights / 1e6:.1f} million, "
        f"{weights * PAPER_RATE:,.0f} suffer that at 10⁻³; at 10⁻⁷ the chance that none does is "
        f"{exp(-weights * 1e-7):.2f}. A receiver that knows each layer's range sees it, and a "
        f"code of few bits has no such bit: the paper must have had one of the two.",
    )


_BEHIND = {"none": "without guard", "clamp": "with clamp", "zero": "with zero"}
#: Kind of sub-model and guard -> its name in the sentences.
_CUT = {
    **{(kind, guard): f"{kind} {_BEHIND[guard]}" for kind in LEVELS[:2] for guard in GUARDS},
    ("bit", "none"): "codes",
    (MIXED, "none"): "mixed codes",
}


def _wholes(root: str) -> dict[tuple[Recipe, str], str]:
    """The whole root as it may be sent and received -> its name in the sentences."""
    floats = {(Recipe(root), guard): f"float32 {_BEHIND[guard]}" for guard in GUARDS}
    codes = {(Recipe(root, bits=b), "none"): f"{b} bit" for b in (WIDEST_CODE, PAPER_BITS)}
    return floats | codes


def _loss(catalogue: Catalogue, recipe: Recipe, guard: str) -> float | None:
    """What the paper's bit-error rate costs one sub-model."""
    ideal = measured(catalogue, recipe, 0.0, "none")
    real = measured(catalogue, recipe, PAPER_RATE, guard)
    if not ideal or not real or _same(ideal) != _same(real):
        return None
    return ideal.accuracy - real.accuracy


def loss_at(catalogue: Catalogue, root: str, kind: str, channel: tuple[float, str]) -> float | None:
    """Mean loss of accuracy over the sub-models of a kind against the same ones without errors.

    Of sub-models that are half as accurate as the best or more: what knows nothing loses nothing.
    """
    ideal = {_same(spot.row): spot.row.accuracy for spot in spots(catalogue, root, kind)}
    useful = max(ideal.values(), default=0.0) / 2
    ideal = {key: share for key, share in ideal.items() if share >= useful}
    real = [spot.row for spot in spots(catalogue, root, kind, channel)]
    losses = [ideal[_same(row)] - row.accuracy for row in real if _same(row) in ideal]
    return sum(losses) / len(losses) if losses else None


def _same(row: Measurement) -> tuple[Recipe, int]:
    """What two rows share that may be compared: the sub-model and the set of images."""
    return row.recipe, row.images


def _overkill(catalogue: Catalogue, root: str) -> Claim:
    """The highest measured bit-error rate that costs no more than is tolerated."""
    said, good = [], []
    for (recipe, guard), name in _wholes(root).items():
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
