"""A quantised network as bytes: codes with their tables, whatever the quantiser and the widths.

A container of its own beside :mod:`insitu_widgets.air.payload`, for bits that differ from layer
to layer and for codebooks. As there, the **header** is reliable and the **body** is exposed.
Little-endian, version 1::

    header
      magic 4 s "ISQC" | version u8 | 3 zero bytes
      header length u32 | body length u64 | CRC-32 of the body u32
      CRC-32 of the header u32 (computed with this field zero)
      exit u16 (0: last) | layers u16
      has the rest u8 (1; and of a refinement twice the bits that it goes behind)
      root's name: u16 length, UTF-8
      one record a layer: quantiser u8 (its place in QUANTISERS), bits a weight u8,
                          table f32 or f16 u8 (0, 1), table's rows u32, columns u8, codes u32
      tables, one after the other
      norms, biases, embeddings and running statistics, f32 [if the header has them]
    body
      the codes of each layer, most significant bit first, padded to a byte
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from insitu_widgets.air import coding
from insitu_widgets.air.channel import Link, transmit
from insitu_widgets.air.envelope import PayloadError
from insitu_widgets.air.payload import Packet
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.quantised import Quantised
from insitu_widgets.levels.quantisers import QUANTISERS, Coded
from insitu_widgets.levels.recipe import WIDEST_CODE
from insitu_widgets.roots import Root, skeleton

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC, VERSION = b"ISQC", 1
_PREAMBLE = struct.Struct("<4sB3xIQII")
_TOPOLOGY = struct.Struct("<HHBH")
_LAYER = struct.Struct("<BBBIBI")
_DTYPES = (np.dtype("<f4"), np.dtype("<f2"))
_NAMES = tuple(QUANTISERS)


@dataclass(frozen=True)
class Parcel:
    """A quantised network in bytes: the reliable ``header`` and the exposed ``body``."""

    header: bytes
    body: bytes

    @property
    def num_bits(self) -> int:
        """All bits that cross the link."""
        return 8 * (len(self.header) + len(self.body))

    def with_body(self, body: bytes) -> Parcel:
        """The same header with another body."""
        return replace(self, body=body)


def damaged(data: bytes, bit_error_rate: float, seed: int | np.random.Generator) -> bytes:
    """Bytes as they arrive: each bit turned over with ``bit_error_rate`` (see ``transmit``)."""
    link = Link(1.0, bit_error_rate=bit_error_rate)
    return transmit(Packet(b"", data), link, seed).body


def body_of(layers: Mapping[str, Coded]) -> bytes:
    """The codes of all layers, packed."""
    return b"".join(coding.pack_codes(c.codes.numpy(), c.code_bits) for c in layers.values())


def with_codes(layers: Mapping[str, Coded], body: bytes) -> dict[str, Coded]:
    """The same layers with the codes of another body, such as a damaged one."""
    found, at = {}, 0
    for name, layer in layers.items():
        size = coding.packed_size(layer.codes.numel(), layer.code_bits)
        codes = coding.unpack_codes(body[at : at + size], layer.codes.numel(), layer.code_bits)
        found[name] = replace(layer, codes=torch.from_numpy(codes))
        at += size
    return found


def pack_quantised(network: Quantised) -> Parcel:
    """Put a quantised network into bytes; without a rest (a refinement), none is sent."""
    name, records, tables = network.root.encode(), [], []
    for layer in network.layers.values():
        half = layer.table.dtype == torch.float16
        place, (rows, columns) = _NAMES.index(layer.quantiser), layer.table.shape
        records.append(_LAYER.pack(place, layer.bits, half, rows, columns, layer.codes.numel()))
        tables.append(layer.table.numpy().astype(_DTYPES[half]).tobytes())
    rest = [tensor.detach().numpy().astype("<f4").tobytes() for tensor in network.rest.values()]
    kind = 2 * network.behind + bool(network.rest)
    topology = _TOPOLOGY.pack(network.exit or 0, len(records), kind, len(name))
    content = b"".join([topology, name, *records, *tables, *rest])
    body = body_of(network.layers)
    fields = (MAGIC, VERSION, _PREAMBLE.size + len(content), len(body), zlib.crc32(body))
    checksum = zlib.crc32(_PREAMBLE.pack(*fields, 0) + content)
    return Parcel(_PREAMBLE.pack(*fields, checksum) + content, body)


def unpack_quantised(parcel: Parcel, root: Root | None = None) -> tuple[Quantised, bool]:
    """Restore a quantised network, and whether its body arrived as it was sent.

    Parameters
    ----------
    parcel
        What arrived. Flipped bits of the body never raise.
    root
        For the parcel of a root that is not a shipped one: the root, for its architecture.

    Raises
    ------
    PayloadError
        For a header that is damaged, truncated, of another version or for another architecture,
        and for a body of the wrong length.
    """
    body_checksum = _check_envelope(parcel)
    try:
        network = _read(parcel, root)
    except (struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
        msg = f"header: its fields do not make a network ({error}). Ask for it again."
        raise PayloadError(msg) from error
    return network, zlib.crc32(parcel.body) == body_checksum


def _check_envelope(parcel: Parcel) -> int:
    header = parcel.header
    if len(header) < _PREAMBLE.size:
        msg = (
            f"header: truncated, {len(header)} bytes of at least {_PREAMBLE.size}. "
            f"Ask for the parcel again."
        )
        raise PayloadError(msg)
    magic, version, length, body_length, body_checksum, checksum = _PREAMBLE.unpack_from(header)
    if (magic, version) != (MAGIC, VERSION):
        msg = (
            f"header: it begins with {magic!r} version {version} instead of {MAGIC!r} version "
            f"{VERSION}. Read it with the program that it is for."
        )
        raise PayloadError(msg)
    blank = header[: _PREAMBLE.size - 4] + bytes(4)
    if len(header) != length or zlib.crc32(blank + header[_PREAMBLE.size :]) != checksum:
        msg = (
            f"header: damaged, {len(header)} bytes of {length} and a checksum that does not match. "
            f"Ask for the parcel again."
        )
        raise PayloadError(msg)
    if len(parcel.body) != body_length:
        msg = (
            f"body: {len(parcel.body)} bytes arrived, the header announces {body_length}. "
            f"Ask for the parcel again."
        )
        raise PayloadError(msg)
    return int(body_checksum)


def _read(parcel: Parcel, root: Root | None) -> Quantised:
    header, at = parcel.header, _PREAMBLE.size
    exit_, count, kind, length = _TOPOLOGY.unpack_from(header, at)
    behind, has_rest = divmod(kind, 2)
    at += _TOPOLOGY.size
    name = header[at : at + length].decode()
    at += length
    known = skeleton(name) if root is None else root
    if known.name != name:
        msg = f"it is for {name!r}, the root given is {known.name!r}"
        raise ValueError(msg)
    weights, rest = weights_and_rest(cut(known, exit_ or None))
    records = [_LAYER.unpack_from(header, at + i * _LAYER.size) for i in range(count)]
    at += count * _LAYER.size
    layers: dict[str, Coded] = {}
    for (layer, like), record in zip(weights.items(), records, strict=True):
        layers[layer] = _layer(header, at, like, record)
        at += layers[layer].table_bits // 8
    expected = sum(coding.packed_size(c.codes.numel(), c.code_bits) for c in layers.values())
    if len(parcel.body) != expected:
        msg = f"its layers need {expected} bytes of codes"
        raise ValueError(msg)
    found: dict[str, Tensor] = {}
    for tensor, like in rest.items() if has_rest else ():
        values = np.frombuffer(header, "<f4", like.numel(), at)
        found[tensor] = torch.from_numpy(values.copy()).view(like.shape)
        at += 4 * like.numel()
    if at != len(header):
        msg = f"{len(header) - at} bytes are left over"
        raise ValueError(msg)
    return Quantised(name, exit_ or None, with_codes(layers, parcel.body), found, behind)


def _layer(header: bytes, at: int, like: Tensor, record: tuple[int, ...]) -> Coded:
    """A layer with its table; its codes, all 0, have the announced number."""
    place, bits, half, rows, columns, codes = record
    values = np.frombuffer(header, _DTYPES[half], rows * columns, at)
    table = torch.from_numpy(values.copy()).view(rows, columns)
    layer = Coded(
        _NAMES[place], tuple(like.shape), bits, torch.zeros(codes, dtype=torch.uint8), table
    )
    entries = rows == 2**layer.code_bits if half else rows in (1, like.shape[0]) and columns <= 2
    if layer.code_bits > WIDEST_CODE or codes != -(-like.numel() // layer.group) or not entries:
        msg = "a layer's codes or its table do not fit the architecture"
        raise ValueError(msg)
    return layer
