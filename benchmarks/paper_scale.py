"""ResNet-18 for CIFAR-100: the way of a packet, peers on the same weights, evaluation, a sweep."""

import time
from collections.abc import Iterator
from functools import partial
from statistics import median

import torch

from benchmarks import faults, packet, quantisers
from benchmarks.table import Row, below
from insitu_widgets import ROOTS, Estimate, ImageSet, Recipe, Root, load_data, load_root, sweep
from insitu_widgets.data import has_data
from insitu_widgets.explorer.live import Laboratory, Request
from insitu_widgets.levels import quantised
from insitu_widgets.levels.quantisers import PER_CHANNEL
from insitu_widgets.network.cluster import local_client
from insitu_widgets.roots import ARCHITECTURES

NAME = "resnet18-cifar100"
WAY_MS, FIRST_S, FASTER, DASK = 400.0, 0.8, 1.3, 1.6
#: The vector quantiser's time, and its width with the most vectors.
VECTORS_S, VECTORS_BITS = 20.0, 4


def run(*, quick: bool) -> Iterator[Row]:
    """One thread but for the sweep; all on the same weights."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = 3 if quick else 9
    root, kind = _root()
    images = _images(200)
    try:
        yield Row("weights and images", kind)
        for keep, bits in packet.CUTS:
            yield from packet.way(root, Recipe(NAME, keep=keep, bits=bits), times, None, WAY_MS)
        yield packet.against_prune(root, times)
        yield quantisers.against_torch(root, PER_CHANNEL, 4, times)
        yield quantisers.against_search(root, 4, 1 if quick else 3)
        yield packet.against_bernoulli(root, times)
        yield faults.against_pytorchfi(root, images, 2 if quick else 5)
        yield packet.against_bare_forward(root, images, times, FASTER)
        yield packet.recalibration(root, images, times)
        yield _vectors(root)
        yield _first_estimate(root, images, times)
        yield _on_dask(root, images if quick else _images(1000))
    finally:
        torch.set_num_threads(threads)


def _root() -> tuple[Root, str]:
    if NAME in ROOTS:
        return load_root(NAME), f"{NAME} as shipped; {_said()}"
    torch.manual_seed(0)
    untrained = ARCHITECTURES[NAME]().eval().requires_grad_(requires_grad=False)
    return untrained, f"{NAME}, untrained: the time is the same; {_said()}"


def _said() -> str:
    return "CIFAR-100's test images" if has_data("cifar100") else "noise for images"


def _images(count: int) -> ImageSet:
    if has_data("cifar100"):
        return load_data("cifar100", limit=count)
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 3, 32, 32, generator=random)
    return ImageSet(noise, torch.arange(count) % 100, tuple(map(str, range(100))))


def _vectors(root: Root) -> Row:
    """All layers in codebooks of vectors, as notebook 04 makes them layer by layer."""
    start = time.perf_counter()
    quantised.quantise_network(root, "product", VECTORS_BITS)
    seconds = time.perf_counter() - start
    what = f"vector quantiser, {VECTORS_BITS} bit, all layers"
    return Row(what, f"{seconds:.1f} s", below(VECTORS_S, "s"), seconds <= VECTORS_S)


def _first_estimate(root: Root, images: ImageSet, times: int) -> Row:
    """From the request to an accuracy with its interval; roots and images are loaded."""
    laboratory = Laboratory(root, images)
    samples = []
    for seed in range(times + 1):
        start = time.perf_counter()
        keep = 0.5 if seed % 2 else 0.3  # never the packet that is at hand
        steps = laboratory.steps(Request(Recipe(NAME, keep=keep, bits=8), 1e-3, "clamp", seed))
        next(step for step in steps if isinstance(step, Estimate))
        samples.append(time.perf_counter() - start)
    seconds = median(samples[1:])
    figure = f"{seconds:.2f} s (median of {times})"
    return Row("request to first estimate", figure, below(FIRST_S, "s"), seconds <= FIRST_S)


def _on_dask(root: Root, images: ImageSet) -> Row:
    """The same recipes in line, then on two workers that have been started before."""
    recipes = [Recipe(NAME, keep=keep, bits=bits) for keep in (0.5, 0.2) for bits in (4, 32)]
    measure = partial(
        sweep, recipes, images, root=root, bit_error_rates=(0.0, 1e-3), guards=("zero",),
        seeds=(0,), progress=False,
    )  # fmt: skip
    start = time.perf_counter()
    here = measure()
    in_line = time.perf_counter() - start
    with local_client(2) as client:
        measure(client=client)  # the workers import torch
        start = time.perf_counter()
        there = measure(client=client)
        on_dask = time.perf_counter() - start
    same = set(here.rows) == set(there.rows)
    ratio = in_line / on_dask
    figure = f"{ratio:.2f} times as fast ({in_line:.1f} s and {on_dask:.1f} s)"
    target = f"≥ {DASK:g} times"
    wrong = "" if same else "Dask measured other numbers than in line"
    return Row("sweep on Dask, two workers", figure, target, ratio >= DASK, wrong)
