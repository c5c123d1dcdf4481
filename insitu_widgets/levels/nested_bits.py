"""Nested bits: most significant bits first, so that a coarse packet grows into a finer one.

A mid-rise code of b bits and step s, cut after its first m bits, is a mid-rise code of step
2^(b - m) s: the levels of the coarse grid lie in the middle of the cells of the fine one. So the
prefix alone is a valid m-bit model (it gets a step of its own, by least squares), and prefix and
refinement together are the b-bit codes, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from insitu_widgets.errors import in_range
from insitu_widgets.levels import bit
from insitu_widgets.levels.quantised import Quantised, tensors_of
from insitu_widgets.levels.quantisers import PER_CHANNEL, Coded
from insitu_widgets.levels.recipe import WIDEST_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from insitu_widgets.roots import Root

_SMALLEST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class Nested:
    """A network at ``bits`` bits that can be cut after each of them.

    Attributes
    ----------
    root : str
        The root's name.
    bits : int
        Bits of the whole codes.
    best_at : int
        The width whose own steps are used: there the prefix is the direct quantiser's model.
    codes : Mapping[str, Tensor]
        Layer name -> uint8 codes, the layer's shape.
    steps : Mapping[str, Tensor]
        Layer name -> float32 ``[C, bits]``: each channel's step at 1, 2 … ``bits`` bits.
    rest : Mapping[str, Tensor]
        Norms, biases, embeddings and running statistics.
    """

    root: str
    bits: int
    best_at: int
    codes: Mapping[str, Tensor]
    steps: Mapping[str, Tensor]
    rest: Mapping[str, Tensor]

    def prefix(self, width: int) -> Quantised:
        """The model that the first ``width`` bits of each code make."""
        in_range("width", width, 1, self.bits, "bits")
        layers = {n: self._layer(n, c >> (self.bits - width), width) for n, c in self.codes.items()}
        return Quantised(self.root, None, layers, self.rest)

    def refinement(self, have: int, width: int) -> Quantised:
        """What a device with ``have`` bits needs for ``width``: the bits between, the new steps.

        Its layers hold no weights of their own; :func:`refine` puts them behind the prefix.
        """
        in_range("have", have, 1, self.bits - 1, "bits")
        in_range("width", width, have + 1, self.bits, "bits")
        new = width - have
        layers = {
            name: self._layer(name, (codes >> (self.bits - width)) & (2**new - 1), width, new)
            for name, codes in self.codes.items()
        }
        return Quantised(self.root, None, layers, {}, have)

    def _layer(self, name: str, codes: Tensor, width: int, sent: int | None = None) -> Coded:
        steps = self.steps[name][:, width - 1 : width].contiguous()
        return Coded(PER_CHANNEL, tuple(codes.shape), sent or width, codes.flatten(), steps)


def refine(coarse: Quantised, refinement: Quantised) -> Quantised:
    """The finer model: the coarse codes with the refinement's bits behind them.

    Raises
    ------
    ValueError
        If the two are not of the same root and layers, if the coarse model has more bits (it may be
        complete already) or fewer than the refinement goes behind, or if they are together wider
        than 8 bits.
    """
    if (coarse.root, coarse.layers.keys()) != (refinement.root, refinement.layers.keys()):
        msg = (
            f"refinement must be for {coarse.root!r} with the same layers; got one for "
            f"{refinement.root!r}. Make both from one nested network."
        )
        raise ValueError(msg)
    layers = {}
    for name, new in refinement.layers.items():
        old = coarse.layers[name]
        if refinement.behind != old.bits or coarse.behind:
            msg = (
                f"refinement must go behind the {old.bits} bits that the coarse model has; got "
                f"{_told(refinement)}. Take the one that starts there: nested.refinement("
                f"{old.bits}, …), or none if the model is complete."
            )
            raise ValueError(msg)
        width = in_range("bits of both together", old.bits + new.bits, 2, WIDEST_CODE)
        codes = (old.codes << new.bits) | new.codes
        layers[name] = Coded(PER_CHANNEL, old.shape, width, codes, new.table)
    return Quantised(coarse.root, None, layers, coarse.rest)


def _told(refinement: Quantised) -> str:
    behind = refinement.behind
    return f"one that goes behind {behind}" if behind else "a network of its own"


def nest(root: Root, bits: int = 4, best_at: int | None = None) -> Nested:
    """Quantise a root so that every prefix of its codes is a model.

    Parameters
    ----------
    root
        The root; it stays as it is.
    bits
        Of the whole codes, 2 … 8.
    best_at
        The width to choose the steps for (``None``: ``bits``). At ``bits`` the whole model is the
        direct one; at fewer, that prefix is, and finer grids are as wide as its own.

    Raises
    ------
    ValueError
        For bits out of range.
    """
    in_range("bits", bits, 2, WIDEST_CODE)
    best_at = bits if best_at is None else in_range("best_at", best_at, 1, bits, "bits")
    weights, rest = tensors_of(root)
    codes, steps = {}, {}
    for name, weight in weights.items():
        codes[name], step = bit.nested_codes(weight, bits, best_at)
        own = [_fitted(weight, codes[name] >> (bits - m), m) for m in range(1, bits + 1)]
        own[best_at - 1] = step  # at this width it is the direct quantiser's model
        steps[name] = torch.stack(own, dim=1)
    return Nested(root.name, bits, best_at, codes, steps, rest)


def _fitted(weight: Tensor, codes: Tensor, bits: int) -> Tensor:
    """The step ``[C]`` with the least squared error for these codes."""
    levels = codes.flatten(1).float() - (2**bits - 1) / 2
    explained = torch.linalg.vecdot(levels, weight.flatten(1))
    return (explained / torch.linalg.vecdot(levels, levels)).clamp(min=_SMALLEST)
