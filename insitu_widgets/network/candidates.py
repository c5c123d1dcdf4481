"""Candidates of the envelope, measured before: for roots that no one waits for.

    python -m insitu_widgets.network.candidates resnet18-cifar100

A digits root's envelope is measured while one looks on; one of CIFAR-100's size takes half an
hour. The command measures every recipe of :mod:`insitu_widgets.network.envelope` without errors,
and codes at two bit-error rates, bare and with their first bits protected; stopped, it goes on
where it stopped. An all-in-one root has a table of its own. Reading them needs no images.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from insitu_widgets.cards import NESTED_ROOTS, NESTED_SUFFIX, ROOTS, card_of
from insitu_widgets.data import load_data
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import tables_of
from insitu_widgets.network.envelope import FAMILIES, Candidate, Channel, measure, recipes
from insitu_widgets.network.table_file import TableFile
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FOLDER = Path(__file__).parents[1] / "catalogue"
SUFFIX = "-candidates.csv"
#: Without errors first; then the paper's "sufficient" rate, and one that is not.
BIT_ERROR_RATES = (0.0, 1e-3, 1e-2)
#: Widths that the digits' envelope goes without, for the deepest exits.
FINE_KEEPS, FINE_BITS = (1.0, 0.5), (5, 6)
#: Over a channel with errors only so many of the deepest exits are sent: the first of eight are
#: too weak to be worth protecting.
DEEPEST = 6
#: What of them: half precision with a guard, and codes.
SENT_KEEPS, SENT_BITS = (1.0, 0.3), (2, 3, 4, 8)
#: First bits of a code on the reliable channel, which takes 1 ÷ this rate bits for each.
PROTECTED, CODE_RATE = (0, 1, 2), 0.5
COLUMNS = (
    *("root", "exit", "keep", "bits", "mixed", "bit_error_rate", "guard", "protected"),
    *("code_rate", "seeds", "num_bits", "right_even", "right_odd", "seen_even", "seen_odd"),
)


@dataclass(frozen=True)
class Row:
    """One measured candidate: what was cut, over which channel, and what came of it."""

    recipe: Recipe
    channel: Channel
    candidate: Candidate


def plan(root: str, seeds: Sequence[int] = (0,)) -> Iterator[tuple[Recipe, Channel]]:
    """What is measured, in its order: a rate is whole before the next begins."""
    card = card_of(root)
    assert card is not None
    plain = root.removesuffix(NESTED_SUFFIX)
    found = [recipe for family in FAMILIES[:4] for recipe in recipes(plain, family, card.num_exits)]
    if plain != root:  # trained with one width for all layers, and cut so
        found = [replace(recipe, root=root) for recipe in found if not recipe.mixed]
    exits = range(max(1, card.num_exits - DEEPEST + 1), card.num_exits + 1)
    fine = (Recipe(root, *cut) for cut in product(exits, FINE_KEEPS, FINE_BITS))
    for recipe in dict.fromkeys((*found, *fine)):
        yield recipe, Channel()
    for rate in BIT_ERROR_RATES[1:]:
        draws = tuple(seeds)
        for exit_, keep in product(exits, SENT_KEEPS):
            yield Recipe(root, exit_, keep, 16), Channel(rate, "zero", seeds=draws)
        for protected in PROTECTED:
            channel = Channel(rate, protected=protected, code_rate=CODE_RATE, seeds=draws)
            for cut in product(exits, SENT_KEEPS, SENT_BITS):
                yield Recipe(root, *cut), channel


@lru_cache(maxsize=4)
def load_candidates(root: str) -> tuple[Row, ...]:
    """The measured candidates of one root, and of its all-in-one root where they are shipped.

    Raises
    ------
    ValueError
        If none are shipped for it, naming the roots that have them.
    """
    return tuple(row for lines in tables_of(root, SUFFIX) for row in read(lines))


def read(lines: Iterable[str]) -> Iterator[Row]:
    """Rows of a table: lines of notes that begin with #, a heading, then one candidate a line."""
    for values in csv.DictReader(line for line in lines if not line.startswith("#")):
        recipe = Recipe(
            values["root"],
            int(values["exit"]) if values["exit"] else None,
            float(values["keep"]),
            int(values["bits"]),
            mixed=values["mixed"] == "mixed",
        )
        channel = Channel(
            float(values["bit_error_rate"]),
            values["guard"],
            int(values["protected"]),
            float(values["code_rate"]),
            tuple(range(int(values["seeds"]))),
        )
        right = float(values["right_even"]), float(values["right_odd"])
        seen = int(values["seen_even"]), int(values["seen_odd"])
        yield Row(recipe, channel, Candidate(str(recipe), float(values["num_bits"]), right, seen))


def written(row: Row) -> list[object]:
    """A row's values, in the order of :data:`COLUMNS`."""
    recipe, channel, found = row.recipe, row.channel, row.candidate
    mixed = "mixed" if recipe.mixed else ""
    sent = (channel.bit_error_rate, channel.guard, channel.protected, channel.code_rate)
    right = [f"{value:g}" for value in found.right]
    cut = (recipe.root, recipe.exit or "", recipe.keep, recipe.bits, mixed)
    return [*cut, *sent, len(channel.seeds), f"{found.num_bits:.0f}", *right, *found.seen]


def _key(recipe: Recipe, channel: Channel) -> tuple[Recipe, Channel]:
    return recipe, replace(channel, seeds=())


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped candidates of one root."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.candidates",
        description="Measure what the envelope of a root is chosen from; stopped, it goes on.",
    )
    parser.add_argument(
        "root", choices=[*ROOTS, *NESTED_ROOTS], help="which root, all-in-one ones too"
    )
    parser.add_argument("--images", type=int, default=2000, help="test images, balanced (2000)")
    parser.add_argument("--seeds", type=int, default=1, help="draws of the channel (1)")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: faster")
    parser.add_argument("--out", type=Path, help="CSV to write (the shipped one)")
    options = parser.parse_args(arguments)
    path = options.out or FOLDER / (options.root + SUFFIX)
    card = card_of(options.root)
    assert card is not None
    images = load_data(card.data, limit=options.images)
    precision = "bfloat16" if options.bfloat16 else "float32"
    table = TableFile(
        path,
        f"python -m insitu_widgets.network.candidates {options.root}"
        + " --bfloat16" * options.bfloat16,
        options.root,
        f"images: {len(images)} test images of {card.data}; computed in {precision}",
        COLUMNS,
    )
    with path.open(encoding="utf-8") as file:
        done = {_key(row.recipe, row.channel) for row in read(file)}
    wanted = list(plan(options.root, range(options.seeds)))
    left = [(recipe, channel) for recipe, channel in wanted if _key(recipe, channel) not in done]
    root = load_root(options.root)
    for recipe, channel in tqdm(left, unit="candidate"):
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            found = measure(root, recipe, images, channel)
        table.add(written(Row(recipe, channel, found)))


if __name__ == "__main__":
    main()
