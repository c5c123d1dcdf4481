"""Records -> Plotly figures, as plain dictionaries in Plotly's schema; no torch, no widget.

A dictionary is what travels to the browser in any case; building it directly takes a tenth of
the time of ``plotly.graph_objects``, which a slider that redraws as it moves needs. The tests
pass every one through ``plotly.graph_objects.Figure``, which checks it against the schema.
"""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, Any

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.air.rates import REFERENCE_RATES, parameter_counts, required_rate_bps
from insitu_widgets.cards import NESTED_ROOTS
from insitu_widgets.levels.recipe import WIDEST_CODE
from insitu_widgets.units import error_rate, percent, quantity, time_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from insitu_widgets.estimate import Estimate
    from insitu_widgets.explorer.live import Point
    from insitu_widgets.network.catalogue import Catalogue, Measurement
    from insitu_widgets.network.situation import Decision, Situation

Spec = dict[str, Any]

# M. Okabe and K. Ito, "Color Universal Design" (2008); told apart by the colour-blind, and each
# is used with a symbol or a dash of its own.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#888888",
)  # fmt: skip
_GUARD_STYLE = {
    "none": (RED, "x", "dot"),
    "clamp": (SKY, "square", "dash"),
    "zero": (GREEN, "circle", "solid"),
}
#: Series are told apart by these, in this order.
_STYLES = (
    (BLUE, "circle", "solid"),
    (ORANGE, "square", "dash"),
    (GREEN, "diamond", "dashdot"),
    (PURPLE, "x", "dot"),
    (RED, "triangle-up", "longdash"),
    (SKY, "cross", "longdashdot"),
    (GREY, "star", "solid"),
)
_ALL_IN_ONE: Spec = {"color": GREEN, "symbol": "square-open", "size": 6}
#: The page puts its own ground in this colour's place (charts.js).
GROUND = "#FFFFFF"
#: Where a bit-error rate of 0 stands on a logarithmic axis.
ZERO = 1e-8
#: The smallest rate on that axis.
_NEXT = 1e-7
#: Units of a time: their seconds, their symbols, and where the next one begins.
_TIMES = ((1.0, "s", 60.0), (60.0, "min", 60.0), (3600.0, "h", 24.0), (86_400.0, "d", 1e6))


def titled(text: str) -> Spec:
    """The title of an axis."""
    return {"text": text, "standoff": 4, "font": {"size": 12}}


_MARGIN = {"l": 54, "r": 10, "b": 36}
#: Its ticks are its own, and so its lines would cross those of the axis on the left.
_RIGHT: Spec = {"overlaying": "y", "side": "right", "showgrid": False, "tickmode": "auto"}


def lay_out(x: Spec, y: Spec, right: Spec | None = None, **more: Any) -> Spec:
    """The layout that all charts share, with these two axes; ``more`` adds to it or replaces.

    ``right`` is another vertical axis, ``"y2"``, for series that are counted in something else.
    """
    axis = {
        "showline": True, "ticks": "outside", "zeroline": False, "automargin": True,
        "exponentformat": "none", "separatethousands": True,
    }  # fmt: skip
    return {
        "margin": {**_MARGIN, "t": 4},
        "font": {"size": 12},
        "xaxis": {**axis, **x},
        "yaxis": {**axis, **y},
        **({"yaxis2": {**axis, **_RIGHT, **right}} if right else {}),
        "legend": {
            "orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"size": 11},
            "itemwidth": 30, "itemsizing": "constant",
        },
        "uirevision": "kept",
        **more,
    }  # fmt: skip


