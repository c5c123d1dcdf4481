"""All-in-one training (paper, section 2.2, its [9]): one set of weights, every sub-model in it.

    python -m insitu_widgets.levels.all_in_one resnet-digits

A trained root is trained on. In each step it learns whole, at all its exits, and as one or two
random sub-models: cut at some exit, its smallest weights gone, what is left rounded to a few bits
of one grid that all sub-models share. All learn the labels and the answers of the root as it was.
So every sub-model is embedded in the larger ones, and none needs to be re-trained when it is asked
for. Norms keep the statistics of the root: sub-models share them too.

A training that is killed goes on after its last checkpoint when the same command is given again.
It runs on a GPU where there is one.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from insitu_widgets.checkpoint import Checkpoint
from insitu_widgets.cifar100 import cache_folder
from insitu_widgets.data import hold_out, load_data
from insitu_widgets.evaluate import accuracy
from insitu_widgets.levels.all_in_one_training import AllInOne, Training, all_in_one, fingerprint
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.model_card import write_card, write_model_card
from insitu_widgets.roots import Root, load_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from insitu_widgets.data import ImageSet

__all__ = ["PLANS", "AllInOne", "all_in_one", "compared", "train"]

#: What photographs are trained with: 2.6 epochs, and one more in which the whole root weighs more.
_PHOTOGRAPHS = AllInOne(
    steps=1000,
    peak_rate=3e-4,
    batch=128,
    first_exit=0.1,
    augmentation="crop",
    erase_px=8,
    bfloat16=True,
    bit_error_rate=3e-3,
)
#: What all-in-one roots are trained with.
PLANS = {
    "resnet-digits": AllInOne(steps=1500),
    "vgg-digits": AllInOne(steps=2000),
    "vit-digits": AllInOne(steps=900, peak_rate=1e-3),
    "resnet18-cifar100": replace(
        _PHOTOGRAPHS, then=replace(_PHOTOGRAPHS, steps=400, peak_rate=1.5e-4, whole=2.0)
    ),
}
#: A checkpoint is written when so much time has passed since the last one, and at the end.
CHECKPOINT_EVERY_S = 60.0
#: What ``--holdout`` compares at the last exit, and, of these, at all others.
_KEEPS, _BITS = (1.0, 0.2, 0.1), (32, 4, 3, 2)
_AT_EVERY_EXIT = ((1.0, 32), (0.2, 4))


def train(
    root: Root,
    images: ImageSet,
    plan: AllInOne,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
) -> Root:
    """Train a copy of a root, as :func:`all_in_one`, or go on from the checkpoint.

    A progress bar shows the loss (nat) and the time left; beside the checkpoint grows a log.

    Raises
    ------
    ValueError
        If the checkpoint is of a training with other settings.
    """
    trained, file = None, checkpoint
    for later, stage in enumerate(plan.stages):
        if later and file:
            file = file.following()
        training = Training(root, images, stage, seed + later, trained)
        _go_through(training, stage.steps, file)
        trained = copy.deepcopy(training.average).to("cpu")
    if checkpoint and file:
        checkpoint.seconds = file.seconds
    assert trained is not None
    return trained


def _go_through(training: Training, steps: int, checkpoint: Checkpoint | None) -> None:
    """The steps of one stage that are not done yet."""
    done = checkpoint.restore(training.parts, training.random) if checkpoint else 0
    before = checkpoint.seconds if checkpoint else 0.0
    start = saved = time.perf_counter()
    losses: list[float] = []
    with tqdm(total=steps, initial=done, desc=training.average.name, unit="step") as bar:
        for number in range(done + 1, steps + 1):
            losses.append(training.step())
            bar.update()
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
            now = time.perf_counter()
            due = now - saved >= CHECKPOINT_EVERY_S or number == steps
            if checkpoint is None or not due:
                continue
            checkpoint.save(number, training.parts, training.random, before + now - start)
            mean = sum(losses) / len(losses)
            pace_s = (now - saved) / len(losses)
            checkpoint.log(f"step {number}/{steps} loss {mean:.4f} {pace_s:.2f} s a step")
            losses, saved = [], time.perf_counter()


def compared(plain: Root, nested: Root, images: ImageSet) -> Iterator[tuple[Recipe, float, float]]:
    """Sub-models of both roots, one shot: the plain root's recipe, and both accuracies, in [0, 1].

    The table has 100, 20 and 10 % of the weights at 32, 4, 3 and 2 bits at the last exit; the whole
    and 20 % at 4 bits at all others.
    """
    last = plain.num_exits
    rows = [(last, keep, bits) for keep in _KEEPS for bits in _BITS]
    rows += [(exit_, *row) for exit_ in range(1, last) for row in _AT_EVERY_EXIT]
    for row in rows:
        shares = []
        for root in (plain, nested):
            *_, estimate = accuracy(derive(root, Recipe(root.name, *row)), images, batch=500)
            shares.append(estimate.accuracy)
        yield Recipe(plain.name, *row), shares[0], shares[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.levels.all_in_one",
        description="Train a shipped root's all-in-one weights.",
    )
    parser.add_argument("root", choices=PLANS, help="which root to train on")
    parser.add_argument("--seed", type=int, default=0, help="of order, warping, sub-models (0)")
    parser.add_argument("--steps", type=int, help="in one stage, instead of the plan's")
    parser.add_argument("--peak-rate", type=float, help="Adam's highest, in one stage")
    weights = Path(__file__).parents[1] / "weights"
    parser.add_argument("--out", type=Path, default=weights, help="folder for weights and card")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=cache_folder() / "checkpoints",
        help="folder for checkpoint and log (%(default)s)",
    )
    parser.add_argument(
        "--holdout",
        action="store_true",
        help="keep some training images back (200 digits, 5,000 photographs), compare sub-models "
        "before and after on these, write nothing; the root itself has learnt from them, so both "
        "are higher than on test images",
    )
    options = parser.parse_args(arguments)
    plan, root, data = PLANS[options.root], load_root(options.root), options.root.split("-")[-1]
    given = {"steps": options.steps, "peak_rate": options.peak_rate}
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        plan = replace(plan, then=None, **chosen) if chosen else plan
    except ValueError as error:
        parser.error(str(error))
    images = held = load_data(data, "train")
    if options.holdout:
        images, held = hold_out(images, data)
    settings = (
        f"{plan.record()}, seed {options.seed}, {len(images)} images, root {fingerprint(root)}"
    )
    run = f"{options.root}-nested-holdout" if options.holdout else f"{options.root}-nested"
    checkpoint = Checkpoint(options.checkpoints / f"{run}.pt", settings)
    trained = train(root, images, plan, options.seed, checkpoint)
    if options.holdout:
        print(f"On {len(held):,} training images kept back: one shot, then all-in-one")
        for recipe, before, after in compared(root, trained, held):
            print(f"{recipe}: {before:.2%} {after:.2%}", flush=True)
    else:
        mixed, seconds = plan.bfloat16, checkpoint.seconds
        card = write_card(trained, plan.record(), options.seed, seconds, options.out, mixed=mixed)
        write_model_card(options.out)
        print(f"{card['name']}: accuracy by exit", *(f"{a:.2%}" for a in card["accuracy"]))
    checkpoint.remove()


if __name__ == "__main__":
    main()
