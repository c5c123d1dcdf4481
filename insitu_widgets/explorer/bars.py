"""Bars: where the bits of a packet went, and when it arrives against the budget.

Two stacked bars need no axes; as HTML they are redrawn within a millisecond while a slider moves,
and each part says its own size. The same parts with the same words, as a Plotly figure, are what
is saved as PNG.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from insitu_widgets.explorer.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, lay_out
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
#: The same colours and patterns for Plotly.
_FILLS = {
    "parameters": (BLUE, ""),
    "mask": (ORANGE, "/"),
    "scales": (GREEN, "|"),
    "norms": (PURPLE, "\\"),
    "topology": (RED, "-"),
    "delay": (GREY, ""),
    "transfer": (SKY, "/"),
    "late": (RED, "\\"),
}


class Part(NamedTuple):
    """A part of a bar: its style, its length (bytes or seconds), what the legend says of it."""

    style: str
    length: float
    said: str


def bit_parts(delivery: Delivery) -> list[Part]:
    """The bytes of a packet by purpose."""
    parts = []
    for purpose, style in PURPOSES.items():
        bits = delivery.bits.get(purpose, 0)
        share = percent(bits / delivery.num_bits, 0)
        parts.append(Part(style, bits / 8, f"{purpose} {quantity(bits / 8, 'B')} ({share})"))
    return parts


def time_parts(situation: Situation, num_bits: int) -> list[Part]:
    """The seconds until the last bit is there: the link's delay, then the transfer."""
    arrival_s = situation.link.time_s(num_bits)
    late = arrival_s > situation.latency_s
    times = arrival_s / situation.latency_s
    verdict = (
        f"<b>too late</b>: {times:,.{0 if times >= 10 else 2}f} × the budget"
        if late
        else f"{percent(times, 0)} of the budget"
    )
    arrives = f"arrives after {quantity(arrival_s, 's')}, {verdict}"
    delay_s = min(situation.delay_s, arrival_s)
    return [
        Part("delay", delay_s, f"delay {quantity(situation.delay_s, 's')}"),
        Part("late" if late else "transfer", arrival_s - delay_s, arrives),
    ]


def bits_bar(delivery: Delivery | None, num_bits: int | None) -> str:
    """Where the bits went: a stacked bar and its legend; empty until a packet has been sent."""
    if delivery is None:
        size = f"{quantity(num_bits / 8, 'B')} in all. " if num_bits else ""
        return (
            f'<p class="insitu-quiet">{size}What the bits are for is known once they are sent.</p>'
        )
    parts = bit_parts(delivery)
    return _bar(parts, delivery.num_bits / 8, counted=True) + _legend(parts)


def time_line(situation: Situation, num_bits: int | None) -> str:
    """When the last bit arrives, on a line that holds both the arrival and the budget."""
    if num_bits is None:
        return '<p class="insitu-quiet">The time is known once its size is.</p>'
    parts, whole = time_parts(situation, num_bits), _span_s(situation, num_bits)
    budget = situation.latency_s / whole
    side = "right" if budget < 0.6 else "left"
    note = (
        f'<b class="insitu-budget" style="left:{100 * budget:.2f}%">'
        f'<span class="insitu-{side}">budget {quantity(situation.latency_s, "s")}</span></b>'
    )
    return _bar(parts, whole, note) + _legend(parts)


def bits_and_time(
    situation: Situation,
    delivery: Delivery | None,
    num_bits: int | None,
    *,
    nothing: bool = False,
) -> str:
    """Both bars, each with its heading; or one sentence where ``nothing`` is sent."""
    if nothing:
        return '<p class="insitu-quiet">Nothing is sent.</p>'
    return (
        f"<h3>{_HEADINGS[0]}</h3>{bits_bar(delivery, num_bits)}"
        f"<h3>{_HEADINGS[1]}</h3>{time_line(situation, num_bits)}"
    )


