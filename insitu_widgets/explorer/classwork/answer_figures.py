"""Figures of predictions: one learner's curve, and a class's answers beside the measurement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from insitu_widgets.explorer.classwork.questions import Question
from insitu_widgets.explorer.figures import BLUE, PURPLE, lay_out, series, titled

Spec = dict[str, Any]
#: Bins of a histogram of numbers.
BINS = 20


def curve(
    question: Question,
    predicted: Sequence[tuple[float, ...]],
    measured: tuple[float, ...] | None,
) -> Spec:
    """Predicted curves and the measured one over a question's ticks."""
    alone = len(predicted) == 1
    data = [
        series(
            "predicted" if alone else f"{len(predicted)} predictions",
            question.ticks,
            values,
            1,
            opacity=1.0 if alone else 0.45,
            showlegend=number == 0,
        )
        for number, values in enumerate(predicted)
    ]
    if measured is not None:
        data.append(series(question.found.lower(), question.ticks, measured, 0))
        data[-1]["line"] = {**data[-1]["line"], "width": 4}
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled(question.x_title), "type": "category"},
            {"title": titled(question.y_title), "range": _range(question)},
        ),
    }


def numbers(question: Question, predicted: Sequence[float], measured: float | None) -> Spec:
    """How many predicted which number, and where the measurement lies."""
    width = (question.high - question.low) / BINS
    places = [min(BINS - 1, int((value - question.low) / width)) for value in predicted]
    counts = Counter(places)
    bars = {
        "type": "bar",
        "name": "predictions",
        "x": [question.low + (place + 0.5) * width for place in range(BINS)],
        "y": [counts[place] for place in range(BINS)],
        "width": width,
        "marker": {"color": BLUE},
        "hovertemplate": f"about %{{x:.3g}} {question.unit}: %{{y}}<extra></extra>",
    }
    layout = lay_out(
        {"title": titled(question.y_title), "range": _range(question)},
        {"title": titled("Learners"), "dtick": max(1, max(counts.values()) // 5)},
        bargap=0,
    )
    if measured is not None:
        layout["shapes"] = [
            {
                "type": "line", "x0": measured, "x1": measured, "yref": "paper", "y0": 0, "y1": 1,
                "line": {"color": PURPLE, "width": 3, "dash": "dash"},
            }
        ]  # fmt: skip
        layout["annotations"] = [
            {
                "text": f"{question.found.lower()} {measured:.1f}",
                "x": measured, "y": 1, "yref": "paper",
                "xanchor": "left" if measured < (question.low + question.high) / 2 else "right",
                "yanchor": "top", "showarrow": False,
            }
        ]  # fmt: skip
    return {"data": [bars], "layout": layout}


def choices(question: Question, predicted: Sequence[str], measured: str | None) -> Spec:
    """How many chose which option; the measured one has a pattern and a star."""
    counts = Counter(predicted)
    options = question.options
    bars = {
        "type": "bar",
        "name": "predictions",
        "x": [f"★ {option}" if option == measured else option for option in options],
        "y": [counts[option] for option in options],
        "marker": {
            "color": [PURPLE if option == measured else BLUE for option in options],
            "pattern": {"shape": ["/" if option == measured else "" for option in options]},
        },
        "hovertemplate": "%{x}: %{y}<extra></extra>",
    }
    layout = lay_out(
        {"title": titled(f"{question.y_title} (★ {question.found.lower()})"), "type": "category"},
        {"title": titled("Learners"), "dtick": max(1, max(counts.values()) // 5)},
        bargap=0.25,
    )
    return {"data": [bars], "layout": layout}


def _range(question: Question) -> list[float]:
    margin = 0.04 * (question.high - question.low)
    return [question.low - margin, question.high + margin]
