"""Measured accuracy, as a stream with an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range, of_type
from insitu_widgets.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


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


def _estimates(model: Classifier, images: ImageSet, batch: int) -> Iterator[Estimate]:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    correct = seen = 0
    for index in order.split(batch):
        with torch.inference_mode():
            answers = model(images.images[index]).argmax(dim=1)
        correct += int((answers == images.labels[index]).sum())
        seen += len(index)
        yield Estimate(correct, seen)
