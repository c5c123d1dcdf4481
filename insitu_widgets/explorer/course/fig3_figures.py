"""Figures of the paper's Fig. 3: plain Plotly dictionaries, no torch."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, Any

from insitu_widgets.explorer.figures import (
    _GUARD_STYLE,
    BLUE,
    ORANGE,
    PURPLE,
    ZERO,
    apart_from_zero,
    error_rate_axis,
    lay_out,
    titled,
    vertical,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from insitu_widgets.network.catalogue import Measurement
    from insitu_widgets.network.fig3 import Spot

    Spec = dict[str, Any]

#: What is drawn -> colour, symbol, dash.
_STYLES = {
    "no bit error": (BLUE, "diamond", "solid"),
    **{f"guard {guard}": style for guard, style in _GUARD_STYLE.items()},
    "codes": (ORANGE, "triangle-up", "dashdot"),
    "mixed, no": (BLUE, "square-open", "dot"),
    "mixed at": (ORANGE, "square-open", "dot"),
}


def level(
    lines: Mapping[str, Sequence[Spot]],
    reference: str,
    now: Sequence[tuple[float, float, float, float]] = (),
) -> Spec:
    """Accuracy against size at one level.

    Parameters
    ----------
    lines
        Name -> points; bars are the interval without errors, with errors the span of the draws.
    reference
        What 100 % of the size is.
    now
        Measured now: size, accuracy and the two ends of its interval, as shares.
    """
    data = [
        _line(name, [100 * spot.size for spot in line], [spot.row for spot in line])
        for name, line in lines.items()
    ]
    if now:
        sizes, shares, lows, highs = zip(*now, strict=True)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "measured now",
                "x": [100 * size for size in sizes],
                "y": [100 * share for share in shares],
                "error_y": _bars(shares, lows, highs),
                "marker": {"color": PURPLE, "symbol": "circle-open", "size": 12},
            }
        )
    smallest = min((x for line in data for x in line["x"]), default=1.0)
    ticks = [m * 10.0**e for e in range(-3, 3) for m in (1, 2, 5) if m * 10.0**e <= 100]
    return {
        "data": data,
        "layout": lay_out(
            {
                "type": "log",
                "title": titled(f"Size (% of {reference})"),
                "range": [log10(smallest) - 0.1, 2.06],
                "tickvals": ticks,
                "ticktext": [f"{tick:g}" for tick in ticks],
                "tickangle": 0,
            },
            {"title": titled("Accuracy (%)"), "range": [0, 104]},
        ),
    }


def receivers(curves: Mapping[str, Sequence[Measurement]], now: float) -> Spec:
    """Accuracy of whole models against the bit-error rate, one line a receiver."""
    data = [
        apart_from_zero(_line(name, [max(row.bit_error_rate, ZERO) for row in rows], rows))
        for name, rows in curves.items()
    ]
    return {
        "data": data,
        "layout": lay_out(
            error_rate_axis(),
            {"title": titled("Accuracy (%)"), "range": [0, 104]},
            shapes=[vertical(now)],
        ),
    }


def _line(name: str, xs: Sequence[float], rows: Sequence[Measurement]) -> Spec:
    color, symbol, dash = next(style for start, style in _STYLES.items() if name.startswith(start))
    shares = [row.accuracy for row in rows]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(xs),
        "y": [100 * share for share in shares],
        "error_y": _bars(shares, [row.lowest for row in rows], [row.highest for row in rows]),
        "text": [f"{row.recipe}<br>{_condition(row)}" for row in rows],
        "hovertemplate": "%{text}<br>%{x:.3g}: %{y:.1f} %<extra>" + name + "</extra>",
        "line": {"color": color, "dash": dash, "width": 2},
        "marker": {"symbol": symbol, "size": 8},
    }


def _condition(row: Measurement) -> str:
    draws = f", {row.seeds} draw{'s' if row.seeds > 1 else ''}" if row.bit_error_rate else ""
    return f"{row.images:,} images{draws}"


def _bars(shares: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> Spec:
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (high - share) for share, high in zip(shares, highs, strict=True)],
        "arrayminus": [100 * (share - low) for share, low in zip(shares, lows, strict=True)],
        "thickness": 1.5,
        "width": 4,
    }
