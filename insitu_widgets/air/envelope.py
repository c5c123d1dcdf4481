"""The envelope of what is sent: which format, how long, and checksums of both parts.

Little-endian: magic 4 s | version u8 | 3 zero bytes | header length u32 | body length u64 |
CRC-32 of the body u32 | CRC-32 of the header u32 (computed with this field zero).
"""

from __future__ import annotations

import struct
import zlib

#: How packets begin, and how each is read.
WHOLE, INCREMENT = b"ISMD", b"ISMI"
_READ_WITH = {
    WHOLE: "a whole packet, and no base goes with one. Leave base out: unpack(packet)",
    INCREMENT: "an increment to a sub-model that the device has. Give that: unpack(packet, base=…)",
}
_PREAMBLE = struct.Struct("<4sB3xIQII")
#: Where the header's content begins.
SIZE = _PREAMBLE.size


class PayloadError(ValueError):
    """A packet that cannot be read; the message says what is wrong with it."""


def seal(magic: bytes, version: int, content: bytes, body: bytes) -> bytes:
    """The header: the envelope, and the content in it."""
    fields = (magic, version, SIZE + len(content), len(body), zlib.crc32(body))
    checksum = zlib.crc32(_PREAMBLE.pack(*fields, 0) + content)
    return _PREAMBLE.pack(*fields, checksum) + content


def check(header: bytes, body: bytes, magic: bytes, version: int) -> int:
    """Check the envelope; returns the body's checksum as it was sent.

    Raises
    ------
    PayloadError
        For a header that is damaged, truncated or of another format or version, and for a body of
        another length than announced.
    """
    if len(header) < SIZE:
        msg = (
            f"header: truncated, {len(header)} bytes of at least {SIZE}. Ask for the packet again."
        )
        raise PayloadError(msg)
    found, written, length, body_length, body_checksum, checksum = _PREAMBLE.unpack_from(header)
    if found != magic:
        msg = (
            f"header: not a sub-model packet, it begins with {found!r} instead of {magic!r}. Make "
            f"one with pack(submodel), or ask for it again."
        )
        if found in _READ_WITH:
            msg = f"header: this is {_READ_WITH[found]}."
        raise PayloadError(msg)
    if written != version:
        msg = (
            f"header: format version {written}, this receiver reads version {version}. "
            f"Update the one that is older."
        )
        raise PayloadError(msg)
    if len(header) != length:
        word = "truncated" if len(header) < length else "too long"
        msg = f"header: {word}, {len(header)} bytes of {length}. Ask for the packet again."
        raise PayloadError(msg)
    if zlib.crc32(header[: SIZE - 4] + bytes(4) + header[SIZE:]) != checksum:
        msg = "header: damaged, its checksum does not match. Ask for the packet again."
        raise PayloadError(msg)
    if len(body) != body_length:
        msg = (
            f"body: {len(body)} bytes arrived, the header announces {body_length}. "
            f"Ask for the packet again."
        )
        raise PayloadError(msg)
    return int(body_checksum)
