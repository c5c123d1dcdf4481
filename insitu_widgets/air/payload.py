"""Packets: a sub-model as bytes, and bytes as a sub-model again.

A packet has two parts (paper, section 4). The **header** is the topology and whatever the body
cannot be read without; it travels on a reliable channel. The **body** is the weights and is
exposed to bit errors. Everything is little-endian; format version 1::

    header
      envelope with magic "ISMD": see :mod:`insitu_widgets.air.envelope`
      exit u16 (0: last) | bits u8 (128 more: mixed, 64 more: recalibrated) | keep f64
      layers u16 | scales u32
      CRC-32 of the architecture (names and shapes) u32 | root's name: u16 length, UTF-8
      one record a layer: mask's way u8, its parameter u8, weights kept u32, mask's bytes u32
                          [16 and 32 bit only: smallest and largest value, f32 each]
      widths of the layers, less 1, 3 bits each, padded to a byte [mixed only]
      masks, one after the other
      scales, f32, one an output channel [8 bits and fewer only]
      norms, biases, embeddings and running statistics, f32
    body
      the kept weights of each layer: k-bit codes (most significant bit first, padded to a byte; if
      mixed, k is the layer's width), IEEE 754 half or single precision

The norms and biases are one or two per cent of a root and ride with the topology. Were they in the
body, one flipped exponent in a running variance would ruin a model that is otherwise immune.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from insitu_widgets.air import coding, envelope
from insitu_widgets.air.channel import GUARDS
from insitu_widgets.air.envelope import PayloadError
from insitu_widgets.errors import of_type, one_of
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.levels.submodel import Layer, SubModel
from insitu_widgets.roots import ARCHITECTURES, Root, skeleton

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

MAGIC, VERSION = envelope.WHOLE, 1
_TOPOLOGY = struct.Struct("<HBdHIIH")
_MASK = struct.Struct("<BBII")
RANGE = struct.Struct("<ff")
_FLOATS: dict[int, np.dtype[np.float16 | np.float32]] = {
    16: np.dtype("<f2"),
    32: np.dtype("<f4"),
}
#: What the header's bits have more of where the recipe is mixed, and where it is recalibrated; an
#: older receiver refuses that.
_MIXED, _RECALIBRATED = 128, 64
#: Bits that say a layer's width.
_WIDTH_BITS = 3
_LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Packet:
    """A sub-model in bytes: the reliable ``header`` and the exposed ``body``."""

    header: bytes
    body: bytes

    @property
    def num_bits(self) -> int:
        """All bits that cross the link."""
        return 8 * (len(self.header) + len(self.body))

    def with_body(self, body: bytes) -> Packet:
        """The same header with another body."""
        return replace(self, body=body)

    def breakdown(self) -> dict[str, int]:
        """Bits by purpose; they add up to :attr:`num_bits`.

        The widths of a mixed recipe's layers are topology.

        Raises
        ------
        PayloadError
            If the header cannot be read.
        """
        reader = _Reader(self)
        bits = {
            "topology": 8 * reader.masks_at,
            "mask": 8 * reader.masks_bytes,
            "scales": 8 * reader.scales_bytes,
            "norms and biases": 8 * reader.rest_bytes,
            "parameters": 8 * len(self.body),
        }
        if reader.recipe.bits > WIDEST_CODE:  # the guards' ranges are the floats' scales
            ranges = 8 * RANGE.size * len(reader.records)
            bits["topology"] -= ranges
            bits["scales"] += ranges
        return bits


@dataclass(frozen=True)
class Report:
    """What the receiver found.

    Attributes
    ----------
    guard : str
        The guard that was applied.
    intact : bool
        Whether the body arrived as it was sent (its checksum).
    out_of_range : int
        Values beyond their layer's range, infinities included.
    not_a_number : int
        NaN values.
    """

    guard: str
    intact: bool
    out_of_range: int
    not_a_number: int


@dataclass(frozen=True)
class _Record:
    way: int
    parameter: int
    kept: int
    mask_bytes: int
    low: float
    high: float
    bits: int


def pack(submodel: SubModel, base: SubModel | None = None) -> Packet:
    """Put a sub-model into bytes.

    Parameters
    ----------
    submodel
        What the device is to have.
    base
        What it has already: then only what it lacks is sent, an increment (section 2.2), which
        ``unpack(packet, base=base)`` reads. See :mod:`insitu_widgets.air.increment`.

    Raises
    ------
    TypeError
        If it is given something else than a sub-model.
    NotNestedError
        If the base is not embedded in the sub-model.
    """
    of_type("submodel", submodel, SubModel, "Cut one with derive(root, recipe).")
    if base is not None:
        from insitu_widgets.air import increment  # noqa: PLC0415  (it is built on this module)

        of_type("base", base, SubModel, "Give the sub-model that the device has.")
        return increment.increment(base, submodel)
    recipe = submodel.recipe
    records, masks, scales, body = [], [], [], []
    for layer in submodel.layers:
        way, parameter, mask = coding.encode_mask(layer.mask.numpy().reshape(-1))
        record = _MASK.pack(way, parameter, layer.values.numel(), len(mask))
        values = layer.values.detach().numpy()
        if layer.scales is not None:
            scales.append(layer.scales.numpy().astype("<f4").tobytes())
        else:
            ends = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
            record += RANGE.pack(*ends)
        body.append(to_bytes(values, layer.bits))
        records.append(record)
        masks.append(mask)
    rest = [tensor.detach().numpy().astype("<f4").tobytes() for tensor in submodel.rest.values()]
    name = recipe.root.encode()
    widths = b""
    if recipe.mixed:
        less_one = np.array([layer.bits - 1 for layer in submodel.layers], np.uint8)
        widths = coding.pack_codes(less_one, _WIDTH_BITS)
    topology = _TOPOLOGY.pack(
        recipe.exit or 0,
        bits_and_flags(recipe),
        recipe.keep,
        len(records),
        sum(len(part) for part in scales) // 4,
        _signature({layer.name: layer.mask for layer in submodel.layers}, submodel.rest),
        len(name),
    )
    content = b"".join([topology, name, *records, widths, *masks, *scales, *rest])
    whole_body = b"".join(body)
    return Packet(envelope.seal(MAGIC, VERSION, content, whole_body), whole_body)


def bits_and_flags(recipe: Recipe) -> int:
    """The byte of a header that tells a recipe's bits, and what else it may be."""
    return recipe.bits + _MIXED * recipe.mixed + _RECALIBRATED * recipe.recalibrated


