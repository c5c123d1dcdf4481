"""Candidates of the envelope, measured before: for roots that no one waits for.

    python -m insitu_widgets.network.candidates resnet18-cifar100

A digits root's envelope is measured while one looks on; one of CIFAR-100's size takes an hour and
a half. The command measures every recipe of :mod:`insitu_widgets.network.envelope` without errors;
and at two bit-error rates half precision with a guard, and codes, bare and with their first bits
protected. Where the root has batch norms, codes are measured with recalibrated norms, too, and some
finer cuts with these alone. Stopped, it goes on where it stopped. An all-in-one root has a table of
its own. Reading them needs no images.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from tqdm import tqdm

from insitu_widgets.cards import NESTED_ROOTS, NESTED_SUFFIX, ROOTS, card_of
from insitu_widgets.errors import in_range
from insitu_widgets.estimate import Estimate
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recalibrate import calibration_images
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import tables_of
from insitu_widgets.network.envelope import (
    AVERAGES,
    FAMILIES,
    RECALIBRATED,
    Candidate,
    Channel,
    measured,
    recipes,
)
from insitu_widgets.network.table_file import TableFile, command_of, images_to_test_on
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
#: Shares that are worth keeping once the norms are recalibrated, and a width that is sent then.
MORE_KEEPS, MORE_BITS = (0.3, 0.4), (6,)
#: Mixed codes that are sent recalibrated, bare and with one bit protected: a layer may have one.
MIXED_KEEPS, MIXED_AVERAGES = (1.0, 0.5, 0.4, 0.3), (3, 4)
JOB_COLUMNS = (
    *("root", "exit", "keep", "bits", "mixed", "norms"),
    *("bit_error_rate", "guard", "protected", "code_rate", "seeds"),
)
COLUMNS = (*JOB_COLUMNS, "num_bits", "right_even", "right_odd", "seen_even", "seen_odd")
_RECALIBRATED = "recalibrated"
_CLEAN = Channel(seeds=())


class Job(NamedTuple):
    """What is measured: a recipe over a channel."""

    recipe: Recipe
    channel: Channel


@dataclass(frozen=True)
class Row:
    """One measured candidate: what was measured, and what came of it."""

    job: Job
    candidate: Candidate


def plan(root: str, seeds: Sequence[int] = (0,)) -> Iterator[Job]:
    """What is measured, in its order: a rate is whole before the next begins."""
    card = card_of(root)
    assert card is not None
    exits = range(max(1, card.num_exits - DEEPEST + 1), card.num_exits + 1)
    norms = root in ROOTS and card.has_batch_norms
    yield from _clean(root, card.num_exits, exits, norms=norms)
    for rate in BIT_ERROR_RATES[1:]:
        yield from _sent(root, exits, rate, tuple(seeds))
        if norms:
            yield from _sent_recalibrated(root, exits, rate, tuple(seeds))


def _clean(root: str, count: int, exits: Sequence[int], *, norms: bool) -> Iterator[Job]:
    """Without errors: the envelope's recipes of so many exits, and finer ones of the deepest."""
    plain = root.removesuffix(NESTED_SUFFIX)
    found = [recipe for family in FAMILIES[:4] for recipe in recipes(plain, family, count)]
    if plain != root:  # trained with one width for all layers, and cut so
        found = [replace(recipe, root=root) for recipe in found if not recipe.mixed]
    fine = [Recipe(root, *levels) for levels in product(exits, FINE_KEEPS, FINE_BITS)]
    for recipe in dict.fromkeys((*found, *fine)):
        yield Job(recipe, Channel())
    if norms:
        more = [Recipe(root, *levels) for levels in product(exits, MORE_KEEPS, AVERAGES)]
        floats = [r for r in recipes(root, FAMILIES[1], count) if r.keep < 1.0]
        more = [*more, *(replace(recipe, mixed=True) for recipe in more), *floats]
        for recipe in dict.fromkeys(_again((*recipes(root, RECALIBRATED, count), *fine, *more))):
            yield Job(recipe, Channel())


def _sent(root: str, exits: Sequence[int], rate: float, seeds: tuple[int, ...]) -> Iterator[Job]:
    """Over a channel with errors: half precision with a guard, codes bare and protected."""
    for exit_, keep in product(exits, SENT_KEEPS):
        yield Job(Recipe(root, exit_, keep, 16), Channel(rate, "zero", seeds=seeds))
    for protected in PROTECTED:
        channel = Channel(rate, protected=protected, code_rate=CODE_RATE, seeds=seeds)
        for levels in product(exits, SENT_KEEPS, SENT_BITS):
            yield Job(Recipe(root, *levels), channel)


def _sent_recalibrated(
    root: str, exits: Sequence[int], rate: float, seeds: tuple[int, ...]
) -> Iterator[Job]:
    """The same codes and some more, recipe by recipe: each is recalibrated once."""
    bare, *safe = (Channel(rate, "none", m, CODE_RATE, seeds) for m in PROTECTED)
    plain = [Recipe(root, *levels) for levels in product(exits, SENT_KEEPS, SENT_BITS + MORE_BITS)]
    for recipe, channel in product(_again(plain), (bare, *safe)):
        yield Job(recipe, channel)
    cuts = product(exits, MIXED_KEEPS, MIXED_AVERAGES)
    mixed = [Recipe(root, *levels, mixed=True) for levels in cuts]
    for recipe, channel in product(_again(mixed), (bare, *safe[:1])):
        yield Job(recipe, channel)


