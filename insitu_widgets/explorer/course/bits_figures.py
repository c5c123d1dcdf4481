"""Figures of the bit level: accuracy against a quantity, bits by layer, levels, bytes, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log10
from typing import Any

from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    lay_out,
    titled,
)
from insitu_widgets.levels.mixed import LayerLoss
from insitu_widgets.units import error_rate, percent

Spec = dict[str, Any]
#: Losses below it are drawn at it.
_LEAST_LOSS = 1e-6
#: A line's points: the place on the axis, and what was measured there.
Line = Sequence[tuple[float, Estimate]]
#: More levels than these are drawn as a cloud.
_FEW = 64
#: Values, and how many weights take each.
Levels = Sequence[tuple[float, int]]
_STYLES = (
    (BLUE, "circle", "solid"),
    (RED, "x", "dash"),
    (GREEN, "square", "dot"),
    (ORANGE, "diamond", "dashdot"),
    (PURPLE, "triangle-up", "longdash"),
    (SKY, "cross", "longdashdot"),
    (GREY, "star", "4px,4px"),
    (BLUE, "triangle-down", "8px,3px,2px,3px,2px,3px"),
)
_PATTERNS = ((BLUE, ""), (ORANGE, "/"), (GREEN, "x"), (PURPLE, "\\"))


def accuracy_lines(
    lines: Mapping[str, Line],
    x_title: str,
    ticks: Sequence[tuple[float, str]] | None = None,
    low: float = 0.0,
    y_title: str = "Accuracy (%)",
) -> Spec:
    """Accuracy with its 95 % interval, one line a name, told apart by symbol and dash too.

    Parameters
    ----------
    lines
        Name -> points, in the order of the axis.
    x_title
        The axis, with its unit.
    ticks
        Places and labels, where the axis is not a plain one.
    low
        Where the accuracy axis begins (%).
    y_title
        Another share of the images, with its unit.
    """
    data = []
    for (name, points), (color, symbol, dash) in zip(lines.items(), _STYLES, strict=False):
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [x for x, _ in points],
                "y": [round(100 * e.accuracy, 2) for _, e in points],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (e.high - e.accuracy) for _, e in points],
                    "arrayminus": [100 * (e.accuracy - e.low) for _, e in points],
                    "thickness": 1,
                    "width": 3,
                },
                "line": {"color": color, "dash": dash, "width": 2},
                "marker": {"symbol": symbol, "size": 8},
                "hovertemplate": "%{x:.4g}: %{y:.1f} %<extra>" + name + "</extra>",
            }
        )
    axis: Spec = {"title": titled(x_title)}
    if ticks:
        axis |= {"tickvals": [at for at, _ in ticks], "ticktext": [text for _, text in ticks]}
    return {
        "data": data,
        "layout": lay_out(axis, {"title": titled(y_title), "range": [low, 103]}),
    }


def said(lines: Mapping[str, Line], rates: Sequence[float]) -> str:
    """Each line's accuracies in words, by bit-error rate."""
    return "; ".join(
        f"{name}: "
        + ", ".join(f"{percent(e.accuracy)} at {error_rate(rates[int(i)])}" for i, e in points)
        for name, points in lines.items()
    )


def bits_by_layer(bits: Mapping[str, int], weights: Mapping[str, int]) -> Spec:
    """Bits that each layer got, input first; each bar says how many weights it holds."""
    names = list(bits)
    layout = lay_out(
        {
            "title": titled("Layer, from the input to the exit"),
            "tickvals": list(range(1, len(names) + 1)),
        },
        {"title": titled("Bits for each weight"), "range": [0, 8.6], "dtick": 2},
        bargap=0.15,
    )
    return {
        "data": [
            {
                "type": "bar",
                "name": "bits",
                "x": list(range(1, len(names) + 1)),
                "y": [bits[name] for name in names],
                "text": [str(bits[name]) for name in names],
                "textposition": "outside",
                "customdata": [[name, weights[name]] for name in names],
                "marker": {"color": BLUE},
                "hovertemplate": "%{customdata[0]}: %{y} bits, "
                "%{customdata[1]:,} weights<extra></extra>",
            }
        ],
        "layout": layout,
    }


