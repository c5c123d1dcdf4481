"""Grids: which recipes a catalogue is measured on, over which channels. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from insitu_widgets.cards import ROOTS
from insitu_widgets.levels.recipe import BITS, WIDEST_CODE, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

KEEPS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
BIT_ERROR_RATES = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
SEEDS = (0, 1, 2, 3, 4)


def grid(root: str, keeps: Iterable[float] = KEEPS, bits: Iterable[int] = BITS) -> list[Recipe]:
    """Every exit of a shipped root with every ``keep`` and every ``bits``."""
    exits = range(1, ROOTS[root].num_exits + 1)
    return [Recipe(root, *cut) for cut in product(exits, keeps, bits)]


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

    On two cores this takes half an hour for a digits root and weeks for one of CIFAR-100.
    """
    return Plan(tuple(grid(root)))


def fig3(root: str) -> Plan:
    """What Fig. 3 shows: each level alone, all exits of the others' whole models beside it."""
    whole = grid(root, keeps=(1.0,), bits=(32, *range(1, WIDEST_CODE + 1)))
    return Plan((*whole, *(Recipe(root, keep=keep) for keep in KEEPS[1:])), PAPER_RATES)


def planner(root: str) -> Plan:
    """What a choice needs: all three levels together, on few images and draws."""
    return Plan(tuple(grid(root, KEEPS[:5], (32, 4, 8, 2, 3, 16))), PAPER_RATES, 1000, 1)


#: Name -> the grid of a root.
PLANS: Mapping[str, Callable[[str], Plan]] = {"full": full, "fig3": fig3, "planner": planner}
