"""Bit level (paper, section 2.3): k-bit codes with one scale for each output channel."""

from __future__ import annotations

import torch
from torch import Tensor

#: Step of the uniform quantiser with 2^k levels that distorts a unit Gaussian least, k = 1 … 8.
#: J. Max, "Quantizing for minimum distortion", IRE Trans. Inf. Theory 6 (1960), table II, which
#: ends at 36 levels; a test computes them all.
GAUSSIAN_STEP = (1.596, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)


def quantise(weights: Tensor, mask: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Quantise each output channel uniformly and symmetrically.

    Level c of channel i stands for ``scale_i · (c - (2^bits - 1) / 2)``: mid-rise, so that every
    code is a valid level and 1 bit is the sign. The step begins at the smaller of the one that
    just covers the largest weight and the one that is best for a Gaussian of the channel's
    power; then it is the least-squares fit to the codes found.

    Parameters
    ----------
    weights
        float32 ``[C, …]``.
    mask
        bool, same shape: the weights that are sent.
    bits
        1 … 8.

    Returns
    -------
    codes : Tensor
        uint8, same shape as ``weights``; meaningless where the mask is false.
    scales : Tensor
        float32 ``[C]``, positive; the smallest float for a channel that has no weight but 0.
    """
    rows, sent = weights.flatten(1), mask.flatten(1)
    kept = rows * sent
    count = sent.sum(1).clamp(min=1)
    top = kept.abs().amax(1)
    power = (kept.square().sum(1) / count).sqrt()
    levels = 2**bits
    smallest = torch.finfo(torch.float32).tiny  # zeros stay next to zero: no level is at 0
    scales = torch.minimum(2 * top / (levels - 1), GAUSSIAN_STEP[bits - 1] * power)
    scales = scales.clamp(min=smallest)
    middle = (levels - 1) / 2
    steps = torch.floor(rows / scales[:, None]).clamp_(-levels // 2, levels // 2 - 1) + 0.5
    fitted = (kept * steps).sum(1) / (steps.square() * sent).sum(1).clamp(min=smallest)
    scales = torch.where(fitted > smallest, fitted, scales)
    codes = (rows / scales[:, None] + middle).round_().clamp_(0, levels - 1)
    return codes.to(torch.uint8).view(weights.shape), scales


def reconstruct(codes: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Weights that the codes stand for: float32, ``scales`` broadcast against ``codes``."""
    return (codes.float() - (2**bits - 1) / 2) * scales
