"""Mixed precision: bits for each layer under a total budget (paper, section 2.3, its [11]).

    python -m insitu_widgets.levels.mixed resnet-digits

First a measurement, layer by layer: how far the network's answers move when this layer alone is
quantised, as it would be sent. The command measures a shipped root at all its exits and writes what
:func:`~insitu_widgets.levels.derive.derive` reads for a mixed recipe; it takes training images, so
that no test image takes part in the choice of widths. Then arithmetic:
:mod:`insitu_widgets.levels.allocation`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from insitu_widgets.cards import NESTED_ROOTS, ROOTS, card_of
from insitu_widgets.data import load_data
from insitu_widgets.levels import sensitivities
from insitu_widgets.levels.allocation import WIDTHS, Allocation, LayerLoss, allocate
from insitu_widgets.levels.derive import as_sent
from insitu_widgets.levels.quantised import rebuilt, tensors_of
from insitu_widgets.model_card import day_and_machine, weights_digest
from insitu_widgets.roots import Root, load_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "WIDTHS",
    "Allocation",
    "LayerLoss",
    "allocate",
    "answers",
    "divergence",
    "layer_loss",
    "sensitivity",
]

#: Training images that the command measures on, the last ones of the set: those (or some of those)
#: that ``python -m insitu_widgets.train --holdout`` keeps for decisions.
IMAGES = {"digits": 200, "cifar100": 1000}


def answers(root: Root, images: Tensor, exit: int | None = None) -> Tensor:  # noqa: A002
    """Log-probabilities ``[N, classes]`` of the root."""
    with torch.inference_mode():
        return functional.log_softmax(root(images, exit), dim=1)


def divergence(module: nn.Module, images: Tensor, expected: Tensor) -> float:
    """How far a network's answers to images have moved from the root's (nat an image)."""
    with torch.inference_mode():
        moved = functional.log_softmax(module(images), dim=1)
    return sensitivities.divergence(moved, expected)


def layer_loss(
    root: Root,
    layer: str,
    images: Tensor,
    expected: Tensor,
    exit: int | None = None,  # noqa: A002
) -> LayerLoss:
    """Quantise one layer alone to each width and measure how far the answers move.

    Parameters
    ----------
    root, layer
        The root, and a layer on the way to the exit. Of an all-in-one root the grid is the one
        that its sub-models share.
    images
        ``[N, C, H, W]``: images that nothing is reported on.
    expected
        The root's :func:`answers` to them at the exit.
    exit
        ``None``: the last.
    """
    weight = tensors_of(root, exit)[0][layer]
    whole = torch.ones_like(weight, dtype=torch.bool)
    losses = []
    for width in WIDTHS:
        sent = as_sent(layer, weight, whole, width, shared_grid=root.is_nested)
        module = rebuilt(root, {layer: sent.dense()}, exit=exit)
        losses.append(divergence(module, images, expected))
    return LayerLoss(layer, weight.numel(), tuple(losses))


def sensitivity(
    root: Root,
    images: Tensor,
    exit: int | None = None,  # noqa: A002
) -> Iterator[LayerLoss]:
    """Measure every layer on the way to an exit (``None``: the last), one after the other."""
    expected = answers(root, images, exit)
    for layer in tensors_of(root, exit)[0]:
        yield layer_loss(root, layer, images, expected, exit)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.levels.mixed",
        description="Measure how sensitive each layer of a shipped root is to its width, at every "
        "exit: what mixed recipes share their bits by.",
    )
    parser.add_argument(
        "root", choices=[*ROOTS, *NESTED_ROOTS], help="which root to measure, all-in-one ones too"
    )
    parser.add_argument(
        "--images", type=int, help="training images, the last ones (200 digits, 1,000 photographs)"
    )
    folder = Path(__file__).parents[1] / "catalogue"
    parser.add_argument("--out", type=Path, default=folder, help="folder to write to (the shipped)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped sensitivity of one root."""
    options = _parser().parse_args(arguments)
    card = card_of(options.root)
    assert card is not None
    root, images = load_root(options.root), load_data(card.data, "train").images
    count = min(options.images or IMAGES[card.data], len(images))
    layers: dict[int, dict[str, object]] = {exit_: {} for exit_ in range(1, root.num_exits + 1)}
    for exit_, loss in sensitivities.sensitivities(root, images[-count:]):
        rounded = [float(f"{x:.4g}") for x in loss.losses]
        layers[exit_][loss.name] = {"weights": loss.weights, "losses": rounded}
        if exit_ == root.num_exits:
            print(f"{options.root}: {loss.name}", flush=True)
    lines = [f'"{exit_}": {json.dumps(found)}' for exit_, found in layers.items()]
    about = {
        "root": options.root,
        "measured with": f"python -m insitu_widgets.levels.mixed {options.root}",
        "measured on": day_and_machine(),
        "weights": weights_digest(options.root),
        "images": count,
        "data": f"the last {count} training images of {card.data}",
        "losses": "for 1 to 8 bits, mean Kullback-Leibler divergence of the answers, nat an image",
    }
    path = options.out / f"{options.root}-sensitivity.json"
    head = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in about.items()]
    exits = ",\n".join(lines)
    text = ",\n".join([*head, f'"exits": {{\n{exits}\n}}'])
    path.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