def accuracy_against_size(
    situation: Situation,
    decision: Decision,
    candidates: Sequence[Measurement],
    live: tuple[int, Estimate] | None,
) -> Spec:
    """Accuracy against packet size: candidates, the feasible region, the choice, the measurement.

    Parameters
    ----------
    situation, decision
        What was asked and answered.
    candidates
        The catalogue's rows at this bit-error rate and guard; all-in-one ones are told apart.
    live
        Bits of the packet that was sent and the estimate of its accuracy, if there is one.
    """
    nested = [row for row in candidates if row.recipe.root in NESTED_ROOTS]
    own = [row for row in candidates if row.recipe.root not in NESTED_ROOTS]
    data = [
        dots("candidates", own, {"color": BLUE, "symbol": "circle-open", "size": 7}),
        *([dots("nested", nested, _ALL_IN_ONE)] if nested else []),
        _key("chosen" if situation.recipe is None else "by hand", PURPLE, "star"),
        _key("measured", RED, "diamond"),
    ]
    time_bits = max(0.0, (situation.latency_s - situation.delay_s) * situation.rate_bps)
    limits = {"latency": time_bits / 8, "memory": situation.memory_bytes}
    sizes = [row.num_bits / 8 for row in candidates] or [1.0]
    low, high = min(sizes) / 1.6, max(sizes) * 1.6
    edge = min(high, max(low, min(limits.values())))
    chosen, beyond = decision.expected, edge < high
    inside = log10(edge / low) / log10(high / low)  # the region's share of the chart's width
    return {
        "data": data,
        "layout": lay_out(
            log_bytes(low, high, "Packet size (logarithmic)"),
            {"title": titled("Accuracy (%)"), "range": [0, 105]},
            shapes=[
                _region("fits", low, edge, {**_INSIDE, "visible": True}),
                _region("does not fit", edge, high, {**_BEYOND, "visible": beyond}),
                *(vertical(limit, visible=low < limit < high) for limit in limits.values()),
                _star(chosen.num_bits / 8, 100 * chosen.accuracy, PURPLE) if chosen else _HIDDEN,
                measured(live[0] / 8, live[1]) if live else _HIDDEN,
            ],
            annotations=[
                *_limit_notes(limits, low, high),
                {**_side("fits", "left"), "visible": bool(decision.feasible) and inside > 0.1},
                {**_side("does not fit", "right"), "visible": inside < 0.8},
            ],
        ),
    }


# What moves with the sliders is drawn as shapes over traces that stay as they are: Plotly then
# redraws those few lines only, in a fifth of the time.
_HIDDEN: Spec = {"type": "path", "path": "M0,0Z", "visible": False}
_FIVE_POINTS = "M0,-10L2.4,-3.2L9.5,-3.1L3.8,1.2L5.9,8.1L0,4L-5.9,8.1L-3.8,1.2L-9.5,-3.1L-2.4,-3.2Z"


def _key(name: str, color: str, symbol: str) -> Spec:
    """An entry of the legend for something that is drawn as a shape."""
    marker = {"color": color, "symbol": symbol, "size": 11, "line": {"width": 1}}
    return {"type": "scatter", "mode": "markers", "name": name, "x": [None], "y": [None],
            "marker": marker}  # fmt: skip


_INSIDE: Spec = {"fillcolor": BLUE, "opacity": 0.08, "layer": "below"}
_BEYOND: Spec = {"fillcolor": GROUND, "opacity": 0.5}


def _region(name: str, x0: float, x1: float, look: Spec) -> Spec:
    return {"type": "rect", "name": name, "xref": "x", "yref": "paper", "x0": x0, "x1": x1,
            "y0": 0, "y1": 1, "line": {"width": 0}, **look}  # fmt: skip


def _star(x: float, y: float, color: str) -> Spec:
    return {
        "type": "path", "name": "star", "path": _FIVE_POINTS, "xanchor": x, "yanchor": y,
        "xsizemode": "pixel", "ysizemode": "pixel", "fillcolor": color,
        "line": {"width": 1.2, "color": "#333333"},
    }  # fmt: skip


def measured(x: float, estimate: Estimate) -> Spec:
    """A diamond on the measured accuracy and a bar over its interval, on an axis in per cent."""
    low, at, high = (100 * v for v in (estimate.low, estimate.accuracy, estimate.high))
    bar = f"M0,{low:.3f}L0,{high:.3f}M-5,{low:.3f}L5,{low:.3f}M-5,{high:.3f}L5,{high:.3f}"
    diamond = f"M-5,{at:.3f}L0,{at + 2.7:.3f}L5,{at:.3f}L0,{at - 2.7:.3f}Z"
    return {
        "type": "path", "name": "measured", "path": bar + diamond, "xanchor": x, "yanchor": at,
        "xsizemode": "pixel", "fillcolor": RED, "line": {"width": 2, "color": RED},
    }  # fmt: skip


def dots(name: str, rows: Iterable[Measurement], marker: Spec) -> Spec:
    """Measurements as marks: accuracy in per cent against the packet's size in bytes."""
    rows = list(rows)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row.num_bits / 8 for row in rows],
        "y": [round(100 * row.accuracy, 3) for row in rows],
        "text": [row.recipe.cut for row in rows],
        "marker": marker,
        "hovertemplate": "%{text}<br>%{x:.3s}B, %{y:.1f} %<extra>" + name + "</extra>",
    }


