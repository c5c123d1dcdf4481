"""Quantisers of one signature (paper, section 2.3): uniform or not, scalar or vector.

:data:`QUANTISERS` is the table. Each takes a layer's weights and the bits for each weight and
gives :class:`Coded`: integer codes and the small table that tells what they stand for. Both are
counted; :mod:`insitu_widgets.air.codebooks` makes the bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from insitu_widgets.errors import in_range
from insitu_widgets.levels import bit
from insitu_widgets.levels.recipe import WIDEST_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What recipes are sent with, and what a layer too small for a codebook is given.
PER_CHANNEL = "symmetric, per channel"
#: The widest code of the product quantiser is 8 bits for two weights.
WIDEST_PRODUCT = 4
_LARGEST_HALF = torch.finfo(torch.float16).max
_SMALLEST = torch.finfo(torch.float32).tiny
_ROUNDS_SCALAR, _ROUNDS_VECTOR = 60, 8
_SAMPLES_AN_ENTRY = 16


@dataclass(frozen=True, eq=False)
class Coded:
    """One layer as codes and the table that they are read with.

    Attributes
    ----------
    quantiser : str
        A name in :data:`QUANTISERS`.
    shape : tuple[int, …]
        The layer's shape ``[C, …]``.
    bits : int
        Bits for each weight.
    codes : Tensor
        uint8, one for each weight, or one for each :attr:`group` of weights.
    table : Tensor
        Symmetric: steps, float32 ``[C or 1, 1]``. Affine: lowest level and step, float32
        ``[C or 1, 2]``. Codebook and product: entries, float16 ``[2^code_bits, group]``.
    """

    quantiser: str
    shape: tuple[int, ...]
    bits: int
    codes: Tensor
    table: Tensor

    @property
    def group(self) -> int:
        """Weights for each code."""
        return self.table.shape[1] if self.table.dtype == torch.float16 else 1

    @property
    def code_bits(self) -> int:
        """Bits for each code."""
        return self.bits * self.group

    @property
    def table_bits(self) -> int:
        """Bits of the table."""
        return 8 * self.table.element_size() * self.table.numel()

    @property
    def num_bits(self) -> int:
        """Bits of codes and table, without padding."""
        return self.code_bits * self.codes.numel() + self.table_bits

    def dense(self) -> Tensor:
        """The weights that the codes stand for: float32, the layer's shape."""
        if self.table.dtype == torch.float16:
            entries = self.table.float()[self.codes.long()]
            return entries.flatten()[: math.prod(self.shape)].view(self.shape)
        rows = self.codes.view(self.table.shape[0], -1)
        if self.table.shape[1] == 1:
            return bit.reconstruct(rows, self.table, self.bits).view(self.shape)
        lowest, step = self.table.split(1, dim=1)
        return (lowest + rows.float() * step).view(self.shape)

    def __eq__(self, other: object) -> bool:
        """Equal to the bit."""
        if not isinstance(other, Coded):
            return NotImplemented
        mine = (self.quantiser, self.shape, self.bits, self.table.dtype, self.table.shape)
        return (
            mine == (other.quantiser, other.shape, other.bits, other.table.dtype, other.table.shape)
            and self.codes.numpy().tobytes() == other.codes.numpy().tobytes()
            and self.table.numpy().tobytes() == other.table.numpy().tobytes()
        )

    __hash__ = None  # type: ignore[assignment]  # equality compares tensors


class Quantiser(Protocol):
    """Weights ``[C, …]`` and bits for each weight, to codes with their table.

    Raises
    ------
    ValueError
        For bits out of range, or a codebook larger than the layer's codes.
    """

    def __call__(self, weights: Tensor, bits: int, /) -> Coded:
        """Quantise."""


def _symmetric(name: str, weights: Tensor, bits: int) -> Coded:
    in_range("bits", bits, 1, WIDEST_CODE)
    rows = weights.flatten(1) if name == PER_CHANNEL else weights.reshape(1, -1)
    codes, steps = bit.quantise(rows, torch.ones_like(rows, dtype=torch.bool), bits)
    return Coded(name, tuple(weights.shape), bits, codes.flatten(), steps[:, None])


def symmetric_per_tensor(weights: Tensor, bits: int) -> Coded:
    """Uniform, mid-rise, one step for the layer (1 … 8 bits)."""
    return _symmetric("symmetric, per tensor", weights, bits)


def symmetric_per_channel(weights: Tensor, bits: int) -> Coded:
    """Uniform, mid-rise, one step for each output channel: what recipes are sent with."""
    return _symmetric(PER_CHANNEL, weights, bits)


def _affine(name: str, weights: Tensor, bits: int) -> Coded:
    """A line through codes and weights, from the whole range or a Gaussian's, by least squares."""
    in_range("bits", bits, 1, WIDEST_CODE)
    rows = weights.flatten(1) if "channel" in name else weights.reshape(1, -1)
    last = 2**bits - 1
    mean = rows.mean(1, keepdim=True)
    half = bit.GAUSSIAN_STEP[bits - 1] * last / 2 * rows.std(1, correction=0, keepdim=True)
    whole = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    best = torch.full_like(mean, torch.inf)
    table, codes = torch.zeros(len(rows), 2), torch.zeros_like(rows)
    for low, high in (whole, (mean - half, mean + half)):
        step = ((high - low) / last).clamp(min=_SMALLEST)
        first = ((rows - low) / step).round().clamp(0, last)
        off = first - first.mean(1, keepdim=True)
        power = off.square().sum(1, keepdim=True)
        slope = torch.where(power > 0, (off * rows).sum(1, keepdim=True) / power, step)
        slope = slope.clamp(min=_SMALLEST)
        start = mean - slope * first.mean(1, keepdim=True)
        fitted = ((rows - start) / slope).round().clamp(0, last)
        error = (start + slope * fitted - rows).square().sum(1, keepdim=True)
        better = error < best
        table = torch.where(better, torch.cat([start, slope], dim=1), table)
        codes, best = torch.where(better, fitted, codes), torch.minimum(error, best)
    return Coded(name, tuple(weights.shape), bits, codes.to(torch.uint8).flatten(), table)


