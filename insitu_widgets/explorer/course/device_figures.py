"""Figures of the device: the time-line of a swap, and of a change that is met. No torch."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from insitu_widgets.network.device_log import Log

#: Phases of a download as the figure says them: name, colour, pattern.
_PHASES = {
    "receive": ("arriving", SKY, "/"),
    "unpack": ("unpack, verify", ORANGE, "x"),
    "load": ("load", PURPLE, "."),
    "warm": ("warm", GREEN, "-"),
}
_DEVICES = {2: (BLUE, "circle"), 1: (RED, "x")}
_CURVES = (
    (BLUE, "solid", "circle"),
    (ORANGE, "dash", "square"),
    (GREEN, "dashdot", "diamond"),
    (PURPLE, "dot", "x"),
)


def row(accelerators: int, index: int) -> str:
    """A row of the time-line."""
    return "one memory" if accelerators == 1 else f"two: memory {index + 1}"


def timeline(logs: Mapping[int, Log], until_s: float) -> Spec:
    """What each memory does when: ``logs`` by number of accelerators.

    A dot is a frame answered from there; a bar is a phase of a download into it.
    """
    data: list[Spec] = []
    for name, (words, color, pattern) in _PHASES.items():
        spans = [
            (row(many, phase.accelerator), phase.begins_s, phase.ends_s)
            for many, log in logs.items()
            for phase in log.phases
            if phase.name == name
        ]
        data.append(
            {
                "type": "bar", "orientation": "h", "name": words, "width": 0.62,
                "y": [place for place, _, _ in spans], "base": [begin for _, begin, _ in spans],
                "x": [end - begin for _, begin, end in spans],
                "marker": {"color": color, "pattern": {"shape": pattern}},
                "hovertemplate": "%{x:.4f} s<extra>" + words + "</extra>",
            }
        )  # fmt: skip
    answered = [
        (answer.answered_s, row(many, answer.accelerator))
        for many, log in logs.items()
        for answer in log.answers
    ]
    lost = [
        (frame / log.asked * log.now_s, row(many, 0))
        for many, log in logs.items()
        for frame in log.lost
    ]
    for name, places, color, symbol in (
        ("frame answered", answered, BLUE, "circle"),
        ("frame lost", lost, RED, "x"),
    ):
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": name, "x": [x for x, _ in places],
                "y": [y for _, y in places],
                "marker": {"color": color, "symbol": symbol, "size": 6},
                "hovertemplate": "%{x:.3f} s<extra>" + name + "</extra>",
            }
        )  # fmt: skip
    rows = [row(1, 0), row(2, 1), row(2, 0)]
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Time (s)"), "range": [0, until_s]},
            {
                "type": "category", "categoryorder": "array", "categoryarray": rows,
                "range": [-0.6, 2.6],
            },
            barmode="overlay",
        ),
    }  # fmt: skip


def waits(logs: Mapping[int, Log], until_s: float) -> Spec:
    """How long each frame waited for its answer, on both devices."""
    data: list[Spec] = []
    for many, log in logs.items():
        color, symbol = _DEVICES[many]
        name = "one memory" if many == 1 else "two memories"
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": name,
                "x": [answer.due_s for answer in log.answers],
                "y": [1e3 * (answer.answered_s - answer.due_s) for answer in log.answers],
                "marker": {"color": color, "symbol": symbol, "size": 6},
                "hovertemplate": "%{x:.2f} s: %{y:.2f} ms<extra>" + name + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("When the frame was taken (s)"), "range": [0, until_s]},
            {"type": "log", "title": titled("Time to its answer (ms, logarithmic)"), "dtick": 1},
        ),
    }


def sureness(shares: Mapping[str, Sequence[float]], edges: Sequence[float]) -> Spec:
    """How sure the model is in each context: shares of the images, between ``edges``."""
    middles = [100 * (a + b) / 2 for a, b in pairwise(edges)]
    return {
        "data": [
            _curve(name, middles, [100 * share for share in shares_], place, "%{x:.0f} %")
            for place, (name, shares_) in enumerate(shares.items())
        ],
        "layout": lay_out(
            {"title": titled("Confidence (%)"), "range": [0, 100]},
            {"title": titled("Share of the images (%)"), "rangemode": "tozero"},
        ),
    }


def detected(found: Mapping[str, tuple[Sequence[int], int]], within: float) -> Spec:
    """Share of the changes that are detected within so many frames.

    ``found`` holds, by context, ascending delays and the number of changes; ``within`` is the
    share that is stated.
    """
    data = []
    for place, (name, (frames, total)) in enumerate(found.items(), 1):
        ys = [0.0, *(100 * (i + 1) / total for i in range(len(frames)))]
        data.append(_curve(name, [0, *frames], ys, place, "%{x} frames", mode="lines"))
    line = {"color": GREY, "width": 1.5, "dash": "dot"}
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Frames after the change"), "rangemode": "tozero"},
            {"title": titled("Detected (%)"), "range": [0, 103]},
            shapes=[
                {
                    "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 100 * within,
                    "y1": 100 * within, "line": line,
                }
            ],
        ),
    }  # fmt: skip


def _curve(
    name: str,
    xs: Sequence[float],
    ys: Sequence[float],
    place: int,
    hover: str,
    *,
    mode: str = "lines+markers",
) -> Spec:
    color, dash, symbol = _CURVES[place]
    return {
        "type": "scatter", "mode": mode, "name": name, "x": list(xs), "y": list(ys),
        "line": {"color": color, "dash": dash, "width": 2.5},
        "marker": {"symbol": symbol, "size": 7},
        "hovertemplate": hover + ": %{y:.1f} %<extra>" + name + "</extra>",
    }  # fmt: skip


def met(
    frames: Sequence[int],
    sure: Sequence[float],
    right: Sequence[float],
    marks: Sequence[tuple[str, float]],
    last: int,
) -> Spec:
    """A stream whose context changes: confidence and accuracy, and what happened when.

    ``sure`` and ``right`` are means of the latest frames; ``marks`` are words and frames.
    """
    return {
        "data": [
            _curve("confidence", frames, [100 * v for v in sure], 0, "frame %{x}", mode="lines"),
            _curve("accuracy", frames, [100 * v for v in right], 1, "frame %{x}", mode="lines"),
        ],
        "layout": lay_out(
            {"title": titled("Frame"), "range": [0, last]},
            {"title": titled("Mean of the last 20 frames (%)"), "range": [0, 103]},
            shapes=[
                {
                    "type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1,
                    "line": {"color": PURPLE, "width": 2, "dash": "dash"},
                }
                for _, x in marks
            ],
            annotations=[
                {
                    "text": words, "textangle": -90, "x": x, "yref": "paper",
                    "xanchor": "left" if number else "right", "y": 0.05, "yanchor": "bottom",
                    "showarrow": False, "font": {"size": 12},
                }
                for number, (words, x) in enumerate(marks)
            ],
        ),
    }  # fmt: skip