def series(name: str, x: Sequence[Any], y: Sequence[Any], style: int, **more: Any) -> Spec:
    """A line through marks; colour, symbol and dash are those of the ``style``'s number."""
    color, symbol, dash = _STYLES[style % len(_STYLES)]
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": list(x), "y": list(y),
        "line": {"color": color, "dash": dash, "width": 2},
        "marker": {"symbol": symbol, "size": 8, "color": color}, **more,
    }  # fmt: skip


def whiskers(estimate: Estimate) -> Spec:
    """Bars over the interval of an estimate, on an axis in per cent."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (estimate.high - estimate.accuracy)],
        "arrayminus": [100 * (estimate.accuracy - estimate.low)],
        "thickness": 2,
        "width": 6,
    }


def log_bytes(low: float, high: float, title: str) -> Spec:
    """A logarithmic axis of sizes in bytes, from ``low`` to ``high``."""
    ticks = [
        m * 10.0**e
        for e in range(2, 10)
        for m in ((1, 3) if high < 300 * low else (1,))
        if low <= m * 10.0**e <= high
    ]
    return {
        "type": "log",
        "range": [log10(low), log10(high)],
        "title": titled(title),
        "tickangle": 0,
        "tickvals": ticks,
        "ticktext": [quantity(tick, "B") for tick in ticks],
    }


def log_axis(values: Sequence[float], title: str, unit: str) -> Spec:
    """A logarithmic axis around positive values; its ticks have prefixes, long times' minutes."""
    low, high = log10(min(values)) - 0.25, log10(max(values)) + 0.25
    if unit == "s" and time_unit(10.0**high)[1] != "s":
        ticks = _ticks_of_times(low, high)
    else:
        ticks = {tick: quantity(tick, unit).strip() for tick in _powers_of_ten(low, high)}
    return {
        "type": "log", "title": titled(title), "range": [low, high], "tickangle": 0,
        "tickvals": list(ticks), "ticktext": [t.replace(" ", "\u202f") for t in ticks.values()],
    }  # fmt: skip


def _powers_of_ten(low: float, high: float) -> list[float]:
    step = max(1, round((high - low) / 5))
    decades = [d for d in range(-9, 19) if low <= d <= high and d % step == 0]
    if len(decades) > 1:
        return [10.0**d for d in decades]
    fine = (m * 10.0**d for d in range(-9, 19) for m in (1, 2, 5))
    return [tick for tick in fine if low <= log10(tick) <= high]


