"""Measured accuracy, as a stream with an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range, of_type
from insitu_widgets.estimate import Estimate
from insitu_widgets.inference import for_inference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

#: Values in all images from which on a network is made ready first (:func:`for_inference`): below
#: that, copying it costs as much as it saves, and the digits stay to the bit what they were.
WORTH_PREPARING = 500_000
#: Values in a batch where nobody waits for the first one: 50 photographs, whose features stay in a
#: processor's cache, or all the digits.
BATCH_VALUES = 153_600


class Classifier(Protocol):
    """Whatever turns images ``[N, C, H, W]`` into logits ``[N, classes]``."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Logits."""


def accuracy(model: Classifier, images: ImageSet, batch: int = 100) -> Iterator[Estimate]:
    """Stream the accuracy of a model on an image set, batch by batch.

    The images are visited in one fixed random order, so that every prefix is a fair sample. A
    model whose weights are infinite or NaN is evaluated like any other: what ``argmax`` answers
    counts. To cancel, do not ask for the next estimate.

    Parameters
    ----------
    model
        A root, a sub-model, or any callable from images to logits.
    images
        The images with their labels.
    batch
        Images a step, at least 1.

    Returns
    -------
    Iterator[Estimate]
        One after each batch; the last one has seen all images.

    Raises
    ------
    ValueError, TypeError
        At once, for what cannot be evaluated.
    """
    in_range("batch", batch, 1, 100_000, "images")
    given: object = model
    if not callable(given):
        msg = (
            f"model must turn images into logits; got a {type(given).__name__}. Give a root, a "
            f"sub-model from derive or unpack, or any such function."
        )
        raise TypeError(msg)
    of_type("images", images, ImageSet, "Load one with load_data(name), or make one of arrays.")
    return _estimates(model, images, batch)


def accuracies(
    network: nn.Module, images: ImageSet, batch: int = 100
) -> Iterator[tuple[Estimate, ...]]:
    """:func:`accuracy` of a network that answers at several exits, all of them from one pass.

    ``network(images)`` gives a list of logits ``[N, classes]``, one for each exit.
    """
    return _counted(_prepared(network, images), images, batch)


def batch_of(images: Tensor) -> int:
    """How many of ``images [N, C, H, W]`` are best asked about at once where nobody waits."""
    return max(1, BATCH_VALUES // images[0].numel())


def answers(model: Classifier, images: ImageSet) -> Tensor:
    """Class that the model gives each image: int64 ``[N]``, in the set's order."""
    ready, given = _prepared(model, images), []
    for some in images.images.split(batch_of(images.images)):
        with torch.inference_mode():
            given.append(ready(some).argmax(dim=1))
    return torch.cat(given)


def right_answers(model: Classifier, images: ImageSet) -> Tensor:
    """Tell of each image whether the model answers it rightly: bool ``[N]``, in the set's order."""
    return answers(model, images) == images.labels


def _estimates(model: Classifier, images: ImageSet, batch: int) -> Iterator[Estimate]:
    ready = _prepared(model, images)
    for (estimate,) in _counted(lambda some: [ready(some)], images, batch):
        yield estimate


def _prepared(model: Any, images: ImageSet) -> Any:
    if images.images.numel() < WORTH_PREPARING:
        return model
    if isinstance(model, nn.Module):
        return model if model.training else for_inference(model)
    prepare = getattr(model, "for_inference", None)  # a sub-model's
    return prepare() if prepare else model


def _counted(
    exits: Callable[[Tensor], Sequence[Tensor]], images: ImageSet, batch: int
) -> Iterator[tuple[Estimate, ...]]:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    correct: list[int] = []
    seen = 0
    for index in order.split(batch):
        with torch.inference_mode():
            answers = [logits.argmax(dim=1) for logits in exits(images.images[index])]
        right = [int((answer == images.labels[index]).sum()) for answer in answers]
        correct = [a + b for a, b in zip(correct or [0] * len(right), right, strict=True)]
        seen += len(index)
        yield tuple(Estimate(count, seen) for count in correct)
