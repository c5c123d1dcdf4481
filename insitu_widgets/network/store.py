"""Stores of packets: each apart, equal pieces once, or nested sub-models once with their root.

A sub-model that is nested in its root needs no copy of its weights: its mask is a threshold on
the root's magnitudes, its values are the root's, and its codes are a function of both. The nested
store therefore keeps the root, and of each variant the recipe and a checksum; a packet is
re-assembled when it is asked for, at a cost in time instead of bytes. All three give the very
bytes back that were put in (paper, section 2.2: each subnet is embedded in the larger ones).
"""

from __future__ import annotations

import zlib
from collections import Counter, OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from insitu_widgets.air.increment import NotNestedError
from insitu_widgets.air.payload import Packet, pack, unpack
from insitu_widgets.cards import card_of
from insitu_widgets.levels.derive import derive
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from insitu_widgets.levels.recipe import Recipe
    from insitu_widgets.roots import Root

    Roots = Callable[[str], Root]

_DIGEST_BYTES = 16


class Store(Protocol):
    """Packets by recipe; ``num_bytes`` is what keeping them takes."""

    @property
    def num_bytes(self) -> int:
        """Bytes that all of it takes."""

    def add(self, recipe: Recipe, packet: Packet) -> None:
        """Keep a packet; one that was kept under the same recipe goes."""

    def get(self, recipe: Recipe) -> Packet:
        """The packet, to the bit."""

    def remove(self, recipe: Recipe) -> None:
        """Let a packet go."""

    def alone(self, recipe: Recipe, packet: Packet) -> int:
        """Bytes that this packet would take in an empty store, at least."""


class Apart:
    """Every packet as it is."""

    def __init__(self) -> None:
        self._packets: dict[Recipe, Packet] = {}
        self.num_bytes = 0

    def add(self, recipe: Recipe, packet: Packet) -> None:
        """Keep a packet."""
        self.remove(recipe)
        self._packets[recipe] = packet
        self.num_bytes += packet.num_bits // 8

    def get(self, recipe: Recipe) -> Packet:
        """The packet that was kept."""
        return self._packets[recipe]

    def remove(self, recipe: Recipe) -> None:
        """Let a packet go, if it is here."""
        packet = self._packets.pop(recipe, None)
        self.num_bytes -= packet.num_bits // 8 if packet else 0

    def alone(self, _: Recipe, packet: Packet) -> int:
        """Its bytes."""
        return packet.num_bits // 8


class Pieces:
    """Packets cut at the borders of their layers; equal pieces are kept once, by their digest.

    Parameters
    ----------
    roots
        A user's own root by its name: its architecture says where layers end.
    """

    def __init__(self, roots: Roots = load_root) -> None:
        self._roots = roots
        self._pieces: dict[bytes, bytes] = {}
        self._uses: Counter[bytes] = Counter()
        self._packets: dict[Recipe, tuple[int, tuple[bytes, ...]]] = {}
        self.num_bytes = 0

    def add(self, recipe: Recipe, packet: Packet) -> None:
        """Keep a packet: the pieces that are new, and the list of its digests."""
        own = self._roots(recipe.root) if card_of(recipe.root) is None else None
        cut = list(pieces(packet, own))
        self.remove(recipe)
        keys = []
        for piece in cut:
            key = blake2b(piece, digest_size=_DIGEST_BYTES).digest()
            keys.append(key)
            self._uses[key] += 1
            if self._uses[key] == 1:
                self._pieces[key] = piece
                self.num_bytes += len(piece)
        self.num_bytes += _DIGEST_BYTES * len(keys)
        self._packets[recipe] = len(packet.header), tuple(keys)

    def get(self, recipe: Recipe) -> Packet:
        """The packet, put together again."""
        header, keys = self._packets[recipe]
        whole = b"".join(self._pieces[key] for key in keys)
        return Packet(whole[:header], whole[header:])

    def remove(self, recipe: Recipe) -> None:
        """Let a packet go, if it is here, and the pieces that no other packet uses."""
        _, keys = self._packets.pop(recipe, (0, ()))
        self.num_bytes -= _DIGEST_BYTES * len(keys)
        for key in keys:
            self._uses[key] -= 1
            if not self._uses[key]:
                del self._uses[key]
                self.num_bytes -= len(self._pieces.pop(key))

    def alone(self, _: Recipe, packet: Packet) -> int:
        """Its bytes."""
        return packet.num_bits // 8


