"""Flipped bits of float32 weights: ours beside PyTorchFI's weight injection, at one error rate."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.packet import side_by_side
from benchmarks.table import Row
from insitu_widgets import ImageSet, Link, Recipe, Root, derive, pack, transmit, unpack
from insitu_widgets.levels.derive import weights_and_rest

RATE = 1e-4
KINDS = (nn.Conv2d, nn.Linear)
ABSENT = "PyTorchFI is not installed: pip install --no-deps pytorchfi==0.6.0"


def against_pytorchfi(root: Root, images: ImageSet, times: int) -> Row:
    """From the weights to a network with flipped ones: the same network, the same error rate.

    PyTorchFI draws no bits and no positions by a rate. They are drawn for it, and what it is to
    write is ready, before its time begins; here the draw is timed with the rest.
    """
    what = f"transmit + unpack at {RATE:g} against PyTorchFI's weight injection: {root.name}"
    if find_spec("pytorchfi") is None:
        return Row(what, ABSENT)
    submodel = derive(root, Recipe(root.name))
    packet, link = pack(submodel), Link(1e6, bit_error_rate=RATE)
    network = submodel.module
    faults, expected = _faults(network, np.random.default_rng(0))

    def ours() -> nn.Module:
        return unpack(transmit(packet, link, 0), root=root)[0].module

    with _own_log():
        injector = _injector(network, list(images.images.shape[1:]))

        def theirs() -> nn.Module:
            return injector.declare_weight_fi(**faults)

        flips = [_flips(network, made()) for made in (ours, theirs)]
        row = side_by_side(what, ours, lambda: theirs, times)
    figure = f"{row.figure}; {flips[0]:,} and {flips[1]:,} flips"
    wrong = "" if flips[1] == expected else f"PyTorchFI: {flips[1]} flips instead of {expected}"
    return Row(what, figure, wrong=wrong)


def _injector(network: nn.Module, shape: list[int]) -> Any:
    from pytorchfi.core import fault_injection  # noqa: PLC0415  (it is optional)

    return fault_injection(network, 1, input_shape=shape, layer_types=list(KINDS))


@contextmanager
def _own_log() -> Iterator[None]:
    """Keep PyTorchFI from giving the root logger a handler: it asks for a field no record has."""
    nothing = logging.NullHandler()
    logging.getLogger().addHandler(nothing)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(nothing)


def _faults(network: nn.Module, random: np.random.Generator) -> tuple[dict[str, list[Any]], int]:
    """What ``declare_weight_fi`` takes: places and values; and how many bits that flips."""
    faults: dict[str, list[Any]] = {n: [] for n in ("layer_num", "k", "dim1", "dim2", "dim3")}
    values: list[float] = []
    flipped = 0
    layers = [module.weight for module in network.modules() if isinstance(module, KINDS)]
    for number, weight in enumerate(layers):
        bits = 32 * weight.numel()
        places = np.unique(random.integers(bits, size=random.binomial(bits, RATE)))
        hit, which = np.unique(places // 32, return_inverse=True)
        masks = np.zeros(len(hit), np.uint32)
        np.bitwise_xor.at(masks, which, np.uint32(1) << (places % 32).astype(np.uint32))
        own = weight.detach().numpy().reshape(-1)[hit].view(np.uint32)
        written = (own ^ masks).view(np.float32).tolist()
        values += written  # as doubles, which make every NaN a quiet one
        flipped += int(np.bitwise_count(own ^ np.float32(written).view(np.uint32)).sum())
        index = [axis.tolist() for axis in np.unravel_index(hit, tuple(weight.shape))]
        index += [[None] * len(hit)] * (4 - len(index))
        for name, column in zip(faults, [[number] * len(hit), *index], strict=True):
            faults[name] += column
    return faults | {"value": values}, flipped


def _flips(sent: nn.Module, arrived: nn.Module) -> int:
    """Bits in which the weights of two networks differ."""
    count = 0
    theirs = weights_and_rest(arrived)[0]
    for name, weight in weights_and_rest(sent)[0].items():
        count += int(np.bitwise_count(_words(weight) ^ _words(theirs[name])).sum())
    return count


def _words(weight: torch.Tensor) -> NDArray[np.uint32]:
    return weight.detach().contiguous().numpy().view(np.uint32)
