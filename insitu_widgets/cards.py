"""Root cards: what is known of each shipped root without loading a single weight.

A card is the JSON that :mod:`insitu_widgets.train` writes beside a root's weights. Reading it
needs neither torch nor the weights, so the cheap tier (the controls, the choice, the figures)
can open before torch has been imported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The shipped roots, in the order in which they are offered.
NAMES = (
    "resnet-digits",
    "vgg-digits",
    "vit-digits",
    "resnet18-cifar100",
    "vgg16-cifar100",
    "vit-cifar100",
)

#: What the name of an all-in-one root ends with: one set of weights whose sub-models are nested in
#: each other and trained together (:mod:`insitu_widgets.levels.all_in_one`).
NESTED_SUFFIX = "-nested"
#: Families whose norms keep no statistics.
_LAYER_NORMS = ("vit",)


@dataclass(frozen=True)
class Card:
    """What :data:`ROOTS` says of one root.

    Attributes
    ----------
    name, family, data
        The root's name, its architecture family and the image set it was trained on.
    classes
        Number of classes.
    parameters
        Trainable parameters of the whole root, all its heads included.
    exit_parameters
        Trainable parameters of the model cut at exit 1 … n (one head each).
    accuracy
        Measured accuracy on the test images at exit 1 … n, in [0, 1].
    """

    name: str
    family: str
    data: str
    classes: int
    parameters: int
    exit_parameters: tuple[int, ...]
    accuracy: tuple[float, ...]

    @property
    def num_exits(self) -> int:
        """Number of exits, the last one included."""
        return len(self.accuracy)

    @property
    def has_batch_norms(self) -> bool:
        """Whether its norms keep statistics of its features, which can be recalibrated."""
        return self.family not in _LAYER_NORMS


def read_card(name: str) -> Card | None:
    """Read one card from ``weights/``; ``None`` where that root has not been trained yet."""
    path = files("insitu_widgets") / "weights" / f"{name}.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    return Card(
        name=record["name"],
        family=record["family"],
        data=record["data"],
        classes=record["classes"],
        parameters=record["parameters"],
        exit_parameters=tuple(record["exit_parameters"]),
        accuracy=tuple(record["accuracy"]),
    )


ROOTS: Mapping[str, Card] = MappingProxyType(
    {name: card for name in NAMES if (card := read_card(name)) is not None}
)
#: The shipped all-in-one roots. They are not offered beside the others, whose architectures they
#: have: their sub-models are candidates wherever the other root's are (:func:`family_of`).
NESTED_ROOTS: Mapping[str, Card] = MappingProxyType(
    {
        name + NESTED_SUFFIX: card
        for name in NAMES
        if (card := read_card(name + NESTED_SUFFIX)) is not None
    }
)


def card_of(name: str) -> Card | None:
    """The card of a shipped root, all-in-one roots too; ``None`` for a user's own."""
    return ROOTS.get(name) or NESTED_ROOTS.get(name)


def family_of(name: str) -> tuple[str, ...]:
    """A root and, where it is shipped, its all-in-one root: they answer to the same images."""
    nested = name + NESTED_SUFFIX
    return (name, nested) if nested in NESTED_ROOTS else (name,)