def recipe_of(root: str, exit_: int, keep: float, bits: int) -> Recipe:
    """The recipe of a header: its exit is 0 for the last one, its bits have the flags."""
    mixed, bits = divmod(bits, _MIXED)
    recalibrated, bits = divmod(bits, _RECALIBRATED)
    flags = {"mixed": bool(mixed), "recalibrated": bool(recalibrated)}
    return Recipe(root, exit_ or None, keep, bits, **flags)


def unpack(
    packet: Packet, guard: str = "none", root: Root | None = None, base: SubModel | None = None
) -> tuple[SubModel, Report]:
    """Make the sub-model of a packet, as a device does that knows only the root's architecture.

    Bit errors in the body never raise: they make the worse model that they make.

    Parameters
    ----------
    packet
        What arrived.
    guard
        What the receiver does with float values that cannot have been sent: ``"none"`` takes them
        as they are; ``"clamp"`` moves those beyond their layer's range (which the header holds) to
        its nearer end and NaN to 0; ``"zero"`` sets them all to 0. k-bit codes cannot leave their
        range, so no guard changes them.
    root
        For the packet of a root that is not a shipped one: the root, for its architecture.
    base
        For an increment: the sub-model that the device has.

    Raises
    ------
    PayloadError
        For a header that is damaged, truncated, of another version or for another architecture,
        and for a body of the wrong length.
    NotNestedError
        For an increment to another base than this: one before it was lost, or they came out of
        order.
    ValueError
        For a guard that does not exist.
    TypeError
        If it is given something else than a packet.
    """
    of_type("packet", packet, Packet, "Make one with pack(submodel), or Packet(header, body).")
    one_of("guard", guard, GUARDS)
    if base is not None:
        from insitu_widgets.air import increment  # noqa: PLC0415  (it is built on this module)

        of_type("base", base, SubModel, "Give the sub-model that the device has.")
        return increment.grow(base, packet, guard, root)
    reader = _Reader(packet)
    architecture = architecture_of(reader.recipe, root)
    weights, rest = weights_and_rest(architecture)
    channels = sum(weight.shape[0] for weight in weights.values())
    fits = _signature(weights, rest) == reader.signature and len(weights) == len(reader.records)
    if not fits or reader.scales_bytes != 4 * channels * (reader.recipe.bits <= WIDEST_CODE):
        msg = (
            f"header: the packet was made for another architecture of {reader.recipe.root!r} than "
            f"this device knows. Send it again from the same version."
        )
        raise PayloadError(msg)
    layers, out_of_range, not_a_number = [], 0, 0
    body_at, mask_at, scale_at = 0, reader.masks_at, reader.scales_at
    for (name, shape_of), record in zip(weights.items(), reader.records, strict=True):
        mask = reader.mask(mask_at, record, shape_of)
        mask_at += record.mask_bytes
        raw = packet.body[body_at : body_at + _body_size(record.kept, record.bits)]
        body_at += len(raw)
        scales = None
        values = to_values(raw, record.kept, record.bits)
        if reader.recipe.bits <= WIDEST_CODE:
            scales = reader.floats(scale_at, shape_of.shape[0])
            scale_at += 4 * shape_of.shape[0]
        else:
            beyond, missing = guard_values(values, record.low, record.high, guard)
            out_of_range += beyond
            not_a_number += missing
        layers.append(Layer(name, mask, values, scales, record.bits))
    arrived = reader.rest(rest)
    submodel = SubModel(reader.recipe, tuple(layers), arrived, architecture)
    return submodel, Report(guard, reader.intact, out_of_range, not_a_number)