def pieces(packet: Packet, root: Root | None = None) -> Iterator[bytes]:
    """A packet in pieces: topology and masks, scales, norms and biases, and each layer's values.

    They are slices, in order: joined they are the header and the body. Where the packet is not of
    a shipped root, ``root`` gives the architecture.
    """
    submodel, _ = unpack(packet, root=root)
    rest = [4 * tensor.numel() for tensor in submodel.rest.values()]
    scales = [4 * layer.scales.numel() for layer in submodel.layers if layer.scales is not None]
    values = [-(-layer.values.numel() * layer.bits // 8) for layer in submodel.layers]
    top = len(packet.header) - sum(rest) - sum(scales)
    yield packet.header[:top]
    yield from _cut(packet.header[top:], [*scales, *rest])
    yield from _cut(packet.body, values)


def _cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size


class Nested:
    """The root once, and of each variant its recipe and its checksum.

    Parameters
    ----------
    roots
        A root by its name; its weights are what the variants share.
    """

    def __init__(self, roots: Roots = load_root) -> None:
        self._roots = roots
        self._sums: dict[Recipe, int] = {}
        self._held: Counter[str] = Counter()
        self.num_bytes = 0

    def add(self, recipe: Recipe, packet: Packet) -> None:
        """Keep a packet that is nested in its root.

        Raises
        ------
        NotNestedError
            If the root's weights do not make this very packet.
        """
        root = self._roots(recipe.root)
        if pack(derive(root, recipe)) != packet:
            msg = (
                f"packet must be nested in the root {recipe.root!r}: cut by {recipe} from the "
                f"root's own weights, to the bit; got other bytes (a re-trained or damaged "
                f"variant?). Keep it apart instead."
            )
            raise NotNestedError(msg)
        self.remove(recipe)
        self._sums[recipe] = _checksum(packet)
        self.num_bytes += _entry_bytes(recipe)
        self._held[recipe.root] += 1
        if self._held[recipe.root] == 1:
            self.num_bytes += root_bytes(root)

    def get(self, recipe: Recipe) -> Packet:
        """The packet, made again from the root.

        Raises
        ------
        NotNestedError
            If the root has changed since.
        """
        expected = self._sums[recipe]
        packet = pack(derive(self._roots(recipe.root), recipe))
        if _checksum(packet) != expected:
            msg = (
                f"packet of {recipe} must be made from the root it was added with; the root's "
                f"weights have changed since. Add its variants again."
            )
            raise NotNestedError(msg)
        return packet

    def remove(self, recipe: Recipe) -> None:
        """Let a variant go, if it is here; with the last one its root goes."""
        if self._sums.pop(recipe, None) is None:
            return
        self.num_bytes -= _entry_bytes(recipe)
        self._held[recipe.root] -= 1
        if not self._held[recipe.root]:
            self.num_bytes -= root_bytes(self._roots(recipe.root))

    def alone(self, recipe: Recipe, _: Packet) -> int:
        """The bytes of its root."""
        return root_bytes(self._roots(recipe.root))


def root_bytes(root: Root) -> int:
    """Bytes of a root's tensors, all its heads included."""
    return sum(tensor.numel() * tensor.element_size() for tensor in root.state_dict().values())


def _checksum(packet: Packet) -> int:
    return zlib.crc32(packet.body, zlib.crc32(packet.header))


def _entry_bytes(recipe: Recipe) -> int:
    return len(str(recipe).encode()) + 4


class Shelf:
    """A store with a capacity: the longest unused packets make room, pinned ones stay."""

    def __init__(self, store: Store, capacity_bytes: float) -> None:
        self.store, self.capacity_bytes = store, capacity_bytes
        self._held: OrderedDict[Recipe, bool] = OrderedDict()

    def __contains__(self, recipe: Recipe) -> bool:
        return recipe in self._held

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """What it holds, the longest unused first."""
        return tuple(self._held)

    def take(self, recipe: Recipe) -> Packet:
        """The packet, which is thereby the last used."""
        self._held.move_to_end(recipe)
        return self.store.get(recipe)

    def drop(self, recipe: Recipe) -> None:
        """Let a packet go, if it is here."""
        if self._held.pop(recipe, None) is not None:
            self.store.remove(recipe)

    def put(
        self, recipe: Recipe, packet: Packet, *, pinned: bool = False
    ) -> tuple[bool, list[tuple[Recipe, Packet]]]:
        """Keep a packet; returns whether it is kept, and what had to go for it.

        Where it is not kept, all is as it was.
        """
        if self.store.alone(recipe, packet) > self.capacity_bytes:
            return False, []
        before, old = self._held.copy(), self._kept(recipe)
        self.store.add(recipe, packet)
        self._held.pop(recipe, None)
        gone: list[tuple[Recipe, Packet]] = []
        for other in [other for other, fixed in self._held.items() if not fixed]:
            if self.store.num_bytes <= self.capacity_bytes:
                break
            gone.append((other, self.store.get(other)))
            self.drop(other)
        if self.store.num_bytes > self.capacity_bytes:  # what is pinned leaves too little room
            self.store.remove(recipe)
            for other, its in (*gone, *old):
                self.store.add(other, its)
            self._held = before
            if not old:
                self._held.pop(recipe, None)
            return False, []
        self._held[recipe] = pinned
        return True, gone

    def _kept(self, recipe: Recipe) -> list[tuple[Recipe, Packet]]:
        """What is held under this recipe, if something is and its root still makes it."""
        try:
            return [(recipe, self.store.get(recipe))] if recipe in self._held else []
        except NotNestedError:
            return []
