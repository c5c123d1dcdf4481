"""Split inference (paper, section 2.1): the device's half, the server's half, and what each costs.

Split point p is the number of blocks on the device. At 0 the device runs nothing and the image
itself goes up; at 1 … n - 1 the feature after block p goes up; at n the device runs the whole
network, its last head too, and nothing goes up.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from insitu_widgets.errors import in_range, of_type
from insitu_widgets.levels.depth import cut
from insitu_widgets.roots import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Halves:
    """A network in two: ``server(device(images))`` are the logits ``[N, classes]``.

    Attributes
    ----------
    point : int
        Blocks on the device.
    device : nn.Module
        Images ``[N, C, H, W]`` to what goes up ``[N, …]``.
    server : nn.Module
        What went up to logits; at the last split point it has nothing to do.
    uploads : bool
        Whether anything goes up.
    """

    point: int
    device: nn.Module
    server: nn.Module
    uploads: bool


def split(root: Root, point: int, local: nn.Module | None = None) -> Halves:
    """Divide a root between a device and a server.

    Parameters
    ----------
    root
        The whole network, as the server has it.
    point
        Blocks on the device, 0 … ``root.num_exits``.
    local
        The network that the device has received: the ``module`` of a sub-model cut at exit
        ``point``. Where none is given, the root's own layers, so that the halves make the root.

    Raises
    ------
    ValueError
        For a split point that the root has not got, or a local network cut elsewhere.
    TypeError
        For something else than a root or a network.
    """
    of_type("root", root, Root, "Load one with load_root(name), or wrap your own: Root.wrap(...).")
    last = root.num_exits
    in_range(f"split point of {root.name}", point, 0, last)
    rest = nn.Sequential(*root.blocks[point:], root.heads[-1])
    if point == 0:
        return Halves(0, nn.Identity(), nn.Sequential(root.stem, *rest), uploads=True)
    if local is not None:
        _check_local(root, point, local)
    network = local if local is not None else cut(root, point)
    if point == last:
        return Halves(point, network, nn.Identity(), uploads=False)
    below = nn.Sequential(network.get_submodule("stem"), network.get_submodule("blocks"))
    return Halves(point, below, rest, uploads=True)


def _check_local(root: Root, point: int, local: nn.Module) -> None:
    """Check that what a device has received is the root up to its exit ``point``, by its shapes."""
    of_type("local", local, nn.Module, "Give a sub-model's network: derive(root, recipe).module.")
    wanted, given = (
        {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        for network in (cut(root, point), local)
    )
    if wanted != given:
        name = min(dict(wanted.items() ^ given.items()))
        msg = (
            f"local must be the network of {root.name!r} cut at exit {point}, where it is split; "
            f"got another: its {name!r} is {given.get(name, 'missing')}, not "
            f"{wanted.get(name, 'there')}. Give "
            f"derive(root, Recipe({root.name!r}, exit={point}, …)).module."
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class Costs:
    """What one image costs: operations layer by layer, and the size of what goes up.

    Operations are PyTorch's count of the matrix products and convolutions, two a multiplication
    with its addition; norms and activations are not counted.

    Attributes
    ----------
    stem_flops : int
        Operations before the first block.
    block_flops, head_flops : tuple[int, …]
        Operations of each block and of each exit's head.
    values : tuple[int, …]
        Values of the image, then of the feature after each block.
    """

    stem_flops: int
    block_flops: tuple[int, ...]
    head_flops: tuple[int, ...]
    values: tuple[int, ...]

    @property
    def last(self) -> int:
        """The last split point: the number of blocks."""
        return len(self.block_flops)

    @property
    def whole_flops(self) -> int:
        """Operations of the whole network with its last head only."""
        return self.stem_flops + sum(self.block_flops) + self.head_flops[-1]

    def device_flops(self, point: int) -> int:
        """Operations of the device's half."""
        in_range("split point", point, 0, self.last)
        if point == 0:
            return 0
        if point == self.last:
            return self.whole_flops
        return self.stem_flops + sum(self.block_flops[:point])

    def server_flops(self, point: int) -> int:
        """Operations of the server's half."""
        return self.whole_flops - self.device_flops(point)

    def uploaded_values(self, point: int) -> int:
        """Values that go up for one image."""
        in_range("split point", point, 0, self.last)
        return 0 if point == self.last else self.values[point]

    def exit_flops(self, exit: int) -> int:  # noqa: A002
        """Operations of an image that leaves at an exit, having asked every head on its way."""
        in_range("exit", exit, 1, self.last)
        return self.stem_flops + sum(self.block_flops[:exit]) + sum(self.head_flops[:exit])


def count(root: Root, image_shape: Sequence[int]) -> Costs:
    """Count a root's operations and features for one image ``[C, H, W]``.

    Nothing is computed: a copy without memory (on the meta device) is asked.
    """
    root = copy.deepcopy(root).to("meta")
    # The counter does not know attention's fused operators, which real tensors without gradients
    # are sent to; on the meta device and with gradients it sees every matrix product.
    with torch.enable_grad():
        image = torch.empty((1, *image_shape), device="meta", requires_grad=True)
        stem, feature = _counted(root.stem, image)
        blocks, heads, values = [], [], [image.numel()]
        for block, head in zip(root.blocks, root.heads, strict=True):
            flops, feature = _counted(block, feature)
            blocks.append(flops)
            heads.append(_counted(head, feature)[0])
            values.append(feature.numel())
    return Costs(stem, tuple(blocks), tuple(heads), tuple(values))


def _counted(module: nn.Module, value: Tensor) -> tuple[int, Tensor]:
    with FlopCounterMode(display=False) as counter:
        result = module(value)
    return counter.get_total_flops(), result
