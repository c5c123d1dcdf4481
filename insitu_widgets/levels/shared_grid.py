"""The grid that all sub-models of an all-in-one root share, in training: bit level only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from insitu_widgets.levels import bit
from insitu_widgets.levels.derive import NESTED_AT
from insitu_widgets.levels.recipe import WIDEST_CODE


@dataclass(frozen=True, eq=False)
class SharedGrid:
    """One layer's codes, whose first bits are codes too, as they are sent.

    Attributes
    ----------
    codes : Tensor
        uint8 of 8 bits, the layer's shape ``[C, …]``.
    steps : Tensor
        float32 ``[C]``: each channel's step at 4 bits.
    """

    codes: Tensor
    steps: Tensor

    @classmethod
    def of(cls, weights: Tensor) -> Self:
        """The grid of weights float32 ``[C, …]``."""
        return cls(*bit.nested_codes(weights, WIDEST_CODE, NESTED_AT))

    def dense(self, bits: int) -> Tensor:
        """What the weights are at 1 … 8 bits: float32, none pruned."""
        steps = self.steps * 2.0 ** (NESTED_AT - bits)  # exact
        steps = steps.view(-1, *[1] * (self.codes.ndim - 1))
        return bit.reconstruct(self.codes >> (WIDEST_CODE - bits), steps, bits)
