"""Figures of the open problems (paper, section 5), as plain dictionaries in Plotly's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10

from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Spec,
    lay_out,
    titled,
)
from insitu_widgets.network.cooperation import PIXEL_BITS, Cooperation
from insitu_widgets.units import quantity

_ACCURACY = {"title": titled("Accuracy (%)"), "range": [0, 103]}
_WIDTH_STYLES = (
    (PURPLE, "diamond", "dot"),
    (ORANGE, "square", "dashdot"),
    (GREEN, "triangle-up", "dash"),
    (BLUE, "circle", "solid"),
)


@dataclass(frozen=True)
class Spread:
    """What several draws of chance gave: their mean, and from the lowest to the highest."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the draws."""
        return sum(self.values) / len(self.values)


def line(
    name: str,
    xs: Sequence[float],
    ys: Sequence[float],
    style: tuple[str, str, str],
    ends: Sequence[tuple[float, float]] = (),
) -> Spec:
    """Markers on a line; ``style`` is colour, symbol and dash; ``ends`` are the bars' ends."""
    color, symbol, dash = style
    trace: Spec = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(xs),
        "y": list(ys),
        "line": {"color": color, "dash": dash, "width": 2},
        "marker": {"color": color, "symbol": symbol, "size": 8},
        "hovertemplate": "%{x:.4g}: %{y:.4g}<extra>" + name + "</extra>",
    }
    if ends:
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - y for (_, high), y in zip(ends, ys, strict=True)],
            "arrayminus": [y - low for (low, _), y in zip(ends, ys, strict=True)],
            "thickness": 1,
            "width": 3,
        }
    return trace


def level(name: str, y: float, xs: Sequence[float], color: str, dash: str) -> Spec:
    """A horizontal line at ``y``, named in the legend."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [min(xs), max(xs)],
        "y": [y, y],
        "line": {"color": color, "dash": dash, "width": 2},
        "hovertemplate": "%{y:.4g}<extra>" + name + "</extra>",
    }


def bars(estimates: Sequence[Estimate]) -> list[tuple[float, float]]:
    """Ends of the 95 % intervals, in per cent."""
    return [(100 * e.low, 100 * e.high) for e in estimates]


def cooperation(rows: Sequence[Cooperation], splits: int) -> tuple[Spec, Spec]:
    """Accuracy, and bits uplinked for a question, against the split; a line for each width."""
    axis: Spec = {
        "title": titled("Blocks that the device ran before it asked"),
        "range": [0.7, splits + 0.3],
        "tickvals": list(range(1, splits + 1)),
    }
    ends = (1, splits)
    accuracy, bits = [], []
    for row in rows:
        if row.split is None:
            accuracy.append(
                level("device alone", 100 * row.estimate.accuracy, ends, GREY, "longdash")
            )
        elif row.split == 0:
            name = f"image sent ({PIXEL_BITS} bit a pixel)"
            accuracy.append(level(name, 100 * row.estimate.accuracy, ends, RED, "solid"))
            if row.asked:
                bits.append(level(name, row.bits_per_question, ends, RED, "solid"))
    widths = sorted({row.bits for row in rows if row.split})
    for width, style in zip(widths, _WIDTH_STYLES, strict=False):
        mine = [row for row in rows if row.split and row.bits == width]
        xs = [row.split or 0 for row in mine]
        name = f"{width} bit"
        ys = [100 * row.estimate.accuracy for row in mine]
        accuracy.append(line(name, xs, ys, style))
        bits.append(line(name, xs, [row.bits_per_question for row in mine], style))
    return (
        {"data": accuracy, "layout": lay_out(axis, _ACCURACY)},
        {"data": bits, "layout": lay_out(axis, _log_axis("Bits uplinked for a question", bits))},
    )


def _log_axis(title: str, traces: Sequence[Spec]) -> Spec:
    values = [y for trace in traces for y in trace["y"] if y > 0] or [1.0]
    low, high = min(values) / 1.5, max(values) * 1.5
    ticks = [m * 10.0**e for e in range(-6, 13) for m in (1, 2, 5) if low < m * 10.0**e < high]
    return {
        "type": "log",
        "title": titled(title),
        "range": [log10(low), log10(high)],
        "tickvals": ticks,
        "ticktext": [quantity(tick, "").strip().replace(" ", " ") for tick in ticks],
    }


def degradation(
    losses: Sequence[float],
    fills: Mapping[str, Sequence[Spread]],
    intact: Estimate,
    held: Estimate,
) -> Spec:
    """Accuracy against the probability of loss: one line a fill, with its draws' extremes."""
    places = [100 * loss for loss in losses] or [0.0]
    span = [-2.0, 52.0]
    styles = {"zero": (RED, "x", "dot"), "held": (GREEN, "circle", "solid")}
    names = {"zero": "zero in its place", "held": "filled with what it holds"}
    data = [
        level("sent again: all there", 100 * intact.accuracy, span, BLUE, "dash"),
        level("the held model alone", 100 * held.accuracy, span, GREY, "longdash"),
    ]
    for fill, spreads in fills.items():
        ys = [100 * spread.mean for spread in spreads]
        ends = [(100 * min(s.values), 100 * max(s.values)) for s in spreads]
        data.append(line(names[fill], places[: len(ys)], ys, styles[fill], ends))
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Probability that a unit is lost (%)"), "range": span}, _ACCURACY
        ),
    }


