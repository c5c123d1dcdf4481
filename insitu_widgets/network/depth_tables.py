"""Measure the depth level of one root, for machines that have not got its images.

    python -m insitu_widgets.network.depth_tables resnet18-cifar100

Four tables, which :mod:`insitu_widgets.network.depth_rows` reads, are measured as notebook 02's
panels measure where the images are: split inference, early exits by confidence, a download layer by
layer, and what an attacker rebuilds. Stopped, it goes on with what is not whole yet.
"""

from __future__ import annotations

import argparse
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from insitu_widgets.air.channel import Link, transmit
from insitu_widgets.air.payload import pack, unpack
from insitu_widgets.cards import ROOTS, card_of
from insitu_widgets.data import count_of, load_data
from insitu_widgets.errors import in_range
from insitu_widgets.evaluate import accuracies, accuracy
from insitu_widgets.levels.confidence import MEASURES, Answers, answer
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.levels.split import count, split
from insitu_widgets.network.depth_rows import (
    ALONE,
    COLUMNS,
    EXACT,
    EXITS,
    PRIVACY,
    PROGRESSIVE,
    SPLITS,
    WHOLE,
    values_in,
)
from insitu_widgets.network.privacy import TOGETHER, blind_guess, class_guess, overhear
from insitu_widgets.network.progressive import Arrival, arrivals, chunks
from insitu_widgets.network.split import Cooperation, Uplink, cooperative_exits
from insitu_widgets.network.table_file import TableFile, command_of
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from insitu_widgets.data import ImageSet
    from insitu_widgets.roots import Root

    Rows = Iterator[list[object]]
    Work = Iterator[Rows]

Said = TypeVar("Said")

FOLDER = Path(__file__).parents[1] / "catalogue"
#: Split inference: weights kept on the device, bits for each; bits for each value that goes up, and
#: the uplink's bit-error rate.
TOGETHERS = (
    *((1.0, 4, 4, 0.0), (1.0, 32, 32, 0.0), (0.2, 4, 4, 0.0)),
    *((1.0, 4, 1, 0.0), (1.0, 4, 2, 0.0), (1.0, 4, 8, 0.0)),
    *((1.0, 4, 4, 1e-3), (1.0, 4, 4, 1e-2), (1.0, 4, 32, 1e-3)),
)
#: Bits for each value that goes up, beside :data:`EXACT`, at every split.
FEATURE_BITS = 4
#: Thresholds: those that the panel's slider stops at, and so many that share the images out evenly.
STOPS, QUANTILES = tuple(step / 20 for step in range(21)), 34
#: What is downloaded: weights kept, bits for each, bit-error rate; the receiver's guard, the draw.
DOWNLOADS = ((1.0, 4, 0.0), (1.0, 32, 0.0), (0.2, 4, 0.0), (1.0, 4, 1e-3), (1.0, 32, 1e-3))
GUARD, SEED = "clamp", 0
#: Bits for each value, and the attacker.
ATTACKS = ((4, "ridge"), (1, "ridge"), (4, "network"))
#: The most values of a feature that the network is fitted to: wider ones take it minutes each.
WIDEST_FITTED = 16_384
FEWEST = 20


def together(root: Root, test: ImageSet, setting: tuple[float, int, int, float]) -> Rows:
    """Accuracy of a device and a server at every split point, in one of :data:`TOGETHERS`."""
    keep, bits, feature_bits, bit_error_rate = setting
    link = Link(1.0, bit_error_rate=bit_error_rate)
    for point in range(root.num_exits + 1):
        recipe = Recipe(root.name, point or None, keep, bits)
        halves = split(root, point, derive(root, recipe).module if point else None)
        uplink = Uplink(feature_bits, link, np.random.default_rng(SEED))
        last = deque(accuracy(Cooperation(halves, uplink), test), maxlen=1).pop()
        sent = (keep, bits, feature_bits, f"{bit_error_rate:g}", SEED)
        yield [root.name, *sent, point, last.correct, last.seen]


def settings(root: Root) -> list[tuple[int, int | None]]:
    """Bits of a feature value and split point: exact ones, where the split does not matter."""
    return [(EXACT, None), *((FEATURE_BITS, point) for point in range(root.num_exits))]


