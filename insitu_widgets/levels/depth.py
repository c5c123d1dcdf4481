"""Depth level (paper, section 2.1): keep the blocks up to an exit, and that exit's head."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from insitu_widgets.errors import in_range

if TYPE_CHECKING:
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
