"""All-in-one against one-shot pruning, image by image: which answers more rightly, how surely.

    python -m insitu_widgets.network.paired resnet18-cifar100 --bfloat16

Both networks answer the same images, so that their difference has a narrower interval than their
accuracies have. The command measures packed and unpacked sub-models; stopped, it goes on with the
next cut. Reading the table needs no images.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from insitu_widgets.air.payload import pack, unpack
from insitu_widgets.cards import NESTED_ROOTS, NESTED_SUFFIX, ROOTS, card_of
from insitu_widgets.data import load_data
from insitu_widgets.estimate import Estimate, paired_interval
from insitu_widgets.evaluate import right_answers
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import shipped_lines
from insitu_widgets.network.depth_rows import values_in
from insitu_widgets.network.table_file import TableFile, command_of
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from insitu_widgets.data import ImageSet

FOLDER = Path(__file__).parents[1] / "catalogue"
SUFFIX = "-paired.csv"
#: Weights kept, and bits for each.
KEEPS, WIDTHS = (0.2, 0.1), (32, 8, 4, 3)
COLUMNS = (
    *("root", "nested_root", "keep", "bits"),
    *("both", "all_in_one_only", "one_shot_only", "seen"),
)


@dataclass(frozen=True)
class Paired:
    """One cut of a plain root and the same of its all-in-one root, on the same images.

    Attributes
    ----------
    recipe : Recipe
        Of the plain root.
    both : int
        Images that both sub-models answer rightly.
    gained, lost : int
        Images that the all-in-one sub-model alone answers rightly, and the other one alone.
    seen : int
        Images.
    """

    recipe: Recipe
    both: int
    gained: int
    lost: int
    seen: int

    @property
    def one_shot(self) -> Estimate:
        """Accuracy of the plain root's sub-model."""
        return Estimate(self.both + self.lost, self.seen)

    @property
    def all_in_one(self) -> Estimate:
        """Accuracy of the all-in-one root's."""
        return Estimate(self.both + self.gained, self.seen)

    @property
    def difference(self) -> tuple[float, float, float]:
        """What all-in-one gains, and its 95 % interval, as shares."""
        return paired_interval(self.gained, self.lost, self.seen)


@lru_cache(maxsize=4)
def load_paired(root: str) -> tuple[Paired, ...]:
    """All-in-one against one-shot pruning of one root.

    Raises
    ------
    ValueError
        If no table is shipped for it, naming the roots that have one.
    """
    return tuple(read(shipped_lines(root, SUFFIX)))


def read(lines: Iterable[str]) -> Iterator[Paired]:
    """Rows of a table: lines of notes that begin with #, a heading, then one cut a line."""
    for values in values_in(lines):
        recipe = Recipe(values["root"], keep=float(values["keep"]), bits=int(values["bits"]))
        yield Paired(recipe, *(int(values[column]) for column in COLUMNS[4:]))


def measure(recipe: Recipe, images: ImageSet) -> Paired:
    """Cut both roots alike, and ask both what they make of the same images."""
    plain, nested = (
        _right(each, images) for each in (recipe, replace(recipe, root=recipe.root + NESTED_SUFFIX))
    )
    gained, lost = int((nested & ~plain).sum()), int((plain & ~nested).sum())
    return Paired(recipe, int((plain & nested).sum()), gained, lost, len(images))


def _right(recipe: Recipe, images: ImageSet) -> Tensor:
    received, _ = unpack(pack(derive(load_root(recipe.root), recipe)))
    return right_answers(received.module, images)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped table of one root."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.paired",
        description="Measure all-in-one against one-shot sub-models, image by image; stopped, it "
        "goes on.",
    )
    parser.add_argument(
        "root",
        choices=[name for name in ROOTS if name + NESTED_SUFFIX in NESTED_ROOTS],
        help="which root",
    )
    parser.add_argument("--images", type=int, help="test images, balanced over the classes (all)")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: faster")
    parser.add_argument("--out", type=Path, help="CSV to write (the shipped one)")
    options = parser.parse_args(arguments)
    card = card_of(options.root)
    assert card is not None
    images = load_data(card.data, limit=options.images)
    path = options.out or FOLDER / (options.root + SUFFIX)
    precision = "bfloat16" if options.bfloat16 else "float32"
    table = TableFile(
        path,
        command_of(parser, options),
        (options.root, options.root + NESTED_SUFFIX),
        f"images: {len(images)} test images of {card.data}; computed in {precision}",
        COLUMNS,
    )
    with path.open(encoding="utf-8") as file:
        done = {row.recipe for row in read(file)}
    for keep, bits in tqdm(list(product(KEEPS, WIDTHS)), unit="cut"):
        recipe = Recipe(options.root, keep=keep, bits=bits)
        if recipe not in done:
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
                row = measure(recipe, images)
            roots = (recipe.root, recipe.root + NESTED_SUFFIX)
            table.add([*roots, keep, bits, row.both, row.gained, row.lost, row.seen])


if __name__ == "__main__":
    main()