def exits(root: Root, train: ImageSet, test: ImageSet, bits: int, point: int | None) -> Rows:
    """Where images leave and how many are right, at each threshold, in one setting.

    Thresholds from training images are measured with exact features only.
    """
    at = root.num_exits if point is None else point
    uplink = Uplink(bits, Link(1.0), np.random.default_rng(0))
    ask = partial(cooperative_exits, root, at, uplink)
    tested = _asked(ask, test)
    learnt = _asked(ask, train) if point is None else {}
    begin = [root.name, bits, "" if point is None else point]
    _, reported = tested[MEASURES[0]].halves()
    for number, found in enumerate(reported.everyone()):
        left = [found.seen if place == number else 0 for place in range(root.num_exits)]
        yield [*begin, "", ALONE, "", "", "", " ".join(map(str, left)), found.correct]
    for measure in MEASURES:
        aside, reported = tested[measure].halves()
        sources = {"aside": aside} | ({"train": learnt[measure]} if learnt else {})
        for source, chosen in sources.items():
            quantiles = (round(value, 6) for value in chosen.thresholds(QUANTILES))
            for threshold in sorted({*STOPS, *quantiles}):
                there, here = chosen.route(threshold).estimate, reported.route(threshold)
                yield [
                    *(*begin, measure, source, f"{threshold:g}", there.correct, there.seen),
                    *(" ".join(map(str, here.left)), here.estimate.correct),
                ]


def _asked(ask: partial[list[Tensor]], images: ImageSet) -> dict[str, Answers]:
    """Every measure's answers, from one pass."""
    with torch.inference_mode():
        said = [ask(batch) for batch in images.images.split(TOGETHER)]
    return {measure: answer(_again(said), images, measure, TOGETHER) for measure in MEASURES}


def _again(parts: Sequence[Said]) -> Callable[[Tensor], Said]:
    """What was said of some images, part after part, to whoever asks about them anew."""
    left = iter(parts)
    return lambda _: next(left)


class _Arrived(nn.Module):
    """All exits of a download that has arrived, from one pass."""

    def __init__(self, arrived: Sequence[Arrival]) -> None:
        super().__init__()
        parts = [list(arrival.network.children()) for arrival in arrived]
        self.blocks = nn.ModuleList(nn.Sequential(*part[-3:-1]) for part in parts)
        self.heads = nn.ModuleList(part[-1] for part in parts)

    def forward(self, images: Tensor) -> list[Tensor]:
        feature, logits = images, []
        for block, head in zip(self.blocks, self.heads, strict=True):
            feature = block(feature)
            logits.append(head(feature))
        return logits


def download(root: Root, test: ImageSet, keep: float, bits: int, bit_error_rate: float) -> Rows:
    """Bits and accuracy of each exit as it arrives, then of the root in one piece."""
    link = Link(1.0, bit_error_rate=bit_error_rate)
    random = np.random.default_rng(SEED)
    arrived = list(arrivals(root, chunks(root, keep, bits), link, random, GUARD))
    begin = [root.name, keep, bits, f"{bit_error_rate:g}", GUARD, SEED]
    found = deque(accuracies(_Arrived(arrived), test), maxlen=1).pop()
    for arrival, each in zip(arrived, found, strict=True):
        yield [*begin, arrival.exit, arrival.num_bits, each.correct, each.seen]
    packet = pack(derive(root, Recipe(root.name, keep=keep, bits=bits)))
    received, _ = unpack(transmit(packet, link, SEED), GUARD)
    last = deque(accuracy(received, test), maxlen=1).pop()
    yield [*begin, WHOLE, packet.num_bits, last.correct, last.seen]


def attacks(
    root: Root, point: int, train: ImageSet, test: ImageSet, wanted: Sequence[tuple[int, str]]
) -> Rows:
    """Decibels that attackers reach at one split point; the device is asked once for them all."""
    device = split(root, point).device
    with torch.inference_mode():
        features = [
            device(batch) for images in (train, test) for batch in images.images.split(TOGETHER)
        ]
    for bits, attacker in wanted:
        found = overhear(_again(features), point, train, test, bits=bits, attacker=attacker)
        yield [root.name, bits, attacker, point, f"{found.psnr_db:.3f}"]


