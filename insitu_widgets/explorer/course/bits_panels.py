"""Panels of the bit level (paper, section 2.3): one function, one call, each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from insitu_widgets.air import codebooks, entropy, protection
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import beforehand, loaded
from insitu_widgets.explorer.course import bits_figures as figures
from insitu_widgets.explorer.course import bits_live as live
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, number, slider
from insitu_widgets.levels import retrain
from insitu_widgets.levels.quantised import quantise_layer, quantise_network
from insitu_widgets.levels.quantisers import PER_CHANNEL, QUANTISERS, WIDEST_PRODUCT, Coded
from insitu_widgets.units import error_rate, percent, quantity

_FLIPS = 25
_TRIED = (0.0, 1e-3, 1e-2, 3e-2)


def _bits(value: float) -> str:
    return f"{value:g} bit"


def quantisers_panel() -> Panel:
    """Uniform, affine, codebook and vector quantisers side by side, tables counted."""
    return Panel(
        "Quantisers",
        "Measured: all 797 test digits, or 500 test photographs; sizes are packed bytes (codes, "
        "tables, header).",
        {
            "root": choice("Root", beforehand.offered(), "vgg-digits"),
            "quantiser": choice("Quantiser", list(QUANTISERS)),
            "bits": slider("Bits a weight", (1, 2, 3, 4), 2, _bits),
        },
        _quantisers,
        note=beforehand.not_offered(),
    )


def _quantisers(root: str, quantiser: str, bits: int) -> Iterator[Picture]:
    name, weight = max(live.weights_of(root).items(), key=lambda item: item[1].numel())
    layer = quantise_layer(weight, quantiser, bits)
    counts, edges = np.histogram(weight.numpy(), bins=80)
    values, held = np.unique(layer.dense().numpy(), return_counts=True)
    error = float((layer.dense() - weight).square().mean() / weight.square().mean())
    shown = zip(values.tolist(), held.tolist(), strict=True)
    levels = Chart(
        "Weights and levels of the largest layer",
        f"{weight.numel()} weights of {name}, rounded by {quantiser} at {bits} bit to "
        f"{len(values)} different values; error {percent(error)} of the weights' energy.",
        figures.weights_and_levels(edges.tolist(), counts.tolist(), list(shown)),
    )
    yield Picture({"levels": levels}, "", 0.05)
    network = live.quantised(root, quantiser, bits)
    size = live.quantised_bytes(root, quantiser, bits)
    lines: dict[str, list[tuple[float, Estimate]]] = {q: [] for q in QUANTISERS}
    order = [(quantiser, bits)] + [
        (q, b)
        for b in range(1, WIDEST_PRODUCT + 1)
        for q in QUANTISERS
        if (q, b) != (quantiser, bits)
    ]
    here = ""
    for done, (q, b) in enumerate(order, 1):
        point = (live.quantised_bytes(root, q, b) / 1e3, live.quantised_accuracy(root, q, b))
        lines[q] = sorted([*lines[q], point], key=lambda p: p[0])
        if (q, b) == (quantiser, bits):
            here = (
                f"{quantiser} at {bits} bit: {percent(point[1].accuracy)} of "
                f"{live.measured_on(root)} with {quantity(size, 'B')} in all, "
                f"{network.average_bits:.2f} bit a weight with its tables."
            )
        spec = figures.with_mark(
            figures.accuracy_lines(lines, "Packed size (kB)", low=0.0), size / 1e3
        )
        chart = Chart("Accuracy against packed size, 1 to 4 bits", here, spec)
        yield Picture({"size": chart}, f"<p>{here}</p>{beforehand.told(root)}", done / len(order))


def nested_bits_panel() -> Panel:
    """Most significant bits first: a coarse model that grows, against direct packets."""
    return Panel(
        "Nested bits",
        "Measured: packed bytes, and accuracy on all 797 test digits or 500 test photographs. "
        "Prefix and refinement together are the fine model to the bit.",
        {
            "root": choice("Root", beforehand.offered(), "vgg-digits"),
            "bits": slider("Bits of the whole", live.NESTED_WIDTHS, 4, _bits),
            "best_at": slider("Steps chosen for", live.BEST_AT, 4, _bits),
        },
        _nested,
        note=beforehand.not_offered(),
    )


def _nested(root: str, bits: int, best_at: int) -> Iterator[Picture]:
    network = live.nested(root, bits, best_at)
    coarse = codebooks.pack_quantised(network.prefix(2))
    growth = codebooks.pack_quantised(network.refinement(2, bits))
    direct = live.quantised_bytes(root, PER_CHANNEL, bits)
    extra = (coarse.num_bits + growth.num_bits) / 8 - direct
    rows = {
        f"nested, 2 → {bits} bit": {
            "first packet": coarse.num_bits / 8e3,
            "refinement": growth.num_bits / 8e3,
        },
        f"direct, {bits} bit": {"direct packet": direct / 1e3},
        f"direct, 2 bit, then {bits} bit": {
            "first packet": live.quantised_bytes(root, PER_CHANNEL, 2) / 1e3,
            "direct packet": direct / 1e3,
        },
    }
    words = (
        f"2 bit in {quantity(coarse.num_bits / 8, 'B')}, refined to {bits} bit by "
        f"{quantity(growth.num_bits / 8, 'B')}: {quantity(extra, 'B')} "
        f"({percent(extra / direct)}) more than the direct packet"
    )
    bytes_chart = Chart("Bytes sent, in one packet or two", f"{words}.", figures.byte_bars(rows))
    yield Picture({"bytes": bytes_chart}, f"<p>{words}.</p>", 0.1)
    lines: dict[str, list[tuple[float, Estimate]]] = {"prefix": [], "direct": []}
    for width in range(1, bits + 1):
        lines["prefix"].append((width, live.prefix_accuracy(root, bits, best_at, width)))
        lines["direct"].append((width, live.quantised_accuracy(root, PER_CHANNEL, width)))
        said = "; ".join(
            f"{w:g} bit {percent(p.accuracy)} nested, {percent(d.accuracy)} direct"
            for (w, p), (_, d) in zip(lines["prefix"], lines["direct"], strict=True)
        )
        ticks = [(float(received), str(received)) for received in range(1, bits + 1)]
        spec = figures.accuracy_lines(lines, "Bits received of each code", ticks)
        said += f" (of {live.measured_on(root)})"
        chart = Chart("Accuracy of each prefix", f"{said}.", spec)
        shown = f"<p>{words}. {said}.</p>{beforehand.told(root)}"
        yield Picture({"accuracy": chart}, shown, 0.1 + 0.9 * width / bits)


def protection_panel() -> Panel:
    """Fixed length against Huffman codes, and the first bits on the reliable channel."""
    return Panel(
        "Coding and unequal protection",
        "Measured: packed streams, real flips (3 draws), all 797 test digits; of photographs one "
        "draw, 500 test images. The reliable channel's cost is assumed: the rate of its code.",
        {
            "root": choice("Root", beforehand.offered(), "vgg-digits"),
            "bits": slider("Bits a weight", live.SENT_WIDTHS, 4, _bits),
            "code_rate": slider(
                "Reliable code rate",
                (0.25, 1 / 3, 0.5, 0.75, 0.9),
                0.5,
                lambda r: f"{r:.2f}",
            ),
        },
        _protection,
        note=beforehand.not_offered(),
    )


def _protection(root: str, bits: int, code_rate: float) -> Iterator[Picture]:
    network, draws = live.quantised(root, PER_CHANNEL, bits), live.draws_of(root)
    layers = network.layers
    streams = {coder: entropy.encode(layers, coder) for coder in entropy.CODERS}
    sizes = {coder: len(stream) for coder, stream in streams.items()}
    saved = 1 - sizes["huffman"] / sizes["fixed"]
    wrong = {coder: _one_flip(layers, stream, coder) for coder, stream in streams.items()}
    words = (
        f"Huffman codes save {percent(saved)} of the body ({quantity(sizes['huffman'], 'B')} of "
        f"{quantity(sizes['fixed'], 'B')}). One flip makes {wrong['fixed'][1]} code wrong at worst "
        f"with fixed length; with Huffman codes {wrong['huffman'][0]:,} at the median, "
        f"{wrong['huffman'][1]:,} at worst, of {network.num_weights:,}: a flip that changes a "
        f"code's length moves all that follows ({_FLIPS} flips, one at a time)."
    )
    yield Picture({}, f"<p>{words}</p>{beforehand.told(root)}", 0.1)
    rates = live.CODED_RATES
    coded: dict[str, list[tuple[float, Estimate]]] = {
        "fixed length": [],
        "Huffman codes": [],
    }
    for place, rate in enumerate(rates):
        for name, coder in zip(coded, entropy.CODERS, strict=True):
            found = [live.coded_accuracy(root, bits, coder, rate, seed) for seed in draws]
            coded[name].append((place, live.averaged(found)))
        spec = figures.accuracy_lines(
            coded,
            "Bit-error rate of the body",
            [(i, error_rate(r)) for i, r in enumerate(rates)],
        )
        said = figures.said(coded, rates)
        said = f"{said} (of {live.measured_on(root)})."
        chart = Chart("Accuracy against bit errors, by coding", said, spec)
        yield Picture({"coding": chart}, "", 0.1 + 0.4 * (place + 1) / len(rates))
    lines: dict[str, list[tuple[float, Estimate]]] = {
        f"bit-error rate {error_rate(rate)}": [] for rate in live.PROTECTED_RATES
    }
    ticks = []
    for protected in range(bits + 1):
        parts = protection.split(layers, protected)
        cost = parts.air_bits(code_rate) / 8e3
        ticks.append((float(protected), f"{protected}<br>{cost:.0f} kB"))
        for name, rate in zip(lines, live.PROTECTED_RATES, strict=True):
            found = [live.protected_accuracy(root, bits, protected, rate, seed) for seed in draws]
            lines[name].append((protected, live.averaged(found)))
        said = "; ".join(
            f"{name}: " + ", ".join(f"{m:g} → {percent(e.accuracy)}" for m, e in points)
            for name, points in lines.items()
        )
        title = "Protected bits of each code, and codes on the air"
        chart = Chart(
            "Accuracy against protected bits",
            f"Reliable code of rate {code_rate:.2f}. {said} (of {live.measured_on(root)}).",
            figures.accuracy_lines(lines, title, ticks),
        )
        yield Picture({"protection": chart}, "", 0.5 + 0.5 * (protected + 1) / (bits + 1))


def _one_flip(layers: Mapping[str, Coded], stream: bytes, coder: str) -> tuple[int, int]:
    """Codes that one flipped bit makes wrong: the median and the worst of some places."""
    counts = []
    for place in np.random.default_rng(0).integers(8 * len(stream), size=_FLIPS):
        octets = np.frombuffer(stream, np.uint8).copy()
        octets[place >> 3] ^= 128 >> (place & 7)
        read = entropy.decode(layers, octets.tobytes(), coder)
        counts.append(sum(int((read[n].codes != layers[n].codes).sum()) for n in layers))
    return int(np.median(counts)), max(counts)


def hardening_panel() -> Panel:
    """Re-train with quantisation, and against bit errors: before and after, with real flips."""
    return Panel(
        "Training against bit errors",
        "Measured: a short training now on the 1,000 training digits; accuracy on all 797 test "
        "digits with real flips (3 draws). Photographs take minutes to train on: what this "
        "training buys ResNet-18 was measured before, and is shown in the next panel.",
        {
            "root": choice("Root", live.DIGITS_ROOTS, "vgg-digits"),
            "bits": slider("Bits a weight", (2, 3, 4, 8), 4, _bits),
            "ber": slider("Bit errors in training", (1e-3, 3e-3, 1e-2, 2e-2), 1e-2, error_rate),
            "clip": choice(
                "Largest weight", [("no limit", None), ("2 × rms", 2.0), ("1.5 × rms", 1.5)], 1.5
            ),
            "steps": slider("Steps", (5, 20, 40, 80, 160), 40, lambda n: f"{n:g} batches"),
            "seed": number("Seed", 0, 999, 0),
        },
        _hardening,
    )


def _hardening(
    root: str, *, bits: int, ber: float, clip: float | None, steps: int, seed: int
) -> Iterator[Picture]:
    source = loaded.root_of(root)
    plans = {
        "not re-trained": None,
        "re-trained": retrain.Hardening(bits, steps),
        "re-trained with bit errors": retrain.Hardening(bits, steps, ber, clip),
    }
    curves: dict[str, list[float]] = {}
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    work, done = 2 * steps + len(plans) * len(_TRIED), 0
    for name, plan in plans.items():
        network = quantise_network(source, bits=bits)
        if plan:
            curves[name] = []
            for step in retrain.retrain(source, loaded.images_of(root, "train"), plan, seed):
                done += 1
                curves[name].append(step.loss)
                if step.number % 4 == 0 or step.number == steps:
                    said = f"{name}: step {step.number} of {steps}, loss {step.loss:.2f} nat."
                    chart = Chart("Loss of the training", said, figures.losses(curves, steps))
                    yield Picture({"loss": chart}, "", done / work)
            network = step.quantised(source)
        lines[name] = []
        for place, rate in enumerate(_TRIED):
            done += 1
            draws = live.draws_of(root) if rate else (0,)
            sent = [live.sent_accuracy(network, root, rate, draw) for draw in draws]
            lines[name].append((place, live.averaged(sent)))
            said = figures.said(lines, _TRIED)
            ticks = [(i, error_rate(rate)) for i, rate in enumerate(_TRIED)]
            spec = figures.accuracy_lines(lines, "Bit-error rate of the codes", ticks)
            chart = Chart("Accuracy against bit errors", f"{said}.", spec)
            yield Picture({"errors": chart}, f"<p>{said}.</p>", done / work)
