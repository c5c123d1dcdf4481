"""Bit level (paper, section 2.3): k-bit codes with one scale for each output channel."""

from __future__ import annotations

import torch
from torch import Tensor

#: Step of the uniform quantiser with 2^k levels that distorts a unit Gaussian least, k = 1 … 8.
#: J. Max, "Quantizing for minimum distortion", IRE Trans. Inf. Theory 6 (1960), table II, which
#: ends at 36 levels; a test computes them all.
GAUSSIAN_STEP = (1.596, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)
#: The scale of a channel that has no weight but 0 (no level is at 0; zeros stay next to it).
_SMALLEST = torch.finfo(torch.float32).tiny


def quantise(weights: Tensor, mask: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Quantise each output channel uniformly and symmetrically.

    Level c of channel i stands for ``scale_i · (c - (2^bits - 1) / 2)``: mid-rise, so that every
    code is a valid level and 1 bit is the sign. Steps are tried for each channel: the one that
    just covers the largest weight, the one that is best for a Gaussian of the channel's power,
    and, at 2 bits, the one that puts the outer level on the mean magnitude (pruned weights have
    no small ones for the inner level to serve). Each is replaced by the least-squares fit to the
    codes that it gives; the one with the least squared error stays.

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
    levels = 2**bits
    widest = 2 / (levels - 1)  # of the largest weight: the step that puts the outermost level there
    largest = kept.abs().amax(1).clamp(min=_SMALLEST)
    cover = widest * largest
    gaussian = GAUSSIAN_STEP[bits - 1] * (kept.square().sum(1) / count).sqrt()
    starts = [torch.minimum(cover, gaussian)]
    if bits > 1:  # at 1 bit every start gives the signs
        starts.append(cover)
    if bits == 2:
        starts.append(widest * kept.abs().sum(1) / count)
    scales, gain = torch.full_like(cover, _SMALLEST), torch.zeros_like(cover)
    for start in starts:
        steps = rows / start.clamp(min=_SMALLEST)[:, None]
        steps = steps.floor_().clamp_(-levels // 2, levels // 2 - 1).add_(0.5)
        product = torch.linalg.vecdot(kept, steps)
        power = torch.linalg.vecdot(steps * sent, steps).clamp(min=_SMALLEST)
        # The error is the channel's energy less product² / power: the fit that explains most wins.
        explained = (product / largest).square() / power
        scales = torch.where(explained > gain, product / power, scales)
        gain = torch.maximum(gain, explained)
    scales = scales.clamp(min=_SMALLEST)
    codes = (rows / scales[:, None] + (levels - 1) / 2).round_().clamp_(0, levels - 1)
    return codes.to(torch.uint8).view(weights.shape), scales


def nested_codes(weights: Tensor, bits: int, best_at: int) -> tuple[Tensor, Tensor]:
    """Codes whose first m bits are codes too, for every m up to ``bits``.

    A mid-rise code of b bits and step s, cut after its first m bits, is one of step 2^(b - m) s.
    The grid is the one that :func:`quantise` finds at ``best_at`` bits, drawn finer.

    Parameters
    ----------
    weights
        float32 ``[C, …]``.
    bits
        Of the whole codes, 1 … 8.
    best_at
        1 … ``bits``.

    Returns
    -------
    codes : Tensor
        uint8, same shape as ``weights``; ``codes >> (bits - m)`` has m bits.
    steps : Tensor
        float32 ``[C]``: each channel's step at ``best_at`` bits.
    """
    whole, step = quantise(weights, torch.ones_like(weights, dtype=torch.bool), best_at)
    if best_at < bits:
        fine = (step / 2 ** (bits - best_at)).clamp(min=_SMALLEST)
        rows = weights.flatten(1) / fine[:, None] + (2**bits - 1) / 2
        whole = rows.round_().clamp_(0, 2**bits - 1).to(torch.uint8).view(weights.shape)
    return whole, step


def reconstruct(codes: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Weights that the codes stand for: float32, ``scales`` broadcast against ``codes``."""
    return (codes.float() - (2**bits - 1) / 2) * scales
