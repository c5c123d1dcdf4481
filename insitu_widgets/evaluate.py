"""Measured accuracy, as a stream with an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from insitu_widgets.errors import in_range
from insitu_widgets.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from insitu_widgets.data import ImageSet


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

    Yields
    ------
    Estimate
        After each batch; the last one has seen all images.
    """
    in_range("batch", batch, 1, 100_000, "images")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    correct = seen = 0
    for index in order.split(batch):
        with torch.inference_mode():
            answers = model(images.images[index]).argmax(dim=1)
        correct += int((answers == images.labels[index]).sum())
        seen += len(index)
        yield Estimate(correct, seen)
