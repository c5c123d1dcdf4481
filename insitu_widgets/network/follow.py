"""Following the channel: a sub-model sent in increments while the rate changes (section 2).

Exit by exit, each increment holds one more block with its head; bit by bit, one more bit of every
code. What has arrived makes a sub-model at any time; a sender that fixed its choice at the start
has nothing on the device until the last bit is there. Both use the same air: the header goes at
the fastest reliable mode of each slot, the body at the fastest up to a given bit-error rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from insitu_widgets.air import coding
from insitu_widgets.air.channel import Link, transmit
from insitu_widgets.air.payload import Packet, pack, unpack
from insitu_widgets.air.radio import RELIABLE_BER, Radio, fastest
from insitu_widgets.errors import in_range
from insitu_widgets.levels import depth
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.levels.submodel import SubModel

if TYPE_CHECKING:
    from insitu_widgets.air.trace import Trace
    from insitu_widgets.roots import Root


@dataclass(frozen=True, eq=False)
class Increment:
    """What is sent in one piece.

    Attributes
    ----------
    whole : SubModel
        What the device can run once this and all before it have arrived.
    packet : Packet
        The bytes of this piece alone.
    merge : Callable[[bytes, bytes], bytes]
        Makes the body of ``whole`` from the body held before and this piece's.
    """

    whole: SubModel
    packet: Packet
    merge: Callable[[bytes, bytes], bytes]


def by_exit(root: Root, bits: int = 4) -> list[Increment]:
    """Exit 1 first, then one block with its head at a time; all weights are kept.

    Scales are per channel, so a block's bytes are the same whichever exit follows. Nothing but
    framing is sent twice; an earlier head is dropped when the next one arrives.
    """
    increments: list[Increment] = []
    trunk: set[str] = set()
    shared = 0
    for exit_ in range(1, root.num_exits + 1):
        whole = derive(root, Recipe(root.name, exit_, bits=bits))
        layers = tuple(layer for layer in whole.layers if layer.name not in trunk)
        rest = {name: tensor for name, tensor in whole.rest.items() if name not in trunk}
        piece = pack(SubModel(whole.recipe, layers, rest, depth.cut(root, exit_)))
        increments.append(Increment(whole, piece, partial(_append, shared)))
        stays = [layer for layer in whole.layers if not layer.name.startswith("head.")]
        shared = sum(coding.packed_size(layer.values.numel(), bits) for layer in stays)
        trunk = {layer.name for layer in stays}
        trunk |= {name for name in whole.rest if not name.startswith("head.")}
    return increments


def by_bit(root: Root, exit_: int | None = None) -> list[Increment]:
    """The most significant bit of every 8-bit code first, then one more bit at a time.

    The first b bits of an 8-bit code are a b-bit code with a step 2^(8-b) times as wide, so each
    prefix is a sub-model by itself (another one than a quantiser made for b bits gives). The first
    piece brings scales, norms and biases; each later one a byte that says which it is.
    """
    full = derive(root, Recipe(root.name, exit_, bits=WIDEST_CODE))
    sizes = tuple(layer.values.numel() for layer in full.layers)
    increments: list[Increment] = []
    for bits in range(1, WIDEST_CODE + 1):
        drop = WIDEST_CODE - bits
        layers = tuple(
            replace(
                layer,
                values=layer.values >> drop,
                scales=None if layer.scales is None else layer.scales * 2.0**drop,
                bits=bits,
            )
            for layer in full.layers
        )
        recipe = replace(full.recipe, bits=bits)
        whole = SubModel(recipe, layers, full.rest, depth.cut(root, exit_))
        plane = [(layer.values & 1).numpy() for layer in layers]
        body = b"".join(coding.pack_codes(values, 1) for values in plane)
        header = pack(whole).header if bits == 1 else bytes([bits])
        increments.append(Increment(whole, Packet(header, body), partial(_widen, sizes, bits)))
    return increments


def whole_packets(increments: Sequence[Increment], root: Root) -> list[Packet]:
    """The same recipes as packets of their own, each cut and quantised for itself."""
    return [pack(derive(root, increment.whole.recipe)) for increment in increments]


def _append(shared: int, held: bytes, piece: bytes) -> bytes:
    return held[:shared] + piece


def _widen(sizes: Sequence[int], bits: int, held: bytes, plane: bytes) -> bytes:
    """Codes of ``bits - 1`` bits and one more plane: codes of ``bits`` bits."""
    if bits == 1:
        return plane
    parts, held_at, plane_at = [], 0, 0
    for size in sizes:
        held_end = held_at + coding.packed_size(size, bits - 1)
        plane_end = plane_at + coding.packed_size(size, 1)
        codes = coding.unpack_codes(held[held_at:held_end], size, bits - 1)
        last = coding.unpack_codes(plane[plane_at:plane_end], size, 1)
        parts.append(coding.pack_codes((codes << 1 | last).astype(np.uint8), bits))
        held_at, plane_at = held_end, plane_end
    return b"".join(parts)


@dataclass(frozen=True)
class Air:
    """A channel that changes, and how it is used.

    Parameters
    ----------
    trace
        Signal-to-noise ratios.
    bandwidth_hz
        1 kHz … 10 GHz.
    most_ber
        Bit-error rate up to which a mode is good enough for the body, in [1e-12, 0.1].

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    trace: Trace
    bandwidth_hz: float
    most_ber: float

    def __post_init__(self) -> None:
        in_range("bandwidth_hz", self.bandwidth_hz, 1e3, 1e10, "Hz")
        in_range("most_ber", self.most_ber, 1e-12, 0.1)

    def rates_bps(self, slot: int) -> tuple[float, float, float]:
        """Rates of header and body in a slot, 0 in an outage, and the body's bit-error rate."""
        radio = Radio(self.trace.snr_db[slot])
        header, body = fastest(radio, RELIABLE_BER), fastest(radio, self.most_ber)
        return (
            header.efficiency_bps_hz * self.bandwidth_hz if header else 0.0,
            body.efficiency_bps_hz * self.bandwidth_hz if body else 0.0,
            body.bit_error_rate(radio) if body else 0.0,
        )


