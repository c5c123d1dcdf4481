"""Figures of the panels on prediction and feedback, as plain dictionaries in Plotly's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insitu_widgets.explorer.figures import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    SKY,
    Spec,
    lay_out,
    titled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from insitu_widgets.levels.recipe import Recipe
    from insitu_widgets.network.analytics import Run
    from insitu_widgets.network.predict import Outcome, Visit

_POLICIES = {
    "on demand": (RED, "x"),
    "predictive": (BLUE, "circle"),
    "oracle": (GREEN, "star"),
}
_LEARNERS = {
    "no feedback": (RED, "dot"),
    "greedy": (ORANGE, "dash"),
    "Thompson": (BLUE, "solid"),
}
_HOUR_S = 3600.0


def short(recipe: Recipe) -> str:
    """A recipe as a tick label."""
    place = "last" if recipe.exit is None else f"e{recipe.exit}"
    keep = "" if recipe.keep == 1.0 else f" {100 * recipe.keep:g} %"
    width = f"{recipe.bits} b{' mixed' if recipe.mixed else ''}"
    return f"{recipe.root.partition('-')[0]} {place}{keep} {width}"


def timeline(day: Sequence[Visit], lived: Mapping[str, Outcome]) -> Spec:
    """One day: where the user is, when models are received, and for which arrivals they waited."""
    hours = {
        name: (
            [t.begins_s / _HOUR_S for t in outcome.transfers if t.ahead],
            [t.begins_s / _HOUR_S for t in outcome.transfers if not t.ahead],
            [t.ends_s - t.begins_s for t in outcome.transfers if not t.ahead],
        )
        for name, outcome in lived.items()
    }
    ahead = [(x, name) for name, (xs, _, _) in hours.items() for x in xs]
    waited = [(x, name) for name, (_, xs, _) in hours.items() for x in xs]
    seconds = [s for _, _, spans in hours.values() for s in spans]
    there = [
        (visit.arrives_s / _HOUR_S, name)
        for name, (_, xs, _) in hours.items()
        for visit in day[1:]
        if not any(abs(x - visit.arrives_s / _HOUR_S) < 1e-3 for x in xs)
    ]
    return {
        "data": [
            _marks("there on arrival", there, GREEN, "circle", [""] * len(there)),
            _marks("waited for", waited, RED, "x", [f", {s:.1f} s" for s in seconds]),
            _marks("fetched ahead", ahead, BLUE, "triangle-up-open", [""] * len(ahead)),
        ],
        "layout": lay_out(
            {"title": titled("Time (h)"), "range": [-0.2, day[-1].leaves_s / _HOUR_S + 0.2]},
            {
                "type": "category", "categoryorder": "array",
                "categoryarray": [*reversed(list(lived)), "place"], "range": [-0.6, 3.6],
            },
            shapes=[
                {
                    "type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1,
                    "x0": visit.arrives_s / _HOUR_S, "x1": visit.leaves_s / _HOUR_S,
                    "fillcolor": SKY, "opacity": 0.16 if number % 2 else 0.04,
                    "line": {"width": 0}, "layer": "below",
                }
                for number, visit in enumerate(day)
            ],
            annotations=[
                {
                    "text": visit.place, "x": (visit.arrives_s + visit.leaves_s) / 2 / _HOUR_S,
                    "y": "place", "showarrow": False, "textangle": -60, "font": {"size": 11},
                }
                for visit in day
            ],
        ),
    }  # fmt: skip


def _marks(
    name: str, places: Sequence[tuple[float, str]], color: str, symbol: str, more: Sequence[str]
) -> Spec:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [x for x, _ in places],
        "y": [y for _, y in places], "text": list(more),
        "marker": {"color": color, "symbol": symbol, "size": 10, "line": {"width": 1.5}},
        "hovertemplate": "%{y}, %{x:.2f} h%{text}<extra>" + name + "</extra>",
    }  # fmt: skip


def trade_off(
    sums: Mapping[str, Outcome], trade: Mapping[float, Outcome], now: float, days: int
) -> Spec:
    """Waiting against bytes received a day: the policies, and prediction at each threshold."""

    def place(outcome: Outcome) -> tuple[float, float]:
        return outcome.downloaded_bytes / days / 1e6, outcome.stall_s / days

    curve = [place(outcome) for outcome in trade.values()]
    data: list[Spec] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": "prediction, other thresholds",
            "x": [x for x, _ in curve], "y": [y for _, y in curve],
            "text": [f"as likely as {100 * least:.0f} %" for least in trade],
            "line": {"color": SKY, "dash": "dash", "width": 2},
            "marker": {"symbol": "circle-open", "size": 8},
            "hovertemplate": "%{text}: %{x:.2f} MB, %{y:.1f} s<extra></extra>",
        }
    ]  # fmt: skip
    for name, (color, symbol) in _POLICIES.items():
        x, y = place(sums[name])
        label = f"predictive, {100 * now:.0f} %" if name == "predictive" else name
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": label, "x": [x], "y": [y],
                "marker": {"color": color, "symbol": symbol, "size": 13},
                "hovertemplate": "%{x:.2f} MB, %{y:.1f} s<extra>" + label + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Received (MB a day)"), "rangemode": "tozero"},
            {"title": titled("Waiting (s a day)"), "rangemode": "tozero"},
        ),
    }


def beliefs(
    labels: Sequence[str],
    believed: Sequence[float],
    truth: Sequence[float],
    learnt: Sequence[float] | None,
) -> Spec:
    """Accuracy of each candidate: the catalogue's, the true one here, and what was learnt."""
    series = (
        ("catalogue", believed, RED, "x"),
        ("measured after the shift", truth, GREEN, "circle"),
        ("estimated from reports", learnt or (), BLUE, "diamond-open"),
    )
    return {
        "data": [
            {
                "type": "scatter", "mode": "markers", "name": name,
                "x": list(labels[: len(values)]), "y": [100 * value for value in values],
                "marker": {"color": color, "symbol": symbol, "size": 10, "line": {"width": 1.5}},
                "hovertemplate": "%{x}: %{y:.1f} %<extra>" + name + "</extra>",
            }
            for name, values, color, symbol in series
        ],
        "layout": lay_out(
            {
                "type": "category", "tickangle": -45, "categoryorder": "array",
                "categoryarray": list(labels),
                "title": titled("Recipe: root, exit (e), weights kept (%), bits (b)"),
                "range": [-0.5, len(labels) - 0.5],
            },
            {"title": titled("Accuracy (%)"), "range": [0, 103]},
        ),
    }  # fmt: skip


def regret(runs: Sequence[Run]) -> Spec:
    """Regret against devices served: the mean of the runs."""
    data: list[Spec] = []
    for run in runs:
        color, dash = _LEARNERS[run.policy]
        mean = 100 * run.regret.mean(axis=0)
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": run.policy,
                "x": list(range(1, len(mean) + 1)), "y": mean.round(3).tolist(),
                "line": {"color": color, "dash": dash, "width": 2.5},
                "hovertemplate": "%{x} devices: %{y:.0f} points<extra>" + run.policy + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Devices served"), "rangemode": "tozero"},
            {"title": titled("Accuracy points lost, summed"), "rangemode": "tozero"},
        ),
    }
