"""Hyper-parameters of each root's training: one table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Plan:
    """Hyper-parameters of one root's training.

    ``optimiser`` is ``"adamw"`` or ``"sgd"`` (with Nesterov's momentum); ``augmentation`` is
    ``"warp"`` (by rotation, zoom, shear and shift) or ``"crop"`` (with flip, erasure and CutMix).
    """

    epochs: int
    peak_rate: float
    batch: int = 100
    first_exit: float = 0.1  # weight of the first exit's loss; the last one's is 1
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    distillation: float = 1.0
    temperature: float = 2.0
    average: float = 0.99
    rotation_deg: float = 12.0
    zoom: float = 0.12
    shear: float = 0.15
    shift_px: float = 0.8
    optimiser: str = "adamw"
    clip: float = 1.0  # the gradient's largest norm
    augmentation: str = "warp"
    crop_px: int = 4
    erase_px: int = 0
    mixed: float = 0.0  # share of the batches that CutMix mixes
    smaller: tuple[tuple[float, int], ...] = ()  # first (share of the epochs, images' side in px)
    bfloat16: bool = False  # mixed precision where the processor has it
    alone: bool = False  # only the last exit learns: what the others cost it is seen beside it

    def side_px(self, epoch: int) -> int | None:
        """The side to which images are shrunk in an epoch, counted from 0; ``None``: as they are.

        Training on small images first costs less (Touvron et al., NeurIPS 2019, tell why the last
        epochs must have the size of the test).
        """
        until = 0.0
        for share, side in self.smaller:
            until += share
            if epoch < round(until * self.epochs):
                return side
        return None

    def record(self) -> dict[str, Any]:
        """What a card tells: all but what this plan makes no use of."""
        unused = NOT_CROPPED if self.augmentation == "crop" else NOT_WARPED
        # A root that is shipped has learnt with all its exits.
        return {n: value for n, value in asdict(self).items() if n not in (*unused, "alone")}


#: What plans that crop make no use of, and what plans that warp leave as it is.
NOT_CROPPED = ("rotation_deg", "zoom", "shear", "shift_px")
NOT_WARPED = (
    *("optimiser", "clip", "augmentation", "crop_px", "erase_px", "mixed"),
    *("smaller", "bfloat16"),
)


PLANS = {
    "resnet-digits": Plan(epochs=200, peak_rate=4e-3),
    "vgg-digits": Plan(epochs=250, peak_rate=4e-3),
    "vit-digits": Plan(epochs=170, peak_rate=2e-3),
    "resnet18-cifar100": Plan(
        epochs=24,
        peak_rate=0.9,
        batch=256,
        weight_decay=1.2e-4,
        average=0.998,
        optimiser="sgd",
        clip=5.0,
        augmentation="crop",
        erase_px=8,
        smaller=((0.29, 16), (0.29, 24)),
        bfloat16=True,
    ),
    "vgg16-cifar100": Plan(
        epochs=30,
        peak_rate=0.5,
        batch=256,
        weight_decay=2e-4,
        average=0.998,
        optimiser="sgd",
        clip=5.0,
        augmentation="crop",
        erase_px=8,
        smaller=((0.27, 16), (0.27, 24)),
        bfloat16=True,
    ),
    "vit-cifar100": Plan(
        epochs=36,
        peak_rate=2e-3,
        batch=256,
        average=0.998,
        augmentation="crop",
        mixed=0.2,
        smaller=((0.36, 16), (0.36, 24)),
        bfloat16=True,
    ),
}


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is fast there: on every GPU of today, on some processors."""
    return device.type == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
