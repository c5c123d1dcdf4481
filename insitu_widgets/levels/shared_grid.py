"""The grid that all sub-models of an all-in-one root share, in training: bit level only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
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

    def dense(
        self, bits: int, bit_error_rate: float = 0.0, random: torch.Generator | None = None
    ) -> Tensor:
        """What the weights are at 1 … 8 bits: float32, none pruned, some bits of codes wrong."""
        steps = self.steps * 2.0 ** (NESTED_AT - bits)  # exact
        steps = steps.view(-1, *[1] * (self.codes.ndim - 1))
        codes = self.codes >> (WIDEST_CODE - bits)  # a new tensor, of 8 bits too
        for place in range(bits if bit_error_rate else 0):
            codes.view(-1)[_some(codes.numel(), bit_error_rate, random)] ^= 1 << place
        return bit.reconstruct(codes, steps, bits)


def _some(count: int, rate: float, random: torch.Generator | None) -> Tensor:
    """Random positions below ``count``, each with a probability of ``rate``, a small one.

    A position that is drawn twice is one: of 1,000 positions at a rate of 1e-3 half a one is lost.
    """
    total, share = torch.tensor([float(count)]), torch.tensor([rate])
    drawn = int(torch.binomial(total, share, generator=random))
    return torch.randint(count, (drawn,), generator=random)
