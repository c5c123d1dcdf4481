"""Increments: the bytes that grow a sub-model on a device into a larger one.

Paper, section 2.2: "each subnet is embedded in any other one larger in size. Then differential
parameter sets can be defined to facilitate incremental downloading over multiple channel uses". An
increment holds the positions and values that the device lacks, the next bits of the codes that it
has, the layers of later blocks, and a new head where the exit moves. ``pack(submodel, base)`` makes
it, ``unpack(packet, base=base)`` applies it. Layout, little-endian::

    header
      envelope with magic "ISMI": see :mod:`insitu_widgets.air.envelope`
      CRC-32 of the base's and of the larger one's structure, of the larger one's values: u32 each
      exit u16 (0: last) | bits u8 (64 more: recalibrated) | keep f64
      root's name: u16 length, UTF-8
      a layer: kind u8 (0: the base has it, 1: it has not, 2: it has, and a map of runs follows)
               | mask's way u8, its parameter u8 | values u32, mask's bytes u32
               [16 and 32 bit only: smallest and largest new value, f32 each]
               [kind 2 only: map's way u8, its parameter u8 | short runs u32, map's bytes u32]
      of each layer: mask of the new weights among those not held [kind 2: map of their runs]
      scales f32 of new layers | norms and biases that changed: one bit a tensor, then f32
    body
      of each layer: the next bits of the codes that are held, then the new values, as in a packet
      [kind 2: first those of short runs, without their second bit, then the others]

**What the order costs.** To tell which of a layer's n groups of weights come in which of several
packets takes, where every order is as likely, log₂(n! / ∏ nₜ!) bits, about n times the entropy of
the shares nₜ / n (:func:`order_bits`): no coding of the masks can do with less, and theirs is two
to four per cent above it. With 2 bits a weight and keep 10, 20, 50 and 100 % that is about 7 % of
one direct packet. But weights that come late are small, and that much the order has told: their
codes lie mostly in the inner half of the range, where the second bit is the inverse of the first.
Where all four codes of a run do (a **short run**), a map in the header says so, and the body leaves
their second bits out. A whole packet has no such map; it would gain by one, too.

The structure is recipe, masks, scales, norms and biases: all that travels reliably. So an increment
that is lost or comes out of order is refused, while one whose base has suffered bit errors is not.
"""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import lgamma, log
from typing import TYPE_CHECKING

import numpy as np
import torch

from insitu_widgets.air import coding, envelope
from insitu_widgets.air.envelope import PayloadError
from insitu_widgets.air.payload import (
    RANGE,
    Packet,
    Report,
    architecture_of,
    bits_and_flags,
    guard_values,
    recipe_of,
    to_bytes,
    to_values,
)
from insitu_widgets.cards import NESTED_SUFFIX
from insitu_widgets.cpus import usable_cpus
from insitu_widgets.levels import masked
from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.parameter import group_size
from insitu_widgets.levels.recipe import WIDEST_CODE
from insitu_widgets.levels.submodel import Layer, SubModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from insitu_widgets.roots import Root

MAGIC, VERSION = envelope.INCREMENT, 2
_TOP = struct.Struct("<IIIHBdH")
_LAYER = struct.Struct("<BBBII")
_MAP = struct.Struct("<BBII")
_HELD, _NEW, _MAPPED = range(3)
#: Codes of a run.
_RUN = 4
#: The lowest bit of each code of a run.
_EVERY = np.uint32(0x01010101)


class NotNestedError(ValueError):
    """A sub-model that is not embedded in another, so that nothing can be left out."""


def increment(base: SubModel, target: SubModel) -> Packet:
    """What has to be sent to a device that holds ``base`` so that it holds ``target``.

    Raises
    ------
    NotNestedError
        If the base is not embedded in the target: another root, an earlier exit, weights that the
        target lacks, or weights of another value; or if one of them is mixed.
    """
    if base.recipe.root != target.recipe.root:
        _refuse(base, target, "both must be of one root")
    if base.recipe.mixed or target.recipe.mixed:
        _refuse(base, target, "an increment has one width for all layers, a mixed recipe has not")
    held = {layer.name: layer for layer in base.layers}
    left = held.keys() - {layer.name for layer in target.layers}
    if any(not name.startswith("head.") for name in left):
        _refuse(base, target, f"the larger one lacks {', '.join(sorted(left))}")

    def lacking(layer: Layer) -> tuple[bytes, bytes, bytes, bytes]:
        before = held.get(layer.name)
        why = _difference(before, layer) if before else ""
        if why:
            if not layer.name.startswith("head.") or base.recipe.exit == target.recipe.exit:
                _refuse(base, target, why)
            before = None  # another exit has another head
        return _part(before, layer)

    with ThreadPoolExecutor(usable_cpus()) as pool:  # numpy lets other threads run meanwhile
        records, masks, scales, body = zip(*pool.map(lacking, target.layers), strict=True)
    changed = [not _same(base.rest.get(name), tensor) for name, tensor in target.rest.items()]
    new = [t for t, sent in zip(target.rest.values(), changed, strict=True) if sent]
    rest = [
        np.packbits(np.array(changed, np.bool_)).tobytes(),
        *(t.numpy().astype("<f4").tobytes() for t in new),
    ]
    recipe, name = target.recipe, target.recipe.root.encode()
    top = _TOP.pack(
        structure(base), structure(target), _checksum(target.layers),
        recipe.exit or 0, bits_and_flags(recipe), recipe.keep, len(name),
    )  # fmt: skip
    content = b"".join([top, name, *records, *masks, *scales, *rest])
    whole = b"".join(body)
    return Packet(envelope.seal(MAGIC, VERSION, content, whole), whole)