def _ticks_of_times(low: float, high: float) -> dict[float, str]:
    """Seconds, minutes, hours, days: ones and tens, and what lies between them on a short axis.

    None stands close below the next unit.
    """
    for steps in ((1,), (1, 2, 5)):
        ticks = {
            m * ten * unit: f"{m * ten:g} {name}" if unit > 1.0 else quantity(m * ten, name)
            for unit, name, most in _TIMES
            for ten in (10.0**d for d in range(-9 if unit == 1.0 else 0, 6))
            for m in steps
            if 1.5 * m * ten < most and low <= log10(m * ten * unit) <= high
        }
        if len(ticks) > 1:
            break
    return dict(list(ticks.items())[:: -(-len(ticks) // 8)])


def vertical(x: float, *, visible: bool = True) -> Spec:
    """A dashed line from bottom to top at ``x``: a limit, or where the user stands."""
    return {
        "type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1,
        "line": {"color": PURPLE, "width": 2, "dash": "dash"}, "visible": visible,
    }  # fmt: skip


def _side(text: str, side: str) -> Spec:
    """A note at one side of the chart, where few candidates lie."""
    return {
        "text": text, "xref": "paper", "x": 0.01 if side == "left" else 0.99, "xanchor": side,
        "yref": "paper", "y": 0.85, "showarrow": False, "font": {"size": 12},
    }  # fmt: skip


def _limit_notes(limits: Mapping[str, float], low: float, high: float) -> list[Spec]:
    """A note along each limit's line, or on the left edge if nothing plotted lies below the limit.

    Two that would lie on each other stand side by side.
    """
    nothing = {"latency": "nothing arrives in time", "memory": "nothing fits the memory"}
    at = {name: log10(max(limit, low)) for name, limit in limits.items() if limit < high}
    order, width = sorted(at, key=at.__getitem__), log10(high / low)
    close = len(at) > 1 and at[order[1]] - at[order[0]] < 0.05 * width
    notes = []
    for name, limit in limits.items():
        x = at.get(name, log10(high))
        # Right of its line, unless there is no room.
        left = (at[order[1]] if close else x) > log10(high) - 0.1 * width
        moved = close and name == order[0 if left else 1]
        notes.append({
            "text": f"{name} limit" if limit > low else nothing[name], "textangle": -90, "x": x,
            "xref": "x", "xanchor": "right" if left else "left", "y": 0.42, "yref": "paper",
            "yanchor": "middle", "xshift": (-17 if left else 17) if moved else 0,
            "showarrow": False, "font": {"size": 12}, "visible": limit < high,
        })  # fmt: skip
    return notes


def required_rates(
    latency_s: float,
    here: tuple[float, float] | None = None,
    counts: Mapping[str, int] | None = None,
) -> Spec:
    """Required rate against sub-model size (paper, Fig. 4), with the reference lines.

    Parameters
    ----------
    latency_s
        Within which the sub-model is to arrive.
    here
        Where the user stands: sub-model size as a fraction of its root, and the rate in bit/s.
    counts
        Model -> parameters; the paper's three, with its counts, where none is given.
    """
    fractions = [0.01, 0.015, 0.02, 0.03, 0.04, *(i / 20 for i in range(1, 21))]
    styles = zip((BLUE, GREEN, RED, PURPLE), ("solid", "dash", "dashdot", "dot"), strict=True)
    data: list[Spec] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": [100 * fraction for fraction in fractions],
            "y": [required_rate_bps(count, fraction, latency_s) for fraction in fractions],
            "line": {"color": color, "dash": dash, "width": 2.5},
            "hovertemplate": "%{x:.0f} % of " + name + ": %{y:.3s}bit/s<extra></extra>",
        }
        for (name, count), (color, dash) in zip(
            (counts or parameter_counts()).items(), styles, strict=False
        )
    ]
    rates = [rate for line in data for rate in line["y"]]
    data.append({**_key("you", ORANGE, "star"), "visible": here is not None})
    decades = range(3, 15)
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Sub-model size (% of its float32 root)"), "range": [-3, 102]},
            {
                "type": "log",
                "title": titled("Rate (bit/s)"),
                "range": _decades([*rates, *([here[1]] if here else [])]),
                "tickvals": [10.0**d for d in decades],
                "ticktext": [quantity(10.0**d, "").replace(" ", "\u202f") for d in decades],
            },
            margin={**_MARGIN, "t": 26},
            shapes=[
                *(
                    {
                        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": line.rate_bps,
                        "y1": line.rate_bps, "line": {"color": GREY, "width": 1.5, "dash": "dot"},
                    }
                    for line in REFERENCE_RATES
                ),
                _star(100 * here[0], here[1], ORANGE) if here else _HIDDEN,
            ],
            annotations=[
                {
                    "text": line.name, "hovertext": line.source, "xref": "paper",
                    "x": {"6G user": 0.62, "5G peak": 0.005}.get(line.name, 0.995),
                    "xanchor": "left" if line.name == "5G peak" else "right",
                    "y": log10(line.rate_bps), "yanchor": "bottom", "showarrow": False,
                    "font": {"size": 10}, "bgcolor": "rgba(0,0,0,0)",
                }
                for line in REFERENCE_RATES
            ],
        ),
    }  # fmt: skip


def _decades(values: Sequence[float]) -> list[float]:
    lines = [line.rate_bps for line in REFERENCE_RATES[:-1]]
    return [log10(min([*values, *lines]) / 2), log10(max([*values, *lines]) * 2)]


def error_rate_axis() -> Spec:
    """A logarithmic axis of bit-error rates, 0 at its left end (:data:`ZERO`)."""
    powers = range(-8, 0)
    return {
        "type": "log",
        "title": titled("Bit-error rate of the body"),
        "range": [-8.3, -0.8],
        "tickvals": [10.0**p for p in powers],
        "ticktext": ["0", *(error_rate(10.0**p) for p in powers[1:])],
    }


