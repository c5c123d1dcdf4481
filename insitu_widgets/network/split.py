"""The feature's way up (paper, section 2.1): packed in k-bit codes, sent, and read by the server.

An upload has two parts, like a download: a reliable header with each image's smallest and largest
value (two f32, little-endian), and a body that is exposed to bit errors: codes of k = 1 … 8 bits
(most significant bit first, padded to a byte), or IEEE 754 half or single precision. The split
point, the shape and k were agreed on with the download and are not sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from insitu_widgets.air import coding
from insitu_widgets.air.channel import GUARDS, Link, transmit
from insitu_widgets.air.payload import Packet
from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.recipe import BITS, WIDEST_CODE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from insitu_widgets.levels.split import Halves
    from insitu_widgets.roots import Root

#: Bits of the header for each image: its smallest and its largest value.
RANGE_BITS = 64
#: More values than any image or feature has.
MOST_VALUES = 10**12
_FLOATS: dict[int, np.dtype[np.float16 | np.float32]] = {16: np.dtype("<f2"), 32: np.dtype("<f4")}
_LARGEST_HALF = float(np.finfo(np.float16).max)


def upload_bits(values: int, bits: int) -> int:
    """Bits that go up for one image whose feature has ``values`` values; 0 where it has none."""
    in_range("values", values, 0, MOST_VALUES)
    one_of("feature bits", bits, BITS)
    return RANGE_BITS + 8 * coding.packed_size(values, bits) if values else 0


def pack_feature(feature: Tensor, bits: int) -> Packet:
    """Put features ``[N, …]`` into bytes, each image's values between its own two ends.

    Raises
    ------
    ValueError
        For no image at all, or a number of bits that does not exist.
    """
    one_of("feature bits", bits, BITS)
    if feature.ndim < 2 or feature.shape[0] == 0:
        msg = (
            f"feature must be [N, …] with at least one image; got {list(feature.shape)}. "
            f"Give the device an image."
        )
        raise ValueError(msg)
    rows = feature.flatten(1).numpy()
    ends = np.stack([rows.min(1), rows.max(1)], 1).astype("<f4")
    if bits > WIDEST_CODE:
        if bits == 16:
            rows = rows.clip(-_LARGEST_HALF, _LARGEST_HALF)
            ends = ends.clip(-_LARGEST_HALF, _LARGEST_HALF).astype("<f2").astype("<f4")
        return Packet(ends.tobytes(), rows.astype(_FLOATS[bits]).tobytes())
    low, step = _grid(ends, bits)
    codes = np.rint((rows - low) / step).clip(0, 2**bits - 1).astype(np.uint8)
    return Packet(ends.tobytes(), coding.pack_codes(codes.reshape(-1), bits))


def unpack_feature(packet: Packet, shape: Sequence[int], bits: int, guard: str = "clamp") -> Tensor:
    """Read features of one image's ``shape`` back: float32 ``[N, *shape]``.

    Parameters
    ----------
    packet
        What arrived; the header says how many images.
    shape
        The shape of one image's feature.
    bits
        Bits for each value.
    guard
        For 16 and 32 bits, what the server does with values beyond their image's range:
        ``"none"``, ``"clamp"`` or ``"zero"``. Codes of 8 bits and fewer cannot leave it.

    Raises
    ------
    ValueError
        If the bytes do not fit the shape, or the guard does not exist.
    """
    one_of("feature bits", bits, BITS)
    one_of("guard", guard, GUARDS)
    images, size = 8 * len(packet.header) // RANGE_BITS, int(np.prod(shape))
    expected = coding.packed_size(images * size, bits)
    if len(packet.body) != expected or 8 * len(packet.header) != images * RANGE_BITS:
        msg = (
            f"upload: {images} features {list(shape)} at {bits} bit need {expected} bytes; got "
            f"{len(packet.body)}. Agree on the split point and the bits first."
        )
        raise ValueError(msg)
    ends = np.frombuffer(packet.header, "<f4").reshape(images, 2)
    if bits <= WIDEST_CODE:
        low, step = _grid(ends, bits)
        codes = coding.unpack_codes(packet.body, images * size, bits).reshape(images, size)
        rows = low + codes * step
    else:
        rows = np.frombuffer(packet.body, _FLOATS[bits]).reshape(images, size).astype(np.float32)
        low, high = ends[:, :1], ends[:, 1:]
        if guard == "clamp":
            rows = np.where(np.isnan(rows), 0.0, rows).clip(low, high)
        elif guard == "zero":
            rows = np.where((rows >= low) & (rows <= high), rows, 0.0)
    return torch.from_numpy(rows.astype(np.float32)).reshape(images, *shape)


def _grid(ends: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest level and the step of each image: ``[N, 1]`` both."""
    low, high = ends[:, :1], ends[:, 1:]
    step = (high - low) / np.float32(2**bits - 1)
    return low, np.where(step > 0, step, np.float32(1.0))  # a constant feature needs no step


@dataclass(eq=False)
class Uplink:
    """The way up: called with features ``[N, …]``, it gives what the server receives.

    Parameters
    ----------
    bits
        Bits for each value that goes up: 1 … 8, 16 or 32.
    link
        Its bit-error rate turns over bits of the body.
    random
        Where the bit errors come from; each call draws anew.
    guard
        See :func:`unpack_feature`.

    Attributes
    ----------
    sent_bits : int
        Bits that have gone up so far, headers included.
    """

    bits: int
    link: Link
    random: np.random.Generator
    guard: str = "clamp"
    sent_bits: int = 0

    def __post_init__(self) -> None:
        one_of("feature bits", self.bits, BITS)
        one_of("guard", self.guard, GUARDS)

    def __call__(self, feature: Tensor) -> Tensor:
        """Pack, send and unpack."""
        packet = pack_feature(feature, self.bits)
        self.sent_bits += packet.num_bits
        arrived = transmit(packet, self.link, self.random)
        return unpack_feature(arrived, feature.shape[1:], self.bits, self.guard)


@dataclass(frozen=True, eq=False)
class Cooperation:
    """A device and a server that classify together. Call it like a root."""

    halves: Halves
    uplink: Uplink

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of ``images [N, C, H, W]``."""
        feature: Tensor = self.halves.device(images)
        if self.halves.uploads:
            feature = self.uplink(feature)
        logits: Tensor = self.halves.server(feature)
        return logits


def cooperative_exits(root: Root, point: int, uplink: Uplink, images: Tensor) -> list[Tensor]:
    """Logits of every exit from one pass: the device's up to ``point``, then the server's.

    At split point 0 the image itself goes up; at the last one nothing does.

    Raises
    ------
    ValueError
        For a split point that the root has not got.
    """
    in_range(f"split point of {root.name}", point, 0, root.num_exits)
    feature = root.stem(uplink(images) if point == 0 else images)
    logits = []
    for exit_, (block, head) in enumerate(zip(root.blocks, root.heads, strict=True), 1):
        feature = block(feature)
        logits.append(head(feature))
        if exit_ == point < root.num_exits:
            feature = uplink(feature)
    return logits
