"""Grids: which recipes a catalogue is measured on, over which channels. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from insitu_widgets.cards import NESTED_ROOTS, ROOTS, card_of
from insitu_widgets.errors import one_of
from insitu_widgets.levels.recipe import BITS, WIDEST_CODE, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

KEEPS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
BIT_ERROR_RATES = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
SEEDS = (0, 1, 2, 3, 4)
#: Widths of the all-in-one roots: those that they are trained with.
NESTED_BITS = (2, 3, 4, 8)
#: Mixed recipes: shares kept and average bits. Above 4 bits one width for all layers loses nothing.
MIXED_KEEPS = (1.0, 0.5, 0.2)
AVERAGES = (2, 3, 4)


def grid(root: str, keeps: Iterable[float] = KEEPS, bits: Iterable[int] = BITS) -> list[Recipe]:
    """Every exit of a shipped root with every ``keep`` and every ``bits``."""
    return [Recipe(root, *cut) for cut in product(_exits(root), keeps, bits)]


def mixed(
    root: str, keeps: Iterable[float] = MIXED_KEEPS, averages: Iterable[int] = AVERAGES
) -> list[Recipe]:
    """Mixed precision: every exit with every ``keep`` and every average of bits."""
    cuts = product(_exits(root), keeps, averages)
    return [Recipe(root, *cut, mixed=True) for cut in cuts]


def _exits(root: str) -> range:
    one_of("root", root, [*ROOTS, *NESTED_ROOTS])
    card = card_of(root)
    assert card is not None
    return range(1, card.num_exits + 1)


@dataclass(frozen=True)
class Plan:
    """A grid: recipes and channels, and on how many images and seeds it is usually measured."""

    recipes: tuple[Recipe, ...]
    bit_error_rates: tuple[float, ...] = BIT_ERROR_RATES
    images: int | None = None
    seeds: int = len(SEEDS)


#: The paper's bit-error rate first after 0: an interrupted sweep has what its claim needs.
PAPER_RATES = (0.0, 1e-3, 1e-4, 1e-2, 1e-5)


def full(root: str) -> Plan:
    """Every exit with every keep and every width, at every rate: what the digits are measured on.

    On two cores this takes half an hour for a digits root and weeks for one of CIFAR-100. Of an
    all-in-one root it is the widths that it was trained with; mixed precision is in both.
    """
    bits = NESTED_BITS if root in NESTED_ROOTS else BITS
    return Plan((*grid(root, bits=bits), *mixed(root)))


def fig3(root: str) -> Plan:
    """What Fig. 3 shows: each level alone, all exits of the others' whole models beside it.

    The bit level is codes of one width, and those of mixed precision at the last exit.
    """
    whole = grid(root, keeps=(1.0,), bits=(32, *range(1, WIDEST_CODE + 1)))
    keeps = (Recipe(root, keep=keep) for keep in KEEPS[1:])
    widths = (Recipe(root, bits=average, mixed=True) for average in AVERAGES)
    return Plan((*whole, *keeps, *widths), PAPER_RATES)


def planner(root: str) -> Plan:
    """What a choice needs: all three levels, together and alone, on few images and draws."""
    bits = NESTED_BITS if root in NESTED_ROOTS else (32, 4, 8, 2, 3, 16)
    shown = () if root in NESTED_ROOTS else fig3(root).recipes
    recipes = dict.fromkeys((*grid(root, KEEPS[:5], bits), *mixed(root), *shown))
    return Plan(tuple(recipes), PAPER_RATES, 1000, 1)


#: Name -> the grid of a root.
PLANS: Mapping[str, Callable[[str], Plan]] = {"full": full, "fig3": fig3, "planner": planner}
