"""The quantisers on a root of the paper's scale: layer by layer, for they take seconds there."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from insitu_widgets.air.codebooks import pack_quantised, unpack_quantised
from insitu_widgets.cards import ROOTS
from insitu_widgets.data import load_data
from insitu_widgets.evaluate import accuracy
from insitu_widgets.explorer.course import beforehand
from insitu_widgets.explorer.course import bits_figures as figures
from insitu_widgets.explorer.course.bits_live import quantised_accuracy
from insitu_widgets.explorer.course.budget_lines import share
from insitu_widgets.explorer.course.loaded import root_of
from insitu_widgets.explorer.live import missing_images
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, slider
from insitu_widgets.levels.quantised import Quantised, quantise_layers, tensors_of
from insitu_widgets.levels.quantisers import PER_CHANNEL, QUANTISERS, WIDEST_PRODUCT, Coded
from insitu_widgets.units import percent, quantity

#: Bits that all quantisers have.
WIDTHS = tuple(range(1, WIDEST_PRODUCT + 1))
#: Test images that say what the whole is worth.
IMAGES = 500
#: How much of the work quantising is, and how many networks are kept.
_QUANTISING, _KEPT = 0.7, 8


@dataclass
class Progress:
    """One network while it is quantised, and afterwards.

    Attributes
    ----------
    layers : dict[str, Coded]
        Those that are done.
    errors : dict[str, float]
        Their errors, as parts of their weights' energy.
    seconds : float
        What it took so far.
    """

    layers: dict[str, Coded] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


_known: OrderedDict[tuple[str, str, int], Progress] = OrderedDict()


def large_quantiser_panel() -> Panel:
    """Every quantiser on all layers of a large root, with what it takes and what is left."""
    roots = [name for name, card in ROOTS.items() if card.data != "digits"]
    return Panel(
        "Quantisers, at the paper's scale",
        f"Measured: each layer's error, packed bytes, and the accuracy on {IMAGES} test images, "
        "before where they are not on this machine. What was quantised once is kept.",
        {
            "root": choice("Root", roots, roots[0]),
            "quantiser": choice("Quantiser", list(QUANTISERS), PER_CHANNEL),
            "bits": slider("Bits a weight", WIDTHS, WIDTHS[-1], lambda bits: f"{bits:g} bit"),
        },
        _steps,
    )


def quantising(name: str, quantiser: str, bits: int) -> Iterator[Progress]:
    """A shipped root's layers, one after the other: always the same object, kept once it is done.

    Who stops listening loses what was done.
    """
    key = name, quantiser, bits
    if key in _known:
        _known.move_to_end(key)
        yield _known[key]
        return
    root, found = root_of(name), Progress()
    weights, _ = tensors_of(root)
    layers = quantise_layers(root, quantiser, dict.fromkeys(weights, bits))
    for _ in weights:
        start = time.perf_counter()
        layer, coded = next(layers)
        found.seconds += time.perf_counter() - start
        found.layers[layer] = coded
        error = (coded.dense() - weights[layer]).square().sum() / weights[layer].square().sum()
        found.errors[layer] = float(error)
        yield found
    _known[key] = found
    while len(_known) > _KEPT:
        _known.popitem(last=False)


def _steps(root: str, quantiser: str, bits: int) -> Iterator[Picture]:
    count = len(tensors_of(root_of(root))[0])
    found = Progress()
    for found in quantising(root, quantiser, bits):
        done = len(found.layers)
        worst = max(found.errors, key=found.errors.__getitem__)
        words = f"{quantiser} at {bits} bit, layer {done} of {count}"
        chart = Chart(
            "What each layer loses",
            f"{words}: most {worst}, {percent(found.errors[worst])} of its weights' energy.",
            figures.layer_errors(found.errors, count),
        )
        yield Picture({"errors": chart}, f"<p>{words}.</p>", _QUANTISING * done / count)
    network = Quantised(root, None, found.layers, tensors_of(root_of(root))[1])
    parcel = pack_quantised(network)
    words = (
        f"{quantiser} at {bits} bit: {quantity(parcel.num_bits / 8, 'B')} in all, "
        f"{network.average_bits:.2f} bit a weight with its tables; quantised in "
        f"{found.seconds:.1f} s"
    )
    missing = beforehand.lacking(root)
    if missing:
        yield Picture({}, f"<p>{words}. {missing}</p>")
        return
    if missing_images(root):
        estimate = quantised_accuracy(root, quantiser, bits)
        told = f"{share(estimate)} right of {estimate.seen} images, measured before"
        yield Picture({}, f"<p>{words}; {told}.</p>{beforehand.told(root)}")
        return
    arrived, _ = unpack_quantised(parcel, root_of(root))
    images = load_data(ROOTS[root].data, limit=IMAGES)
    for estimate in accuracy(arrived.module(root_of(root)), images, batch=100):
        part = estimate.seen / len(images)
        told = f"<p>{words}; {share(estimate)} right of {estimate.seen} images.</p>"
        yield Picture({}, told, _QUANTISING + (1 - _QUANTISING) * part)


__all__ = ["large_quantiser_panel", "quantising"]
