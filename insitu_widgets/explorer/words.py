"""The words of the page: the sentence, the four numbers, the answers to the images (HTML)."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape, unescape
from typing import TYPE_CHECKING

from insitu_widgets.network.situation import broken_limits, choose
from insitu_widgets.units import error_rate, percent, quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from insitu_widgets.estimate import Estimate
    from insitu_widgets.explorer.state import Explorer
    from insitu_widgets.network.catalogue import Measurement
    from insitu_widgets.network.situation import Situation


def size_bits(explorer: Explorer) -> int | None:
    """Bits of the chosen packet: from the catalogue, else from the one that was sent."""
    if explorer.decision.expected:
        return explorer.decision.expected.num_bits
    sent = explorer.delivery if not explorer.stale else None
    return round(explorer.situation.scale * sent.num_bits) if sent else None


def sentence(explorer: Explorer) -> str:
    """What was chosen and why, in one sentence (HTML)."""
    situation, decision = explorer.situation, explorer.decision
    if decision.recipe is None:
        lead = "Nothing is known." if decision.fits is None else "Nothing fits."
        return f"<b>{lead}</b> {escape(decision.remedy)}"
    what = f"<b>{escape(str(decision.recipe))}</b>"
    num_bits = size_bits(explorer)
    if num_bits is None:
        now = "" if explorer.unmeasured else ", so it is measured now"
        return f"You ask for {what}; the catalogue has not measured it{now}."
    arrival = (
        f"{quantity(num_bits / 8, 'B')} arriving in "
        f"{quantity(situation.link.time_s(num_bits), 's')} of {quantity(situation.latency_s, 's')}"
    )
    scaled = _scaled(situation)
    if situation.recipe is not None:
        return f"You ask for {what}: {arrival}; {_judged(explorer, num_bits)}{scaled}"
    return f"The network sends {what}: {arrival}{_binding(explorer)}{scaled}"


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts under its heads (HTML)."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def with_interval(estimate: Estimate) -> str:
    """An accuracy with its interval and the number of its images."""
    return (
        f"{percent(estimate.accuracy)} (95 % in {percent(estimate.low)} to "
        f"{percent(estimate.high)}, {estimate.seen} images)"
    )


def plain(html: str) -> str:
    """The words of the page as plain text."""
    return unescape(re.sub(r"<[^>]+>", "", html))


def _scaled(situation: Situation) -> str:
    if not situation.as_if:
        return ""
    return (
        f" <b>Sizes and times are as if this root had the size of {situation.as_if}</b> "
        f"(× {situation.scale:.3g}); every accuracy is {escape(situation.root)}'s own, not "
        f"{situation.as_if}'s."
    )


def _judged(explorer: Explorer, num_bits: int) -> str:
    """What is to be said of a recipe chosen by hand."""
    limits = {"latency": "the latency budget", "memory": "the device's memory"}
    broken = [limits[limit] for limit in broken_limits(explorer.situation, num_bits)]
    if broken:
        return f"it <b>breaks {' and '.join(broken)}</b>."
    mine = explorer.decision.expected
    if mine is None:
        return "it fits; the catalogue has not measured it."
    other = choose(replace(explorer.situation, recipe=None), explorer.catalogue).expected
    if other is None or other.recipe == mine.recipe:
        return "it fits, and the network would send the same."
    return (
        f"it fits. The network would send {escape(other.recipe.cut)}: "
        f"{quantity(other.num_bits / 8, 'B')}, expected to be "
        f"{100 * (other.accuracy - mine.accuracy):.1f} points better."
    )


def _binding(explorer: Explorer) -> str:
    """Why the network did not choose something better."""
    situation, decision = explorer.situation, explorer.decision
    better, expected = decision.next_better, decision.expected
    row = better and explorer.catalogue.find(better, situation.bit_error_rate, situation.guard)
    if not row or not expected:
        return "; no limit binds, nothing measured is more accurate."
    gain = 100 * (row.accuracy - expected.accuracy)
    why, _, _ = decision.reasons[row.recipe].partition(",")  # the limit itself is on its slider
    return (
        f". The <b>{decision.binding}</b> binds: {escape(row.recipe.cut)} "
        f"(expected: {gain:+.1f} points) {escape(why)}."
    )


def caption(explorer: Explorer) -> str:
    """What a saved picture belongs to, as plain text: root, recipe and situation."""
    situation, recipe = explorer.situation, explorer.decision.recipe
    limits = (
        f"{quantity(situation.rate_bps, 'bit/s')}, latency {quantity(situation.latency_s, 's')} "
        f"(delay {quantity(situation.delay_s, 's')}), memory "
        f"{quantity(situation.memory_bytes, 'B')}, BER {error_rate(situation.bit_error_rate)}, "
        f"guard {situation.guard}, draw {situation.seed}"
    )
    what = str(recipe) if recipe else f"{situation.root}, nothing sent"
    large = f", sized as {situation.as_if}" if situation.as_if else ""
    return f"{what}{large}; {limits}"


def notice(text: str) -> str:
    """A warning for the reader (HTML), one line a problem."""
    lines = [escape(line) for line in text.splitlines() if line]
    items = "".join(f"<li>{line}</li>" for line in lines)
    body = f"<ul>{items}</ul>" if len(lines) > 1 else "".join(lines)
    return f'<div class="insitu-notice" role="alert">{body}</div>' if lines else ""


def tiles(explorer: Explorer) -> str:
    """The four numbers at the top (HTML): rate, packet, expected, measured."""
    situation, expected = explorer.situation, explorer.decision.expected
    estimate = None if explorer.stale else explorer.estimate
    size = size_bits(explorer)
    root_bits = situation.root_bits
    nothing = explorer.decision.recipe is None
    missing = "nothing is sent" if nothing else "size known once it is packed"
    whole = f"root as large as {situation.as_if}" if situation.as_if else "float32 root"
    share = f"packet: {percent(size / root_bits)} of the {whole}" if size else missing
    believed, note = "–", "nothing to expect" if nothing else "expected: not in the catalogue"
    if expected:
        believed, note = percent(expected.accuracy), _expectation(situation, expected)
    cells = [
        ("rate", quantity(situation.rate_bps, "bit/s"), "rate of your link"),
        ("size", quantity(size / 8, "B") if size else "–", share),
        ("expected", believed, note),
    ]
    blocks = [
        f'<div class="insitu-tile insitu-tile-{name}"><b>{value}</b><span>{text}</span></div>'
        for name, value, text in cells
    ]
    return f'<div class="insitu-tiles">{"".join(blocks)}{_measured_tile(explorer, estimate)}</div>'


def _expectation(situation: Situation, expected: Measurement) -> str:
    """Where an expectation comes from, and how sure it is; two lines of its tile at most."""
    rate = expected.bit_error_rate
    draws = f"{expected.seeds} draws" if expected.seeds > 1 else ""
    span = f"{percent(expected.lowest)} to {percent(expected.highest)}"
    if rate != situation.bit_error_rate:
        at = f"expected: catalogue at BER {error_rate(rate)} (next measured)"
        return f"{at}, {draws or '95 % in'} {span}"
    if draws:
        return f"expected: catalogue, {draws} of {expected.images} images {span}"
    return f"expected: catalogue, {expected.images} images, 95 % in {span}"


def _measured_tile(explorer: Explorer, estimate: Estimate | None) -> str:
    if "live" in explorer.problems:
        value, text = "–", escape(explorer.problems["live"])
    elif explorer.decision.recipe is None:
        value, text = "–", "nothing is sent"
    elif explorer.unmeasured:
        value, text = "–", "not measured: the images are not here"
    elif estimate is None:
        value, text = "…", "measuring now"
    else:
        value = percent(estimate.accuracy)
        span = f"{percent(estimate.low)} to {percent(estimate.high)}"
        draw = f", draw {explorer.situation.seed}" if explorer.situation.bit_error_rate else ""
        text = f"measured on {estimate.seen} images{draw}, 95 % in {span}"
        if not explorer.done:
            text = f"measured on {estimate.seen} of {explorer.num_images} images{draw}, {span}"
    bar = ""
    impossible = "live" in explorer.problems or explorer.unmeasured
    measuring = explorer.decision.recipe is not None and not impossible
    if measuring and (estimate is None or not explorer.done):
        bar = f'<progress aria-label="measuring"{_far(explorer, estimate)}></progress>'
    return (
        f'<div class="insitu-tile insitu-tile-measured"><b>{value}</b>'
        f"<span>{text}</span>{bar}</div>"
    )


def _far(explorer: Explorer, estimate: Estimate | None) -> str:
    """How far a measurement is, as attributes of its bar; all images may be in before its end."""
    if estimate is None or estimate.seen >= explorer.num_images:
        return ""
    return f' value="{estimate.seen}" max="{explorer.num_images}"'


def cue(explorer: Explorer) -> str:
    """What a part of the page says that shows an older measurement."""
    failed = "live" in explorer.problems
    return "out of date: the measurement failed" if failed else "out of date: measuring …"


def strip(explorer: Explorer) -> str:
    """Test images with the sub-model's answers (HTML); right and wrong differ in form too."""
    if explorer.decision.recipe is None:
        return "<b>Nothing is sent, so nothing answers.</b>"
    if explorer.unmeasured:
        return f"<b>{escape(explorer.unmeasured)}</b>"
    faded = " insitu-faded" if explorer.stale else ""
    images = []
    for answer in explorer.answers:
        right = answer.label == answer.answer
        mark, word = ("✓", "right") if right else ("✗", "wrong")
        label, said = (escape(name.replace("_", " ")) for name in (answer.label, answer.answer))
        text = f"a {label}, taken for {said}: {word}"
        images.append(
            f'<div class="insitu-image insitu-{word}" role="img" aria-label="{text}" '
            f'title="{text}">'
            f'<img src="{answer.picture}" alt=""><i>{mark}</i> {said}</div>'
        )
    heading = (
        "Test images and the received sub-model's answers: ✓ right, solid frame; "
        "✗ wrong, dashed frame"
    )
    if explorer.stale:
        heading += f" – {cue(explorer)}"
    name = "Test images and answers"
    button = (
        f'<button class="insitu-png insitu-save-strip" data-title="{name}" '
        f'title="Download “{name}” as a PNG" aria-label="Download “{name}” as a PNG">PNG</button>'
    )
    save = button if images else ""
    return f'<b>{heading}</b>{save}<div class="insitu-strip{faded}">{"".join(images)}</div>'