@dataclass(frozen=True)
class Arrival:
    """When the last bit of a packet arrived, and its body's mean bit-error rate on the way."""

    time_s: float
    bit_error_rate: float


def arrivals(packets: Iterable[Packet], air: Air) -> Iterator[Arrival]:
    """Send packets one after the other; ends with the trace, whatever is still on its way."""
    slot_s, now_s = air.trace.slot_s, 0.0
    for packet in packets:
        wrong = 0.0
        for is_body, part in enumerate((packet.header, packet.body)):
            left = 8.0 * len(part)
            while left > 0:
                slot = int(now_s / slot_s + 1e-9)
                if slot >= len(air.trace.snr_db):
                    return
                *rates, error_rate = air.rates_bps(slot)
                end_s = (slot + 1) * slot_s
                sent = min(left, rates[is_body] * (end_s - now_s))
                now_s = end_s if sent < left else now_s + sent / rates[is_body]
                left -= sent
                wrong += sent * error_rate * is_body
        yield Arrival(now_s, wrong / max(1, 8 * len(packet.body)))


@dataclass(frozen=True, eq=False)
class Held:
    """What the device holds from ``time_s`` on: a sub-model as it arrived."""

    time_s: float
    bit_error_rate: float
    model: SubModel


def follow(
    increments: Sequence[Increment], air: Air, root: Root, random: np.random.Generator
) -> Iterator[Held]:
    """Send increments while the channel changes; yields what the device holds after each."""
    body = b""
    pieces = [increment.packet for increment in increments]
    for increment, arrival in zip(increments, arrivals(pieces, air), strict=False):
        piece = transmit(increment.packet, _noise(arrival), random)
        body = increment.merge(body, piece.body)
        whole = Packet(pack(increment.whole).header, body)
        yield Held(arrival.time_s, arrival.bit_error_rate, unpack(whole, "zero", root)[0])


def fix(
    packets: Sequence[Packet],
    air: Air,
    latency_s: float,
    root: Root,
    random: np.random.Generator,
) -> Iterator[Held]:
    """Choose once, by the rates of the first slot, and send that packet whole.

    ``packets`` are in the order of their worth. The last one that would arrive within
    ``latency_s`` at the first slot's rates is sent, the first one if none would. Yields once, or
    never if the trace ends before.
    """
    header_bps, body_bps, _ = air.rates_bps(0)
    chosen = packets[0]
    for packet in packets if header_bps and body_bps else ():
        time_s = 8 * len(packet.header) / header_bps + 8 * len(packet.body) / body_bps
        if time_s <= latency_s:
            chosen = packet
    for arrival in arrivals([chosen], air):
        arrived = transmit(chosen, _noise(arrival), random)
        yield Held(arrival.time_s, arrival.bit_error_rate, unpack(arrived, "zero", root)[0])


def _noise(arrival: Arrival) -> Link:
    return Link(1.0, bit_error_rate=arrival.bit_error_rate)
