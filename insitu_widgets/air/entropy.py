"""Entropy coding of codes, beside fixed length: smaller, and brittle.

``huffman`` is the standard library's Deflate with Huffman codes only (RFC 1951). A flipped bit
that changes a symbol's length moves all symbols after it to other places, and one that breaks a
code ends the stream: the receiver keeps what it had read and takes middle codes for the rest.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from insitu_widgets.air.codebooks import body_of, with_codes
from insitu_widgets.errors import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from insitu_widgets.levels.quantisers import Coded

CODERS = ("fixed", "huffman")
_RAW = -15  # Deflate without header and checksum
_CHUNK = 64


def encode(layers: Mapping[str, Coded], coder: str = "fixed") -> bytes:
    """All codes of a network in one stream.

    Raises
    ------
    ValueError
        For a coder that does not exist.
    """
    one_of("coder", coder, CODERS)
    if coder == "fixed":
        return body_of(layers)
    symbols = b"".join(layer.codes.numpy().tobytes() for layer in layers.values())
    deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW, 9, zlib.Z_HUFFMAN_ONLY)
    return deflate.compress(symbols) + deflate.flush()


def decode(layers: Mapping[str, Coded], data: bytes, coder: str = "fixed") -> dict[str, Coded]:
    """Read a stream back into layers like these; a damaged one never raises.

    Parameters
    ----------
    layers
        For the number and the width of the codes (the reliable header).
    data
        What arrived.
    coder
        How it was coded.
    """
    one_of("coder", coder, CODERS)
    if coder == "fixed":
        return with_codes(layers, data)
    sizes = [layer.codes.numel() for layer in layers.values()]
    symbols = np.frombuffer(_inflate(data, sum(sizes)), np.uint8)
    found, at = {}, 0
    for (name, layer), size in zip(layers.items(), sizes, strict=True):
        codes = np.full(size, 2 ** (layer.code_bits - 1), np.uint8)
        part = symbols[at : at + size] & np.uint8(2**layer.code_bits - 1)
        codes[: part.size] = part
        found[name] = replace(layer, codes=torch.from_numpy(codes))
        at += size
    return found


def _inflate(data: bytes, most: int) -> bytes:
    """At most ``most`` symbols: all that can be read before a fault."""
    inflate, read = zlib.decompressobj(_RAW), bytearray()
    try:  # in small pieces, so that what was read before a fault is kept
        for at in range(0, len(data), _CHUNK):
            read += inflate.decompress(data[at : at + _CHUNK])
            if inflate.eof or len(read) >= most:
                break
    except zlib.error:
        pass
    return bytes(read[:most])
