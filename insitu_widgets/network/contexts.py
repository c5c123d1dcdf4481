"""Contexts: how the images around a device change, and the models that fit them (section 5).

The network keeps one model for each context: the root, tuned on images as they look there. Which of
them fits is found from a few frames that the device sends: those of the context are likeliest if
each pixel is normal with that context's mean and spread. How sure the models are would not do:
one that was tuned elsewhere is often surer, and wrong.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from insitu_widgets.air.payload import Packet, pack
from insitu_widgets.data import ImageSet
from insitu_widgets.errors import one_of
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.analytics import shifted
from insitu_widgets.network.tuning import Tuning, tune
from insitu_widgets.roots import Root

#: Where the root was trained, first; and what it is then moved to.
CONTEXTS = ("as trained", "inverted", "rotated", "noisy")
_SHIFTS = {
    "as trained": ("none", 0.0),
    "inverted": ("inverted", 1.0),
    "rotated": ("rotated", 1.0),
    "noisy": ("noisy", 0.5),
}
#: How a model is tuned to its context; the images there have been moved enough.
TUNING = Tuning(epochs=5, rate=1e-3, batch=50, warped=False, statistics=True)
#: Pixels that never change in training may do so a little.
_LEAST_SPREAD = 0.2


def moved(images: ImageSet, context: str, seed: int = 0) -> ImageSet:
    """The same images as they look in a context; ``seed`` draws the noise.

    Raises
    ------
    ValueError
        For a context that does not exist.
    """
    one_of("context", context, CONTEXTS)
    return shifted(images, *_SHIFTS[context], seed)


def halves(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Images at even places, for all that is chosen or calibrated; at odd ones, for what is told.

    It is the same division whatever is asked: no image that took part in a choice reports on it.
    """
    places = torch.arange(len(images))
    return images.take(places[0::2]), images.take(places[1::2])


@dataclass(frozen=True, eq=False)
class Offer:
    """A model for a context, ready to be sent.

    Attributes
    ----------
    context : str
        One of :data:`CONTEXTS`.
    packet : Packet
        The model.
    mean, spread : Tensor
        ``[C, H, W]``: of the pixels of the training images there.
    seconds : float
        What tuning took.
    """

    context: str
    packet: Packet
    mean: Tensor
    spread: Tensor
    seconds: float

    def likelihood(self, frames: Tensor) -> float:
        """Log-likelihood of ``[k, C, H, W]``, a frame and but for a constant."""
        away = (frames - self.mean) / self.spread
        return float(-(away.square() / 2 + self.spread.log()).flatten(1).sum(1).mean())


def offers(
    root: Root,
    recipe: Recipe,
    training: ImageSet,
    contexts: Iterable[str] = CONTEXTS,
    seed: int = 0,
) -> Iterator[Offer]:
    """Make the network's models, one for each context; the root is not changed.

    Parameters
    ----------
    root, recipe
        What is tuned, and how the result is cut.
    training
        Images as the root was trained on; each model is tuned on them as they look in its context.
    contexts
        Some of :data:`CONTEXTS`.
    seed
        Of the noise and of the order of training.

    Raises
    ------
    ValueError
        For a context that does not exist, or a recipe of another root.
    """
    for context in contexts:
        images, start = moved(training, context, seed), time.perf_counter()
        tuned = root
        if context != CONTEXTS[0]:
            tuned = copy.deepcopy(root).requires_grad_(True)
            random = torch.Generator().manual_seed(seed)
            for _ in tune(tuned, tuned.exits, images, TUNING, random):
                pass
            tuned.requires_grad_(False)
        spread, mean = torch.std_mean(images.images, dim=0)
        seconds = time.perf_counter() - start
        packet = pack(derive(tuned, recipe))
        yield Offer(context, packet, mean, spread.clamp(min=_LEAST_SPREAD), seconds)


def fitting(frames: Tensor, offered: Sequence[Offer]) -> Offer:
    """The offer whose context makes these frames ``[k, C, H, W]`` likeliest.

    Raises
    ------
    ValueError
        If nothing is offered, or there are no frames.
    """
    if not offered or not len(frames):
        msg = (
            f"frames and offers must not be empty; got {len(frames)} and {len(offered)}. "
            f"Send a frame, and offer a model."
        )
        raise ValueError(msg)
    return max(offered, key=lambda offer: offer.likelihood(frames))
