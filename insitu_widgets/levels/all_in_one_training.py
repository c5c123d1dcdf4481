"""The training of an all-in-one root, step by step; :mod:`all_in_one` tells what it is for.

A step learns from one batch: the whole root at all its exits, and its random sub-models, all of
one graph, so that a step needs the memory of 1 + sub-models passes. The teacher answers once, the
grid of a layer is found once for all of them.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from insitu_widgets.cards import NESTED_SUFFIX
from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.arriving import Grids, arriving
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.descent import Descent
from insitu_widgets.levels.recipe import WIDEST_CODE
from insitu_widgets.levels.retrain import lesson, soft_answers
from insitu_widgets.plans import Plan, has_bfloat16
from insitu_widgets.roots import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from insitu_widgets.checkpoint import Stateful

#: Bits of the random sub-models; 32 leaves the weights as they are.
_WIDTHS = (2, 3, 4, 8, 32)
#: Shares of the random sub-models that have the last exit, and that keep all weights.
_LAST, _DENSE = 0.4, 0.3
_AVERAGE = 0.99
#: Share of the sub-models of codes that errors reach, and the smallest of their bit-error rates, as
#: a part of the largest.
_REACHED, _LEAST_RATE = 0.5, 0.03
#: Fields that came later, and what they are where nothing else is said: not on a card then.
_PLAIN = {"bit_error_rate": 0.0, "whole": 1.0, "then": None}
#: Fields that plans which warp make no use of; they are not on the digits' cards.
_NOT_WARPED = ("first_exit", "augmentation", "crop_px", "erase_px", "bfloat16")


@dataclass(frozen=True)
class AllInOne:
    """How to train all sub-models together.

    Parameters
    ----------
    steps
        Batches.
    peak_rate
        Adam's highest step size.
    batch
        Images a step.
    submodels
        Random sub-models a step; each costs about as much as the whole root.
    least_keep
        The smallest fraction of the weights that a sub-model keeps; fractions are drawn between
        it and 1, evenly on a logarithmic scale.
    first_exit
        Weight of the whole root's first exit, in (0, 1]; the last one's is 1, those between lie
        evenly between.
    augmentation
        ``"warp"`` (by rotation, zoom, shear and shift) or ``"crop"`` (with flip and erasure).
    crop_px, erase_px
        The farthest shift of a crop, and the side of the square that is erased; 0 for none.
    bfloat16
        Mixed precision where the processor has it; weights, codes and losses stay float32.
    bit_error_rate
        The largest in training, in [0, 0.1]; 0 for none. Of every second sub-model of codes bits
        are wrong, at rates drawn between some hundredths of it and it, evenly on a logarithmic
        scale: the weights learn to bear them (D. Stutz et al., MLSys 2021).
    whole
        Weight of the whole root's loss beside that of each sub-model, which is 1.
    then
        What is trained next, from the average at the end; the root stays the teacher.
    """

    steps: int = 1200
    peak_rate: float = 2e-3
    batch: int = 100
    submodels: int = 2
    least_keep: float = 0.03
    first_exit: float = 1.0
    augmentation: str = "warp"
    crop_px: int = 4
    erase_px: int = 0
    bfloat16: bool = False
    bit_error_rate: float = 0.0
    whole: float = 1.0
    then: AllInOne | None = None

    def __post_init__(self) -> None:
        in_range("steps", self.steps, 1, 100_000)
        in_range("peak_rate", self.peak_rate, 1e-8, 1.0)
        in_range("batch", self.batch, 2, 10_000, "images")
        in_range("submodels", self.submodels, 1, 100)
        in_range("least_keep", self.least_keep, 1e-4, 1.0)
        in_range("first_exit", self.first_exit, 1e-4, 1.0)
        one_of("augmentation", self.augmentation, ("warp", "crop"))
        in_range("crop_px", self.crop_px, 0, 100, "pixels")
        in_range("erase_px", self.erase_px, 0, 1000, "pixels")
        in_range("bit_error_rate", self.bit_error_rate, 0.0, 0.1)
        in_range("whole", self.whole, 1e-4, 1e4)

    @property
    def changes(self) -> Plan:
        """How images are changed at random."""
        return Plan(
            epochs=1,
            peak_rate=self.peak_rate,
            augmentation=self.augmentation,
            crop_px=self.crop_px,
            erase_px=self.erase_px,
        )

    @property
    def stages(self) -> tuple[AllInOne, ...]:
        """The plan, and those that follow it, each with the seed after the one before."""
        return (self, *(self.then.stages if self.then else ()))

    def record(self) -> dict[str, Any]:
        """What a card tells: all but what this plan makes no use of."""
        unused = list(_NOT_WARPED) if self.augmentation == "warp" else []
        unused += [name for name, plain in _PLAIN.items() if getattr(self, name) == plain]
        told = {name: value for name, value in asdict(self).items() if name not in unused}
        return told | {"then": self.then.record()} if self.then else told


def all_in_one(
    root: Root, images: ImageSet, plan: AllInOne, seed: int = 0
) -> Iterator[tuple[int, float, Root]]:
    """Train a copy of a root so that its sub-models need no training of their own.

    It runs on a GPU where there is one; to stop is not to ask for more.

    Parameters
    ----------
    root
        A trained root; it stays as it is, and it is the teacher.
    images
        Training images with labels.
    plan
        How.
    seed
        Of order, changes of the images and sub-models.

    Yields
    ------
    tuple[int, float, Root]
        The step's number, its loss (nat), and the average of the weights so far, the same object
        in all steps of a stage, in evaluation mode, on the training's device; its name is the
        root's with "-nested".
    """
    done, begun = 0, None
    for later, part in enumerate(plan.stages):
        training = Training(root, images, part, seed + later, begun)
        for number in range(1, part.steps + 1):
            yield done + number, training.step(), training.average
        done, begun = done + part.steps, training.average


class Training:
    """One training under way.

    Parameters
    ----------
    root, images, plan, seed
        As for :func:`all_in_one`; what the plan has afterwards is not trained here.
    start
        What it begins with, if not with the root.

    Attributes
    ----------
    average : Root
        The average of the weights so far, on the training's device.
    parts : dict[str, Stateful]
        With ``random``, all that a checkpoint must hold for the steps that are left to be the same:
        on a processor to the bit; a GPU adds up in an order of its own.
    random : torch.Generator
        The only dice.
    """

    def __init__(
        self, root: Root, images: ImageSet, plan: AllInOne, seed: int, start: Root | None = None
    ) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.random = torch.Generator().manual_seed(seed)
        self._plan = plan
        self._mixed_precision = plan.bfloat16 and has_bfloat16(device)
        self._images = ImageSet(images.images.to(device), images.labels.to(device), images.classes)
        self._teacher = copy.deepcopy(root).to(device)
        begun = copy.deepcopy(start or root).to(device)
        self._student = begun.requires_grad_(requires_grad=True)
        self._student.name = root.name + NESTED_SUFFIX
        averaged = AveragedModel(self._student, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE))
        averaged.requires_grad_(requires_grad=False)
        assert isinstance(averaged.module, Root)
        self._averaged, self.average = averaged, averaged.module
        self._descent = Descent(self._student, plan, self.random, plan.changes)
        self.parts: dict[str, Stateful] = {
            "student": self._student,
            "average": averaged,
            **self._descent.parts,
        }

    def step(self) -> float:
        """Learn from one batch: the loss (nat)."""
        loss = self._descent.step(self._images, self._loss)
        self._averaged.update_parameters(self._student)
        return loss

    def _loss(self, batch: Tensor, labels: Tensor) -> Tensor:
        if self._plan.bfloat16:
            batch = batch.contiguous(memory_format=torch.channels_last)
        soft = soft_answers(lambda some: self._asked(self._teacher, some)[0], batch)
        exits = [lesson(exit_, labels, soft) for exit_ in self._asked(self._student.exits, batch)]
        weights = torch.linspace(self._plan.first_exit, 1.0, len(exits), device=batch.device)
        loss = self._plan.whole * (torch.stack(exits) * weights).sum() / weights.sum()
        grids: Grids = {}
        for _ in range(self._plan.submodels):
            loss = loss + lesson(self._submodel(batch, grids), labels, soft)
        return loss / (self._plan.whole + self._plan.submodels)

    def _submodel(self, batch: Tensor, grids: Grids) -> Tensor:
        """What a random sub-model says, with the gradient of the weights that it keeps."""
        last, dense, depth, place = torch.rand(4, generator=self.random).tolist()
        exits = self._student.num_exits
        exit_ = exits if last < _LAST else int(depth * exits) + 1
        keep = 1.0 if dense < _DENSE else self._plan.least_keep**place
        bits = _WIDTHS[int(torch.randint(len(_WIDTHS), (), generator=self.random))]
        network = cut(self._student, exit_)
        rate = self._error_rate() if bits <= WIDEST_CODE else 0.0
        arrived = arriving(network, keep, bits, grids, bit_error_rate=rate, random=self.random)
        return self._asked(lambda some: functional_call(network, arrived, (some,)), batch)[0]

    def _error_rate(self) -> float:
        """Of the codes of one random sub-model."""
        if self._plan.bit_error_rate == 0:
            return 0.0
        reached, place = torch.rand(2, generator=self.random).tolist()
        return self._plan.bit_error_rate * _LEAST_RATE**place if reached < _REACHED else 0.0

    def _asked(self, network: Callable[[Tensor], Any], batch: Tensor) -> list[Tensor]:
        """Logits ``[N, classes]`` of each exit, float32."""
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self._mixed_precision):
            answer = network(batch)
        return [logits.float() for logits in (answer if isinstance(answer, list) else [answer])]


def fingerprint(root: Root) -> str:
    """Eight hexadecimal digits that tell a root's tensors from others."""
    digest = hashlib.sha256()
    for tensor in root.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
