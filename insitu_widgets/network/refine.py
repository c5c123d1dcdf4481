"""Refinements: increments between packets, as a store or a broadcaster keeps them.

Paper, section 2.2: "each subnet is embedded in any other one larger in size. Then differential
parameter sets can be defined". The bytes are those of :mod:`insitu_widgets.air.increment`.
"""

from __future__ import annotations

from insitu_widgets.air.increment import NotNestedError
from insitu_widgets.air.payload import Packet, pack, unpack


def refinement(smaller: Packet, larger: Packet) -> Packet:
    """What has to be sent to a device that holds ``smaller`` so that it holds ``larger``.

    Raises
    ------
    NotNestedError
        If the smaller one is not embedded in the larger one.
    """
    return pack(unpack(larger)[0], base=unpack(smaller)[0])


def grow(smaller: Packet, refined: Packet) -> Packet:
    """The larger packet, to the bit, from the smaller one and the refinement.

    Raises
    ------
    NotNestedError
        If the refinement is for another packet, or was damaged on the way.
    """
    submodel, report = unpack(refined, base=unpack(smaller)[0])
    if not report.intact:
        msg = (
            f"refinement to {submodel.recipe} must arrive without errors; it did not. "
            f"Ask for it again."
        )
        raise NotNestedError(msg)
    return pack(submodel)
