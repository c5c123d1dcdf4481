"""Panels of what is sent and when it is made (paper, section 2.2): increments, and their cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from statistics import median

from insitu_widgets.air.channel import Link
from insitu_widgets.air.increment import NotNestedError, order_bits
from insitu_widgets.air.payload import Packet, pack, unpack
from insitu_widgets.cards import NESTED_ROOTS, ROOTS
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import (
    beforehand,
    bits_figures,
    bits_live,
    loaded,
    parameter_figures,
)
from insitu_widgets.explorer.course import parameter_live as live
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, slider
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.pruning import Healing, heal
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.levels.submodel import SubModel
from insitu_widgets.network import candidates, healed
from insitu_widgets.network.catalogue import shipped
from insitu_widgets.network.store import Apart, Nested
from insitu_widgets.units import duration, percent, quantity

#: What may happen to the increments on their way: the order in which they arrive, by length.
FATES: dict[str, Callable[[int], list[int]]] = {
    "all arrive in order": lambda count: list(range(count)),
    "the second is lost": lambda count: [0, *range(2, count)],
    "the last two are swapped": lambda count: [*range(count - 2), count - 1, count - 2],
}
_RATES = [m * 10.0**d for d in (4, 5, 6, 7) for m in (1, 2, 5)]
#: What a server might prepare: the variants whose storage is compared.
_VARIANTS = [(keep, bits) for keep in (0.05, 0.1, 0.2, 0.5, 1.0) for bits in (2, 4, 8)]
_HEALING = Healing(steps=40)
_REPEATS = 7
_RETRAINED = "made on demand, re-trained"


def increments_panel() -> Panel:
    """A model that grows on the device over several channel uses."""
    nested = [name for name in ROOTS if live.nested_name(name) in NESTED_ROOTS]
    return Panel(
        "Incremental download",
        "Measured: packed bytes, accuracy on all 797 test digits, or 1,000 test photographs, after "
        "each packet. Modelled: arrival, as bits ÷ rate.",
        {
            "root": choice("Root, all-in-one", beforehand.offered(nested), "vgg-digits"),
            "ladder": choice("What grows", list(live.LADDERS)),
            "rate_bps": slider("Link", _RATES, 1e6, lambda rate: quantity(rate, "bit/s")),
            "fate": choice("On the way", list(FATES)),
        },
        _increments,
        note=beforehand.not_offered(nested),
    )


def _increments(root: str, ladder: str, rate_bps: float, fate: str) -> Iterator[Picture]:
    name = live.nested_name(root)
    sent, told_before = live.ladder(name, live.LADDERS[ladder]), beforehand.told(root)
    parts, whole = ([p.num_bits / 8 for p in packets] for packets in (sent.parts, sent.packets))
    over = sum(parts) / whole[-1] - 1
    slowest = max(sent.making_s)
    words = (
        f"{len(parts)} packets take {quantity(sum(parts), 'B')} together, {percent(abs(over))} "
        f"{'more' if over > 0 else 'less'} than the last sub-model at once; each whole anew would "
        f"take {quantity(sum(whole), 'B')}. {_order(sent, whole[-1])}Cut and packed in "
        f"{duration(slowest)} of processor time at most."
    )
    spec = parameter_figures.stacked_bytes(
        {"base, then increments": parts, "one direct download": [whole[-1]], "each anew": whole}
    )
    charts = {"bytes": Chart("Bytes sent, packet by packet", words, spec)}
    yield Picture(charts, f"<p>{words}</p>", 0.1)
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    told = []
    for done, held, arrived, note in _arrivals(sent.parts, FATES[fate](len(parts))):
        found = live.held_accuracy(held)
        kind = "refused, all as before" if note else "increments"
        lines.setdefault(kind, []).append((arrived / 1e3, found))
        when = duration(Link(rate_bps).time_s(8 * arrived))
        told.append(f"{when}: {note or percent(found.accuracy)}")
        spec = _while_arriving(lines)
        said = f"{held.recipe}. Of {found.seen:,} test images after {'; '.join(told)}."
        charts["accuracy"] = Chart("Accuracy while the packets arrive", said, spec)
        shown = f"<p>{words}</p><p>{said}</p>{told_before}"
        yield Picture(charts, shown, 0.1 + 0.8 * done / len(parts))
    direct = live.held_accuracy(sent.submodels[-1])
    lines["one direct download"] = [(whole[-1] / 1e3, direct)]
    said += (
        " The device's sub-model is the very same, bit for bit, as a direct download gives."
        if held == sent.submodels[-1]
        else f" The device stays at {held.recipe}."
    )
    spec = _while_arriving(lines)
    charts["accuracy"] = Chart("Accuracy while the packets arrive", said, spec)
    yield Picture(charts, f"<p>{words}</p><p>{said}</p>{told_before}")


def _order(sent: live.Ladder, direct: float) -> str:
    """What it takes to tell which weights come when, if they come in more than one step."""
    least = order_bits(sent.submodels) / 8
    if not least:
        return ""
    small = ""
    if sent.submodels[-1].recipe.bits <= WIDEST_CODE:
        small = (
            "; some of it is saved again, because weights that come late are small: where four in "
            "a row are, the second bit of their codes is known and is not sent"
        )
    return (
        f"To tell which weights come when takes log₂(n! ÷ ∏ nₜ!) bits a layer at least, together "
        f"{quantity(least, 'B')} or {percent(least / direct)} of the direct packet{small}. "
    )


def _while_arriving(lines: dict[str, list[tuple[float, Estimate]]]) -> bits_figures.Spec:
    lowest = min(found.low for points in lines.values() for _, found in points)
    spec = bits_figures.accuracy_lines(lines, "Received (kB)")
    spec["layout"]["yaxis"]["range"] = [max(0.0, 100 * lowest - 5), 100.5]
    return spec


def _arrivals(
    parts: tuple[Packet, ...], order: list[int]
) -> Iterator[tuple[int, SubModel, float, str]]:
    """After each packet: how many, what the device holds, bytes so far, and why one was refused."""
    held, _ = unpack(parts[0])
    sizes = accumulate(parts[place].num_bits / 8 for place in order)
    for done, (place, arrived) in enumerate(zip(order, sizes, strict=True), 1):
        note = ""
        if place:
            try:
                held, _ = unpack(parts[place], base=held)
            except NotNestedError:
                note = f"packet {place + 1} refused, it is not for what the device holds"
        yield done, held, arrived, note


def on_demand_panel() -> Panel:
    """Pre-generated or made on demand: the time of both."""
    return Panel(
        "Pre-generated, or made on demand?",
        "Measured: processor seconds of one thread until the packet is ready (medians), and the "
        "bytes that the prepared variants take. Photographs take minutes to train on: of their "
        "roots the re-training was timed before, and the accuracies were measured before.",
        {
            "root": choice("Root", [*bits_live.DIGITS_ROOTS, *_large()], "vgg-digits"),
            "keep": slider("Weights kept", live.KEEPS[1:], 0.2, lambda keep: percent(keep, 0)),
            "bits": slider("Bits a weight", (2, 4, 8), 4, lambda bits: f"{bits:g} bit"),
        },
        _on_demand,
    )


def _large() -> list[str]:
    """Large roots of which all was measured before that is not measured at once."""
    return [
        root
        for root in shipped(healed.SUFFIX)
        if live.nested_name(root) in NESTED_ROOTS and root in shipped(candidates.SUFFIX)
    ]


def _on_demand(root: str, keep: float, bits: int) -> Iterator[Picture]:
    name = live.nested_name(root)
    recipe, plain = Recipe(name, keep=keep, bits=bits), Recipe(root, keep=keep, bits=bits)
    nested_root, plain_root = loaded.root_of(name), loaded.root_of(root)
    apart, nested = Apart(), Nested(loaded.root_of)
    variants = dict.fromkeys([*(Recipe(name, None, *variant) for variant in _VARIANTS), recipe])
    for made, variant in enumerate(variants, 1):
        packet = pack(derive(nested_root, variant))
        apart.add(variant, packet)
        nested.add(variant, packet)
        yield Picture(progress=0.3 * made / len(variants))
    base = derive(nested_root, replace(recipe, keep=keep / 2))
    makers = {
        "pre-generated": lambda: apart.get(recipe),
        "kept nested, put together": lambda: nested.get(recipe),
        "made on demand, all-in-one": lambda: pack(derive(nested_root, recipe)),
        "an increment, on demand": lambda: pack(derive(nested_root, recipe), base=base),
        "made on demand, not re-trained": lambda: pack(derive(plain_root, plain)),
    }
    rows: dict[str, float] = {}
    for kind, make in makers.items():
        rows[kind] = _median_s(make)
        yield Picture({"times": _times_chart(rows)}, "", 0.3 + 0.06 * len(rows))
    if bits_live.is_quick(root):
        start = time.thread_time()
        for step in heal(plain_root, plain, loaded.images_of(root, "train"), _HEALING):
            if step.number % 8 == 0:
                yield Picture(progress=0.6 + 0.3 * step.number / _HEALING.steps)
        pack(step.submodel())
        rows[_RETRAINED] = time.thread_time() - start
        found = {
            "re-trained": bits_live.at_point(step.submodel().module, root),
            "not re-trained": live.packed(plain)[0],
            "all-in-one": live.packed(recipe)[0],
        }
    else:
        rows[f"{_RETRAINED} (timed before)"] = median(
            row.seconds for row in healed.load_healed(root)
        )
        found = _found_before(plain, recipe)
    said = ", ".join(f"{kind} {percent(e.accuracy)}" for kind, e in found.items())
    words = (
        f"{len(variants)} prepared variants take {quantity(apart.num_bytes, 'B')} apart, "
        f"{quantity(nested.num_bytes, 'B')} nested in their root. Accuracy of {percent(keep, 0)} "
        f"kept at {bits} bit: {said or 'not measured before'}."
    )
    yield Picture({"times": _times_chart(rows)}, f"<p>{words}</p>")


def _found_before(plain: Recipe, nested: Recipe) -> dict[str, Estimate]:
    """The accuracies of both recipes that the shipped tables of the plain root hold."""
    known = candidates.without_errors(plain.root)
    again = {row.recipe: row.after for row in healed.load_healed(plain.root)}
    wanted = {
        "re-trained": again.get(plain),
        "not re-trained": known.get(plain),
        "all-in-one": known.get(nested),
    }
    return {kind: estimate for kind, estimate in wanted.items() if estimate}


def _median_s(call: Callable[[], object]) -> float:
    found = []
    for _ in range(_REPEATS):
        start = time.thread_time()
        call()
        found.append(time.thread_time() - start)
    return median(found)


def _times_chart(rows: dict[str, float]) -> Chart:
    said = "; ".join(f"{name} {duration(seconds)}" for name, seconds in rows.items())
    return Chart("Time until the packet is ready", f"{said}.", parameter_figures.times(rows))
