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
#: Weights that are worked on together: what is tried for them stays in the processor's cache.
_AT_ONCE = 2**17


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
    return _quantised(weights, mask, bits, bits)


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
    return _quantised(weights, torch.ones_like(weights, dtype=torch.bool), best_at, bits)


def reconstruct(codes: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Weights that the codes stand for: float32, ``scales`` broadcast against ``codes``."""
    return (codes.float() - (2**bits - 1) / 2) * scales


def _quantised(weights: Tensor, mask: Tensor, best_at: int, bits: int) -> tuple[Tensor, Tensor]:
    """The steps that are best at one width, and the codes of their grid drawn for another."""
    rows, sent = weights.detach().flatten(1).contiguous(), mask.flatten(1)
    codes, steps = torch.empty_like(rows, dtype=torch.uint8), rows.new_empty(len(rows))
    # Never one channel alone: torch may add a single long row up in another order.
    parts = max(1, min(len(rows) // 2, -(-rows.numel() // _AT_ONCE)))
    last, whole = 2**bits - 1, bool(mask.all())
    pieces = (tensor.tensor_split(parts) for tensor in (rows, sent, codes, steps))
    for part, sent_of_it, codes_of_it, steps_of_it in zip(*pieces, strict=True):
        steps_of_it.copy_(_best_steps(part, None if whole else sent_of_it, best_at))
        fine = (steps_of_it / 2 ** (bits - best_at)).clamp(min=_SMALLEST)
        codes_of_it.copy_((part / fine[:, None]).add_(last / 2).round_().clamp_(0, last))
    return codes.view(weights.shape), steps


def _best_steps(rows: Tensor, sent: Tensor | None, bits: int) -> Tensor:
    """The step of each channel ``[C]``; ``rows`` and ``sent`` are ``[C, n]``, ``None`` for all."""
    levels = 2**bits
    share = sent.to(rows.dtype) if sent is not None else None
    kept = rows * share if share is not None else rows
    every = torch.full((len(rows),), rows.shape[1], device=rows.device)
    count = every if sent is None else sent.sum(1).clamp(min=1)
    widest = 2 / (levels - 1)  # of the largest weight: the step that puts the outermost level there
    work = kept.abs()
    largest = work.amax(1).clamp(min=_SMALLEST)
    total = work.sum(1) if bits == 2 else None
    cover = widest * largest
    gaussian = GAUSSIAN_STEP[bits - 1] * (work.square_().sum(1) / count).sqrt()
    starts = [torch.minimum(cover, gaussian)]
    if bits > 1:  # at 1 bit every start gives the signs
        starts.append(cover)
    if total is not None:
        starts.append(widest * total / count)
    best, gain = torch.full_like(cover, _SMALLEST), torch.zeros_like(cover)
    for start in starts:
        steps = torch.div(rows, start.clamp(min=_SMALLEST)[:, None])
        steps.floor_().clamp_(-levels // 2, levels // 2 - 1).add_(0.5)
        if share is not None:
            steps.mul_(share)
        product = torch.mul(kept, steps, out=work).sum(1)
        power = steps.square_().sum(1).clamp(min=_SMALLEST)
        # The error is the channel's energy less product² / power: the fit that explains most wins.
        explained = (product / largest).square() / power
        best = torch.where(explained > gain, product / power, best)
        gain = torch.maximum(gain, explained)
    return best.clamp(min=_SMALLEST)
