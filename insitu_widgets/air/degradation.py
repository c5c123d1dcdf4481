"""Graceful degradation (paper, section 5: an open problem): what a device does about lost packets.

The body of a packet travels in segments (or layer by layer), each of which is lost with some
probability; the header is reliable, as everywhere. A receiver knows which segments it lacks, and
so which weights. It can set these to zero, take them from a model that it still holds, or wait
until they have been sent again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from insitu_widgets.air import coding
from insitu_widgets.air.channel import Link
from insitu_widgets.air.payload import Packet, unpack
from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels import masked
from insitu_widgets.levels.submodel import SubModel
from insitu_widgets.roots import Root

#: What is lost as a whole: consecutive bytes, words dealt out in turn, or a layer's weights.
UNITS = ("segments", "interleaved segments", "layers")
FILLS = ("zero", "held")
#: Bytes that an interleaver keeps together: a float32, or eight 4-bit codes.
WORD_BYTES = 4
#: The highest probability of loss with which sending again comes to an end in good time.
MOST_LOSS = 0.99


@dataclass(frozen=True, eq=False)
class Segments:
    """Which segment each byte of a body travels in.

    Attributes
    ----------
    of_byte : NDArray[int64]
        ``[bytes]``: the segment's number, from 0.
    """

    of_byte: NDArray[np.int64]

    @property
    def sizes_bytes(self) -> NDArray[np.int64]:
        """Bytes of each segment ``[segments]``."""
        return np.bincount(self.of_byte)

    def lost(self, loss: float, random: np.random.Generator) -> NDArray[np.bool_]:
        """Draw which segments ``[segments]`` are lost, each by itself with probability ``loss``.

        The same generator draws the same numbers for every ``loss``: what is lost at a small one
        is lost at a larger one.
        """
        in_range("loss", loss, 0.0, MOST_LOSS)
        return random.random(len(self.sizes_bytes)) < loss

    def retransmission(
        self, link: Link, loss: float, random: np.random.Generator
    ) -> tuple[float, int]:
        """Send until all has arrived, in rounds: all, then what was lost, and so on.

        Each round costs the link's delay (until the receiver has asked for the rest) and the bits
        that are sent.

        Returns
        -------
        tuple[float, int]
            Seconds until the last segment has arrived, and bits sent.
        """
        in_range("loss", loss, 0.0, MOST_LOSS)
        waiting, time_s, sent_bits = self.sizes_bytes, 0.0, 0
        while waiting.size:
            num_bits = 8 * int(waiting.sum())
            time_s += link.time_s(num_bits)
            sent_bits += num_bits
            waiting = waiting[random.random(waiting.size) < loss]
        return time_s, sent_bits


def segment(submodel: SubModel, packet: Packet, segment_bytes: int, unit: str) -> Segments:
    """Divide a packet's body.

    Parameters
    ----------
    submodel, packet
        What is sent, and its bytes.
    segment_bytes
        Bytes of a segment, at least 4; of no account for layers.
    unit
        ``"segments"`` of consecutive bytes; ``"interleaved segments"``, over which words of four
        bytes are dealt out in turn, so that a loss is spread over all layers; ``"layers"``.
    """
    one_of("unit", unit, UNITS)
    in_range("segment_bytes", segment_bytes, WORD_BYTES, 10**9, "B")
    place = np.arange(len(packet.body))
    if unit == "segments":
        return Segments(place // segment_bytes)
    if unit == "interleaved segments":
        words = segment_bytes // WORD_BYTES
        return Segments(place // WORD_BYTES % -(-len(packet.body) // (WORD_BYTES * words)))
    sizes = [_size_bytes(layer.values.numel(), layer.bits) for layer in submodel.layers]
    return Segments(np.repeat(np.arange(len(sizes)), sizes))


def receive(
    packet: Packet, missing: NDArray[np.bool_], root: Root | None = None
) -> tuple[SubModel, dict[str, Tensor]]:
    """Unpack what has arrived.

    Parameters
    ----------
    packet
        What was sent.
    missing
        bool ``[bytes]``: which bytes of the body are lacking.
    root
        As in :func:`~insitu_widgets.air.payload.unpack`.

    Returns
    -------
    tuple[SubModel, dict[str, Tensor]]
        The sub-model (what is lacking means nothing in it), and for each layer which of its
        weights are lacking: bool, in the layer's shape.
    """
    if missing.shape != (len(packet.body),):
        msg = (
            f"missing must say of each of the body's {len(packet.body)} bytes whether it is "
            f"lacking; got {missing.shape[0]}. Make it from this packet's segments."
        )
        raise ValueError(msg)
    body = np.frombuffer(packet.body, np.uint8) * ~missing
    submodel, _ = unpack(packet.with_body(body.tobytes()), root=root)
    lacking, at = {}, 0
    for layer in submodel.layers:
        count = layer.values.numel()
        octets = missing[at : at + _size_bytes(count, layer.bits)]
        at += len(octets)
        first = np.arange(count) * layer.bits // 8
        last = (np.arange(count) * layer.bits + layer.bits - 1) // 8
        gone = torch.from_numpy(octets[first] | octets[last])
        if layer.bits == 32:  # the bytes between the first and the last
            gone = torch.from_numpy(octets.reshape(-1, 4).any(1))
        lacking[layer.name] = masked.scatter(gone, layer.mask)
    return submodel, lacking


def fill(submodel: SubModel, lacking: dict[str, Tensor], held: SubModel | None) -> nn.Module:
    """The network that a device makes of a sub-model of which some weights are lacking.

    Parameters
    ----------
    submodel, lacking
        What :func:`receive` returned.
    held
        A model that the device has from before: an older, a smaller, a coarser one. Where it has
        the layer, its weights take the place of those that are lacking; else, and for ``None``,
        zero does. The head counts as the same layer only at the same exit.

    Raises
    ------
    ValueError
        If the held model is of another root.
    """
    if held is not None and held.recipe.root != submodel.recipe.root:
        msg = (
            f"held must be a model of {submodel.recipe.root!r}, as the one that was sent; got "
            f"one of {held.recipe.root!r}. Fill with None instead."
        )
        raise ValueError(msg)
    local = {}
    if held is not None:
        same_exit = held.recipe.exit == submodel.recipe.exit
        local = {
            layer.name: layer
            for layer in held.layers
            if same_exit or not layer.name.startswith("head.")
        }
    network = copy.deepcopy(submodel.module)
    with torch.no_grad():
        for name, gone in lacking.items():
            if not bool(gone.any()):
                continue
            instead = local[name].dense() if name in local else torch.zeros(gone.shape)
            weight = network.get_parameter(name)
            weight.copy_(torch.where(gone, instead, weight))
    return network


@dataclass(frozen=True)
class Loss:
    """One seeded transmission with losses.

    Attributes
    ----------
    seed : int
        Of the channel.
    segments_lost, segments : int
        Lost, and sent.
    weights_lost : float
        Share of the sent weights that the device lacks.
    time_s : float
        Until the last segment was due.
    retransmission_s : float
        Until all has arrived, if what is lost is sent again.
    retransmission_bits : int
        Bits sent for that, the header not counted.
    networks : dict[str, nn.Module]
        By fill.
    """

    seed: int
    segments_lost: int
    segments: int
    weights_lost: float
    time_s: float
    retransmission_s: float
    retransmission_bits: int
    networks: dict[str, nn.Module]


def lossy(
    submodel: SubModel,
    packet: Packet,
    segments: Segments,
    held: SubModel | None,
    link: Link,
    *,
    loss: float,
    seeds: Sequence[int],
    root: Root | None = None,
) -> Iterator[Loss]:
    """Send a packet over a link that loses segments, once for each seed.

    Raises
    ------
    ValueError
        If ``loss`` is not from 0 to 0.99.
    """
    count = sum(layer.values.numel() for layer in submodel.layers)
    for seed in seeds:
        lost = segments.lost(loss, np.random.default_rng(seed))
        missing = lost[segments.of_byte]
        time_s, sent_bits = segments.retransmission(link, loss, np.random.default_rng(seed))
        arrived, lacking = receive(packet, missing, root)
        gone = sum(int(layer.sum()) for layer in lacking.values())
        fills = zip(FILLS, (None, held), strict=True)
        networks = {name: fill(arrived, lacking, local) for name, local in fills}
        yield Loss(
            seed=seed,
            segments_lost=int(lost.sum()),
            segments=len(lost),
            weights_lost=gone / count,
            time_s=link.time_s(8 * len(packet.body)),
            retransmission_s=time_s,
            retransmission_bits=sent_bits,
            networks=networks,
        )


def _size_bytes(count: int, bits: int) -> int:
    return coding.packed_size(count, bits)