def _part(before: Layer | None, layer: Layer) -> tuple[bytes, bytes, bytes, bytes]:
    """What a layer lacks: its record, its mask, its scales if it is new, and its body."""
    fresh = among = layer.mask
    more = b""
    if before:
        lacking = ~before.mask
        fresh = layer.mask & lacking
        among = masked.select(fresh, lacking)
        new_bits = layer.bits - before.bits
        if new_bits:
            known = _of(layer, before.mask) & (2**new_bits - 1)
            more = coding.pack_codes(known.numpy(), new_bits)
    way, parameter, mask = coding.encode_mask(among.flatten().numpy())
    values = _of(layer, fresh).numpy()
    body, kind, scales, extra = to_bytes(values, layer.bits), _HELD, b"", b""
    mask_bytes = len(mask)
    if before is None:
        kind = _NEW
        if layer.scales is not None:
            scales = layer.scales.numpy().astype("<f4").tobytes()
    if layer.scales is None:
        ends = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        extra = RANGE.pack(*ends)
    elif before:
        mapped = _mapped(values, layer.bits)
        if mapped and sum(map(len, mapped)) < len(body):
            kind, (extra, runs, body) = _MAPPED, mapped
            mask += runs
    record = _LAYER.pack(kind, way, parameter, len(values), mask_bytes) + extra
    return record, mask, scales, more + body


def _of(layer: Layer, some: Tensor) -> Tensor:
    """The values of some of a layer's weights, which must all be among those that it keeps."""
    return masked.select(layer.values, masked.select(some, layer.mask))


