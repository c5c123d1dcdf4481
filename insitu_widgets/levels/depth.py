"""Depth level (paper, section 2.1): keep the blocks up to an exit, and that exit's head."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from insitu_widgets.errors import in_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from insitu_widgets.roots import Root


def cut(root: Root, exit: int | None = None) -> nn.Sequential:  # noqa: A002
    """The root up to one exit, as ``stem``, ``blocks`` and ``head``; it shares the root's tensors.

    Raises
    ------
    ValueError
        If the exit is not one of the root's.
    """
    last = root.num_exits if exit is None else in_range("exit", exit, 1, root.num_exits)
    return nn.Sequential(
        OrderedDict(
            stem=root.stem,
            blocks=nn.Sequential(*root.blocks[:last]),
            head=root.heads[last - 1],
        )
    )


class Joined(nn.Module):
    """Several exits of one network, asked in one pass.

    Parameters
    ----------
    cuts
        Networks as :func:`cut` makes them, the deepest last; all share the blocks they have.
    """

    def __init__(self, cuts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stem = cuts[-1].get_submodule("stem")
        self.blocks = nn.ModuleList(cuts[-1].get_submodule("blocks").children())
        self.heads = nn.ModuleDict({str(_depth(c)): c.get_submodule("head") for c in cuts})

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits ``[N, classes]`` of each cut, in their order."""
        feature, logits = self.stem(images), []
        for number, block in enumerate(self.blocks, 1):
            feature = block(feature)
            if str(number) in self.heads:
                logits.append(self.heads[str(number)](feature))
        return logits


def share_a_trunk(shallow: nn.Module, deep: nn.Module) -> bool:
    """Whether all but the head of a shallow cut is, to the bit, the beginning of a deep one."""
    if _depth(shallow) >= _depth(deep):
        return False
    theirs = deep.state_dict()
    trunk = {n: t for n, t in shallow.state_dict().items() if not n.startswith("head.")}
    return all(name in theirs and _same(tensor, theirs[name]) for name, tensor in trunk.items())


def _depth(network: nn.Module) -> int:
    return len(list(network.get_submodule("blocks").children()))


def _same(a: Tensor, b: Tensor) -> bool:
    # As bytes: NaN, which a channel may well make, equals itself there.
    alike = (a.shape, a.dtype) == (b.shape, b.dtype)
    return alike and torch.equal(*(each.reshape(-1).view(torch.uint8) for each in (a, b)))
