"""How long making a sub-model on demand takes, measured on this machine."""

from __future__ import annotations

import time
from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING

from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.library import from_root
from insitu_widgets.network.service import ROOTS_SERVED

if TYPE_CHECKING:
    from collections.abc import Iterable


def making_s(recipes: Iterable[Recipe]) -> float:
    """Median seconds to derive and pack the recipes from their shipped roots, each once.

    The first of each root is made once before, so that loading the weights is not counted.

    Raises
    ------
    ValueError
        If there is no recipe.
    """
    wanted = list(recipes)
    if not wanted:
        msg = "recipes must hold at least one recipe; got none. Give those that will be asked for."
        raise ValueError(msg)
    for recipe in {recipe.root: recipe for recipe in wanted}.values():
        from_root(recipe)
    return median(_once(recipe) for recipe in wanted)


@lru_cache(maxsize=1)
def usual_making_ms() -> int:
    """What a usual sub-model of each root takes here, in whole milliseconds, at least 1.

    Measured at the first call and kept for the session, so that the same seed gives the same
    result; another machine's is stated by its number.
    """
    return max(1, round(1e3 * making_s(Recipe(root, keep=0.5, bits=4) for root in ROOTS_SERVED)))


def _once(recipe: Recipe) -> float:
    start = time.perf_counter()
    from_root(recipe)
    return time.perf_counter() - start
