"""Refinements: the bytes that grow a nested sub-model into a larger one.

Paper, section 2.2: "each subnet is embedded in any other one larger in size. Then differential
parameter sets can be defined". A refinement holds the positions and values that the larger
sub-model has and the smaller has not, the layers of later blocks, and a new head where the exit
moves. Its header travels reliably like a packet's, its body is values. Layout, little-endian::

    header: CRC-32 of the smaller packet and of the larger one, u32 each | bits u8
            exit u16 (0: last) | keep f64 | root's name: u16 length, UTF-8
            a layer: whole u8 | mask's way u8, its parameter u8 | values u32, mask's bytes u32
                     | scales u8 (1: its scales follow all masks)
            masks | scales f32 | norms and biases that changed: one bit a tensor, then f32
    body:   the new values of each layer, as in a packet
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from insitu_widgets.air import coding
from insitu_widgets.air.payload import Packet, pack, unpack
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.derive import Layer, SubModel, weights_and_rest
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.network.store import NotNestedError
from insitu_widgets.roots import skeleton

if TYPE_CHECKING:
    from torch import Tensor

_TOP = struct.Struct("<IIBHdH")
_LAYER = struct.Struct("<BBBIIB")
_DTYPES: dict[int, np.dtype[np.float16 | np.float32]] = {
    16: np.dtype("<f2"),
    32: np.dtype("<f4"),
}


def refinement(smaller: Packet, larger: Packet) -> Packet:
    """What has to be sent to a device that holds ``smaller`` so that it holds ``larger``.

    Raises
    ------
    NotNestedError
        If the smaller one is not embedded in the larger one: another root, other bits, an earlier
        exit, weights that the larger one lacks, or weights of another value.
    """
    old, new = unpack(smaller)[0], unpack(larger)[0]
    if (old.recipe.root, old.recipe.bits) != (new.recipe.root, new.recipe.bits):
        _refuse(old, new, "both must be of one root and have the same bits")
    held = {layer.name: layer for layer in old.layers}
    records, masks, scales, body = [], [], [], []
    for layer in new.layers:
        before = held.pop(layer.name, None)
        if before is not None and not _embedded(before, layer):
            if not layer.name.startswith("head.") or old.recipe.exit == new.recipe.exit:
                _refuse(old, new, f"the weights of {layer.name} differ")
            before = None  # another exit has another head
        fresh, among = layer.mask.flatten(), layer.mask.flatten()
        if before is not None:
            fresh = fresh & ~before.mask.flatten()
            among = fresh[~before.mask.flatten()]
        way, parameter, mask = coding.encode_mask(among.numpy())
        values = layer.values[fresh[layer.mask.flatten()]]
        sends_scales = layer.scales is not None and before is None
        records.append(
            _LAYER.pack(before is None, way, parameter, len(values), len(mask), sends_scales)
        )
        masks.append(mask)
        if layer.scales is not None and sends_scales:
            scales.append(layer.scales.numpy().astype("<f4").tobytes())
        body.append(_encode(values, layer.bits))
    if any(not name.startswith("head.") for name in held):
        _refuse(old, new, f"the larger one lacks {', '.join(held)}")
    changed = [not _same(old.rest.get(name), tensor) for name, tensor in new.rest.items()]
    flags = np.packbits(np.array(changed, bool)).tobytes()
    rest = [t.numpy().tobytes() for t, sent in zip(new.rest.values(), changed, strict=True) if sent]
    name = new.recipe.root.encode()
    top = _TOP.pack(
        _sum(smaller), _sum(larger), new.recipe.bits, new.recipe.exit or 0, new.recipe.keep,
        len(name),
    )  # fmt: skip
    return Packet(b"".join([top, name, *records, *masks, *scales, flags, *rest]), b"".join(body))


def grow(smaller: Packet, refined: Packet) -> Packet:
    """The larger packet, to the bit, from the smaller one and the refinement.

    Raises
    ------
    NotNestedError
        If the refinement is for another packet, or was damaged on the way.
    """
    expected, result, bits, exit_, keep, length = _TOP.unpack_from(refined.header)
    at = _TOP.size + length
    recipe = Recipe(refined.header[_TOP.size : at].decode(), exit_ or None, keep, bits)
    if _sum(smaller) != expected:
        msg = (
            f"smaller must be the packet that this refinement to {recipe} was made for; got "
            f"another one. Send the whole packet instead."
        )
        raise NotNestedError(msg)
    held = {layer.name: layer for layer in unpack(smaller)[0].layers}
    old_rest = unpack(smaller)[0].rest
    architecture = cut(skeleton(recipe.root), recipe.exit)  # all that the device knows of the root
    weights, shapes = weights_and_rest(architecture)
    records = []
    for _ in weights:
        records.append(_LAYER.unpack_from(refined.header, at))
        at += _LAYER.size
    additions = []
    for (name, like), (whole, way, parameter, count, size, _) in zip(
        weights.items(), records, strict=True
    ):
        before = None if whole else held[name].mask
        among = like.numel() - (int(before.sum()) if before is not None else 0)
        decoded = coding.decode_mask(way, parameter, refined.header[at : at + size], count, among)
        additions.append((before, torch.from_numpy(decoded)))
        at += size
    layers, body_at = [], 0
    for (name, like), record, (before, mask) in zip(
        weights.items(), records, additions, strict=True
    ):
        count = record[3]
        raw = refined.body[body_at : body_at + coding.packed_size(count, bits)]
        body_at += len(raw)
        values = _decode(raw, count, bits)
        scales = None
        if bits <= WIDEST_CODE:
            scales = held[name].scales if not record[5] else None
            if record[5]:
                channels = like.shape[0]
                floats = np.frombuffer(refined.header, "<f4", channels, at).copy()
                scales, at = torch.from_numpy(floats), at + 4 * channels
        layers.append(
            _merge(
                name,
                like.shape,
                before=before,
                mask=mask,
                values=values,
                scales=scales,
                held=held.get(name),
                bits=bits,
            )
        )
    flags = np.unpackbits(
        np.frombuffer(refined.header, np.uint8, -(-len(shapes) // 8), at),
        count=len(shapes),
    )
    at += -(-len(shapes) // 8)
    rest = {}
    for sent, (name, like_tensor) in zip(flags, shapes.items(), strict=True):
        rest[name] = old_rest.get(name, like_tensor)
        if sent:
            floats = np.frombuffer(refined.header, "<f4", like_tensor.numel(), at).copy()
            rest[name] = torch.from_numpy(floats).view(like_tensor.shape)
            at += 4 * like_tensor.numel()
    larger = pack(SubModel(recipe, tuple(layers), rest, architecture))
    if _sum(larger) != result:
        msg = f"refinement to {recipe} must arrive without errors; it did not. Ask for it again."
        raise NotNestedError(msg)
    return larger


def _embedded(before: Layer, layer: Layer) -> bool:
    """Whether all that one layer has is in the other."""
    if before.mask.shape != layer.mask.shape or bool((before.mask & ~layer.mask).any()):
        return False
    if (before.scales is None) != (layer.scales is None):
        return False
    if before.scales is not None and not _same(before.scales, layer.scales):
        return False
    return _same(layer.values[before.mask[layer.mask]], before.values)


def _merge(
    name: str,
    shape: torch.Size,
    *,
    before: Tensor | None,
    mask: Tensor,
    values: Tensor,
    scales: Tensor | None,
    held: Layer | None,
    bits: int,
) -> Layer:
    if before is None or held is None:
        return Layer(name, mask.view(shape), values, scales, bits)
    flat = before.flatten()
    fresh = torch.zeros_like(flat)
    fresh[~flat] = mask
    whole = torch.zeros(flat.shape, dtype=values.dtype)
    whole[flat], whole[fresh] = held.values, values
    both = flat | fresh
    return Layer(name, both.view(shape), whole[both], scales, bits)


def _encode(values: Tensor, bits: int) -> bytes:
    if bits <= WIDEST_CODE:
        return coding.pack_codes(values.numpy(), bits)
    return values.detach().numpy().astype(_DTYPES[bits], copy=False).tobytes()


def _decode(raw: bytes, count: int, bits: int) -> Tensor:
    if bits <= WIDEST_CODE:
        return torch.from_numpy(coding.unpack_codes(raw, count, bits))
    return torch.from_numpy(np.frombuffer(raw, _DTYPES[bits]).copy())


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None or a.shape != b.shape:
        return False
    return a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def _sum(packet: Packet) -> int:
    return zlib.crc32(packet.body, zlib.crc32(packet.header))


def _refuse(old: SubModel, new: SubModel, why: str) -> None:
    msg = (
        f"smaller must be nested in larger; {old.recipe} is not in {new.recipe}: {why}. "
        f"Choose recipes that differ in exit only, or in keep at 16 or 32 bits."
    )
    raise NotNestedError(msg)
