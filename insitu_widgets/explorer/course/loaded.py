"""Roots and test images that the course's panels measure with, loaded once; loads torch."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from insitu_widgets.cards import card_of
from insitu_widgets.data import load_data
from insitu_widgets.levels.imagenet import large
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from insitu_widgets.data import ImageSet
    from insitu_widgets.roots import Root

#: Images of a set that is larger than the digits'; the shipped digits are all used.
MOST_IMAGES = 1000


@lru_cache(maxsize=10)  # the digits' roots, their all-in-one roots, and some large ones
def root_of(network: str) -> Root:
    """A shipped root with its weights, or a large network without."""
    torch.set_num_threads(1)  # a page is one of many kernels on its machine
    return load_root(network) if card_of(network) else large(network)


def images_of(network: str, part: str = "test") -> ImageSet:
    """The images that a shipped root was made for: all digits, or a balanced thousand."""
    card = card_of(network)
    assert card is not None
    return _loaded(card.data, part)


@lru_cache(maxsize=4)
def _loaded(data: str, part: str) -> ImageSet:
    return load_data(data, part, None if data == "digits" else MOST_IMAGES)