def guesses(root: Root, train: ImageSet, test: ImageSet) -> Rows:
    """Decibels of those who hear no feature."""
    yield [root.name, "", "class", "", f"{class_guess(train, test).psnr_db:.3f}"]
    yield [root.name, "", "nothing", "", f"{blind_guess(train, test).psnr_db:.3f}"]


def fitted(root: Root, test: ImageSet) -> list[list[tuple[int, str]]]:
    """Which attackers are measured at each split point."""
    sizes = count(root, tuple(test.images.shape[1:])).values
    return [
        [(bits, name) for bits, name in ATTACKS if name == "ridge" or size <= WIDEST_FITTED]
        for size in sizes[: root.num_exits]
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the four shipped tables of one root."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.depth_tables",
        description="Measure split inference, early exits, downloads layer by layer and attacks on "
        "what goes up; stopped, it goes on.",
    )
    parser.add_argument("root", choices=ROOTS, help="which root")
    parser.add_argument(
        "--images", type=int, default=1000, help="training and test images, balanced (1000)"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to (the shipped)")
    options = parser.parse_args(arguments)
    card = card_of(options.root)
    assert card is not None
    try:
        in_range("images", options.images, FEWEST, count_of(card.data))
    except ValueError as error:
        parser.error(str(error))
    root = load_root(options.root)
    train, test = (load_data(card.data, part, options.images) for part in ("train", "test"))
    tested = f"{len(test)} test images of {card.data}"
    notes = {
        SPLITS: f"{tested}; seed {SEED}",
        EXITS: f"{tested}, every other one put aside to choose a threshold on and not reported, "
        f"and {len(train)} training images to choose on instead; features of {EXACT} bit at any "
        f"split and of {FEATURE_BITS} bit at each",
        PROGRESSIVE: f"{tested}; receiver's guard {GUARD}, seed {SEED}",
        PRIVACY: f"{tested} to judge by, {len(train)} training images to fit to; the network "
        f"attacker is fitted to features of at most {WIDEST_FITTED} values",
    }
    command = command_of(parser, options)
    for suffix, note in notes.items():
        path = options.out / (options.root + suffix)
        begin = (path, command, (options.root,), f"images: {note}", COLUMNS[suffix])
        table = TableFile(*begin)
        with path.open(encoding="utf-8") as file:
            done = {tuple(row.values()) for row in values_in(file)}
        work = list(_LEFT[suffix](root, train, test, {tuple(row[1:-1]) for row in done}))
        for rows in tqdm(work, desc=path.stem, unit="setting"):
            table.add_together(rows)


def _splits_left(root: Root, _: ImageSet, test: ImageSet, done: set[tuple[str, ...]]) -> Work:
    sent_so = {row[:4] for row in done}
    for keep, bits, feature_bits, rate in TOGETHERS:
        if (str(keep), str(bits), str(feature_bits), f"{rate:g}") not in sent_so:
            yield together(root, test, (keep, bits, feature_bits, rate))


def _exits_left(root: Root, train: ImageSet, test: ImageSet, done: set[tuple[str, ...]]) -> Work:
    split_so = {row[:2] for row in done}
    for bits, point in settings(root):
        if (str(bits), "" if point is None else str(point)) not in split_so:
            yield exits(root, train, test, bits, point)


def _downloads_left(root: Root, _: ImageSet, test: ImageSet, done: set[tuple[str, ...]]) -> Work:
    sent_so = {row[:3] for row in done}
    for keep, bits, rate in DOWNLOADS:
        if (str(keep), str(bits), f"{rate:g}") not in sent_so:
            yield download(root, test, keep, bits, rate)


def _attacks_left(root: Root, train: ImageSet, test: ImageSet, done: set[tuple[str, ...]]) -> Work:
    if ("", "class", "") not in done:
        yield guesses(root, train, test)
    for point, wanted in enumerate(fitted(root, test)):
        left = [each for each in wanted if (str(each[0]), each[1], str(point)) not in done]
        if left:
            yield attacks(root, point, train, test, left)


#: What is still to be measured of each table; a part is measured when it is asked for.
_LEFT = {
    SPLITS: _splits_left,
    EXITS: _exits_left,
    PROGRESSIVE: _downloads_left,
    PRIVACY: _attacks_left,
}


if __name__ == "__main__":
    main()
