"""Early exit by confidence (paper, section 2.1): each image leaves where the network is sure.

One pass gives every exit's answer; a threshold then only sorts. An image leaves at the first exit
whose confidence reaches the threshold, and at the last exit at the latest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import torch

from insitu_widgets.errors import in_range, one_of
from insitu_widgets.estimate import Estimate
from insitu_widgets.levels.routing import Routing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from insitu_widgets.data import ImageSet

#: How confidence is read from logits; both lie in [0, 1], and 1 is sure.
MEASURES = ("probability", "entropy")
#: Thresholds that a curve is drawn through.
CURVE = 60


def confidence(logits: Tensor, measure: str = "probability") -> Tensor:
    """Confidence ``[N]`` in [0, 1] of logits ``[N, classes]``.

    ``"probability"`` is the largest softmax probability; ``"entropy"`` is one minus the softmax's
    entropy over that of a guess, log(classes).
    """
    one_of("measure", measure, MEASURES)
    chances = logits.softmax(1)
    if measure == "probability":
        return chances.amax(1)
    return (1 + torch.xlogy(chances, chances).sum(1) / log(logits.shape[1])).clamp(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Answers:
    """Every exit's answer to every image.

    Attributes
    ----------
    confidence : Tensor
        float32 ``[exits, N]``.
    right : Tensor
        bool ``[exits, N]``: whether the answer was right.
    """

    confidence: Tensor
    right: Tensor

    def __len__(self) -> int:
        return self.confidence.shape[1]

    def take(self, index: Tensor) -> Answers:
        """The answers to the images at these positions."""
        return Answers(self.confidence[:, index], self.right[:, index])

    def halves(self) -> tuple[Answers, Answers]:
        """The images put aside to choose a threshold on, and those to report it on, in turn."""
        return self.take(torch.arange(0, len(self), 2)), self.take(torch.arange(1, len(self), 2))

    def route(self, threshold: float) -> Routing:
        """Send each image out at the first exit whose confidence is at least ``threshold``.

        Raises
        ------
        ValueError
            If the threshold is not in [0, 1].
        """
        in_range("threshold", threshold, 0.0, 1.0)
        sure = self.confidence >= threshold
        sure[-1] = True
        exits = sure.int().argmax(0)
        right = int(self.right.gather(0, exits[None]).sum())
        left = torch.bincount(exits, minlength=len(self.confidence)).tolist()
        return Routing(threshold, tuple(left), Estimate(right, len(self)))

    def everyone(self) -> tuple[Estimate, ...]:
        """The accuracy of each exit alone, if every image left there."""
        return tuple(Estimate(int(exit_.sum()), len(self)) for exit_ in self.right)

    def thresholds(self, count: int = CURVE) -> list[float]:
        """About ``count`` thresholds that split the images evenly, from 0 (all leave) to 1."""
        steps = self.confidence[:-1].flatten()
        if not len(steps):
            return [0.0, 1.0]
        inner = torch.quantile(steps, torch.linspace(0, 1, in_range("count", count, 2, 10_000)))
        return sorted({0.0, *inner.clamp(0.0, 1.0).tolist(), 1.0})


def answer(
    exits: Callable[[Tensor], Sequence[Tensor]],
    images: ImageSet,
    measure: str = "probability",
    batch: int = 200,
) -> Answers:
    """Ask every exit about every image, one pass a batch.

    Parameters
    ----------
    exits
        Images to the logits of every exit, such as ``root.exits``.
    images
        The images with their labels.
    measure
        How confidence is read: one of :data:`MEASURES`.
    batch
        Images a pass, at least 1.

    Raises
    ------
    ValueError
        If there are no images, or the measure does not exist.
    """
    if not len(images):
        msg = "images must hold at least one image; got 0. Take some of the test images."
        raise ValueError(msg)
    in_range("batch", batch, 1, 100_000, "images")
    sure, right = [], []
    for index in torch.arange(len(images)).split(batch):
        with torch.inference_mode():
            answers = exits(images.images[index])
            sure.append(torch.stack([confidence(logits, measure) for logits in answers]))
            found = torch.stack([logits.argmax(1) for logits in answers])
            right.append(found == images.labels[index])
    return Answers(torch.cat(sure, 1), torch.cat(right, 1))


def cheapest(
    answers: Answers, target: float, thresholds: Iterable[float] | None = None
) -> Routing | None:
    """The lowest threshold, and so the cheapest, whose accuracy reaches a target.

    A higher threshold never lets an image leave earlier. Choose it on images other than those it
    is reported on.

    Returns
    -------
    Routing | None
        What it makes of these answers; ``None`` if no threshold reaches the target.

    Raises
    ------
    ValueError
        If the target is not in [0, 1].
    """
    in_range("target accuracy", target, 0.0, 1.0)
    for threshold in sorted(answers.thresholds(400) if thresholds is None else thresholds):
        routing = answers.route(threshold)
        if routing.estimate.accuracy >= target:
            return routing
    return None
