"""Model customisation (paper, section 5): a downloaded model tuned to its user's handwriting."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.submodel import SubModel
from insitu_widgets.network.tuning import Tuning, tune
from insitu_widgets.roots import is_weight

#: What is tuned: every parameter, what is not a weight (the small rest of a packet), or the exit.
PARTS = ("everything", "norms and biases", "head")
#: Images of the test set that a user keeps: to tune with, and to test with.
TUNE_IMAGES, USER_IMAGES = 60, 300


@dataclass(frozen=True)
class Handwriting:
    """How a user writes otherwise than the writers of the training images.

    Parameters
    ----------
    slant
        Sideways shift a unit of height, in [-1, 1].
    thickness
        In [-1, 1]: 1 is as thick as the thickest pixel among each and its neighbours; -1 the
        thinnest.
    scale
        Size, in [0.5, 1.5].
    """

    slant: float = 0.0
    thickness: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        in_range("slant", self.slant, -1.0, 1.0)
        in_range("thickness", self.thickness, -1.0, 1.0)
        in_range("scale", self.scale, 0.5, 1.5)

    @classmethod
    def draw(cls, seed: int, strength: float = 1.0) -> Handwriting:
        """A user's handwriting; ``strength`` from 0 (as everybody) to 1 (strange)."""
        in_range("strength", strength, 0.0, 1.0)
        random = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (3,), generator=random) * 2 - 1
        sizes = 0.5 + 0.5 * torch.rand(3, generator=random)
        slant, thickness, scale = (strength * signs * sizes).tolist()
        return cls(0.9 * slant, 0.7 * thickness, 1.0 + 0.3 * scale)

    def write(self, images: Tensor) -> Tensor:
        """Change images ``[N, C, H, W]`` so that they look as this user's."""
        dark = float(images.min())
        rows = torch.tensor([[1 / self.scale, self.slant, 0.0], [0.0, 1 / self.scale, 0.0]])
        shape = list(images.shape)
        grid = functional.affine_grid(rows.expand(len(images), -1, -1), shape, align_corners=False)
        moved = functional.grid_sample(images - dark, grid, align_corners=False) + dark
        if self.thickness >= 0:
            extreme = functional.max_pool2d(moved, 3, 1, 1)
        else:
            extreme = -functional.max_pool2d(-moved, 3, 1, 1)
        return moved + abs(self.thickness) * (extreme - moved)


@dataclass(frozen=True, eq=False)
class User:
    """A user's images, which nobody else has, and everybody's.

    Attributes
    ----------
    tuning, test : ImageSet
        In the user's handwriting: to tune with, and to test with.
    general : ImageSet
        Other images, as they are.
    """

    tuning: ImageSet
    test: ImageSet
    general: ImageSet

    @classmethod
    def share(
        cls,
        images: ImageSet,
        handwriting: Handwriting,
        seed: int,
        tune_images: int = TUNE_IMAGES,
        user_images: int = USER_IMAGES,
    ) -> User:
        """Divide images at random, none of them twice; the user's are written anew.

        Raises
        ------
        ValueError
            If there are too few images.
        """
        in_range("tune_images", tune_images, 1, max(1, len(images) - 2), "images")
        in_range("user_images", user_images, 1, max(1, len(images) - tune_images - 1), "images")
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        sizes = [tune_images, user_images, len(images) - tune_images - user_images]
        tuning, test, general = (images.take(part) for part in order.split(sizes))

        def written(part: ImageSet) -> ImageSet:
            return ImageSet(handwriting.write(part.images), part.labels, part.classes)

        return cls(written(tuning), written(test), general)


@dataclass(frozen=True, eq=False)
class Tuned:
    """A model under customisation, after so many passes.

    Attributes
    ----------
    epoch : int
        Passes done; 0: as it was downloaded.
    seconds : float
        Measured on this machine, tests not counted.
    loss : float
        Mean loss of the last pass; NaN before the first one.
    network : nn.Module
        The network; the next step goes on with it.
    num_tuned : int
        Parameters that are tuned.
    """

    epoch: int
    seconds: float
    loss: float
    network: nn.Module
    num_tuned: int


def customise(
    submodel: SubModel, images: ImageSet, part: str, tuning: Tuning, seed: int = 0
) -> Iterator[Tuned]:
    """Tune a downloaded sub-model with a user's own images. To stop, do not ask for the next.

    The sub-model itself stays as it is; its copy is tuned in float32, and weights that have been
    pruned stay zero.

    Raises
    ------
    ValueError
        If ``part`` is not one of :data:`PARTS`, or there are no images.
    """
    one_of("part", part, PARTS)
    network = copy.deepcopy(submodel.module)
    for name, parameter in network.named_parameters():
        chosen = {
            "everything": True,
            "norms and biases": not is_weight(name, parameter),
            "head": name.startswith("head."),
        }
        parameter.requires_grad_(chosen[part])
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    yield Tuned(0, 0.0, float("nan"), network, count)
    masks = {layer.name: layer.mask for layer in submodel.layers if not bool(layer.mask.all())}
    random = torch.Generator().manual_seed(seed)
    seconds, start = 0.0, time.perf_counter()
    passes = tune(network, lambda batch: [network(batch)], images, tuning, random, masks=masks)
    for epoch, loss in enumerate(passes, 1):
        seconds += time.perf_counter() - start
        yield Tuned(epoch, seconds, loss, network, count)
        start = time.perf_counter()
