"""The panel of devices' messages: one that is edited, amid a batch with a malformed one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape

import ipywidgets as widgets

from insitu_widgets.explorer.course.library_figures import arrivals
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice
from insitu_widgets.explorer.words import html_table
from insitu_widgets.network.dsi import Answer, answers, write
from insitu_widgets.network.library import Library, from_root
from insitu_widgets.network.situation import PRESETS
from insitu_widgets.network.tiers import TIERS
from insitu_widgets.units import percent, quantity

#: What may be wrong with one message of the batch: what it is, and how it comes about.
_WRONG: Mapping[str, tuple[str, str]] = {
    "cut off": ('"needs"', ""),
    "memory below 0": ('"memory_bytes": ', '"memory_bytes": -'),
    "a rate that is no number": ('"bandwidth_hz": ', '"bandwidth_hz": NaN, "was": '),
    "an unknown root": ("resnet-digits", "resnet-1000"),
    "an unknown field": ('"version"', '"mood": "good", "version"'),
}
_MALFORMED, _YOURS = "malformed", "yours"


@dataclass(frozen=True)
class _Sent:
    """Where an answer's packet lives, its bits, and when it is at the edge and at the device."""

    tier: str
    num_bits: int
    edge_s: float
    link_s: float


def dsi_panel() -> Panel:
    """A device's message, edited and answered or refused, beside a batch with a malformed one."""
    start = choice("Start from", list(PRESETS), "IoT sensor")
    message = widgets.Textarea(
        description="Your message",
        value=_message("IoT sensor", _YOURS),
        continuous_update=False,
        rows=12,
        layout={"width": "900px", "max_width": "100%"},
        style={"description_width": "150px"},
    )
    start.observe(
        lambda change: message.set_trait("value", _message(change["new"], _YOURS)), "value"
    )
    controls = {"message": message, "wrong": choice("Wrong in the batch", list(_WRONG))}
    panel = Panel(
        "Messages of devices: answered or refused",
        "Measured: packets (made here), accuracies (catalogue, images). Modelled: tiers, links. "
        "Validated by the JSON schema of network/dsi.schema.json.",
        controls,
        _steps,
    )
    knobs = panel.children[1]
    knobs.children = (start, *knobs.children)
    return panel


def _message(preset: str, device: str) -> str:
    short = replace(PRESETS[preset], application=preset)
    return write(short, device, accuracy=0.9).replace(', "', ',\n"')


def _steps(message: str, wrong: str) -> Iterator[Picture]:
    batch = {_YOURS: message, _MALFORMED: _message("5G phone", _MALFORMED)}
    before, after = _WRONG[wrong]
    cut = batch[_MALFORMED].partition(before)
    batch[_MALFORMED] = cut[0] + (after + cut[2] if after else "")
    batch |= {name: _message(name, name) for name in PRESETS}
    found = dict(zip(batch, answers(batch.values()), strict=True))
    alone = {name: next(answers([text])) for name, text in batch.items() if name != _MALFORMED}
    harmed = sum(_said(found[name]) != _said(each) for name, each in alone.items())
    library = Library([replace(tier, capacity_bytes=1e9) for tier in TIERS])
    sent = {name: _send(library, each) for name, each in found.items()}
    rows = [(name, *_row(each, sent[name])) for name, each in found.items()]
    refused = sum(each.refusal is not None for each in found.values())
    said = (
        f"{len(batch)} messages, {refused} refused; {harmed} of the other answers differ from what "
        f"the device would have got alone."
    )
    heads = ("device", "answer", "expected", "from tier", "there after", "its budget")
    words = (
        f'<p role="status"><b>Your message: {escape(_said(found[_YOURS]))}</b></p>'
        f"<p>{escape(said)}</p>{html_table(heads, rows)}"
    )
    yield Picture({"arrivals": _chart(found, sent)}, words)


def _send(library: Library, answer: Answer) -> _Sent | None:
    """Have the packet made, placed and fetched; ``None`` where nothing is sent."""
    if answer.request is None or answer.decision is None or answer.decision.recipe is None:
        return None
    situation, recipe = answer.request.situation, answer.decision.recipe
    library.place(recipe, from_root(recipe), situation.latency_s)
    found = library.fetch(recipe)
    bits = found.packet.num_bits
    return _Sent(found.tier, bits, found.time_s, situation.link.time_s(bits))


def _said(answer: Answer) -> str:
    """An answer in one sentence."""
    if answer.refusal is not None:
        return f"refused. {answer.refusal}"
    assert answer.decision is not None
    if answer.decision.recipe is None:
        return f"understood, and nothing fits. {answer.decision.remedy}"
    met = "as accurate as asked for" if answer.met else "less accurate than asked for"
    return f"answered with {answer.decision.recipe}, {met}."


def _row(answer: Answer, sent: _Sent | None) -> tuple[str, ...]:
    if sent is None or answer.request is None or answer.decision is None:
        return _said(answer), "–", "–", "–", "–"
    expected, budget_s = answer.decision.expected, answer.request.situation.latency_s
    took_s = sent.edge_s + sent.link_s
    late = "" if took_s <= budget_s else " (late: the way to the edge)"
    return (
        f"{answer.decision.recipe}, {quantity(sent.num_bits / 8, 'B')}",
        percent(expected.accuracy) if expected else "not measured",
        sent.tier,
        quantity(took_s, "s") + late,
        quantity(budget_s, "s"),
    )


def _chart(found: Mapping[str, Answer], sent: Mapping[str, _Sent | None]) -> Chart:
    times, budgets = {}, {}
    for name, each in sent.items():
        request = found[name].request
        if each is not None and request is not None:
            times[name] = (each.edge_s, each.link_s)
            budgets[name] = request.situation.latency_s
    said = ", ".join(
        f"{name} {quantity(sum(parts), 's')} of {quantity(budgets[name], 's')}"
        for name, parts in times.items()
    )
    text = f"Time until the packet is at the device, of the budget: {said}."
    return Chart("When the packets are there", text, arrivals(times, budgets))