def to_bytes(values: NDArray[Any], bits: int) -> bytes:
    """Values (codes or floats) as they lie in a body."""
    if bits <= WIDEST_CODE:
        return coding.pack_codes(values, bits)
    return values.astype(_FLOATS[bits], copy=False).tobytes()


def to_values(raw: bytes, count: int, bits: int) -> Tensor:
    """Read ``count`` values of a body back."""
    if bits <= WIDEST_CODE:
        return torch.from_numpy(coding.unpack_codes(raw, count, bits))
    return torch.from_numpy(np.frombuffer(raw, _FLOATS[bits], count).copy())


def guard_values(values: Tensor, low: float, high: float, guard: str) -> tuple[int, int]:
    """Apply a guard in place; count the values out of range and the NaN among them."""
    missing = values.isnan()
    beyond = (values < low) | (values > high)
    if guard == "zero":
        values.masked_fill_(missing | beyond, 0.0)
    elif guard == "clamp":
        values.masked_fill_(missing, 0.0).clamp_(low, high)
    return int(np.count_nonzero(beyond.numpy())), int(np.count_nonzero(missing.numpy()))


def architecture_of(recipe: Recipe, root: Root | None) -> nn.Module:
    """The network that a packet is for, as the receiver knows it.

    Raises
    ------
    PayloadError
        If the receiver does not know it.
    """
    if root is None:
        if recipe.root not in ARCHITECTURES:
            msg = (
                f"header: this receiver does not know the architecture {recipe.root!r}. "
                f"Give it: unpack(packet, root=…)."
            )
            raise PayloadError(msg)
        root = skeleton(recipe.root)
    of_type(
        "root", root, Root, "Leave it out for a shipped root, or give your own: Root.wrap(...)."
    )
    if root.name != recipe.root:
        msg = f"header: the packet is for {recipe.root!r}, the root given is {root.name!r}."
        raise PayloadError(msg)
    if (recipe.exit or 1) > root.num_exits:
        msg = (
            f"header: the packet is for exit {recipe.exit}, this receiver's "
            f"{root.name!r} has {root.num_exits}."
        )
        raise PayloadError(msg)
    return cut(root, recipe.exit)


def _body_size(kept: int, bits: int) -> int:
    return coding.packed_size(kept, bits)


