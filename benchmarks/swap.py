"""Hot swaps under load: frames lost, whose answers they are, and the longest gap."""

import time
from collections.abc import Iterator
from itertools import pairwise

import torch

from benchmarks.table import Row, spread
from insitu_widgets import Link, Packet, Recipe, derive, load_data, load_root, pack, unpack
from insitu_widgets.levels.confidence import confidence
from insitu_widgets.network.device import Device
from insitu_widgets.network.device_log import Log

RECIPES = (Recipe("vgg-digits", bits=8), Recipe("resnet-digits", bits=8))
FRAME_RATE_HZ = 30.0
#: Packets of 2.7 and 4.4 Mbit: 20 to 50 ms to arrive where many are swapped, else about a second.
FAST, PACED = Link(1e8), Link(4e6)
SWAPS, PACED_SWAPS = 1000, 10


def run(*, quick: bool) -> Iterator[Row]:
    """Two real models in turn; first the stream alone, whose gaps are the machine's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    packets = [pack(derive(load_root(recipe.root), recipe)) for recipe in RECIPES]
    many, few = (SWAPS // 10, PACED_SWAPS // 5) if quick else (SWAPS, PACED_SWAPS)
    try:
        for memories, swaps, link in (
            (2, 0, FAST),
            (2, many, FAST),
            (2, few, PACED),
            (1, few, PACED),
        ):
            yield _row(packets, memories, swaps, link)
    finally:
        torch.set_num_threads(threads)


def _row(packets: list[Packet], memories: int, swaps: int, link: Link) -> Row:
    options = {"accelerators": memories, "buffer_frames": 100, "frame_rate_hz": FRAME_RATE_HZ}
    with Device(packets[0], load_data("digits"), **options) as device:
        for number in range(1, swaps + 1):
            device.download(packets[number % 2], link)
        time.sleep(0 if swaps else 10)
    log = device.log()
    gaps = [1e3 * (b.answered_s - a.answered_s) for a, b in pairwise(log.answers)]
    pace = f", {packets[1].num_bits / link.rate_bps:.2g} s to arrive" if swaps else ""
    what = f"{FRAME_RATE_HZ:g} frames/s, {swaps:,} swaps{pace}, memories: {memories}: gaps"
    figure = f"{spread(gaps, 'ms')}; {len(log.answers):,} of {log.asked:,} answered"
    foreign = _foreign(log, packets)
    wrong = f"{foreign} answers are not their model's" if foreign else ""
    if memories == 1:
        return Row(what, figure, wrong=wrong)
    complete = len(log.answers) == log.asked and all(swap.switched for swap in log.swaps)
    return Row(what, figure, "no frame lost", complete, wrong)


def _foreign(log: Log, packets: list[Packet]) -> int:
    """Answers that differ from what their complete model says of their frame."""
    images = load_data("digits").images
    models = [unpack(packet)[0] for packet in packets]
    said: dict[tuple[int, int], tuple[int, float]] = {}
    for answer in log.answers:
        key = (answer.model % 2, answer.frame % len(images))
        if key not in said:
            with torch.inference_mode():
                logits = models[key[0]](images[key[1] : key[1] + 1])
            said[key] = (int(logits.argmax()), float(confidence(logits)))
    return sum(
        (a.label, a.confidence) != said[a.model % 2, a.frame % len(images)] for a in log.answers
    )
