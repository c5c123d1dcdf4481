"""Bits on the air: k-bit codes side by side, and masks coded the cheapest way.

All streams are most significant bit first and padded with zero bits to a whole byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Ways to code a mask of n positions of which m are set.
ALL, NONE, BITMAP, RICE = 0, 1, 2, 3
#: Positions that masks may set together; a mask whose groups are whole is coded by group.
_GROUPS = (1, 9, 8, 4, 2, 3)
#: Groups of a mask that are looked at before all of them are: most masks have none.
_GLANCE = 256
_CODES_A_GROUP = 8  # eight k-bit codes fill exactly k bytes


def pack_codes(codes: NDArray[np.uint8], bits: int) -> bytes:
    """Write codes (uint8 ``[n]``, each below 2^bits, bits 1 … 8) with ``bits`` bits each."""
    if bits == 8:
        return codes.tobytes()
    octets = np.zeros((-(-codes.size // _CODES_A_GROUP), _CODES_A_GROUP), np.uint8)
    octets.reshape(-1)[: codes.size] = codes
    words = octets.view(">u8").astype(np.uint64)[:, 0]
    for width, used, lower in _fields(bits):  # neighbours move together: 2, then 4, then all 8
        upper = words >> (width - used)
        upper &= lower << used
        words &= lower
        words |= upper
    octets = words.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - bits :]
    return octets.tobytes()[: packed_size(codes.size, bits)]


def unpack_codes(data: bytes, count: int, bits: int) -> NDArray[np.uint8]:
    """Read ``count`` codes back; ``data`` must be :func:`packed_size` bytes long."""
    if bits == 8:
        return np.frombuffer(data, np.uint8).copy()
    groups = -(-count // _CODES_A_GROUP)
    octets = np.zeros((groups, 8), np.uint8)
    padded = data + bytes(groups * bits - len(data))
    octets[:, 8 - bits :] = np.frombuffer(padded, np.uint8).reshape(-1, bits)
    words = octets.view(">u8").astype(np.uint64)[:, 0]
    for width, used, lower in reversed(_fields(bits)):
        upper = words & (lower << used)
        upper <<= width - used
        words &= lower
        words |= upper
    return words.astype(">u8").view(np.uint8)[:count]


def _fields(bits: int) -> list[tuple[np.uint64, np.uint64, np.uint64]]:
    """How the fields of a word join in pairs: their width, bits used, the lower of every two."""
    rows = []
    for width in (8, 16, 32):
        used = bits * width // 8
        lower = sum((1 << used) - 1 << at for at in range(0, 64, 2 * width))
        rows.append((np.uint64(width), np.uint64(used), np.uint64(lower)))
    return rows


def packed_size(count: int, bits: int) -> int:
    """Bytes that ``count`` codes of ``bits`` bits take."""
    return -(-count * bits // 8)


def encode_mask(mask: NDArray[np.bool_]) -> tuple[int, int, bytes]:
    """Code a mask (bool ``[n]``) the cheapest way.

    The ways: nothing to send (all or none set), a bitmap of n bits, or the gaps between set
    positions in a Rice code (R. F. Rice, JPL 79-22, 1979) whose unary quotients and fixed-length
    remainders are kept in two streams, so that both can be read without a loop. Where neighbours
    are set together (2, 3, 4, 8 or 9 of them), each group is coded as one position.

    Returns
    -------
    way, parameter, data
        The way, with four times the place of the group's size in the table of sizes; its Rice
        parameter (0 for the others); and the bytes.
    """
    if mask.all() or not mask.any():
        return _encode(mask)
    for place, size in enumerate(_GROUPS[1:], 1):
        if mask.size % size == 0:
            rows = mask.reshape(-1, size)
            if _alike(rows[:: -(-len(rows) // _GLANCE)]) and _alike(rows):
                way, parameter, data = _encode(rows[:, 0])
                return way + 4 * place, parameter, data
    return _encode(mask)


def _alike(rows: NDArray[np.bool_]) -> bool:
    return bool((rows == rows[:, :1]).all())


def _encode(mask: NDArray[np.bool_]) -> tuple[int, int, bytes]:
    count = int(np.count_nonzero(mask))
    if count == mask.size:
        return ALL, 0, b""
    if count == 0:
        return NONE, 0, b""
    unset = mask.size - int(mask[::-1].argmax()) - count  # before the last one that is set
    least, parameter = packed_size(mask.size, 1), None
    gaps = None
    for r in range(9):
        if _least_rice_size(count, unset, r) < least:
            gaps = np.diff(np.flatnonzero(mask), prepend=-1) - 1 if gaps is None else gaps
            size = packed_size(int((gaps >> r).sum()) + count, 1) + packed_size(count, r)
            if size < least:
                least, parameter = size, r
    if gaps is None or parameter is None:
        return BITMAP, 0, np.packbits(mask).tobytes()
    quotients = gaps >> parameter
    unary = np.zeros(int(quotients.sum()) + count, np.bool_)
    unary[np.cumsum(quotients + 1) - 1] = True
    data = np.packbits(unary).tobytes()
    if parameter:
        remainders = (gaps & (2**parameter - 1)).astype(np.uint8)
        data += pack_codes(remainders, parameter)
    return RICE, parameter, data


def _least_rice_size(count: int, unset: int, parameter: int) -> float:
    """Bytes below which no Rice code of that parameter is, whatever the gaps are."""
    quotients = max(0, unset - count * (2**parameter - 1)) / 2**parameter
    return (count * (1 + parameter) + quotients) / 8


def decode_mask(way: int, parameter: int, data: bytes, kept: int, size: int) -> NDArray[np.bool_]:
    """Read a mask of ``size`` positions back.

    Raises
    ------
    ValueError
        If the bytes are not a mask of that size with ``kept`` set positions.
    """
    place, kind = divmod(way, 4)
    group = _GROUPS[place] if place < len(_GROUPS) else 0
    if group and size % group == kept % group == 0:
        mask = _decode(kind, parameter, data, kept // group, size // group)
        if mask is not None and int(mask.sum()) == kept // group:
            return mask.repeat(group) if group > 1 else mask
    msg = f"mask: the bytes are not a mask of {size} positions with the announced number set."
    raise ValueError(msg)


def _decode(
    way: int, parameter: int, data: bytes, kept: int, size: int
) -> NDArray[np.bool_] | None:
    """The mask; ``None``, or one with another number set, where the bytes are not one."""
    if way == ALL and not data and kept == size:
        return np.ones(size, np.bool_)
    mask = np.zeros(size, np.bool_)
    if way == BITMAP and len(data) == packed_size(size, 1):
        mask = np.unpackbits(np.frombuffer(data, np.uint8), count=size).astype(np.bool_)
    elif way == RICE and parameter <= 8 and kept:
        tail = packed_size(kept, parameter)
        ones = np.flatnonzero(np.unpackbits(np.frombuffer(data[: len(data) - tail], np.uint8)))
        if ones.size == kept and len(data) >= tail:
            gaps = (np.diff(ones, prepend=-1) - 1) << parameter
            if parameter:
                gaps |= unpack_codes(data[len(data) - tail :], kept, parameter)
            positions = np.cumsum(gaps + 1) - 1
            if positions[-1] < size:
                mask[positions] = True
    elif way != NONE or data:
        return None
    return mask
