"""Progressive download, layer by layer (paper, section 2.1): answers before the last bit is in.

A root is sent as chunks: the stem with block 1 and head 1, then block 2 with head 2, and so on.
Each chunk is a packet of its own, so after chunk e the device classifies at exit e. The weights
that are kept are the largest of the whole root, all its heads included, not of each chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from insitu_widgets.air.channel import Link, transmit
from insitu_widgets.air.payload import Packet, Report, pack, unpack
from insitu_widgets.errors import in_range
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.levels.submodel import SubModel
from insitu_widgets.roots import Root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np


@dataclass(frozen=True, eq=False)
class Arrival:
    """A chunk has arrived: from ``time_s`` on the device can answer at ``exit``.

    Attributes
    ----------
    exit : int
        The exit that has become usable.
    num_bits : int
        Bits that have crossed the link so far, every header included.
    time_s : float
        Seconds since the request.
    network : nn.Module
        What the device can run now: images to logits at this exit.
    report : Report
        What the receiver found in this chunk.
    """

    exit: int
    num_bits: int
    time_s: float
    network: nn.Module
    report: Report


def chunk(root: Root, exit: int) -> Root:  # noqa: A002
    """The part of a root that is sent for one exit, as a root of one block.

    It shares the root's tensors. The first chunk has the stem; the others begin where the chunk
    before them ended.
    """
    in_range(f"exit of {root.name}", exit, 1, root.num_exits)
    stem = root.stem if exit == 1 else nn.Identity()
    return Root(root.name, stem, [root.blocks[exit - 1]], [root.heads[exit - 1]]).eval()


def chunks(root: Root, keep: float = 1.0, bits: int = 32) -> tuple[Packet, ...]:
    """A root's packets in the order in which they are sent."""
    together = Root(root.name, root.stem, [nn.Sequential(*root.blocks)], [root.heads])
    whole = derive(together, Recipe(root.name, keep=keep, bits=bits))
    return tuple(pack(_part(whole, root, exit_)) for exit_ in range(1, root.num_exits + 1))


def _part(whole: SubModel, root: Root, exit_: int) -> SubModel:
    """The layers of one chunk, under the names that they have in it."""
    names = {f"blocks.0.{exit_ - 1}.": "blocks.0.", f"head.{exit_ - 1}.": "head."}
    if exit_ == 1:
        names["stem."] = "stem."
    layers = tuple(
        replace(layer, name=new + layer.name.removeprefix(old))
        for layer in whole.layers
        for old, new in names.items()
        if layer.name.startswith(old)
    )
    rest = {
        new + name.removeprefix(old): tensor
        for name, tensor in whole.rest.items()
        for old, new in names.items()
        if name.startswith(old)
    }
    return SubModel(whole.recipe, layers, rest, cut(chunk(root, exit_)))


def arrivals(
    root: Root,
    packets: Sequence[Packet],
    link: Link,
    random: np.random.Generator,
    guard: str = "none",
) -> Iterator[Arrival]:
    """Send the chunks one after the other, without a pause, and put them together.

    Parameters
    ----------
    root
        Only its architecture is read: what a device knows beforehand.
    packets
        What :func:`chunks` made.
    link
        Its delay is paid once; its bit-error rate turns over bits of every body.
    random
        Where the bit errors come from.
    guard
        See :func:`insitu_widgets.unpack`.

    Yields
    ------
    Arrival
        After each chunk; each extends the network of the one before.
    """
    num_bits, layers = 0, []
    for exit_, packet in enumerate(packets, 1):
        arrived = transmit(packet, link, random)
        submodel, report = unpack(arrived, guard, chunk(root, exit_))
        part = submodel.module
        layers += [part.get_submodule("stem"), part.get_submodule("blocks")]
        num_bits += packet.num_bits
        network = nn.Sequential(*layers, part.get_submodule("head"))
        yield Arrival(exit_, num_bits, link.time_s(num_bits), network, report)
