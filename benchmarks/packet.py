"""Derive, pack, transmit, unpack: the whole way of a sub-model, beside named peers and floors."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import prune

from benchmarks.table import DIGITS_ROOTS, Row, below, timed
from insitu_widgets import (
    ImageSet,
    Link,
    Packet,
    Recipe,
    Root,
    accuracy,
    derive,
    load_data,
    load_root,
    pack,
    transmit,
    unpack,
)
from insitu_widgets.levels.recalibrate import BATCH, recalibrated
from insitu_widgets.roots import is_weight

DERIVE_MS = 50.0
CUTS = ((1.0, 32), (0.2, 4), (0.5, 8))
LINK = Link(1e6, bit_error_rate=1e-3)


def run(*, quick: bool) -> Iterator[Row]:
    """Every root with every recipe, then the peers, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in DIGITS_ROOTS:
            root = load_root(name)
            for keep, bits in CUTS:
                yield from way(root, Recipe(name, keep=keep, bits=bits), 15 if quick else 50)
        for name in DIGITS_ROOTS:
            root = load_root(name)
            yield against_prune(root, 5 if quick else 15)
            yield against_bernoulli(root, 3 if quick else 9)
            yield against_bare_forward(root, load_data("digits"), 3 if quick else 9)
    finally:
        torch.set_num_threads(threads)


def way(
    root: Root,
    recipe: Recipe,
    times: int,
    derive_ms: float | None = DERIVE_MS,
    all_ms: float | None = None,
) -> Iterator[Row]:
    """Each step alone, given what the step before it has made."""
    submodel = derive(root, recipe)
    packet = pack(submodel)
    arrived = transmit(packet, LINK, 0)
    steps: tuple[Callable[[], object], ...] = (
        lambda: derive(root, recipe),
        lambda: pack(submodel),
        lambda: transmit(packet, LINK, 0),
        lambda: unpack(arrived, "clamp")[0].module,  # unpacked and ready to run
    )
    samples = [milliseconds(step, times) for step in steps]
    yield timed(f"derive: {recipe}", samples[0], "ms", derive_ms)
    parts = [median(step) for step in samples]
    figure = f"{' + '.join(f'{part:.2f}' for part in parts)} = {sum(parts):.1f} ms (medians)"
    what = f"derive + pack + transmit + unpack: {recipe}"
    if all_ms is None:
        yield Row(what, figure)
    else:
        yield Row(what, figure, below(all_ms, "ms"), sum(parts) <= all_ms)


def milliseconds(call: Callable[[], object], times: int) -> list[float]:
    """Durations of so many calls."""
    call()  # what the first call alone pays is not the step's
    return [_one(call) for _ in range(times)]


def _one(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def side_by_side(
    what: str, ours: Callable[[], object], peer: Callable[[], Callable[[], object]], times: int
) -> Row:
    """Medians of both, taken in turn; ``peer()`` prepares what is then timed."""
    ours()
    peer()()
    pairs = [(_one(ours), _one(peer())) for _ in range(times)]
    mine, theirs = (median(column) for column in zip(*pairs, strict=True))
    return Row(what, f"{mine / theirs:.3g} of its time ({mine:.3g} and {theirs:.3g} ms)")


def against_prune(root: Root, times: int) -> Row:
    """The masks of all layers, found and applied."""
    recipe = Recipe(root.name, keep=0.2)

    def peer() -> Callable[[], object]:
        network = copy.deepcopy(root)  # it is changed in place
        places = list(_weights(network))
        return lambda: prune.global_unstructured(places, prune.L1Unstructured, amount=0.8)

    what = f"derive at keep 20 % against torch.nn.utils.prune, global L1: {root.name}"
    return side_by_side(what, lambda: derive(root, recipe), peer, times)


def _weights(network: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str]]:
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if is_weight(name, parameter):
                yield module, name


def against_bernoulli(root: Root, times: int) -> Row:
    """The flips of one packet."""
    packet = pack(derive(root, Recipe(root.name)))

    def peer() -> Callable[[], object]:
        random = np.random.default_rng(0)
        return lambda: _bernoulli(packet, LINK.bit_error_rate, random)

    what = f"transmit at {LINK.bit_error_rate:g} against one draw a bit (numpy): {root.name}"
    return side_by_side(what, lambda: transmit(packet, LINK, 0), peer, times)


def _bernoulli(packet: Packet, bit_error_rate: float, random: np.random.Generator) -> Packet:
    body = np.frombuffer(packet.body, np.uint8)
    flips = np.packbits(random.random(8 * body.size, np.float32) < bit_error_rate)
    return packet.with_body((body ^ flips).tobytes())


def against_bare_forward(
    root: Root, images: ImageSet, times: int, faster: float | None = None
) -> Row:
    """The stream of estimates; its floor is to run the network over the same batches."""
    submodel = derive(root, Recipe(root.name))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    batches = [images.images[index] for index in order.split(100)]
    what = f"accuracy on {len(images)} images against the bare network (floor 1): {root.name}"
    row = side_by_side(
        what, lambda: list(accuracy(submodel, images)), lambda: lambda: _bare(root, batches), times
    )
    if faster is None:
        return row
    share = float(row.figure.split()[0])
    return replace(row, target=f"≤ {1 / faster:.2f}", met=share <= 1 / faster)


def recalibration(root: Root, images: ImageSet, times: int) -> Row:
    """Norms measured anew on images; the floor is to run the network over the same batches."""
    submodel = derive(root, Recipe(root.name, keep=0.2, bits=4))
    network = submodel.module
    batches = list(images.images.split(BATCH))
    what = f"recalibration on {len(images)} images against the bare network: {root.name}"
    return side_by_side(
        what,
        lambda: recalibrated(submodel, images),
        lambda: lambda: _bare(network, batches),
        times,
    )


def _bare(root: Any, batches: list[Tensor]) -> None:
    with torch.inference_mode():
        for batch in batches:
            root(batch)
