"""Sensitivity of every layer at every exit, in few passes.

A layer is changed once and all exits behind it are asked in one pass, which begins at that layer's
block: what lies before it has not changed. Of ResNet-18 with its eight exits that is 160 passes and
256 through a head alone, where :func:`insitu_widgets.levels.mixed.sensitivity` exit by exit takes
992, with the same results.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from insitu_widgets.evaluate import WORTH_PREPARING, batch_of
from insitu_widgets.inference import for_inference
from insitu_widgets.levels.allocation import WIDTHS, LayerLoss
from insitu_widgets.levels.derive import as_sent, weights_and_rest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from insitu_widgets.roots import Root


class _Onward(nn.Module):
    """The stages of a root from one of them on; the last ones have heads, which it asks."""

    def __init__(self, stages: Iterable[nn.Module], heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages, self.heads = nn.ModuleList(stages), nn.ModuleList(heads)

    def forward(self, feature: Tensor) -> list[Tensor]:
        """Feature before the first stage to log-probabilities ``[N, classes]`` of every head."""
        bare = len(self.stages) - len(self.heads)
        answers = []
        for place, stage in enumerate(self.stages):
            feature = stage(feature)
            if place >= bare:
                logits = self.heads[place - bare](feature)
                answers.append(functional.log_softmax(logits, dim=1))
        return answers


def sensitivities(root: Root, images: Tensor) -> Iterator[tuple[int, LayerLoss]]:
    """Measure every layer, alone quantised to each width as it would be sent, at every exit.

    Parameters
    ----------
    root
        Of an all-in-one root the grid is the one that its sub-models share.
    images
        ``[N, C, H, W]``: images that nothing is reported on.

    Yields
    ------
    tuple[int, LayerLoss]
        An exit, 1 … n, and one of the layers on the way to it; at each exit the layers come in
        their order. Losses are in nat an image, for 1 … 8 bits.
    """
    stages, heads = [root.stem, *root.blocks], list(root.heads)
    names = ["stem", *(f"blocks.{number}" for number in range(len(root.blocks)))]
    features = list(images.split(batch_of(images)))
    expected = _answers(stages, heads, features)
    for place, stage in enumerate(stages):
        first = max(place - 1, 0)  # the exit behind this stage, counted from 0
        onward = stages[place + 1 :]
        for layer, weight in weights_and_rest(stage)[0].items():
            changed = [
                _answers([_coded(root, stage, layer, width), *onward], heads[first:], features)
                for width in WIDTHS
            ]
            for exit_ in range(first, len(heads)):
                losses = (divergence(c[exit_ - first], expected[exit_]) for c in changed)
                yield exit_ + 1, LayerLoss(f"{names[place]}.{layer}", weight.numel(), (*losses,))
        with torch.inference_mode():
            features = [stage(feature) for feature in features]
        if place:
            yield from _of_head(root, place, features, expected[place - 1])


def _of_head(
    root: Root, exit_: int, features: Sequence[Tensor], expected: Tensor
) -> Iterator[tuple[int, LayerLoss]]:
    head = root.heads[exit_ - 1]
    for layer, weight in weights_and_rest(head)[0].items():
        losses = (
            divergence(
                _answers([nn.Identity()], [_coded(root, head, layer, width)], features)[0], expected
            )
            for width in WIDTHS
        )
        yield exit_, LayerLoss(f"head.{layer}", weight.numel(), (*losses,))


def _coded(root: Root, stage: nn.Module, layer: str, width: int) -> nn.Module:
    """A copy of a stage, one layer of it with so many bits a weight."""
    changed = copy.deepcopy(stage)
    parameter = changed.get_parameter(layer)
    whole = torch.ones_like(parameter, dtype=torch.bool)
    sent = as_sent(layer, parameter.detach(), whole, width, shared_grid=root.is_nested)
    parameter.data = sent.dense()
    return changed


def _answers(
    stages: Iterable[nn.Module], heads: Iterable[nn.Module], features: Sequence[Tensor]
) -> list[Tensor]:
    """Log-probabilities ``[N, classes]`` of every head, of all the batches."""
    network: nn.Module = _Onward(stages, heads).eval()
    if sum(feature.numel() for feature in features) >= WORTH_PREPARING:
        network = for_inference(network)
    with torch.inference_mode():
        answers = [network(feature) for feature in features]
    return [torch.cat(parts) for parts in zip(*answers, strict=True)]


def divergence(moved: Tensor, expected: Tensor) -> float:
    """Mean Kullback-Leibler divergence of log-probabilities from expected ones (nat an image)."""
    return float(functional.kl_div(moved, expected, reduction="batchmean", log_target=True))
