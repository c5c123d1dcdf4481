"""Descent: how trainings of the levels go down, batch by batch, with Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from insitu_widgets.augment import augment
from insitu_widgets.plans import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from insitu_widgets.checkpoint import Stateful
    from insitu_widgets.data import ImageSet

#: How images are changed where nothing else is said: warped.
WARPING = Plan(epochs=1, peak_rate=1e-3)
#: How photographs are changed: cropped, flipped, a square of them erased.
CROPPING = Plan(epochs=1, peak_rate=1e-3, augmentation="crop", erase_px=8)

_COLOURS = 3


class Pace(Protocol):
    """How long to train, and how fast."""

    @property
    def steps(self) -> int:
        """Batches."""

    @property
    def peak_rate(self) -> float:
        """Adam's highest step size."""

    @property
    def batch(self) -> int:
        """Images a step."""


class Descent:
    """What moves a network, and all that is to be saved of it but the network and the dice.

    Parameters
    ----------
    network
        Its parameters are changed.
    pace
        How many steps, how large, of how many images.
    random
        Of order and of the changes of images.
    changes
        How images are changed at random.

    Attributes
    ----------
    parts : dict[str, Stateful]
        Optimiser and schedule.
    """

    def __init__(
        self, network: nn.Module, pace: Pace, random: torch.Generator, changes: Plan = WARPING
    ) -> None:
        self._network, self._pace, self._random, self._changes = network, pace, random, changes
        self._optimiser = torch.optim.Adam(network.parameters(), lr=pace.peak_rate)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, pace.peak_rate, total_steps=pace.steps + 1, pct_start=0.2
        )
        self.parts: dict[str, Stateful] = {
            "optimiser": self._optimiser,
            "schedule": self._schedule,
        }

    def step(self, images: ImageSet, loss_of: Callable[[Tensor, Tensor], Tensor]) -> float:
        """One batch: its loss (nat).

        Parameters
        ----------
        images
            Training images with labels.
        loss_of
            Changed images ``[N, C, H, W]`` and labels ``[N]`` to the loss.
        """
        index = torch.randint(len(images), (self._pace.batch,), generator=self._random)
        index = index.to(images.images.device)
        batch = augment(images.images[index], self._changes, self._random)
        loss = loss_of(batch, images.labels[index])
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        return float(loss.detach())


def descend(
    network: nn.Module,
    images: ImageSet,
    pace: Pace,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    random: torch.Generator,
) -> Iterator[tuple[int, float]]:
    """Train a network batch by batch: the number of each step and its loss (nat).

    The arguments are those of :class:`Descent` and of its step. Images of three colours are
    cropped and flipped as photographs, others are warped.
    """
    changes = CROPPING if images.images.shape[1] == _COLOURS else WARPING
    descent = Descent(network, pace, random, changes)
    for number in range(1, pace.steps + 1):
        yield number, descent.step(images, loss_of)
