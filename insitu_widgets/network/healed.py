"""Re-training after pruning, measured before: for roots whose re-training no one waits for.

    python -m insitu_widgets.network.healed resnet18-cifar100

The command prunes and rounds the root as each recipe says, measures it, re-trains what was kept for
so many batches, and measures it again: in both cases what came out of the packet's bytes. Stopped,
it goes on with the next recipe. Reading the table needs no images.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from insitu_widgets.air.payload import pack, unpack
from insitu_widgets.cards import ROOTS, card_of
from insitu_widgets.data import load_data
from insitu_widgets.estimate import Estimate
from insitu_widgets.evaluate import accuracy, batch_of
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.pruning import Healing, heal
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import shipped_lines
from insitu_widgets.network.table_file import TableFile, command_of, images_to_test_on
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from insitu_widgets.data import ImageSet
    from insitu_widgets.levels.submodel import SubModel
    from insitu_widgets.roots import Root

FOLDER = Path(__file__).parents[1] / "catalogue"
SUFFIX = "-healed.csv"
#: Weights kept, at full precision and at 4 bits; and all weights at few bits.
CUTS = ((0.1, 32), (0.05, 32), (0.1, 4), (1.0, 2))
COLUMNS = (
    *("root", "keep", "bits", "num_bits", "steps", "batch", "seconds"),
    *("right_before", "right_after", "seen"),
)


@dataclass(frozen=True)
class Healed:
    """One recipe before and after re-training.

    Attributes
    ----------
    recipe : Recipe
        What was cut.
    num_bits : int
        Bits of the packet; re-training changes none of them.
    steps, batch : int
        Batches, and images in each.
    seconds : float
        What the re-training took where it was measured.
    before, after : Estimate
        Accuracy of the unpacked sub-model.
    """

    recipe: Recipe
    num_bits: int
    steps: int
    batch: int
    seconds: float
    before: Estimate
    after: Estimate


@lru_cache(maxsize=4)
def load_healed(root: str) -> tuple[Healed, ...]:
    """What re-training gives one root.

    Raises
    ------
    ValueError
        If no table is shipped for it, naming the roots that have one.
    """
    return tuple(read(shipped_lines(root, SUFFIX)))


def read(lines: Iterable[str]) -> Iterator[Healed]:
    """Rows of a table: lines of notes that begin with #, a heading, then one recipe a line."""
    for values in csv.DictReader(line for line in lines if not line.startswith("#")):
        seen = int(values["seen"])
        yield Healed(
            Recipe(values["root"], keep=float(values["keep"]), bits=int(values["bits"])),
            int(values["num_bits"]),
            int(values["steps"]),
            int(values["batch"]),
            float(values["seconds"]),
            Estimate(int(values["right_before"]), seen),
            Estimate(int(values["right_after"]), seen),
        )


def written(row: Healed) -> list[object]:
    """A row's values, in the order of :data:`COLUMNS`."""
    recipe = row.recipe
    right = (row.before.correct, row.after.correct, row.after.seen)
    spent = (row.steps, row.batch, f"{row.seconds:.1f}")
    return [recipe.root, recipe.keep, recipe.bits, row.num_bits, *spent, *right]


def measure(root: Root, recipe: Recipe, train: ImageSet, test: ImageSet, plan: Healing) -> Healed:
    """Cut, measure, re-train, measure again."""
    submodel = derive(root, recipe)
    before, start = _received(submodel, test), time.perf_counter()
    bar = tqdm(heal(root, recipe, train, plan), total=plan.steps, desc=str(recipe), unit="batch")
    step = deque(bar, maxlen=1).pop()
    seconds = time.perf_counter() - start
    after = _received(step.submodel(), test)
    num_bits = pack(submodel).num_bits
    return Healed(recipe, num_bits, plan.steps, plan.batch, seconds, before, after)


def _received(submodel: SubModel, images: ImageSet) -> Estimate:
    received, _ = unpack(pack(submodel))
    return deque(accuracy(received, images, batch_of(images.images)), maxlen=1).pop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped table of one root."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.healed",
        description="Measure what re-training gives a pruned root; stopped, it goes on.",
    )
    parser.add_argument("root", choices=ROOTS, help="which root")
    parser.add_argument("--steps", type=int, default=100, help="batches of re-training (100)")
    parser.add_argument("--batch", type=int, default=128, help="images a batch (128)")
    parser.add_argument("--peak-rate", type=float, default=5e-4, help="Adam's highest step (5e-4)")
    parser.add_argument("--images", type=int, help="test images, balanced (2000, or all)")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: faster")
    parser.add_argument("--out", type=Path, help="CSV to write (the shipped one)")
    options = parser.parse_args(arguments)
    try:
        plan = Healing(options.steps, options.peak_rate, options.batch)
    except ValueError as error:
        parser.error(str(error))
    card = card_of(options.root)
    assert card is not None
    test = images_to_test_on(parser, options.images, card.data)
    train = load_data(card.data, "train")
    path = options.out or FOLDER / (options.root + SUFFIX)
    precision = "bfloat16" if options.bfloat16 else "float32"
    table = TableFile(
        path,
        command_of(parser, options),
        (options.root,),
        f"images: {len(test)} test images of {card.data}; computed in {precision}; Adam, at most "
        f"{plan.peak_rate:g}",
        COLUMNS,
    )
    with path.open(encoding="utf-8") as file:
        rows = list(read(file))
    if any((row.steps, row.batch) != (plan.steps, plan.batch) for row in rows):
        msg = f"{path} was measured with other --steps or --batch. Delete it, or name another."
        raise SystemExit(msg)
    done = {row.recipe for row in rows}
    root = load_root(options.root)
    for keep, bits in CUTS:
        recipe = Recipe(options.root, keep=keep, bits=bits)
        if recipe not in done:
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
                table.add(written(measure(root, recipe, train, test, plan)))


if __name__ == "__main__":
    main()
