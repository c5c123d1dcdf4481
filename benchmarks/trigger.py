"""The trigger's tolerance: chosen on one half of the test images, told on the other."""

from collections.abc import Iterator, Sequence
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.table import DIGITS_ROOTS, Row
from insitu_widgets import ImageSet, Recipe, derive, load_data, load_root
from insitu_widgets.levels.confidence import confidence
from insitu_widgets.network.contexts import CONTEXTS, halves, moved
from insitu_widgets.network.drift import TOLERANCES, TOLERATED, lateness

APART = 3000
SEEDS = range(3)


def run(*, quick: bool) -> Iterator[Row]:
    """Every tolerance on the first half, then on the second; a row for each half."""
    torch.set_num_threads(1)
    seeds = SEEDS[:1] if quick else SEEDS
    chosen, told = (
        {tolerated: _lateness(images, tolerated, seeds) for tolerated in TOLERANCES}
        for images in halves(load_data("digits"))
    )
    best = min(chosen, key=chosen.__getitem__)
    what = f"trigger, a false alarm in {APART:,} frames: mean delay over roots and contexts"
    target, met = f"least at {TOLERATED:g}, as shipped", best == TOLERATED
    yield Row(f"{what}, by tolerance, on the half that chooses", _said(chosen), target, met)
    figure = f"{told[best]:.1f} frames at {best:g} (of {_said(told)})"
    yield Row(f"{what}, on the half that did not choose", figure)


def _lateness(images: ImageSet, tolerated: float, seeds: Sequence[int]) -> float:
    found = []
    for name in DIGITS_ROOTS:
        model = derive(load_root(name), Recipe(name, bits=8))
        before, *after = (_sure(model, moved(images, place)) for place in CONTEXTS)
        found += [lateness(before, after, APART, tolerated, seed) for seed in seeds]
    return mean(found)


def _sure(model: torch.nn.Module, images: ImageSet) -> NDArray[np.float64]:
    with torch.inference_mode():
        return np.asarray(confidence(model(images.images)).double().numpy())


def _said(by_tolerance: dict[float, float]) -> str:
    return ", ".join(f"{key:g}: {value:.1f}" for key, value in by_tolerance.items())
