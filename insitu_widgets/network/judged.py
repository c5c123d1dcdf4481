"""The best of small shares, judged on images that chose nothing: for roots of the paper's scale.

    python -m insitu_widgets.network.judged resnet18-cifar100 --bfloat16

For each share of the float32 root's bits, and each bit-error rate, the best of the measured
candidates (:mod:`insitu_widgets.network.candidates`) is chosen on the test images that they were
measured on. The command then measures it, and the root, on all the other test images, image by
image, so that the loss has an interval of its own. Reading the table needs no images.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from insitu_widgets.cards import ROOTS, card_of
from insitu_widgets.data import balanced, load_data
from insitu_widgets.estimate import Estimate
from insitu_widgets.evaluate import right_answers
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.candidates import (
    BIT_ERROR_RATES,
    CALIBRATION,
    JOB_COLUMNS,
    Job,
    Row,
    job_of,
    job_written,
    load_candidates,
)
from insitu_widgets.network.catalogue import shipped_lines
from insitu_widgets.network.envelope import Channel, arrivals, cut
from insitu_widgets.network.table_file import TableFile
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from insitu_widgets.data import ImageSet

FOLDER = Path(__file__).parents[1] / "catalogue"
SUFFIX = "-judged.csv"
#: Shares of the float32 root's bits.
SHARES = (0.06, 0.03, 0.015)
#: Draws of a channel with errors.
SEEDS = 5
COLUMNS = ("share", *JOB_COLUMNS, "num_bits", "right", "lost", "gained", "seen")


@dataclass(frozen=True)
class Judged:
    """The best of one share over one channel, beside the root, on the same images.

    Attributes
    ----------
    share : float
        Of the root's bits, in (0, 1]: what it was chosen within.
    job : Job
        What was chosen, over which channel.
    num_bits : float
        Received bits, protection counted.
    right : int
        Images that the float32 root answers rightly, without bit errors.
    lost, gained : float
        Images that the root alone answers rightly, and that the sub-model alone does; means over
        the channel's draws.
    seen : int
        Images.
    """

    share: float
    job: Job
    num_bits: float
    right: int
    lost: float
    gained: float
    seen: int

    @property
    def estimate(self) -> Estimate:
        """The sub-model's accuracy."""
        return Estimate(round(self.right - self.lost + self.gained), self.seen)

    @property
    def loss(self) -> tuple[float, float, float]:
        """Accuracy lost, and its 95 % interval (of paired images, normal), as shares."""
        mean = (self.lost - self.gained) / self.seen
        spread = sqrt((self.lost + self.gained) / self.seen - mean**2) / sqrt(self.seen)
        return mean, mean - 1.96 * spread, mean + 1.96 * spread


def choice(rows: Sequence[Row], bit_error_rate: float, num_bits: float) -> Row:
    """The candidate with the most right answers within so many bits, the smallest of equals.

    Raises
    ------
    ValueError
        If nothing is so small.
    """
    fitting = [
        row
        for row in rows
        if row.channel.bit_error_rate == bit_error_rate and row.candidate.num_bits <= num_bits
    ]
    if not fitting:
        msg = f"num_bits must allow at least one candidate; got {num_bits:g}. Give more bits."
        raise ValueError(msg)
    return max(fitting, key=lambda row: (sum(row.candidate.right), -row.candidate.num_bits))


def plan(root: str) -> Iterator[tuple[float, Row]]:
    """Each share with the best candidate within it, a bit-error rate after the other."""
    rows = load_candidates(root)
    whole = next(row for row in rows if (row.recipe, row.channel) == (Recipe(root), Channel()))
    for rate, share in product(BIT_ERROR_RATES, SHARES):
        yield share, choice(rows, rate, share * whole.candidate.num_bits)


@lru_cache(maxsize=4)
def load_judged(root: str) -> tuple[Judged, ...]:
    """What is left of one root in small shares of its bits.

    Raises
    ------
    ValueError
        If no table is shipped for it, naming the roots that have one.
    """
    return tuple(read(shipped_lines(root, SUFFIX)))


def read(lines: Iterable[str]) -> Iterator[Judged]:
    """Rows of a table: lines of notes that begin with #, a heading, then one choice a line."""
    for values in csv.DictReader(line for line in lines if not line.startswith("#")):
        yield Judged(
            float(values["share"]),
            job_of(values),
            float(values["num_bits"]),
            int(values["right"]),
            float(values["lost"]),
            float(values["gained"]),
            int(values["seen"]),
        )


def written(row: Judged) -> list[object]:
    """A row's values, in the order of :data:`COLUMNS`."""
    moved = (f"{row.lost:g}", f"{row.gained:g}", row.seen)
    return [row.share, *job_written(row.job), f"{row.num_bits:.0f}", row.right, *moved]


def judge(
    share: float, job: Job, images: ImageSet, calibration: ImageSet, expected: Tensor
) -> Judged:
    """Measure one choice; ``expected [N]`` tells which images the root answers rightly."""
    root = load_root(job.recipe.root)
    submodel = cut(root, job.recipe, calibration if job.recalibrated else None).submodel
    lost, gained, num_bits = 0, 0, 0.0
    for arrived, num_bits in arrivals(root, submodel, job.channel):  # noqa: B007
        right = right_answers(arrived.module, images)
        lost += int((expected & ~right).sum())
        gained += int((right & ~expected).sum())
    draws = len(job.channel.seeds)
    before = int(expected.sum())
    return Judged(share, job, num_bits, before, lost / draws, gained / draws, len(images))


def others(data: str, count: int) -> ImageSet:
    """The test images that are not among the ``count`` that ``load_data`` would give."""
    images = load_data(data)
    chose = torch.zeros(len(images), dtype=torch.bool)
    chose[balanced(images.labels, count)] = True
    return images.take((~chose).nonzero().flatten())


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: judge the best of one root's shipped candidates."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.judged",
        description="Measure the best of small shares on test images that did not choose it; "
        "stopped, it goes on.",
    )
    parser.add_argument("root", choices=ROOTS, help="which root")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: faster")
    parser.add_argument("--out", type=Path, help="CSV to write (the shipped one)")
    options = parser.parse_args(arguments)
    path = options.out or FOLDER / (options.root + SUFFIX)
    card = card_of(options.root)
    assert card is not None
    wanted = list(plan(options.root))
    images = others(card.data, sum(wanted[0][1].candidate.seen))
    precision = "bfloat16" if options.bfloat16 else "float32"
    table = TableFile(
        path,
        f"python -m insitu_widgets.network.judged {options.root}"
        + " --bfloat16" * options.bfloat16,
        options.root,
        f"images: the {len(images)} test images of {card.data} that have chosen nothing; "
        f"computed in {precision}",
        COLUMNS,
    )
    with path.open(encoding="utf-8") as file:
        done = {(row.share, row.job) for row in read(file)}
    jobs = [(share, _drawn(row)) for share, row in wanted]
    if not done <= set(jobs):
        msg = f"{path} was chosen from other candidates. Delete it, or name another --out."
        raise SystemExit(msg)
    calibration = load_data(card.data, "train", limit=CALIBRATION)
    with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
        expected = right_answers(load_root(options.root), images)
        for share, job in tqdm(jobs, unit="choice"):
            if (share, job) not in done:
                table.add(written(judge(share, job, images, calibration, expected)))


def _drawn(row: Row) -> Job:
    """A choice over its channel, drawn as often as it is judged."""
    seeds = tuple(range(SEEDS if row.channel.bit_error_rate else 1))
    return Job(row.recipe, replace(row.channel, seeds=seeds), row.recalibrated)


if __name__ == "__main__":
    main()