def _mapped(values: NDArray[np.uint8], bits: int) -> tuple[bytes, bytes, bytes] | None:
    """Codes with a map of their short runs: the map's record, the map, the codes."""
    if bits < 2:
        return None
    whole = values[: len(values) // _RUN * _RUN]
    # One number a run. In a byte, the second bit comes to lie below the first: it must differ.
    differ = np.bitwise_xor(whole, whole << 1).view(np.uint32) & _EVERY << (bits - 1)
    short = differ == _EVERY << (bits - 1)
    if not short.any():
        return None
    way, parameter, data = coding.encode_mask(short)
    runs = whole.view(np.uint32)
    inside = runs.compress(short).view(np.uint8)
    others = np.concatenate([runs.compress(~short).view(np.uint8), values[whole.size :]])
    first, low = inside >> (bits - 1), inside & (2 ** (bits - 2) - 1)
    body = to_bytes(first << (bits - 2) | low, bits - 1) + to_bytes(others, bits)
    return _MAP.pack(way, parameter, int(short.sum()), len(data)), data, body


def _positions(short: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Which of ``count`` codes lie in short runs; those after the last whole run do not."""
    inside = np.zeros(count, np.bool_)
    inside[: short.size * _RUN] = short.repeat(_RUN)
    return inside


def order_bits(ladder: Sequence[SubModel]) -> float:
    """The least that it takes to tell in which step each group of weights comes, in bits.

    ``Σ log₂(n! / ∏ nₜ!)`` over the layers of the last sub-model, of whose n groups nₜ come in step
    t, the last t for those that never come; groups as all-in-one roots have them
    (:func:`~insitu_widgets.levels.parameter.group_size`), of others each weight is one.
    """
    nats = 0.0
    nested = ladder[-1].recipe.root.endswith(NESTED_SUFFIX)
    for last in ladder[-1].layers:
        size, every = group_size(last.mask.shape) if nested else 1, [0]
        for submodel in ladder:
            masks = {layer.name: layer.mask for layer in submodel.layers}
            mask = masks.get(last.name)
            if mask is None or mask.shape != last.mask.shape:  # another exit's head
                mask = torch.zeros(1)
            every.append(max(every[-1], int(mask.sum()) // size))
        every.append(last.mask.numel() // size)
        nats += lgamma(every[-1] + 1) - sum(lgamma(b - a + 1) for a, b in pairwise(every))
    return nats / log(2)


def grow(
    base: SubModel, packet: Packet, guard: str = "none", root: Root | None = None
) -> tuple[SubModel, Report]:
    """The larger sub-model, from the base and the increment, as :func:`insitu_widgets.unpack` does.

    The report's ``intact`` tells whether all values, old and new, are those that were packed.

    Raises
    ------
    PayloadError
        For a header that is damaged, and a body of the wrong length.
    NotNestedError
        If the increment is to another base.
    """
    envelope.check(packet.header, packet.body, MAGIC, VERSION)
    try:
        return _Growth(base, packet, guard).result(root)
    except (struct.error, UnicodeDecodeError, KeyError, IndexError, RuntimeError) as error:
        msg = f"header: its fields do not make an increment ({error}). Ask for it again."
        raise PayloadError(msg) from error


@dataclass(frozen=True)
class _Record:
    kind: int
    way: int
    parameter: int
    count: int
    mask_bytes: int
    low: float = 0.0
    high: float = 0.0
    map: tuple[int, ...] = ()


class _Growth:
    """One increment while it is read: where in header and body it is, and what was found."""

    def __init__(self, base: SubModel, packet: Packet, guard: str) -> None:
        self._base, self._packet, self._guard = base, packet, guard
        self._held = {layer.name: layer for layer in base.layers}
        self._at, self._body_at = envelope.SIZE, 0
        self._out_of_range = self._not_a_number = 0
        expected, self._structure, self._values, exit_, bits, keep, length = self._read(_TOP)
        name = self._take(length).decode()
        self._recipe = recipe_of(name, exit_, keep, bits)
        if structure(base) != expected:
            msg = (
                f"base must be the sub-model that this increment to {self._recipe} was made for; "
                f"got another one ({base.recipe}): an increment before it was lost, or they came "
                f"out of order. Ask for the one that starts from {base.recipe}."
            )
            raise NotNestedError(msg)

    def result(self, root: Root | None) -> tuple[SubModel, Report]:
        """Read everything."""
        architecture = architecture_of(self._recipe, root)
        weights, like = weights_and_rest(architecture)
        records = [self._record() for _ in weights]
        masks = [
            (self._mask(name, weight, record), self._short_runs(record))
            for (name, weight), record in zip(weights.items(), records, strict=True)
        ]
        layers = tuple(
            self._layer(name, *mask, record)
            for name, mask, record in zip(weights, masks, records, strict=True)
        )
        submodel = SubModel(self._recipe, layers, self._rest(like), architecture)
        if structure(submodel) != self._structure or self._body_at != len(self._packet.body):
            msg = "header: it does not make what was packed. Ask for the increment again."
            raise PayloadError(msg)
        intact = _checksum(layers) == self._values
        return submodel, Report(self._guard, intact, self._out_of_range, self._not_a_number)

    def _take(self, count: int) -> bytes:
        self._at += count
        return self._packet.header[self._at - count : self._at]

    def _read(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self._take(layout.size))

    def _floats(self, count: int) -> Tensor:
        return torch.from_numpy(np.frombuffer(self._take(4 * count), "<f4").copy())

    def _record(self) -> _Record:
        kind, way, parameter, count, size = self._read(_LAYER)
        bits = self._recipe.bits
        if kind > _MAPPED or (kind == _MAPPED and not 1 < bits <= WIDEST_CODE):
            msg = f"header: a layer of kind {kind} at {bits} bit. Ask for the increment again."
            raise PayloadError(msg)
        low, high = self._read(RANGE) if bits > WIDEST_CODE else (0.0, 0.0)
        runs = self._read(_MAP) if kind == _MAPPED else ()
        return _Record(kind, way, parameter, count, size, low, high, runs)

    def _mask(self, name: str, like: Tensor, record: _Record) -> Tensor:
        """Which weights of a layer are new, in its shape."""
        free = torch.ones(like.shape, dtype=torch.bool)
        if record.kind != _NEW:
            free = ~self._held[name].mask
        data = self._take(record.mask_bytes)
        found = _decoded(record.way, record.parameter, data, record.count, int(free.sum()))
        return masked.scatter(torch.from_numpy(found), free)

    def _short_runs(self, record: _Record) -> NDArray[np.bool_] | None:
        """Which of a layer's new codes lie in short runs; ``None`` without a map."""
        if record.kind != _MAPPED:
            return None
        way, parameter, short, size = record.map
        found = _decoded(way, parameter, self._take(size), short, record.count // _RUN)
        return _positions(found, record.count)

    def _new(self, count: int, bits: int, inside: NDArray[np.bool_] | None) -> Tensor:
        """The new values of a layer."""
        if inside is None:
            return to_values(self._body(count, bits), count, bits)
        few = int(inside.sum())
        short = to_values(self._body(few, bits - 1), few, bits - 1)
        others = to_values(self._body(count - few, bits), count - few, bits)
        whole, where = torch.zeros(count, dtype=torch.uint8), torch.from_numpy(inside)
        first, low = short >> (bits - 2), short & (2 ** (bits - 2) - 1)
        whole[where], whole[~where] = (first + 1 << (bits - 2)) | low, others
        return whole

    def _layer(
        self, name: str, fresh: Tensor, inside: NDArray[np.bool_] | None, record: _Record
    ) -> Layer:
        bits, before = self._recipe.bits, None if record.kind == _NEW else self._held[name]
        old = None
        if before:
            old = before.values
            more = bits - before.bits
            if more:
                old = (old << more) | to_values(self._body(len(old), more), len(old), more)
        values = self._new(record.count, bits, inside)
        if bits > WIDEST_CODE:
            beyond, missing = guard_values(values, record.low, record.high, self._guard)
            self._out_of_range += beyond
            self._not_a_number += missing
        scales = None
        if bits <= WIDEST_CODE:
            known = _grid(before, bits) if before else None
            scales = self._floats(fresh.shape[0]) if known is None else known
        if before is None or old is None:
            return Layer(name, fresh, values, scales, bits)
        both = before.mask | fresh
        order = masked.select(before.mask, both)
        whole = torch.empty(order.shape, dtype=values.dtype)
        whole.numpy()[order.numpy()], whole.numpy()[~order.numpy()] = old.numpy(), values.numpy()
        return Layer(name, both, whole, scales, bits)

    def _body(self, count: int, bits: int) -> bytes:
        start = self._body_at
        self._body_at += coding.packed_size(count, bits)
        return self._packet.body[start : self._body_at]

    def _rest(self, like: dict[str, Tensor]) -> dict[str, Tensor]:
        flags = np.frombuffer(self._take(-(-len(like) // 8)), np.uint8)
        rest = {}
        sent = np.unpackbits(flags)[: len(like)]
        for (name, shape), is_sent in zip(like.items(), sent, strict=True):
            new = self._floats(shape.numel()).view(shape.shape) if is_sent else None
            rest[name] = self._base.rest[name] if new is None else new
        return rest


def _decoded(way: int, parameter: int, data: bytes, count: int, size: int) -> NDArray[np.bool_]:
    try:
        return coding.decode_mask(way, parameter, data, count, size)
    except ValueError as error:
        msg = f"header: {error} Ask for the increment again."
        raise PayloadError(msg) from error


def structure(submodel: SubModel) -> int:
    """CRC-32 of a sub-model without its values: recipe, masks, scales, norms and biases."""
    checksum = zlib.crc32(str(submodel.recipe).encode())
    for layer in submodel.layers:
        checksum = zlib.crc32(np.packbits(layer.mask.numpy().reshape(-1)).tobytes(), checksum)
        if layer.scales is not None:
            checksum = zlib.crc32(layer.scales.numpy().tobytes(), checksum)
    for tensor in submodel.rest.values():
        checksum = zlib.crc32(tensor.detach().numpy().tobytes(), checksum)
    return checksum


def _checksum(layers: Iterable[Layer]) -> int:
    checksum = 0
    for layer in layers:
        checksum = zlib.crc32(layer.values.detach().numpy().tobytes(), checksum)
    return checksum


def _difference(before: Layer, layer: Layer) -> str:
    """Why what a device has of a layer is not all in the larger one; empty if it is."""
    if before.mask.shape != layer.mask.shape or bool((before.mask & ~layer.mask).any()):
        return f"the weights of {layer.name} are not all in it"
    values, more = _of(layer, before.mask), layer.bits - before.bits
    if more and (more < 0 or layer.bits > WIDEST_CODE):
        return f"{before.bits} bit do not grow into {layer.bits}"
    if layer.scales is not None and not _same(_grid(before, layer.bits), layer.scales):
        return f"the weights of {layer.name} have other scales"
    what = "the first bits of the weights of" if more else "the weights of"
    held = values >> more if more else values
    return "" if _same(held, before.values) else f"{what} {layer.name} differ"


def _grid(layer: Layer, bits: int) -> Tensor | None:
    """The scales of a layer's grid drawn for more bits: exact, a power of two."""
    return None if layer.scales is None else layer.scales * 2.0 ** (layer.bits - bits)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None or a.shape != b.shape:
        return False
    return a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def _refuse(base: SubModel, target: SubModel, why: str) -> None:
    msg = (
        f"base must be nested in the sub-model to be packed; {base.recipe} is not in "
        f"{target.recipe}: {why}. Choose recipes that differ in exit only, or in keep at 16 or 32 "
        f"bits, or cut both from an all-in-one root (…-nested), or pack it whole."
    )
    raise NotNestedError(msg)