def _signature(weights: Mapping[str, Tensor], rest: Mapping[str, Tensor]) -> int:
    tensors = {**weights, **rest}
    lines = [f"{name}{tuple(tensor.shape)}" for name, tensor in tensors.items()]
    return zlib.crc32("\n".join(lines).encode())


class _Reader:
    """The header's fields, each checked before it is used."""

    def __init__(self, packet: Packet) -> None:
        self._header = packet.header
        body_checksum = envelope.check(packet.header, packet.body, MAGIC, VERSION)
        self.intact = zlib.crc32(packet.body) == body_checksum
        try:
            self._read_topology()
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            msg = f"header: its fields do not make a packet ({error}). Ask for it again."
            raise PayloadError(msg) from error
        expected = sum(_body_size(record.kept, record.bits) for record in self.records)
        if len(packet.body) != expected:
            msg = (
                f"body: the layers need {expected} bytes, the packet announces "
                f"{len(packet.body)}. Ask for it again."
            )
            raise PayloadError(msg)

    def _read_topology(self) -> None:
        at = envelope.SIZE
        exit_, bits, keep, count, scales, self.signature, length = _TOPOLOGY.unpack_from(
            self._header, at
        )
        at += _TOPOLOGY.size
        name = self._header[at : at + length].decode()
        at += length
        self.recipe = recipe_of(name, exit_, keep, bits)
        bits, mixed = self.recipe.bits, self.recipe.mixed
        self.records: list[_Record] = []
        for _ in range(count):
            way, parameter, kept, size = _MASK.unpack_from(self._header, at)
            at += _MASK.size
            low, high = 0.0, 0.0
            if bits > WIDEST_CODE:
                low, high = RANGE.unpack_from(self._header, at)
                at += RANGE.size
                if bits == 16 and max(abs(low), abs(high)) > _LARGEST_HALF:
                    msg = "a layer's range is beyond half precision"
                    raise ValueError(msg)
            self.records.append(_Record(way, parameter, kept, size, low, high, bits))
        if mixed:
            at = self._read_widths(at)
        self.masks_at = at
        self.masks_bytes = sum(record.mask_bytes for record in self.records)
        self.scales_at = at + self.masks_bytes
        self.scales_bytes = 4 * scales
        self.rest_at = self.scales_at + self.scales_bytes
        self.rest_bytes = len(self._header) - self.rest_at
        if self.rest_bytes < 0:
            msg = "its masks and scales are longer than the header itself"
            raise ValueError(msg)

    def _read_widths(self, at: int) -> int:
        """Give each record its width; returns where the masks begin."""
        end = at + coding.packed_size(len(self.records), _WIDTH_BITS)
        if end > len(self._header):
            msg = "the widths of its layers are longer than the header itself"
            raise ValueError(msg)
        less_one = coding.unpack_codes(self._header[at:end], len(self.records), _WIDTH_BITS)
        self.records = [
            replace(record, bits=width + 1)
            for record, width in zip(self.records, less_one.tolist(), strict=True)
        ]
        return end

    def mask(self, at: int, record: _Record, like: Tensor) -> Tensor:
        """One layer's mask, in its shape."""
        data = self._header[at : at + record.mask_bytes]
        try:
            mask = coding.decode_mask(record.way, record.parameter, data, record.kept, like.numel())
        except ValueError as error:
            msg = f"header: {error} Ask for the packet again."
            raise PayloadError(msg) from error
        return torch.from_numpy(mask).view(like.shape)

    def floats(self, at: int, count: int) -> Tensor:
        """``count`` single-precision numbers of the header."""
        return torch.from_numpy(np.frombuffer(self._header, "<f4", count, at).copy())

    def rest(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Norms, biases, embeddings and running statistics, in their shapes."""
        sizes = [tensor.numel() for tensor in like.values()]
        if 4 * sum(sizes) != self.rest_bytes:
            msg = (
                f"header: {self.rest_bytes} bytes of norms and biases, the architecture has "
                f"{4 * sum(sizes)}. Send the packet again from the same version."
            )
            raise PayloadError(msg)
        parts = self.floats(self.rest_at, sum(sizes)).split(sizes)
        return {
            name: part.view(tensor.shape)
            for (name, tensor), part in zip(like.items(), parts, strict=True)
        }
