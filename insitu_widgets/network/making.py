"""How long making a sub-model on demand takes, measured on this machine."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from insitu_widgets.network.library import from_root

if TYPE_CHECKING:
    from collections.abc import Iterable

    from insitu_widgets.levels.recipe import Recipe


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


def _once(recipe: Recipe) -> float:
    start = time.perf_counter()
    from_root(recipe)
    return time.perf_counter() - start
