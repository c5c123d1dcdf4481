"""Train a network a little further: on a device, on what it has. What three panels share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from insitu_widgets.augment import warp
from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range
from insitu_widgets.plans import Plan

#: Images are turned, zoomed, sheared and shifted by as much as in the training of the roots.
_WARP = Plan(epochs=1, peak_rate=1.0)
#: A gradient's largest norm.
_CLIP = 1.0


@dataclass(frozen=True)
class Tuning:
    """How to train on.

    Parameters
    ----------
    epochs
        Passes over the images.
    rate
        AdamW's learning rate, which falls to a tenth over the passes.
    batch
        Images a step; the last step of a pass takes what is left.
    warped
        Whether the images are warped at random, so that few are not learnt by heart.
    statistics
        Whether the norms' running statistics follow the images. With few images they do better
        to stay.
    """

    epochs: int = 5
    rate: float = 1e-3
    batch: int = 20
    warped: bool = True
    statistics: bool = False

    def __post_init__(self) -> None:
        in_range("epochs", self.epochs, 1, 10_000)
        in_range("rate", self.rate, 1e-9, 1.0)
        in_range("batch", self.batch, 1, 100_000, "images")


def tune(
    network: nn.Module,
    exits: Callable[[Tensor], Iterable[Tensor]],
    images: ImageSet,
    tuning: Tuning,
    random: torch.Generator,
    *,
    masks: Mapping[str, Tensor] | None = None,
) -> Iterator[float]:
    """Train those parameters of a network that require a gradient, in place.

    Parameters
    ----------
    network
        What is trained; it is in evaluation mode between the passes.
    exits
        Images ``[N, C, H, W]`` to the logits ``[N, classes]`` whose cross-entropies are summed.
    images
        What it learns.
    tuning, random
        How; order and warping.
    masks
        Parameter's name -> bool: where false (a pruned weight), it stays as it is.

    Yields
    ------
    float
        After each pass, its mean loss.

    Raises
    ------
    ValueError
        If there are no images, or no parameter requires a gradient.
    """
    in_range("images to tune with", len(images), 1, 10**9)
    free = {n: p for n, p in network.named_parameters() if p.requires_grad}
    if not free:
        msg = "network: none of its parameters requires a gradient. Set requires_grad_(True)."
        raise ValueError(msg)
    hooks = [
        free[name].register_hook(lambda gradient, mask=mask: gradient * mask)
        for name, mask in (masks or {}).items()
        if name in free
    ]
    optimiser = torch.optim.AdamW(free.values(), lr=tuning.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, tuning.epochs)
    for _ in range(tuning.epochs):
        network.train(tuning.statistics)
        loss = 0.0
        for index in _batches(len(images), tuning, random):
            batch, labels = images.images[index], images.labels[index]
            if tuning.warped:
                batch = warp(batch, _WARP, random)
            losses = [functional.cross_entropy(logits, labels) for logits in exits(batch)]
            mean = torch.stack(losses).mean()
            optimiser.zero_grad()
            mean.backward()
            nn.utils.clip_grad_norm_(free.values(), _CLIP)
            optimiser.step()
            loss += float(mean.detach()) * len(index) / len(images)
        schedule.step()
        network.eval()
        yield loss
    for hook in hooks:
        hook.remove()


def _batches(count: int, tuning: Tuning, random: torch.Generator) -> list[Tensor]:
    batches = list(torch.randperm(count, generator=random).split(tuning.batch))
    if tuning.statistics and len(batches) > 1 and len(batches[-1]) == 1:
        batches.pop()  # one image has no spread for a norm to divide by
    return batches
