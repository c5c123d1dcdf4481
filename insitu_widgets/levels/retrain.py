"""Re-training with quantisation, and against bit errors (paper, section 2.3).

The network computes with its quantised weights, the gradient goes straight through to the float
ones (Y. Bengio et al., arXiv 1308.3432). Flipping bits of the codes in training and clipping the
weights makes a network that bears bit errors (D. Stutz et al., MLSys 2021).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from insitu_widgets.errors import in_range
from insitu_widgets.levels import bit
from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.descent import descend
from insitu_widgets.levels.quantised import Quantised, rebuilt
from insitu_widgets.levels.quantisers import PER_CHANNEL, Coded
from insitu_widgets.levels.recipe import WIDEST_CODE
from insitu_widgets.levels.submodel import SubModel
from insitu_widgets.roots import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from insitu_widgets.data import ImageSet

_TEMPERATURE = 2.0
_MOST_CLIP = 100.0


@dataclass(frozen=True)
class Hardening:
    """How to re-train.

    Parameters
    ----------
    bits
        Bits for each weight, 1 … 8.
    steps
        Batches.
    bit_error_rate
        Of the codes in training, in [0, 0.5]; 0 is plain re-training with quantisation.
    clip
        The largest weight allowed, in root mean squares of its channel's at the start; ``None``
        for no limit. A narrower range makes the step, and so every flip, smaller.
    peak_rate
        Adam's highest step size.
    batch
        Images a step.
    """

    bits: int = 4
    steps: int = 60
    bit_error_rate: float = 0.0
    clip: float | None = None
    peak_rate: float = 1e-3
    batch: int = 100

    def __post_init__(self) -> None:
        in_range("bits", self.bits, 1, WIDEST_CODE)
        in_range("steps", self.steps, 1, 100_000)
        in_range("bit_error_rate", self.bit_error_rate, 0.0, 0.5)
        in_range("peak_rate", self.peak_rate, 1e-8, 1.0)
        in_range("batch", self.batch, 2, 10_000, "images")
        if self.clip is not None:
            in_range("clip", self.clip, 0.1, _MOST_CLIP, "root mean squares")


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """After one batch: its number, its loss (nat), and the network as it would be sent now."""

    number: int
    loss: float
    network: nn.Module
    bits: int

    def quantised(self, root: Root) -> Quantised:
        """The codes that a packet would hold."""
        weights, rest = weights_and_rest(self.network)
        layers = {}
        for name, weight in weights.items():
            codes, steps = _codes(weight, self.bits)
            layers[name] = Coded(
                PER_CHANNEL, tuple(weight.shape), self.bits, codes.flatten(), steps[:, None]
            )
        rest = {name: tensor.detach().clone() for name, tensor in rest.items()}
        return Quantised(root.name, None, layers, rest)

    def as_root(self, root: Root) -> Root:
        """A root whose last exit is the trained one: it is cut, packed and sent like any other.

        Earlier exits keep the heads of ``root``, which the trained blocks no longer fit.
        """
        blocks = list(self.network.get_submodule("blocks").children())
        heads = [*root.heads[: len(blocks) - 1], self.network.get_submodule("head")]
        parts = copy.deepcopy((self.network.get_submodule("stem"), blocks, heads))
        return Root(root.name, *parts).eval().requires_grad_(requires_grad=False)


def _codes(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    return bit.quantise(weight, torch.ones_like(weight, dtype=torch.bool), bits)


def retrain(root: Root, images: ImageSet, plan: Hardening, seed: int = 0) -> Iterator[TrainingStep]:
    """Re-train a copy of a root for its last exit, batch by batch; to stop is not to ask for more.

    Parameters
    ----------
    root
        The root; it stays as it is, and it is the teacher: the copy learns its answers.
    images
        Training images with labels.
    plan
        How.
    seed
        Of order, warping and bit errors.
    """
    random = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(rebuilt(root, {})).train().requires_grad_(requires_grad=True)
    weights = weights_and_rest(network)[0]
    parameters = {name: p for name, p in network.named_parameters() if name in weights}
    limits = {n: _limit(w, plan.clip) for n, w in weights.items()} if plan.clip else {}

    def loss_of(batch: Tensor, labels: Tensor) -> Tensor:
        sent = {name: _through(p, plan, random) for name, p in parameters.items()}
        return lesson(functional_call(network, sent, (batch,)), labels, soft_answers(root, batch))

    for number, loss in descend(network, images, plan, loss_of, random):
        for name, limit in limits.items():
            weight = parameters[name].detach()
            weight.copy_(torch.minimum(torch.maximum(weight, -limit), limit))
        yield TrainingStep(number, loss, network, plan.bits)


def soft_answers(teacher: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """What a teacher says to images, softened: log-probabilities ``[N, classes]``."""
    with torch.inference_mode():
        soft = functional.log_softmax(teacher(batch).float() / _TEMPERATURE, dim=1)
    return soft.clone()


def lesson(logits: Tensor, labels: Tensor, soft: Tensor) -> Tensor:
    """Cross-entropy, and the divergence from the teacher's answers (nat)."""
    learnt = functional.log_softmax(logits / _TEMPERATURE, dim=1)
    return functional.cross_entropy(logits, labels) + _TEMPERATURE**2 * functional.kl_div(
        learnt, soft, reduction="batchmean", log_target=True
    )


def straight_through(network: nn.Module, arrived: SubModel) -> dict[str, Tensor]:
    """The weights as they arrive, with the gradient of those of the network that are sent."""
    parameters, through = dict(network.named_parameters()), {}
    for layer in arrived.layers:
        through[layer.name] = passed(parameters[layer.name], layer.mask, layer.dense())
    return through


def passed(weight: Tensor, mask: Tensor, arrived: Tensor) -> Tensor:
    """A layer's weights as they arrive, 0 where none was sent; a kept one has all the gradient."""
    kept = weight * mask
    return kept + (arrived - kept).detach()


def _limit(weight: Tensor, clip: float) -> Tensor:
    rms = weight.flatten(1).square().mean(1).sqrt()
    return clip * rms.view(-1, *[1] * (weight.ndim - 1))


def _through(weight: Tensor, plan: Hardening, random: torch.Generator) -> Tensor:
    """The weights as they arrive, with the gradient of the weights as they are."""
    codes, steps = _codes(weight.detach(), plan.bits)
    if plan.bit_error_rate:
        for place in range(plan.bits):
            flips = torch.rand(codes.shape, generator=random) < plan.bit_error_rate
            codes = codes ^ (flips.to(torch.uint8) << place)
    shape = (-1, *[1] * (weight.ndim - 1))
    arrived = bit.reconstruct(codes, steps.view(shape), plan.bits)
    return weight + (arrived - weight).detach()
