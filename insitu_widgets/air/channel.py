"""The link: how long a packet takes, and which of its bits it turns over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insitu_widgets.errors import in_range, of_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from insitu_widgets.air.payload import Packet

#: No link is faster than this (the paper's 6G peak is 1e12).
MOST_BPS = 1e15
MOST_DELAY_S = 3600.0
MOST_BER = 0.5
#: What a receiver may do with values that cannot have been sent: see :func:`insitu_widgets.unpack`.
GUARDS = ("none", "clamp", "zero")


@dataclass(frozen=True)
class Link:
    """A radio link as the packet sees it.

    Parameters
    ----------
    rate_bps
        Bits a second, above 0.
    delay_s
        Seconds before the first bit arrives.
    bit_error_rate
        Probability that a bit of the body arrives turned over, in [0, 0.5].

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    rate_bps: float
    delay_s: float = 0.0
    bit_error_rate: float = 0.0

    def __post_init__(self) -> None:
        in_range("rate_bps", self.rate_bps, 1e-6, MOST_BPS, "bit/s")
        in_range("delay_s", self.delay_s, 0.0, MOST_DELAY_S, "s")
        in_range("bit_error_rate", self.bit_error_rate, 0.0, MOST_BER)

    def time_s(self, num_bits: float) -> float:
        """Seconds until the last of ``num_bits`` bits has arrived."""
        in_range("num_bits", num_bits, 0.0, 1e18, "bits")
        return self.delay_s + num_bits / self.rate_bps


def flip_positions(
    num_bits: int, bit_error_rate: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """Positions of the bits that a memoryless channel turns over, in ascending order.

    The distances between errors of independent bits are geometric; drawing them gives the number
    and the places of the errors at a cost that grows with the errors, not with the bits.
    """
    if bit_error_rate == 0.0 or num_bits == 0:
        return np.empty(0, np.int64)
    mean = num_bits * bit_error_rate
    draws = int(mean + 6 * mean**0.5 + 16)
    parts, last = [], -1
    while last < num_bits:
        gaps = np.minimum(random.geometric(bit_error_rate, draws), num_bits + 1)
        places = last + np.cumsum(gaps)
        parts.append(places)
        last = int(places[-1])
    places = np.concatenate(parts)
    return places[places < num_bits]


def transmit(packet: Packet, link: Link, seed: int | np.random.Generator) -> Packet:
    """Send a packet: the header arrives as it is (the reliable channel), the body with errors.

    Each bit of the body is turned over independently with ``link.bit_error_rate``. The same seed
    turns over the same bits. With no error the very packet comes back.

    Raises
    ------
    ValueError
        For a negative seed.
    TypeError
        If it is given something else than a packet and a link.
    """
    from insitu_widgets.air.payload import Packet  # noqa: PLC0415  (it needs torch)

    of_type("packet", packet, Packet, "Make one with pack(submodel).")
    of_type("link", link, Link, "Make one with Link(rate_bps, delay_s, bit_error_rate).")
    if not isinstance(seed, np.random.Generator):
        in_range("seed", seed, 0, 2**63 - 1)
    random = np.random.default_rng(seed)
    places = flip_positions(8 * len(packet.body), link.bit_error_rate, random)
    if places.size == 0:
        return packet
    body = np.frombuffer(packet.body, np.uint8).copy()
    octets = places >> 3
    starts = np.flatnonzero(np.diff(octets, prepend=-1))
    turned = np.right_shift(128, places & 7).astype(np.uint8)
    body[octets[starts]] ^= np.bitwise_or.reduceat(turned, starts)
    return packet.with_body(body.tobytes())