def layer_losses(
    measured: Sequence[LayerLoss], count: int, labels: Sequence[str] = ("1 bit", "2 bit", "3 bit")
) -> Spec:
    """How far the answers move when one of ``count`` layers alone is changed in the labelled ways.

    The ways are the first of each layer's losses.
    """
    places = list(range(1, len(measured) + 1))
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "name": label,
                "x": places,
                "y": [max(layer.losses[way], _LEAST_LOSS) for layer in measured],
                "text": [layer.name for layer in measured],
                "marker": {"color": color, "symbol": symbol, "size": 9},
                "hovertemplate": "%{text}: %{y:.2g} nat<extra>" + f"{label}</extra>",
            }
            for way, (label, (color, symbol, _)) in enumerate(zip(labels, _STYLES, strict=False))
        ],
        "layout": lay_out(
            {
                "title": titled("Layer, from the input to the exit"),
                "range": [0.4, count + 0.6],
                "tickvals": list(range(1, count + 1)),
            },
            {
                "type": "log",
                "title": titled("Loss, this layer alone (nat)"),
                "range": [log10(_LEAST_LOSS) - 0.2, 1],
                "tickvals": (powers := [10.0**power for power in range(-6, 2)]),
                "ticktext": [error_rate(power) for power in powers],
            },
        ),
    }


def layer_errors(errors: Mapping[str, float], count: int) -> Spec:
    """The error of each of ``count`` layers that is known, as a part of its weights' energy."""
    return {
        "data": [
            {
                "type": "bar",
                "name": "error",
                "x": list(range(1, len(errors) + 1)),
                "y": [round(100 * error, 4) for error in errors.values()],
                "customdata": list(errors),
                "marker": {"color": BLUE},
                "hovertemplate": "%{customdata}: %{y:.2f} %<extra></extra>",
            }
        ],
        "layout": lay_out(
            {
                "title": titled("Layer, from the input to the exit"),
                "range": [0.4, count + 0.6],
            },
            {"title": titled("Error (% of the weights' energy)"), "rangemode": "tozero"},
            bargap=0.15,
        ),
    }


def weights_and_levels(edges: Sequence[float], counts: Sequence[int], levels: Levels) -> Spec:
    """Histogram of a layer's weights, and the levels that they are rounded to.

    Parameters
    ----------
    edges, counts
        Bins of the weights: n + 1 edges and n counts.
    levels
        Values that occur after quantising, and how often.
    """
    middles = [(a + b) / 2 for a, b in pairwise(edges)]
    few = len(levels) <= _FEW
    return {
        "data": [
            {
                "type": "bar",
                "name": "weights",
                "x": middles,
                "y": list(counts),
                "marker": {"color": SKY},
                "hovertemplate": "%{x:.3f}: %{y:,} weights<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "levels",
                "yaxis": "y2",
                "x": [value for value, _ in levels],
                "y": [count for _, count in levels],
                "marker": {
                    "color": RED,
                    "symbol": "x",
                    "size": 8 if few else 4,
                    "opacity": 1.0 if few else 0.5,
                },
                "hovertemplate": "level %{x:.3f}: %{y:,} weights<extra></extra>",
            },
        ],
        "layout": lay_out(
            {"title": titled("Weight")},
            {"title": titled("Weights in the bin")},
            right={"title": titled("Weights at the level"), "rangemode": "tozero"},
            bargap=0.02,
        ),
    }


def byte_bars(rows: Mapping[str, Mapping[str, float]], unit: str = "kB") -> Spec:
    """Stacked bars of what is sent: row -> part -> amount; parts differ in colour and pattern."""
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": part,
                "y": list(rows),
                "x": [row.get(part, 0.0) for row in rows.values()],
                "marker": {"color": color, "pattern": {"shape": pattern}},
                "hovertemplate": "%{y}: %{x:,.1f} " + unit + "<extra>" + part + "</extra>",
            }
            for part, (color, pattern) in zip(parts, _PATTERNS, strict=False)
        ],
        "layout": lay_out(
            {"title": titled(f"Sent ({unit})"), "rangemode": "tozero"},
            {"autorange": "reversed"},
            barmode="stack",
            bargap=0.35,
        ),
    }


def losses(lines: Mapping[str, Sequence[float]], steps: int) -> Spec:
    """Training loss against the step."""
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": list(range(1, len(values) + 1)),
                "y": list(values),
                "line": {"color": color, "dash": dash, "width": 2},
                "hovertemplate": "step %{x}: %{y:.2f} nat<extra>" + name + "</extra>",
            }
            for (name, values), (color, _, dash) in zip(lines.items(), _STYLES, strict=False)
        ],
        "layout": lay_out(
            {"title": titled("Step (batches)"), "range": [0, steps + 1]},
            {"title": titled("Training loss, with distillation (nat)"), "rangemode": "tozero"},
        ),
    }


def with_mark(spec: Spec, x: float) -> Spec:
    """The figure with a vertical line where the user stands."""
    mark = {
        "type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1,
        "line": {"color": GREY, "width": 2, "dash": "dash"},
    }  # fmt: skip
    shapes = [*spec["layout"].get("shapes", []), mark]
    return {**spec, "layout": {**spec["layout"], "shapes": shapes}}
