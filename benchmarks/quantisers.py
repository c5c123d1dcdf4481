"""Quantisers beside torch's own, the plan of mixed precision, and the container's bytes."""

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch.ao.quantization.observer import HistogramObserver

from benchmarks.table import Row, timed
from insitu_widgets import Root, load_data, load_root
from insitu_widgets.air.codebooks import pack_quantised, unpack_quantised
from insitu_widgets.levels.mixed import allocate, sensitivity
from insitu_widgets.levels.nested_bits import nest
from insitu_widgets.levels.quantised import quantise_network, tensors_of
from insitu_widgets.levels.quantisers import PER_CHANNEL, QUANTISERS

PLAN_MS = 50.0
ROOT = "resnet-digits"


def run(*, quick: bool) -> Iterator[Row]:
    """One root, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        root = load_root(ROOT)
        for quantiser in QUANTISERS:
            yield against_torch(root, quantiser, 4, 3 if quick else 9)
        yield against_search(root, 4, 3 if quick else 9)
        for bits in (2, 4):
            yield _error_against_torch(root, bits)
        yield _plan(root, 20 if quick else 100)
        network = quantise_network(root)
        parcel = pack_quantised(network)
        times = 5 if quick else 20
        for what, call in (
            ("pack codes and tables, 4 bit", lambda: pack_quantised(network)),
            ("restore them", lambda: unpack_quantised(parcel, root)),
            ("nest 4 bits", lambda: nest(root, 4)),
        ):
            yield timed(what, samples_ms(call, times), "ms")
    finally:
        torch.set_num_threads(threads)


def samples_ms(call: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each of some calls, after a first one that is not counted."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - start))
    return found


def _fake(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Torch's per-channel affine quantiser over each channel's whole range: the floor."""
    rows, last = weight.flatten(1), 2**bits - 1
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = ((high - low) / last).clamp(min=1e-12)
    zero = (-low / scale).round().clamp(0, last).to(torch.int32)
    return torch.fake_quantize_per_channel_affine(rows, scale, zero, 0, 0, last)


def against_torch(root: Root, quantiser: str, bits: int, times: int) -> Row:
    """The time to quantise every layer."""
    weights = tensors_of(root)[0]
    ours = median(samples_ms(lambda: quantise_network(root, quantiser, bits), times))
    floor = median(samples_ms(lambda: [_fake(w, bits) for w in weights.values()], times))
    what = f"{quantiser}, {bits} bit, against torch.fake_quantize_per_channel_affine (floor 1)"
    return Row(what, f"{ours / floor:.3g} of its time ({ours:.3g} and {floor:.3g} ms)")


def _searched(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Torch's quantiser over the range that its observer finds by search: one for the layer."""
    observer = HistogramObserver(quant_min=0, quant_max=2**bits - 1)
    observer.dst_nbins = 2**bits  # else it searches for 8 bit
    observer(weight)
    scale, zero = observer.calculate_qparams()
    return torch.fake_quantize_per_tensor_affine(weight, float(scale), int(zero), 0, 2**bits - 1)


def against_search(root: Root, bits: int, times: int) -> Row:
    """Like with like: both search for the least squared error; theirs has no search by channel."""
    weights = tensors_of(root)[0]
    ours = median(samples_ms(lambda: quantise_network(root, PER_CHANNEL, bits), times))
    floor = median(samples_ms(lambda: [_searched(w, bits) for w in weights.values()], times))
    layers = quantise_network(root, PER_CHANNEL, bits).layers
    error = sum(float((layers[n].dense() - w).square().sum()) for n, w in weights.items())
    theirs = sum(float((_searched(w, bits) - w).square().sum()) for w in weights.values())
    what = f"{PER_CHANNEL}, {bits} bit, against torch.ao's HistogramObserver, which searches too"
    figure = (
        f"{ours / floor:.3g} of its time ({ours:.3g} and {floor:.3g} ms), "
        f"{error / theirs:.2f} of its squared error"
    )
    return Row(what, figure)


def _error_against_torch(root: Root, bits: int) -> Row:
    """The squared error that each leaves, summed over all layers, as a share of torch's."""
    weights = tensors_of(root)[0]
    floor = sum(float((_fake(w, bits) - w.flatten(1)).square().sum()) for w in weights.values())
    shares = []
    for quantiser in QUANTISERS:
        layers = quantise_network(root, quantiser, bits).layers
        error = sum(float((layers[n].dense() - w).square().sum()) for n, w in weights.items())
        shares.append((quantiser, error / floor))
    figure = "; ".join(f"{quantiser} {share:.2f}" for quantiser, share in shares)
    what = f"squared error at {bits} bit against torch.fake_quantize_per_channel_affine (1)"
    lost = dict(shares)[PER_CHANNEL] > 1
    return Row(what, figure, "per channel below 1", not lost)


def _plan(root: Root, times: int) -> Row:
    """From measured sensitivity to bits by layer."""
    measured = list(sensitivity(root, load_data("digits", "train").images[800:840]))
    budget = 5 * sum(layer.weights for layer in measured) // 2
    samples = samples_ms(lambda: allocate(measured, budget), times)
    return timed("mixed precision: the plan from a cached sensitivity", samples, "ms", PLAN_MS)
