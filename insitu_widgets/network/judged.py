"""The best of small shares, judged on images that chose nothing: for roots of the paper's scale.

    python -m insitu_widgets.network.judged resnet18-cifar100 --bfloat16

For each share of the float32 root's bits, and each bit-error rate, the measured candidates
(:mod:`insitu_widgets.network.candidates`) with the most right answers are the finalists: of
hundreds, the first is as likely lucky as good. They are measured on further test images, and the
one with the most right answers on all images so far is chosen. It and the root are then measured on
the test images that are left, image by image, so that the loss has an interval of its own. Each
time the channel is drawn anew: no image and no draw of the errors judges a choice that it took part
in. Stopped, the command goes on where it stopped. Reading the table needs no images.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import hypot, sqrt
from pathlib import Path
from statistics import mean, variance
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from insitu_widgets.cards import ROOTS, card_of
from insitu_widgets.data import balanced, load_data
from insitu_widgets.estimate import Z_95, paired_interval
from insitu_widgets.evaluate import right_answers
from insitu_widgets.levels.derive import derive
from insitu_widgets.network.candidates import (
    BIT_ERROR_RATES,
    JOB_COLUMNS,
    Job,
    Row,
    job_of,
    job_written,
    load_candidates,
    whole_bits,
)
from insitu_widgets.network.catalogue import shipped_lines
from insitu_widgets.network.envelope import arrivals, measured
from insitu_widgets.network.table_file import TableFile, command_of
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from insitu_widgets.data import ImageSet

FOLDER = Path(__file__).parents[1] / "catalogue"
SUFFIX = "-judged.csv"
#: Shares of the float32 root's bits.
SHARES = (0.06, 0.03, 0.015)
#: Finalists of each share, and the share of the test images that choose, the candidates' included.
FINALISTS, CHOOSING = 6, 0.5
#: Draws of a channel with errors, to judge by.
DRAWS = 5
COLUMNS = ("share", *JOB_COLUMNS, "num_bits", "chose", "right", "lost", "gained", "seen")


@dataclass(frozen=True)
class Finalist:
    """A candidate among the best within a share, and its right answers on the images that choose.

    They are those on the candidates' images and those on the further ones, over the channel of its
    job: another draw of the errors.
    """

    share: float
    job: Job
    num_bits: float
    chose: float


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
    lost, gained : tuple[int, …]
        Images that the root alone answers rightly, and that the sub-model alone does, of each draw
        of the channel.
    seen : int
        Images.
    """

    share: float
    job: Job
    num_bits: float
    right: int
    lost: tuple[int, ...]
    gained: tuple[int, ...]
    seen: int

    @property
    def accuracy(self) -> float:
        """The sub-model's, a mean over the draws, in [0, 1]."""
        return self.right / self.seen - mean(self._losses)

    @property
    def loss(self) -> tuple[float, float, float]:
        """Accuracy lost, and its 95 % interval, as shares.

        The interval is normal: of paired images, and of the draws, where there are several.
        """
        middle, _, high = paired_interval(mean(self.lost), mean(self.gained), self.seen)
        half = high - middle
        if len(self.lost) > 1:
            half = hypot(half, Z_95 * sqrt(variance(self._losses) / len(self.lost)))
        return middle, middle - half, middle + half

    @property
    def _losses(self) -> list[float]:
        """Accuracy lost in each draw."""
        return [(a - b) / self.seen for a, b in zip(self.lost, self.gained, strict=True)]


def finalists(rows: Sequence[Row], bit_error_rate: float, num_bits: float) -> list[Row]:
    """The candidates with the most right answers within so many bits, the smaller of equals first.

    Raises
    ------
    ValueError
        If nothing is so small.
    """
    fitting = [
        row
        for row in rows
        if row.job.channel.bit_error_rate == bit_error_rate and row.candidate.num_bits <= num_bits
    ]
    if not fitting:
        msg = f"num_bits must allow at least one candidate; got {num_bits:g}. Give more bits."
        raise ValueError(msg)
    return sorted(fitting, key=lambda r: (-sum(r.candidate.right), r.candidate.num_bits))[
        :FINALISTS
    ]


def plan(root: str) -> Iterator[tuple[float, list[Row]]]:
    """Each share with its finalists, a bit-error rate after the other."""
    rows = load_candidates(root)
    whole = whole_bits(rows, root)
    for rate, share in product(BIT_ERROR_RATES, SHARES):
        yield share, finalists(rows, rate, share * whole)


def choice(found: Sequence[Finalist]) -> Finalist:
    """The finalist with the most right answers, the smallest of equals."""
    return max(found, key=lambda each: (each.chose, -each.num_bits))


