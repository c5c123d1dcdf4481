"""Training against bit errors, measured before: for roots whose training no one waits for.

    python -m insitu_widgets.network.hardened resnet18-cifar100

Three networks of the same code width are sent through the same bit errors: the root as it is, a
copy re-trained with its codes, and one whose codes were flipped in training too (paper, section
2.3; D. Stutz et al., MLSys 2021). Stopped, the command goes on with the next of them. Reading the
table needs no images.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from insitu_widgets.cards import ROOTS, card_of
from insitu_widgets.data import load_data
from insitu_widgets.errors import in_range
from insitu_widgets.evaluate import right_answers
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.levels.retrain import Hardening, retrain
from insitu_widgets.network.catalogue import shipped_lines
from insitu_widgets.network.envelope import Channel, arrivals
from insitu_widgets.network.table_file import TableFile, command_of, images_to_test_on
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from insitu_widgets.data import ImageSet
    from insitu_widgets.roots import Root

FOLDER = Path(__file__).parents[1] / "catalogue"
SUFFIX = "-hardened.csv"
BITS = 4
#: Bit errors of the body that the networks are sent through; without any there is one draw.
BIT_ERROR_RATES = (0.0, 1e-3, 1e-2, 3e-2)
#: Names of the networks, and what is in the codes and on the weights in training.
NOT_TRAINED, TRAINED, FLIPPED = WAYS = (
    "not re-trained",
    "re-trained",
    "re-trained with bit errors",
)
TRAINING_BIT_ERROR_RATE, CLIP = 1e-2, 1.5
COLUMNS = (
    *("root", "network", "bits", "steps", "training_bit_error_rate", "clip", "peak_rate", "batch"),
    *("seconds", "bit_error_rate", "seed", "right", "seen"),
)


@dataclass(frozen=True)
class Sent:
    """One of the networks after one draw of bit errors.

    Attributes
    ----------
    network : str
        One of :data:`WAYS`.
    plan : Hardening, optional
        How it was re-trained; ``None`` if it was not.
    seconds : float
        What the training took where it was measured.
    bit_error_rate, seed : float, int
        Of the packet's body.
    right, seen : int
        Test images answered rightly by what was received, and all of them.
    """

    network: str
    plan: Hardening | None
    seconds: float
    bit_error_rate: float
    seed: int
    right: int
    seen: int


@lru_cache(maxsize=4)
def load_hardened(root: str) -> tuple[Sent, ...]:
    """What training against bit errors buys one root.

    Raises
    ------
    ValueError
        If no table is shipped for it, naming the roots that have one.
    """
    return tuple(read(shipped_lines(root, SUFFIX)))


def read(lines: Iterable[str]) -> Iterator[Sent]:
    """Rows of a table: lines of notes that begin with #, a heading, then one draw a line."""
    for values in csv.DictReader(line for line in lines if not line.startswith("#")):
        plan = None
        if int(values["steps"]):
            plan = Hardening(
                int(values["bits"]),
                int(values["steps"]),
                float(values["training_bit_error_rate"]),
                float(values["clip"]) if values["clip"] else None,
                float(values["peak_rate"]),
                int(values["batch"]),
            )
        yield Sent(
            values["network"],
            plan,
            float(values["seconds"]),
            float(values["bit_error_rate"]),
            int(values["seed"]),
            int(values["right"]),
            int(values["seen"]),
        )


def plan_of(network: str, steps: int, peak_rate: float, batch: int) -> Hardening | None:
    """How one of :data:`WAYS` is re-trained."""
    if network == NOT_TRAINED:
        return None
    plan = Hardening(BITS, steps, peak_rate=peak_rate, batch=batch)
    if network == TRAINED:
        return plan
    return replace(plan, bit_error_rate=TRAINING_BIT_ERROR_RATE, clip=CLIP)


def measure(
    root: Root, network: str, plan: Hardening | None, images: Sequence[ImageSet], draws: int
) -> Iterator[Sent]:
    """Re-train a copy of the root, cut and pack it, and measure what each draw leaves of it.

    ``images`` are those to train on and those to measure on.
    """
    train, test = images
    start, trained = time.perf_counter(), root
    if plan:
        bar = tqdm(retrain(root, train, plan), total=plan.steps, desc=network, unit="batch")
        trained = deque(bar, maxlen=1).pop().as_root(root)
    seconds = time.perf_counter() - start if plan else 0.0
    submodel = derive(trained, Recipe(root.name, bits=BITS))
    for rate in BIT_ERROR_RATES:
        channel = Channel(rate, seeds=tuple(range(draws if rate else 1)))
        received = arrivals(trained, submodel, channel)
        for seed, (arrived, _) in zip(channel.seeds, received, strict=True):
            right = int(right_answers(arrived.module, test).sum())
            yield Sent(network, plan, seconds, rate, seed, right, len(test))


def written(root: str, row: Sent) -> list[object]:
    """A row's values, in the order of :data:`COLUMNS`."""
    how: tuple[object, ...] = (BITS, 0, "", "", "", "")
    if plan := row.plan:
        pace = (plan.peak_rate, plan.batch)
        how = (plan.bits, plan.steps, plan.bit_error_rate, plan.clip or "", *pace)
    drawn = (row.bit_error_rate, row.seed, row.right, row.seen)
    return [root, row.network, *how, f"{row.seconds:.1f}", *drawn]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped table of one root."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.hardened",
        description="Measure what training against bit errors buys a root; stopped, it goes on.",
    )
    parser.add_argument("root", choices=ROOTS, help="which root")
    parser.add_argument("--steps", type=int, default=100, help="batches of re-training (100)")
    parser.add_argument("--batch", type=int, default=128, help="images a batch (128)")
    parser.add_argument("--peak-rate", type=float, default=5e-4, help="Adam's highest step (5e-4)")
    parser.add_argument("--images", type=int, help="test images, balanced (2000, or all)")
    parser.add_argument("--draws", type=int, default=5, help="draws of each bit-error rate (5)")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: faster")
    parser.add_argument("--out", type=Path, help="CSV to write (the shipped one)")
    options = parser.parse_args(arguments)
    pace = (options.steps, options.peak_rate, options.batch)
    try:
        plans = {network: plan_of(network, *pace) for network in WAYS}
        draws = in_range("--draws", options.draws, 1, 1000)
    except ValueError as error:
        parser.error(str(error))
    card = card_of(options.root)
    assert card is not None
    test = images_to_test_on(parser, options.images, card.data)
    images = load_data(card.data, "train"), test
    path = options.out or FOLDER / (options.root + SUFFIX)
    precision = "bfloat16" if options.bfloat16 else "float32"
    table = TableFile(
        path,
        command_of(parser, options),
        (options.root,),
        f"images: {len(images[1])} test images of {card.data}; computed in {precision}; "
        f"{draws} draws; {options.steps} batches of {options.batch}, Adam, at most "
        f"{options.peak_rate:g}",
        COLUMNS,
    )
    with path.open(encoding="utf-8") as file:
        done = {row.network for row in read(file)}
    root = load_root(options.root)
    for network, plan in plans.items():
        if network not in done:
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
                rows = list(measure(root, network, plan, images, draws))
            table.add_together(written(options.root, row) for row in rows)


if __name__ == "__main__":
    main()
