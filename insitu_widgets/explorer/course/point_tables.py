"""Measure what notebooks 03 and 04 show of one root, for machines that have not got its images.

    python -m insitu_widgets.explorer.course.point_tables resnet18-cifar100

Each accuracy that their panels ask for, at every stop of their sliders (of random importance, with
seed 0), is measured with the panels' own functions and becomes a line of a table, which
:mod:`insitu_widgets.explorer.course.beforehand` reads. Stopped, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

from tqdm import tqdm

from insitu_widgets.air import entropy
from insitu_widgets.cards import NESTED_ROOTS, ROOTS, card_of
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import bits_live as live
from insitu_widgets.explorer.course import loaded, mixed_panels
from insitu_widgets.explorer.course import parameter_live as pruned
from insitu_widgets.explorer.course.beforehand import (
    COLUMNS,
    SETTINGS,
    SUFFIX,
    Key,
    key_of,
    read_points,
)
from insitu_widgets.levels import parameter
from insitu_widgets.levels.allocation import shipped_sensitivity
from insitu_widgets.levels.quantisers import PER_CHANNEL, QUANTISERS, WIDEST_PRODUCT
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.table_file import TableFile, command_of

FOLDER = Path(__file__).parents[2] / "catalogue"
SEED = 0

#: A measurement: its function and arguments.
Work = Iterator[tuple[Callable[..., Estimate | float], tuple[object, ...]]]


def work_of(root: str) -> Work:
    """All that the panels may ask about a root, in the order in which what is loaded serves."""
    yield from _quantised(root)
    yield from _mixed(root)
    yield from _nested_bits(root)
    yield from _protected(root)
    yield from _pruned(root)
    yield from _cut(root)
    if pruned.nested_name(root) in NESTED_ROOTS:
        yield from _grown(pruned.nested_name(root))


def _quantised(root: str) -> Work:
    for quantiser, bits in product(QUANTISERS, range(1, WIDEST_PRODUCT + 1)):
        yield live.quantised_accuracy, (root, quantiser, bits)
    for bits in range(WIDEST_PRODUCT + 1, max(live.NESTED_WIDTHS) + 1):
        yield live.quantised_accuracy, (root, PER_CHANNEL, bits)


def _mixed(root: str) -> Work:
    layers = shipped_sensitivity(root)[ROOTS[root].num_exits]
    for average in mixed_panels.BUDGETS:
        widths = tuple(mixed_panels.plan_of(layers, average).bits.values())
        yield live.mixed_accuracy, (root, widths)
        yield live.mixed_agreement, (root, widths)
    for bits in mixed_panels.UNIFORM:
        yield live.mixed_agreement, (root, (bits,) * len(layers))


def _nested_bits(root: str) -> Work:
    for bits, best_at in product(live.NESTED_WIDTHS, live.BEST_AT):
        for width in range(1, bits + 1):
            yield live.prefix_accuracy, (root, bits, best_at, width)


def _protected(root: str) -> Work:
    for bits in live.SENT_WIDTHS:
        for rate, coder in product(live.CODED_RATES, entropy.CODERS):
            yield live.coded_accuracy, (root, bits, coder, rate, SEED)
        for protected, rate in product(range(bits + 1), live.PROTECTED_RATES):
            yield live.protected_accuracy, (root, bits, protected, rate, SEED)


def _pruned(root: str) -> Work:
    shares = dict.fromkeys((*pruned.keeps_of(root), *pruned.KEEPS))
    for kind, keep in product(parameter.IMPORTANCES, shares):
        if keep < 1 or kind == parameter.IMPORTANCES[0]:
            yield pruned.pruned_accuracy, (root, keep, kind, SEED)
    for layer in live.weights_of(root):
        yield pruned.layer_loss_at, (root, layer, pruned.LAYER_KEEPS[0])


def _cut(root: str) -> Work:
    nested = pruned.nested_name(root)
    for number, bits, keep in product(pruned.CUT_EXITS, pruned.CUT_BITS, pruned.keeps_of(root)):
        cut = (number or None, keep, bits)
        yield pruned.arrived_accuracy, (Recipe(root, *cut),)
        if nested in NESTED_ROOTS:
            yield pruned.arrived_accuracy, (Recipe(nested, *cut),)
        if ROOTS[root].has_batch_norms:
            yield pruned.recalibrated_accuracy, (Recipe(root, *cut),)


def _grown(nested: str) -> Work:
    for step in dict.fromkeys(step for steps in pruned.LADDERS.values() for step in steps):
        yield pruned.grown_accuracy, (Recipe(nested, *step),)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped table of one root."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.explorer.course.point_tables",
        description="Measure what notebooks 03 and 04 show of a root; stopped, it goes on.",
    )
    parser.add_argument("root", choices=[n for n in ROOTS if not live.is_quick(n)], help="the root")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to (the shipped)")
    options = parser.parse_args(arguments)
    root = options.root
    images = (
        f"{len(live.point_images(root))} test images of {ROOTS[root].data}, or "
        f"{len(loaded.images_of(root))} while a sub-model grows"
    )
    nested = pruned.nested_name(root)
    path = options.out / f"{root}{SUFFIX}"
    table = TableFile(
        path,
        command_of(parser, options),
        [name for name in (root, nested) if card_of(name)],
        f"images: {images}; of each the first draw of the channel, seed {SEED}",
        COLUMNS,
    )
    done = set(read_points(path.read_text(encoding="utf-8").splitlines()))
    left = {key_of(measure, *given)[1]: (measure, given) for measure, given in work_of(root)}
    for key, (measure, given) in tqdm(left.items(), desc=path.stem, unit="point"):
        if key not in done:
            table.add(_row(given[0], key, measure(*given)))


def _row(subject: object, key: Key, found: Estimate | float) -> Sequence[object]:
    kind, setting = key
    root = subject.root if isinstance(subject, Recipe) else subject
    if isinstance(found, Estimate):
        return root, kind, SETTINGS.join(setting), found.correct, found.seen, ""
    return root, kind, SETTINGS.join(setting), "", "", f"{found:.6g}"


if __name__ == "__main__":
    main()