def affine_per_tensor(weights: Tensor, bits: int) -> Coded:
    """Uniform, with a lowest level and a step for the layer (1 … 8 bits)."""
    return _affine("affine, per tensor", weights, bits)


def affine_per_channel(weights: Tensor, bits: int) -> Coded:
    """Uniform, with a lowest level and a step for each output channel (1 … 8 bits)."""
    return _affine("affine, per channel", weights, bits)


def codebook(weights: Tensor, bits: int) -> Coded:
    """Non-uniform, scalar: a codebook of 2^bits levels for the layer (1 … 8 bits).

    Lloyd's iteration on the weights themselves (S. Lloyd, IEEE Trans. Inf. Theory 28, 1982; the
    k-means of Han et al., the paper's [8]), from their quantiles; levels are kept in float16.
    """
    in_range("bits", bits, 1, WIDEST_CODE)
    _check_room(weights.numel(), bits, 1)
    ordered = weights.flatten().double().sort().values
    count, entries = ordered.numel(), 2**bits
    below = torch.cat([torch.zeros(1, dtype=torch.double), ordered.cumsum(0)])
    levels = ordered[((torch.arange(entries) + 0.5) * count / entries).long()]
    for _ in range(_ROUNDS_SCALAR):
        inner = torch.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        ends = torch.cat([torch.zeros(1, dtype=torch.long), inner, torch.tensor([count])])
        held = ends.diff()
        means = below[ends].diff() / held.clamp(min=1)
        levels = torch.where(held > 0, means, levels)
    table = levels.clamp(-_LARGEST_HALF, _LARGEST_HALF).half().sort().values
    middles = (table[1:].float() + table[:-1].float()) / 2
    codes = torch.bucketize(weights.flatten(), middles).to(torch.uint8)
    return Coded("codebook", tuple(weights.shape), bits, codes, table[:, None])


def product(weights: Tensor, bits: int) -> Coded:
    """Vector: groups of 8 // bits neighbouring weights share one code (1 … 4 bits a weight).

    Product quantisation (H. Jégou et al., IEEE TPAMI 33, 2011; for networks: Y. Gong et al.,
    arXiv 1412.6115) with one codebook for the layer, by k-means on a sample of its groups.
    """
    in_range("bits", bits, 1, WIDEST_PRODUCT)
    group = WIDEST_CODE // bits
    _check_room(weights.numel(), bits, group)
    entries = 2 ** (bits * group)
    padded = nn.functional.pad(weights.flatten(), (0, -weights.numel() % group))
    vectors = padded.view(-1, group)
    random = torch.Generator().manual_seed(0)
    sample = vectors[torch.randperm(len(vectors), generator=random)[: _SAMPLES_AN_ENTRY * entries]]
    centres = sample[:entries].clone()
    for _ in range(_ROUNDS_VECTOR):
        nearest = _nearest(sample, centres)
        held = torch.bincount(nearest, minlength=entries)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, sample)
        centres = torch.where(held > 0, sums / held.clamp(min=1), centres)
    table = centres.clamp(-_LARGEST_HALF, _LARGEST_HALF).half()
    codes = _nearest(vectors, table.float()).to(torch.uint8)
    return Coded("product", tuple(weights.shape), bits, codes, table)


def _nearest(vectors: Tensor, centres: Tensor) -> Tensor:
    offset = centres.square().sum(1) / 2  # what is left of the squared distance, halved
    chunks = vectors.split(1024)  # so that the distances stay in the processor's cache
    return torch.cat([torch.addmm(offset, part, centres.T, alpha=-1).argmin(1) for part in chunks])


def _check_room(count: int, bits: int, group: int) -> None:
    entries = 2 ** (bits * group)
    groups = -(-count // group)
    if 16 * entries * group > bits * group * groups or entries > groups:
        msg = (
            f"codebook: {entries} entries of {group} weights ({2 * entries * group} bytes) must "
            f"not be larger than the codes of the layer; got a layer of {count} weights "
            f"({bits * group * groups // 8} bytes of codes). Use fewer bits, or "
            f"{PER_CHANNEL!r} for this layer."
        )
        raise ValueError(msg)


def has_room(count: int, bits: int, group: int = 1) -> bool:
    """Whether a codebook is no larger than the codes of a layer of ``count`` weights."""
    try:
        _check_room(count, bits, group)
    except ValueError:
        return False
    return True


#: Name -> quantiser.
QUANTISERS: Mapping[str, Quantiser] = {
    PER_CHANNEL: symmetric_per_channel,
    "symmetric, per tensor": symmetric_per_tensor,
    "affine, per channel": affine_per_channel,
    "affine, per tensor": affine_per_tensor,
    "codebook": codebook,
    "product": product,
}