def _again(found: Iterable[Recipe]) -> Iterator[Recipe]:
    """The same recipes, recalibrated."""
    return (replace(recipe, recalibrated=True) for recipe in found)


@lru_cache(maxsize=4)
def load_candidates(root: str) -> tuple[Row, ...]:
    """The measured candidates of one root, and of its all-in-one root where they are shipped.

    Raises
    ------
    ValueError
        If none are shipped for it, naming the roots that have them.
    """
    return tuple(row for lines in tables_of(root, SUFFIX) for row in read(lines))


@lru_cache(maxsize=4)
def without_errors(root: str) -> Mapping[Recipe, Estimate]:
    """The accuracy of each candidate of one root that was sent without bit errors.

    Raises
    ------
    ValueError
        If none are shipped for it, naming the roots that have them.
    """
    return {
        row.job.recipe: Estimate(round(sum(row.candidate.right)), sum(row.candidate.seen))
        for row in load_candidates(root)
        if row.job.channel.bit_error_rate == 0
    }


def whole_bits(rows: Iterable[Row], root: str) -> float:
    """Bits of the whole root's packet, of which budgets are shares."""
    return next(r.candidate.num_bits for r in rows if _key(r.job) == Job(Recipe(root), _CLEAN))


def read(lines: Iterable[str]) -> Iterator[Row]:
    """Rows of a table: lines of notes that begin with #, a heading, then one candidate a line."""
    for values in csv.DictReader(line for line in lines if not line.startswith("#")):
        job = job_of(values)
        right = float(values["right_even"]), float(values["right_odd"])
        seen = int(values["seen_even"]), int(values["seen_odd"])
        candidate = Candidate(str(job.recipe), float(values["num_bits"]), right, seen)
        yield Row(job, candidate)


def job_of(values: Mapping[str, str]) -> Job:
    """What a line of a table with the columns :data:`JOB_COLUMNS` was measured of."""
    recipe = Recipe(
        values["root"],
        int(values["exit"]) if values["exit"] else None,
        float(values["keep"]),
        int(values["bits"]),
        mixed=values["mixed"] == "mixed",
        recalibrated=values["norms"] == _RECALIBRATED,
    )
    channel = Channel(
        float(values["bit_error_rate"]),
        values["guard"],
        int(values["protected"]),
        float(values["code_rate"]),
        tuple(map(int, values["seeds"].split())),
    )
    return Job(recipe, channel)


def written(row: Row) -> list[object]:
    """A row's values, in the order of :data:`COLUMNS`."""
    found = row.candidate
    right = [f"{value:g}" for value in found.right]
    return [*job_written(row.job), f"{found.num_bits:.0f}", *right, *found.seen]


def job_written(job: Job) -> list[object]:
    """What was measured, in the order of :data:`JOB_COLUMNS`."""
    recipe, channel = job.recipe, job.channel
    mixed = "mixed" if recipe.mixed else ""
    norms = _RECALIBRATED if recipe.recalibrated else ""
    sent = (channel.bit_error_rate, channel.guard, channel.protected, channel.code_rate)
    levels = (recipe.root, recipe.exit or "", recipe.keep, recipe.bits, mixed, norms)
    return [*levels, *sent, " ".join(map(str, channel.seeds))]


def _key(job: Job) -> Job:
    return job._replace(channel=replace(job.channel, seeds=()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped candidates of one root."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.candidates",
        description="Measure what the envelope of a root is chosen from; stopped, it goes on.",
    )
    parser.add_argument(
        "root", choices=[*ROOTS, *NESTED_ROOTS], help="which root, all-in-one ones too"
    )
    parser.add_argument("--images", type=int, help="test images, balanced (2000, or all)")
    parser.add_argument("--seeds", type=int, default=1, help="draws of the channel (1)")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: faster")
    parser.add_argument("--out", type=Path, help="CSV to write (the shipped one)")
    options = parser.parse_args(arguments)
    path = options.out or FOLDER / (options.root + SUFFIX)
    card = card_of(options.root)
    assert card is not None
    images = images_to_test_on(parser, options.images, card.data)
    try:
        seeds = range(in_range("--seeds", options.seeds, 1, 1000))
    except ValueError as error:
        parser.error(str(error))
    precision = "bfloat16" if options.bfloat16 else "float32"
    conditions = f"images: {len(images)} test images of {card.data}; computed in {precision}"
    wanted = list(plan(options.root, seeds))
    if any(job.recipe.recalibrated for job in wanted):
        training = len(calibration_images(options.root))
        conditions += f"; norms recalibrated on {training} training images"
    table = TableFile(
        path,
        command_of(parser, options),
        (options.root,),
        conditions,
        COLUMNS,
    )
    with path.open(encoding="utf-8") as file:
        held = [row.job for row in read(file)]
    if any(job.channel.seeds != tuple(seeds) for job in held if job.channel.bit_error_rate):
        msg = f"{path} was measured with another number of --seeds. Delete it, or name another."
        raise SystemExit(msg)
    done = {_key(job) for job in held}
    left = [job for job in wanted if _key(job) not in done]
    root = load_root(options.root)
    with (
        tqdm(total=len(left), unit="candidate") as bar,
        torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16),
    ):
        for recipe, jobs in groupby(left, lambda job: job.recipe):
            submodel = derive(root, recipe)
            for job in jobs:
                candidate = measured(root, submodel, images, job.channel)
                table.add(written(Row(job, candidate)))
                bar.update()


if __name__ == "__main__":
    main()
