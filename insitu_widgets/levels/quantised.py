"""A whole network as codes: every layer quantised, alike or with its own width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.quantisers import (
    PER_CHANNEL,
    QUANTISERS,
    WIDEST_PRODUCT,
    Coded,
    has_room,
)
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.levels.submodel import Layer, SubModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from insitu_widgets.roots import Root


@dataclass(frozen=True, eq=False)
class Quantised:
    """A network as codes: what is sent, layer by layer, and the small rest in float32.

    Attributes
    ----------
    root : str
        The root's name.
    exit : int | None
        The exit that it is cut after (``None``: the last).
    layers : Mapping[str, Coded]
        Layer name -> codes and table.
    rest : Mapping[str, Tensor]
        Norms, biases, embeddings and running statistics.
    behind : int
        Bits that a device must have of each code before these, which go behind them (a refinement,
        see :mod:`insitu_widgets.levels.nested_bits`); 0 if it is a network of its own.
    """

    root: str
    exit: int | None
    layers: Mapping[str, Coded]
    rest: Mapping[str, Tensor]
    behind: int = 0

    @property
    def num_weights(self) -> int:
        """Weights that are coded."""
        return sum(math.prod(layer.shape) for layer in self.layers.values())

    @property
    def average_bits(self) -> float:
        """Bits of codes and tables for each weight."""
        return sum(layer.num_bits for layer in self.layers.values()) / self.num_weights

    def module(self, root: Root) -> nn.Module:
        """The network that the codes make, in evaluation mode; ``root`` gives the architecture."""
        dense = {name: layer.dense() for name, layer in self.layers.items()}
        return rebuilt(root, dense, self.rest, self.exit)

    def __eq__(self, other: object) -> bool:
        """Equal to the bit."""
        if not isinstance(other, Quantised):
            return NotImplemented
        return (
            (self.root, self.exit, self.behind) == (other.root, other.exit, other.behind)
            and dict(self.layers) == dict(other.layers)
            and {n: t.numpy().tobytes() for n, t in self.rest.items()}
            == {n: t.numpy().tobytes() for n, t in other.rest.items()}
        )

    __hash__ = None  # type: ignore[assignment]  # equality compares tensors


def tensors_of(
    root: Root,
    exit: int | None = None,  # noqa: A002
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and rest of the root up to an exit, by name; they are the root's own tensors."""
    return weights_and_rest(cut(root, exit))


def rebuilt(
    root: Root,
    weights: Mapping[str, Tensor],
    rest: Mapping[str, Tensor] | None = None,
    exit: int | None = None,  # noqa: A002
) -> nn.Module:
    """The root up to an exit with other weights, in evaluation mode; the root stays as it is."""
    architecture = cut(root, exit)
    own, own_rest = weights_and_rest(architecture)
    layers = tuple(
        Layer(name, torch.ones_like(w, dtype=torch.bool), w.reshape(-1), None, 32)
        for name, w in (own | dict(weights)).items()
    )
    return SubModel(Recipe(root.name, exit), layers, rest or own_rest, architecture).module


def quantise_layer(weights: Tensor, quantiser: str, bits: int) -> Coded:
    """Quantise one layer; per channel where it is too small for a codebook of that many bits."""
    highest = WIDEST_PRODUCT if quantiser == "product" else WIDEST_CODE
    in_range(f"bits of {quantiser}", bits, 1, highest)
    group = WIDEST_CODE // bits if quantiser == "product" else 1
    fits = quantiser not in ("codebook", "product") or has_room(weights.numel(), bits, group)
    return QUANTISERS[quantiser if fits else PER_CHANNEL](weights, bits)


def quantise_network(
    root: Root,
    quantiser: str = PER_CHANNEL,
    bits: int | Mapping[str, int] = 4,
    exit: int | None = None,  # noqa: A002
) -> Quantised:
    """Quantise every layer of a root up to an exit.

    Parameters
    ----------
    root
        The root; it stays as it is.
    quantiser
        A name in :data:`QUANTISERS`. A layer too small for a codebook (its table would be larger
        than its codes) is quantised per channel; :attr:`Coded.quantiser` tells.
    bits
        For each weight, or by layer.
    exit
        ``None``: the last.

    Raises
    ------
    ValueError
        For an unknown quantiser, bits out of its range, or a layer without its bits.
    """
    widths = dict.fromkeys(tensors_of(root, exit)[0], bits) if isinstance(bits, int) else bits
    layers = dict(quantise_layers(root, quantiser, widths, exit))
    return Quantised(root.name, exit, layers, tensors_of(root, exit)[1])


def quantise_layers(
    root: Root,
    quantiser: str,
    bits: Mapping[str, int],
    exit: int | None = None,  # noqa: A002
) -> Iterator[tuple[str, Coded]]:
    """:func:`quantise_network` layer by layer: large roots take vector quantisers seconds.

    Yields
    ------
    tuple[str, Coded]
        Each layer's name and codes, input first.
    """
    one_of("quantiser", quantiser, QUANTISERS)
    weights, _ = tensors_of(root, exit)
    if bits.keys() != weights.keys():
        stray = sorted(bits.keys() ^ weights.keys())
        msg = (
            f"bits must name every layer of {root.name!r} once; got {len(bits)} of "
            f"{len(weights)}, the first that differs is {stray[0]!r}. Name the root's layers."
        )
        raise ValueError(msg)
    for name, weight in weights.items():
        yield name, quantise_layer(weight, quantiser, bits[name])
