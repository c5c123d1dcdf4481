"""What the panels of the parameter level measure, on test images with real bytes; kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from torch import Tensor

from insitu_widgets.air.payload import Packet, pack, unpack
from insitu_widgets.cards import NESTED_SUFFIX
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import bits_live as live
from insitu_widgets.explorer.course import loaded
from insitu_widgets.explorer.course.beforehand import measured_before
from insitu_widgets.explorer.live import missing_images
from insitu_widgets.levels import mixed, parameter, pruning, recalibrate
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.levels.submodel import SubModel

#: Shares of the weights that the curves show.
KEEPS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
#: Those of them that large roots are pruned to, whose points take seconds each.
LARGE_KEEPS = (1.0, 0.5, 0.2, 0.1, 0.05)
#: Shares that a single layer is pruned to.
LAYER_KEEPS = (0.1, 0.2, 0.5)
#: Exits (0 is the last, whatever its number) and widths at which one-shot and all-in-one are shown.
CUT_EXITS, CUT_BITS = (3, 4, 5, 0), (2, 3, 4, 8, 32)
#: Sub-models that grow on a device, smallest first: (exit, keep, bits) of each.
LADDERS: dict[str, tuple[tuple[int | None, float, int], ...]] = {
    "more weights": tuple((None, keep, 4) for keep in (0.1, 0.2, 0.5, 1.0)),
    "more weights, half precision": tuple((None, keep, 16) for keep in (0.1, 0.2, 0.5, 1.0)),
    "weights and bits in turn": tuple(
        (None, *step) for step in ((0.1, 2), (0.2, 2), (0.2, 4), (0.5, 4), (1.0, 8))
    ),
    "more blocks": tuple((exit_, 1.0, 4) for exit_ in (1, 2, 4, None)),
}


def keeps_of(root: str) -> tuple[float, ...]:
    """Shares of the weights that the curves of a root show."""
    return tuple(keep for keep in KEEPS if live.is_quick(root) or keep in LARGE_KEEPS)


def nested_name(root: str) -> str:
    """The all-in-one root of a root."""
    return root + NESTED_SUFFIX


@lru_cache(maxsize=6)  # each kind's of a large root, which take 45 MB each, and one more
def scores(root: str, kind: str, seed: int) -> dict[str, Tensor]:
    """Importance of every weight on the way to the last exit.

    Gradients of photographs take long: there they are those of the images that sensitivity is
    measured on.
    """
    images = loaded.images_of(root, "train")
    if not live.is_quick(root):
        images = live.held_of(root)
    network = derive(loaded.root_of(root), Recipe(root)).module
    return parameter.importance(kind, network, images, seed)


@lru_cache(maxsize=512)
@measured_before
def pruned_accuracy(root: str, keep: float, kind: str, seed: int) -> Estimate:
    """Accuracy of the last exit in one shot, by importance."""
    recipe = Recipe(root, keep=keep)
    submodel = derive(loaded.root_of(root), recipe, scores(root, kind, seed))
    return live.at_point(submodel.module, root)


def layer_loss(root: str, layer: str) -> mixed.LayerLoss:
    """How far the answers move when one layer alone is pruned; of large roots to one share only."""
    keeps = LAYER_KEEPS if live.is_quick(root) else LAYER_KEEPS[:1]
    losses = tuple(layer_loss_at(root, layer, keep) for keep in keeps)
    return mixed.LayerLoss(layer, live.weights_of(root)[layer].numel(), losses)


@lru_cache(maxsize=512)
@measured_before
def layer_loss_at(root: str, layer: str, keep: float) -> float:
    """The same with one share of its weights kept, nat."""
    images, expected = live.held_of(root).images, live.answers_of(root)
    loss = pruning.pruned_layer_loss(loaded.root_of(root), layer, (keep,), images, expected)
    return loss.losses[0]


def packed(recipe: Recipe) -> tuple[Estimate, int]:
    """Accuracy of a sub-model that was packed and unpacked, and its packet's bits."""
    num_bits = _packet_bits(recipe)
    return arrived_accuracy(recipe), num_bits


@lru_cache(maxsize=1)
def _packet(recipe: Recipe) -> Packet:
    return pack(derive(loaded.root_of(recipe.root), recipe))


@lru_cache(maxsize=2048)
def _packet_bits(recipe: Recipe) -> int:
    return _packet(recipe).num_bits


@lru_cache(maxsize=2048)
@measured_before
def arrived_accuracy(recipe: Recipe) -> Estimate:
    """Accuracy of a sub-model that was packed and unpacked, on the images of a curve's point."""
    return live.at_point(unpack(_packet(recipe))[0].module, recipe.root)


def held_accuracy(held: SubModel) -> Estimate:
    """Accuracy of what a device holds, or of the same cut, where that was measured before."""
    if missing_images(held.recipe.root):
        return grown_accuracy(held.recipe)
    return live.estimate(held.module, loaded.images_of(held.recipe.root))


@measured_before
def grown_accuracy(recipe: Recipe) -> Estimate:
    """Accuracy of a cut of an all-in-one root, on all images that are loaded."""
    submodel = derive(loaded.root_of(recipe.root), recipe)
    return live.estimate(submodel.module, loaded.images_of(recipe.root))


@lru_cache(maxsize=2048)
def recalibrated(recipe: Recipe) -> tuple[Estimate, float]:
    """The same with its norms recalibrated before it was packed, and the seconds that this took."""
    submodel = derive(loaded.root_of(recipe.root), recipe)
    start = time.perf_counter()
    again = recalibrate.recalibrated(submodel, recalibrate.calibration_images(recipe.root))
    seconds = time.perf_counter() - start
    return live.at_point(unpack(pack(again))[0].module, recipe.root), seconds


@lru_cache(maxsize=2048)
@measured_before
def recalibrated_accuracy(recipe: Recipe) -> Estimate:
    """The accuracy alone, which may have been measured before."""
    return recalibrated(recipe)[0]


@dataclass(frozen=True, eq=False)
class Ladder:
    """A sub-model that grows: each step whole, as a packet of its own, and as an increment.

    Attributes
    ----------
    submodels : tuple[SubModel, …]
        What the device is to hold after each step.
    packets : tuple[Packet, …]
        Each of them alone.
    parts : tuple[Packet, …]
        The first packet, then the increments.
    making_s : tuple[float, …]
        Processor seconds to cut and to pack each part, on this machine.
    """

    submodels: tuple[SubModel, ...]
    packets: tuple[Packet, ...]
    parts: tuple[Packet, ...]
    making_s: tuple[float, ...]


@lru_cache(maxsize=2)  # a large one takes some 100 MB
def ladder(name: str, steps: tuple[tuple[int | None, float, int], ...]) -> Ladder:
    """Cut and pack a ladder of a root."""
    root = loaded.root_of(name)
    pack(derive(root, Recipe(name, *steps[0])))  # torch's first call of anything is slow
    submodels, times = [], []
    for step in steps:
        start = time.thread_time()
        submodels.append(derive(root, Recipe(name, *step)))
        times.append(time.thread_time() - start)
    parts = []
    for number, (base, target) in enumerate(pairwise([None, *submodels])):
        assert target is not None
        start = time.thread_time()
        parts.append(pack(target, base=base))
        times[number] += time.thread_time() - start
    return Ladder(tuple(submodels), tuple(map(pack, submodels)), tuple(parts), tuple(times))