def apart_from_zero(line: Spec) -> Spec:
    """A line over bit-error rates; none from 0 to a rate with unmeasured ones on the axis between.

    On a logarithmic axis 0 is infinitely far away: what a line would say there, no one knows.
    """
    xs = line["x"]
    if len(xs) < 2 or xs[0] > ZERO or xs[1] < 2 * _NEXT:
        return line
    bars = line["error_y"]
    return _gapped({**line, "error_y": _gapped(bars, "array", "arrayminus")}, "x", "y", "text")


def _gapped(spec: Spec, *names: str) -> Spec:
    lists = {name: [spec[name][0], None, *spec[name][1:]] for name in names if name in spec}
    return {**spec, **lists}


def accuracy_against_errors(
    situation: Situation,
    decision: Decision,
    catalogue: Catalogue,
    points: Sequence[Point],
    live: tuple[float, Estimate] | None,
) -> Spec:
    """Accuracy of the chosen recipe against bit-error rate, by guard, the present one marked.

    ``live`` is what was measured, and at which bit-error rate.

    Bars span the lowest and the highest of the catalogue's channel draws. Where the catalogue
    has no measurement of the recipe, ``points``, measured now, take its place, each with the 95 %
    interval of its images.
    """
    data: list[Spec] = []
    recipe = decision.recipe
    coded = recipe is not None and recipe.bits <= WIDEST_CODE
    for guard in ("none",) if coded else GUARDS:
        color, symbol, dash = _GUARD_STYLE["clamp" if coded else guard]
        rows = catalogue.curve(recipe, guard) if recipe else ()
        if rows:
            xs, ys = [row.bit_error_rate for row in rows], [row.accuracy for row in rows]
            spread = {
                "type": "data",
                "symmetric": False,
                "array": [100 * (row.highest - row.accuracy) for row in rows],
                "arrayminus": [100 * (row.accuracy - row.lowest) for row in rows],
                "thickness": 1,
                "width": 3,
            }
        else:
            mine = sorted((p for p in points if p.guard == guard), key=lambda p: p.bit_error_rate)
            xs, ys = [p.bit_error_rate for p in mine], [p.estimate.accuracy for p in mine]
            spread = {
                "type": "data",
                "symmetric": False,
                "array": [100 * (p.estimate.high - p.estimate.accuracy) for p in mine],
                "arrayminus": [100 * (p.estimate.accuracy - p.estimate.low) for p in mine],
                "thickness": 1,
                "width": 3,
            }
        data.append(
            apart_from_zero(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": "every guard (codes stay in range)" if coded else f"guard: {guard}",
                    "x": [max(x, ZERO) for x in xs],
                    "y": [100 * y for y in ys],
                    "error_y": spread,
                    "line": {"color": color, "dash": dash, "width": 2},
                    "marker": {"symbol": symbol, "size": 8},
                    "hovertemplate": "%{x:.0e}: %{y:.1f} %<extra>%{fullData.name}</extra>",
                }
            )
        )
    now = max(situation.bit_error_rate, ZERO)
    data.append(_key("measured", RED, "diamond"))
    return {
        "data": data,
        "layout": lay_out(
            error_rate_axis(),
            {"title": titled("Accuracy (%)"), "range": [0, 105]},
            shapes=[
                vertical(now),
                measured(max(live[0], ZERO), live[1]) if live else _HIDDEN,
            ],
        ),
    }


def describe(situation: Situation, decision: Decision, live: Estimate | None) -> dict[str, str]:
    """A text alternative for each chart, with its present numbers."""
    expected = decision.expected
    what = str(decision.recipe) if decision.recipe else "nothing"
    size = quantity(expected.num_bits / 8, "B") if expected else "unknown size"
    believed = percent(expected.accuracy) if expected else "unknown"
    measured = f"{percent(live.accuracy)} measured" if live else "not measured yet"
    fitting = len(decision.feasible)
    root_bits = situation.root_bits
    return {
        "accuracy": f"Accuracy against packet size. {fitting} candidates fit. Chosen: {what}, "
        f"{size}, expected {believed}, {measured}.",
        "rates": f"Required rate against sub-model size for ResNet-50, VGG-16 and ViT-Large within "
        f"{quantity(situation.latency_s, 's')}. "
        f"Your link: {quantity(situation.rate_bps, 'bit/s')}.",
        "errors": f"Accuracy against bit-error rate for {what}; now "
        f"{error_rate(situation.bit_error_rate)} with guard {situation.guard}: {measured}.",
        "bits": f"Where the bits of {what} went: {size} in all, of a root with "
        f"{quantity(root_bits / 8, 'B')}.",
    }