@lru_cache(maxsize=4)
def load_judged(root: str) -> tuple[Judged, ...]:
    """What is left of one root in small shares of its bits.

    Raises
    ------
    ValueError
        If no table is shipped for it, naming the roots that have one.
    """
    lines = shipped_lines(root, SUFFIX)
    return tuple(row for row in read(lines) if isinstance(row, Judged))


def read(lines: Iterable[str]) -> Iterator[Finalist | Judged]:
    """Rows of a table: lines of notes that begin with #, a heading, then each share's finalists.

    After them comes the one of them that was chosen, judged.
    """
    for values in csv.DictReader(line for line in lines if not line.startswith("#")):
        share, job, num_bits = float(values["share"]), job_of(values), float(values["num_bits"])
        if values["chose"]:
            yield Finalist(share, job, num_bits, float(values["chose"]))
        else:
            lost, gained = (tuple(map(int, values[name].split())) for name in ("lost", "gained"))
            right, seen = int(values["right"]), int(values["seen"])
            yield Judged(share, job, num_bits, right, lost, gained, seen)


def written(row: Finalist | Judged) -> list[object]:
    """A row's values, in the order of :data:`COLUMNS`."""
    measured_of = (row.share, *job_written(row.job), f"{row.num_bits:.0f}")
    if isinstance(row, Finalist):
        return [*measured_of, f"{row.chose:g}", "", "", "", ""]
    moved = (" ".join(map(str, counts)) for counts in (row.lost, row.gained))
    return [*measured_of, "", row.right, *moved, row.seen]


def judge(share: float, job: Job, images: ImageSet, expected: Tensor) -> Judged:
    """Measure one choice; ``expected [N]`` tells which images the root answers rightly."""
    root = load_root(job.recipe.root)
    submodel = derive(root, job.recipe)
    lost, gained, num_bits = list[int](), list[int](), 0.0
    for arrived, num_bits in arrivals(root, submodel, job.channel):  # noqa: B007
        right = right_answers(arrived.module, images)
        lost.append(int((expected & ~right).sum()))
        gained.append(int((right & ~expected).sum()))
    before = int(expected.sum())
    return Judged(share, job, num_bits, before, tuple(lost), tuple(gained), len(images))


def between(images: ImageSet, low: int, high: int) -> ImageSet:
    """Those of the first ``high`` balanced images that are not among the first ``low``.

    ``load_data(…, limit=low)`` gives these first ones.
    """
    inside = torch.zeros(len(images), dtype=torch.bool)
    inside[balanced(images.labels, high)] = True
    inside[balanced(images.labels, low)] = False
    return images.take(inside.nonzero().flatten())


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
    wanted, images = list(plan(options.root)), load_data(card.data)
    first, choosing = sum(wanted[0][1][0].candidate.seen), round(CHOOSING * len(images))
    precision = "bfloat16" if options.bfloat16 else "float32"
    table = TableFile(
        path,
        command_of(parser, options),
        sorted({row.job.recipe.root for _, best in wanted for row in best}),
        f"images: {len(images) - choosing} test images of {card.data}, of which none was among the "
        f"{choosing} that chose; computed in {precision}",
        COLUMNS,
    )
    with path.open(encoding="utf-8") as file:
        rows = list(read(file))
    known = {(row.share, row.job): row for row in rows if isinstance(row, Finalist)}
    done = {(row.share, row.job) for row in rows if isinstance(row, Judged)}
    if not known.keys() <= {(share, _again(row)) for share, best in wanted for row in best}:
        msg = f"{path} holds finalists of other candidates. Delete it, or name another --out."
        raise SystemExit(msg)
    second = between(images, first, choosing)
    last = between(images, choosing, len(images))
    with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
        expected = right_answers(load_root(options.root), last)
        for share, best in tqdm(wanted, unit="share"):
            for row in best:
                if (share, _again(row)) not in known:
                    found = _finalist(share, row, second)
                    known[share, found.job] = found
                    table.add(written(found))
            job = _drawn(choice([known[share, _again(row)] for row in best]).job, DRAWS)
            if (share, job) not in done:
                table.add(written(judge(share, job, last, expected)))


def _again(row: Row) -> Job:
    """A candidate's job as a finalist."""
    return _drawn(row.job, 1)


def _drawn(job: Job, draws: int) -> Job:
    """The same over so many draws of the errors that have not been used for it before."""
    channel = job.channel
    if not channel.bit_error_rate:
        return job
    first = max(channel.seeds) + 1
    return job._replace(channel=replace(channel, seeds=tuple(range(first, first + draws))))


def _finalist(share: float, row: Row, images: ImageSet) -> Finalist:
    """Measure a finalist on the further images."""
    job = _again(row)
    root = load_root(job.recipe.root)
    more = measured(root, derive(root, job.recipe), images, job.channel)
    return Finalist(share, job, more.num_bits, sum(row.candidate.right) + sum(more.right))


if __name__ == "__main__":
    main()