def retransmission(losses: Sequence[float], once_s: float, again_s: Sequence[Spread]) -> Spec:
    """Seconds until all has arrived if what is lost is sent again, against the loss."""
    span = [-2.0, 52.0]
    ys = [spread.mean for spread in again_s]
    ends = [(min(s.values), max(s.values)) for s in again_s]
    data = [
        level("sent once, gaps filled", once_s, span, GREEN, "solid"),
        line(
            "until all has arrived",
            [100 * loss for loss in losses][: len(ys)],
            ys,
            (BLUE, "square", "dash"),
            ends,
        ),
    ]
    top = max([once_s, *(high for _, high in ends)])
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Probability that a unit is lost (%)"), "range": span},
            {"title": titled("Time for the body (s)"), "range": [0, 1.1 * top]},
        ),
    }


def customisation(epochs: int, user: Sequence[Estimate], general: Sequence[Estimate]) -> Spec:
    """Accuracy on the user's and on everybody's images against the passes."""
    traces = (
        ("the user's images", user, (GREEN, "circle", "solid")),
        ("everybody's images", general, (BLUE, "square", "dash")),
    )
    return {
        "data": [
            line(
                name,
                range(len(estimates)),
                [100 * e.accuracy for e in estimates],
                style,
                bars(estimates),
            )
            for name, estimates, style in traces
        ],
        "layout": lay_out(
            {
                "title": titled("Passes over the user's images"),
                "range": [-0.03 * epochs, 1.03 * epochs],
            },
            _ACCURACY,
        ),
    }


def images(rows: Sequence[Sequence[float]], names: tuple[str, str]) -> Spec:
    """Two rows of images, dark on light: one heatmap ``[2 · side, n · side]`` from the top."""
    height = len(rows)
    return {
        "data": [
            {
                "type": "heatmap",
                "z": [list(row) for row in rows],
                "colorscale": [[0, "#ffffff"], [1, "#1b1f24"]],
                "showscale": False,
                "hoverinfo": "skip",
            }
        ],
        "layout": lay_out(
            {"visible": False},
            {
                "autorange": "reversed",
                "scaleanchor": "x",
                "tickvals": [height / 4 - 0.5, 3 * height / 4 - 0.5],
                "ticktext": list(names),
                "ticks": "",
                "showline": False,
            },
        ),
    }


@dataclass(frozen=True)
class Born:
    """One child on the figure: what made it, owned parameters, accuracies in [0, 1], kept."""

    origin: str
    owned: int
    selection: float
    test: float
    alive: bool


def evolution(children: Sequence[Born]) -> tuple[Spec, Spec]:
    """Accuracy against the parameters that the user owns; and from child to child."""
    groups = (
        ("a parent now", True, {"color": GREEN, "symbol": "circle", "size": 11}),
        ("not selected", False, {"color": GREY, "symbol": "x", "size": 8}),
    )
    cloud = []
    for name, alive, marker in groups:
        mine = [child for child in children if child.alive is alive]
        cloud.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [child.owned for child in mine],
                "y": [100 * child.test for child in mine],
                "text": [child.origin for child in mine],
                "marker": marker,
                "hovertemplate": "%{text}<br>%{x:,} owned, %{y:.1f} %<extra></extra>",
            }
        )
    first = children[0]
    cloud.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "the root, its head tuned",
            "x": [first.owned],
            "y": [100 * first.test],
            "marker": {"color": PURPLE, "symbol": "star", "size": 15},
            "hovertemplate": "%{x:,} owned, %{y:.1f} %<extra></extra>",
        }
    )
    owned = [child.owned for child in children]
    ticks = [m * 10.0**e for e in range(2, 8) for m in (1, 3)]
    low, high = min(owned) / 2, max(owned) * 2
    numbers = range(len(children))
    chosen = "on the images selected with"
    path = [
        line(chosen, numbers, [100 * c.selection for c in children], (SKY, "diamond", "dot")),
        line("on the user's test", numbers, [100 * c.test for c in children],
             (GREEN, "circle", "solid")),
    ]  # fmt: skip
    accuracy = {"title": titled("Accuracy (%)")}
    return (
        {
            "data": cloud,
            "layout": lay_out(
                {
                    "type": "log",
                    "title": titled("Parameters of the user's own (logarithmic)"),
                    "range": [log10(low), log10(high)],
                    "tickvals": [t for t in ticks if low < t < high],
                    "ticktext": [quantity(t, "").strip() for t in ticks if low < t < high],
                },
                accuracy,
            ),
        },
        {"data": path, "layout": lay_out({"title": titled("Child")}, accuracy)},
    )


def federation(uplink_bits: Sequence[int], estimates: Sequence[Estimate], num_bits: int) -> Spec:
    """Accuracy after each round against the bits that all devices have uplinked.

    ``num_bits`` is where the axis ends.
    """
    ys = [100 * e.accuracy for e in estimates]
    return {
        "data": [
            line(
                "after each round",
                [bits / 1e6 for bits in uplink_bits],
                ys,
                (GREEN, "circle", "solid"),
                bars(estimates),
            ),
            level("the root as it was", ys[0], (0, num_bits / 1e6), GREY, "longdash"),
        ],
        "layout": lay_out(
            {
                "title": titled("Uplinked by all devices (Mbit)"),
                "range": [-0.03 * num_bits / 1e6, 1.05 * num_bits / 1e6],
            },
            _ACCURACY,
        ),
    }


def shares(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Spec:
    """Images of each class on each device ``[devices][classes]``, as a table of squares."""
    return {
        "data": [
            {
                "type": "heatmap",
                "z": [list(row) for row in counts],
                "x": list(classes),
                "y": [f"device {i}" for i in range(1, len(counts) + 1)],
                "colorscale": [[0, "#ffffff"], [1, BLUE]],
                "showscale": False,
                "texttemplate": "%{z}",
                "hovertemplate": "%{y}, class %{x}: %{z} images<extra></extra>",
            }
        ],
        "layout": lay_out(
            {"title": titled("Class"), "type": "category"}, {"autorange": "reversed"}
        ),
    }
