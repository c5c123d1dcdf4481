"""Bars as HTML: where the bits of a packet went, and when it arrives against the budget.

Two stacked bars need no axes; as HTML they are redrawn within a millisecond while a slider moves,
and each part says its own size. (:func:`insitu_widgets.explorer.figures.bits_and_time` is the
same as a Plotly figure, for the PNG.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from insitu_widgets.units import percent, quantity

if TYPE_CHECKING:
    from insitu_widgets.explorer.live import Delivery
    from insitu_widgets.network.situation import Situation

#: Purpose of bits -> the style sheet's name for colour and pattern.
PURPOSES = {
    "parameters": "parameters",
    "mask": "mask",
    "scales": "scales",
    "norms and biases": "norms",
    "topology": "topology",
}


def bits_bar(delivery: Delivery | None, num_bits: int | None) -> str:
    """Where the bits went: a stacked bar and its legend; empty until a packet has been sent."""
    if delivery is None:
        size = f"{quantity(num_bits / 8, 'B')} in all; " if num_bits else ""
        return f'<p class="insitu-quiet">{size}what they are for is known once they are sent.</p>'
    parts, legend = [], []
    for purpose, style in PURPOSES.items():
        bits = delivery.bits.get(purpose, 0)
        share = bits / delivery.num_bits
        said = f"{purpose} {quantity(bits / 8, 'B')}"
        parts.append(_part(style, share, f"{said}, {percent(share)}", bits=bits))
        legend.append(f'<li><i class="insitu-fill-{style}"></i>{said} ({percent(share, 0)})</li>')
    return (
        f'<div class="insitu-bar">{"".join(parts)}</div>'
        f'<ul class="insitu-legend">{"".join(legend)}</ul>'
    )


def time_line(situation: Situation, num_bits: int | None) -> str:
    """When the last bit arrives, on a line that holds both the arrival and the budget."""
    if num_bits is None:
        return '<p class="insitu-quiet">Nothing is sent.</p>'
    arrival_s = situation.link.time_s(num_bits)
    whole = 1.04 * max(arrival_s, situation.latency_s)
    delay = min(situation.delay_s, arrival_s) / whole
    transfer = (arrival_s - min(situation.delay_s, arrival_s)) / whole
    late = arrival_s > situation.latency_s
    times = arrival_s / situation.latency_s
    verdict = (
        f"<b>too late</b>: {times:,.{0 if times >= 10 else 2}f} × the budget"
        if late
        else f"{percent(times, 0)} of the budget"
    )
    budget = situation.latency_s / whole
    side = "right" if budget < 0.6 else "left"
    note = (
        f'<b class="insitu-budget" style="left:{100 * budget:.2f}%">'
        f'<span class="insitu-{side}">budget {quantity(situation.latency_s, "s")}</span></b>'
    )
    parts = _part("delay", delay, f"delay {quantity(situation.delay_s, 's')}") + _part(
        "late" if late else "transfer", transfer, f"transfer, over at {quantity(arrival_s, 's')}"
    )
    return (
        f'<div class="insitu-bar insitu-time">{parts}{note}</div>'
        f'<ul class="insitu-legend"><li><i class="insitu-fill-delay"></i>delay '
        f"{quantity(situation.delay_s, 's')}</li>"
        f'<li><i class="insitu-fill-{"late" if late else "transfer"}"></i>arrives after '
        f"{quantity(arrival_s, 's')}, {verdict}</li></ul>"
    )


def bits_and_time(situation: Situation, delivery: Delivery | None, num_bits: int | None) -> str:
    """Both bars, each with its heading."""
    return (
        f"<h3>Bits by purpose</h3>{bits_bar(delivery, num_bits)}"
        f"<h3>Download against the latency budget</h3>{time_line(situation, num_bits)}"
    )


def _part(style: str, share: float, title: str, bits: int | None = None) -> str:
    data = "" if bits is None else f' data-bits="{bits}"'
    return (
        f'<span class="insitu-fill-{style}" style="width:{100 * share:.3f}%" '
        f'title="{title}"{data}></span>'
    )