def picture(
    situation: Situation, delivery: Delivery | None, num_bits: int | None
) -> dict[str, Any]:
    """Both bars as a Plotly figure, for the PNG: what is known of them so far.

    Parameters
    ----------
    situation
        Its link and its latency budget.
    delivery
        What was sent, if it has been.
    num_bits
        Bits of the chosen packet (known from the catalogue before anything is sent).
    """
    sent = bit_parts(delivery) if delivery else []
    times = time_parts(situation, num_bits) if num_bits is not None else []
    size = delivery.num_bits / 8 if delivery else 1.0
    whole_s = _span_s(situation, num_bits or 0)
    budget = f"budget {quantity(situation.latency_s, 's')}"
    axis = {"showline": True, "ticks": "outside", "zeroline": False, "nticks": 6, "tickangle": 0}
    bare = {"showticklabels": False, "showline": False, "ticks": ""}
    legend = {"orientation": "h", "x": 0, "yanchor": "top", "font": {"size": 12}}
    headings = zip(
        _HEADINGS if times else ("Nothing has been sent yet.", ""), (1.0, 0.4), strict=True
    )
    notes = [_note(f"<b>{text}</b>", x=0, y=y) for text, y in headings]
    if times:
        side = "left" if 2 * situation.latency_s < whole_s else "right"
        notes.append(_note(budget, x=situation.latency_s, y=0.4, xref="x2", xanchor=side))
    return {
        "data": [*_traces(sent, "B", ""), *_traces(times, "s", "2")],
        "layout": lay_out(
            {"range": [0, size], "ticksuffix": "B", "tickformat": "~s", **axis},
            {"domain": [0.82, 1.0], **bare},
            height=300,
            barmode="stack",
            bargap=0.1,
            legend={**legend, "y": 0.7, "traceorder": "normal"},
            legend2={**legend, "y": 0.1, "traceorder": "normal"},
            annotations=notes,
            xaxis2={
                **axis, "anchor": "y2", "range": [0, whole_s], "ticksuffix": "s",
                "tickformat": "~s",
            },
            yaxis2={"domain": [0.22, 0.4], "anchor": "x2", **bare},
            shapes=[
                {
                    "type": "line", "xref": "x2", "yref": "paper", "x0": situation.latency_s,
                    "x1": situation.latency_s, "y0": 0.22, "y1": 0.4, "visible": bool(times),
                    "line": {"color": PURPLE, "width": 3, "dash": "dash"},
                }
            ],
        ),
    }  # fmt: skip


_HEADINGS = ("Bits by purpose", "Download against the latency budget")


def _note(text: str, *, x: float, y: float, xref: str = "paper", xanchor: str = "left") -> Any:
    return {
        "text": text, "x": x, "xref": xref, "xanchor": xanchor, "y": y, "yref": "paper",
        "yanchor": "bottom", "showarrow": False, "font": {"size": 12},
    }  # fmt: skip


def _traces(parts: list[Part], unit: str, number: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "bar", "orientation": "h", "name": part.said, "y": [unit], "x": [part.length],
            "xaxis": f"x{number}", "yaxis": f"y{number}", "legend": f"legend{number}",
            "marker": {
                "color": _FILLS[part.style][0],
                "pattern": {"shape": _FILLS[part.style][1], "fillmode": "overlay"},
            },
        }
        for part in parts
    ]  # fmt: skip


def _span_s(situation: Situation, num_bits: int) -> float:
    return 1.04 * max(situation.link.time_s(num_bits), situation.latency_s)


def _bar(parts: list[Part], whole: float, note: str = "", *, counted: bool = False) -> str:
    kind = "" if counted else " insitu-time"
    spans = []
    for style, length, said in parts:
        data = f' data-bits="{round(8 * length)}"' if counted else ""
        title = said.replace("<b>", "").replace("</b>", "")
        spans.append(
            f'<span class="insitu-fill-{style}" style="width:{100 * length / whole:.3f}%" '
            f'title="{title}"{data}></span>'
        )
    return f'<div class="insitu-bar{kind}">{"".join(spans)}{note}</div>'


def _legend(parts: list[Part]) -> str:
    items = (f'<li><i class="insitu-fill-{part.style}"></i>{part.said}</li>' for part in parts)
    return f'<ul class="insitu-legend">{"".join(items)}</ul>'
