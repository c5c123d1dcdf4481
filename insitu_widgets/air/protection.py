"""Unequal protection: the most significant bits on the reliable channel, at a stated cost.

A flip of the first bit of a code moves a weight by half the range, one of the last bit by a
step. The paper (section 4) protects the topology only; here the first ``protected`` bits of each
code ride with it. What the reliable channel costs is the rate of its code: a protected bit takes
1 / ``code_rate`` bits on the air.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from insitu_widgets.air import coding
from insitu_widgets.air.codebooks import damaged
from insitu_widgets.errors import in_range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from insitu_widgets.levels.quantisers import Coded


@dataclass(frozen=True)
class Split:
    """Codes in two streams.

    Attributes
    ----------
    reliable : bytes
        The first ``protected`` bits of each code.
    exposed : bytes
        The others.
    protected : int
        How many bits of each code are protected.
    """

    reliable: bytes
    exposed: bytes
    protected: int

    def sent(self, bit_error_rate: float, seed: int | np.random.Generator) -> Split:
        """As it arrives: flips in the exposed stream only."""
        return replace(self, exposed=damaged(self.exposed, bit_error_rate, seed))

    def air_bits(self, code_rate: float) -> float:
        """Bits on the air, if the reliable channel's code has this rate (0.05 … 1)."""
        in_range("code_rate", code_rate, 0.05, 1.0)
        return 8 * (len(self.reliable) / code_rate + len(self.exposed))


def split(layers: Mapping[str, Coded], protected: int) -> Split:
    """Divide the codes of scalar quantisers after their first ``protected`` bits.

    Raises
    ------
    ValueError
        For more bits than the narrowest code has, or for codes of groups of weights, whose bits
        are all alike.
    """
    _check(layers, protected)
    reliable, exposed = [], []
    for layer in layers.values():
        codes, low = layer.codes.numpy(), layer.bits - protected
        reliable.append(coding.pack_codes(codes >> np.uint8(low), protected) if protected else b"")
        exposed.append(coding.pack_codes(codes & np.uint8(2**low - 1), low) if low else b"")
    return Split(b"".join(reliable), b"".join(exposed), protected)


def join(layers: Mapping[str, Coded], parts: Split) -> dict[str, Coded]:
    """The layers that two streams make; ``layers`` tells the number and the width of the codes."""
    _check(layers, parts.protected)
    found, reliable, exposed = {}, parts.reliable, parts.exposed
    for name, layer in layers.items():
        count, low = layer.codes.numel(), layer.bits - parts.protected
        codes = torch.zeros(count, dtype=torch.uint8)
        for data, bits, shift in ((reliable, parts.protected, low), (exposed, low, 0)):
            if bits:
                size = coding.packed_size(count, bits)
                codes |= torch.from_numpy(coding.unpack_codes(data[:size], count, bits)) << shift
        reliable = reliable[coding.packed_size(count, parts.protected) :]
        exposed = exposed[coding.packed_size(count, low) :]
        found[name] = replace(layer, codes=codes)
    return found


def _check(layers: Mapping[str, Coded], protected: int) -> None:
    in_range("protected", protected, 0, min(layer.bits for layer in layers.values()), "bits")
    groups = [name for name, layer in layers.items() if layer.group > 1]
    if groups:
        msg = (
            f"protected bits need one code for each weight; got {groups[0]!r} with "
            f"{layers[groups[0]].group} weights a code. Use a scalar quantiser."
        )
        raise ValueError(msg)
