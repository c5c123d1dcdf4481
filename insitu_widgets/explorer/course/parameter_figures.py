"""Figures of the parameter level: bytes that arrive one after the other, and times of making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

from insitu_widgets.explorer.figures import BLUE, GREEN, ORANGE, RED, SKY, lay_out, titled
from insitu_widgets.units import percent, quantity

Spec = dict[str, Any]
_PARTS = ((BLUE, ""), (ORANGE, "/"), (GREEN, "x"), (SKY, "\\"), (RED, "."))


def kept_axis(keeps: Sequence[float]) -> list[tuple[float, str]]:
    """Places and labels of shares that are kept."""
    return [(float(place), percent(keep, 0)) for place, keep in enumerate(keeps)]


def byte_axis(low: float, high: float) -> list[tuple[float, str]]:
    """Places and labels of sizes in bytes on an axis of their decimal logarithms."""
    ticks = [m * 10.0**d for d in range(2, 8) for m in (1, 2, 5)]
    return [(log10(t), quantity(t, "B")) for t in ticks if low / 1.5 <= t <= 1.5 * high]


def stacked_bytes(rows: Mapping[str, Sequence[float]]) -> Spec:
    """Stacked bars: row -> bytes of each packet in the order in which they are sent."""
    most = max(map(len, rows.values()))
    layout = lay_out(
        {"title": titled("Sent (kB)"), "rangemode": "tozero"},
        {"autorange": "reversed"},
        barmode="stack",
        bargap=0.35,
    )
    layout["legend"]["traceorder"] = "normal"
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": f"packet {number + 1}",
                "y": list(rows),
                "x": [row[number] / 1e3 if number < len(row) else 0.0 for row in rows.values()],
                "marker": {"color": color, "pattern": {"shape": pattern}},
                "hovertemplate": "%{y}: %{x:,.1f} kB<extra>packet " + f"{number + 1}</extra>",
            }
            for number, (color, pattern) in zip(range(most), _PARTS, strict=False)
        ],
        "layout": layout,
    }


def times(rows: Mapping[str, float]) -> Spec:
    """Bars of times on a logarithmic axis: row -> seconds."""
    decades = range(-7, 4)
    low = min(rows.values())
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": "time",
                "y": list(rows),
                "x": list(rows.values()),
                "text": [quantity(seconds, "s") for seconds in rows.values()],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": BLUE},
                "hovertemplate": "%{y}: %{x:.3s}s<extra></extra>",
            }
        ],
        "layout": lay_out(
            {
                "type": "log",
                "title": titled("Processor time until the packet is ready (logarithmic)"),
                "range": [log10(low) - 0.5, log10(max(rows.values())) + 0.7],
                "tickvals": [10.0**d for d in decades],
                "ticktext": [quantity(10.0**d, "s") for d in decades],
            },
            {"autorange": "reversed"},
            bargap=0.35,
        ),
    }
