"""Figures of the library, the population and the broadcast; plain dictionaries, as in figures."""

from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING, Any

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

    from insitu_widgets.network.outcome import Outcome

STORES = {
    "apart": ("each packet apart", RED, "x", "dot"),
    "pieces": ("equal pieces once", ORANGE, "square", "dash"),
    "nested": ("nested in the root", GREEN, "circle", "solid"),
}
POLICY_STYLE = {
    "one size": (RED, "x", "dot"),
    "a few sizes": (ORANGE, "square", "dash"),
    "in-situ": (BLUE, "circle", "solid"),
}
WAYS = {
    "unicast_s": ("unicast, one by one", RED, "x", "dot"),
    "apart_s": ("each size broadcast", ORANGE, "square", "dash"),
    "nested_s": ("base and refinements", GREEN, "circle", "solid"),
}
#: Places where round numbers of requests or listeners stand on a logarithmic axis.
_ROUND = [1, 2, 5, 10, 20, 50, 100, 200, 500]


def _line(
    name: str, xs: Sequence[float], ys: Sequence[float], style: tuple[str, str, str], hover: str
) -> Spec:
    color, symbol, dash = style
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": list(xs),
        "y": [None if isnan(y) else y for y in ys],  # JSON knows no NaN
        "line": {"color": color, "dash": dash, "width": 2},
        "marker": {"symbol": symbol, "size": 8},
        "hovertemplate": hover + "<extra>" + name + "</extra>",
    }  # fmt: skip


def storage(counts: Sequence[int], taken: Mapping[str, Sequence[int]], root: int) -> Spec:
    """Bytes that variants take in each store, against how many there are; the root dotted."""
    data = [
        _line(name, counts, [n / 1e6 for n in taken[key]], (color, symbol, dash), "%{x}: %{y:.2f}")
        for key, (name, color, symbol, dash) in STORES.items()
    ]
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Variants stored")},
            {"title": titled("Storage (MB)"), "rangemode": "tozero"},
            shapes=[
                {
                    "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": root / 1e6,
                    "y1": root / 1e6, "line": {"color": GREY, "width": 1.5, "dash": "dot"},
                }
            ],
            annotations=[
                {
                    "text": "the root", "xref": "paper", "x": 0.99, "xanchor": "right",
                    "y": root / 1e6, "yanchor": "bottom", "showarrow": False, "font": {"size": 11},
                }
            ],
        ),
    }  # fmt: skip


def fetching(ways: Mapping[str, tuple[float, float]]) -> Spec:
    """How long a packet takes to the edge: name -> seconds on the way, seconds of work."""
    names = list(ways)[::-1]
    data: list[dict[str, Any]] = []
    parts = (("on the way (modelled)", SKY, "/"), ("making it (measured)", PURPLE, ""))
    for place, (part, color, pattern) in enumerate(parts):
        data.append(
            {
                "type": "bar", "orientation": "h", "name": part, "y": names,
                "x": [1e3 * ways[name][place] for name in names],
                "marker": {"color": color, "pattern": {"shape": pattern}},
                "hovertemplate": "%{x:.2f} ms<extra>" + part + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Time until the packet is at the edge (ms)")}, {}, barmode="stack"
        ),
    }


def arrivals(times: Mapping[str, tuple[float, float]], budgets: Mapping[str, float]) -> Spec:
    """When packets are there: device -> seconds to the edge and on the link; budgets in seconds."""
    names = list(times)[::-1]
    parts = (("to the edge", SKY, "/"), ("on the link", BLUE, ""))
    data: list[dict[str, Any]] = [
        {
            "type": "bar", "orientation": "h", "name": part, "y": names,
            "x": [1e3 * times[name][place] for name in names],
            "marker": {"color": color, "pattern": {"shape": pattern}},
            "hovertemplate": "%{y}: %{x:.3g} ms<extra>" + part + "</extra>",
        }
        for place, (part, color, pattern) in enumerate(parts)
    ]  # fmt: skip
    data.append(
        {
            "type": "scatter", "mode": "markers", "name": "budget", "y": names,
            "x": [1e3 * budgets[name] for name in names],
            "marker": {"symbol": "line-ns-open", "size": 22, "color": RED, "line": {"width": 3}},
            "hovertemplate": "%{y}: %{x:.3g} ms<extra>budget</extra>",
        }
    )  # fmt: skip
    x = {"title": titled("Time from the request (ms)"), "rangemode": "tozero"}
    return {"data": data, "layout": lay_out(x, {"automargin": True}, barmode="stack")}


def over_load(outcomes: Sequence[Outcome], quantity: str, title: str, scale: float) -> Spec:
    """One figure of the outcomes over load, a curve a policy."""
    data = []
    for policy, style in POLICY_STYLE.items():
        mine = [outcome for outcome in outcomes if outcome.policy == policy]
        xs = [outcome.load_per_s for outcome in mine]
        ys = [scale * getattr(outcome, quantity) for outcome in mine]
        data.append(_line(policy, xs, ys, style, "%{x:g}/s: %{y:.4g}"))
    y: Spec = {"title": titled(title), "rangemode": "tozero"}
    if quantity in ("accuracy", "hits"):
        y["range"] = [0, 103]
    x: Spec = {
        "type": "log", "title": titled("Load (requests a second)"),
        "tickvals": _ROUND, "ticktext": [f"{n}" for n in _ROUND],
    }  # fmt: skip
    return {"data": data, "layout": lay_out(x, y)}


def air_times(listeners: Sequence[int], times: Mapping[str, Sequence[float]]) -> Spec:
    """Time on the air against the number of listeners, for the three ways of sending."""
    data = [
        _line(
            name,
            listeners,
            [t or nan for t in times[key]],
            (color, symbol, dash),
            "%{x}: %{y:.3g} s",
        )
        for key, (name, color, symbol, dash) in WAYS.items()
    ]
    x: Spec = {
        "type": "log", "title": titled("Listeners"),
        "tickvals": _ROUND, "ticktext": [f"{n}" for n in _ROUND],
    }  # fmt: skip
    y: Spec = {"type": "log", "title": titled("Time on the air (s)"), "dtick": 1}
    return {"data": data, "layout": lay_out(x, y)}


def layer_sizes(names: Sequence[str], packets: Sequence[int], parts: Sequence[int]) -> Spec:
    """Bytes of each size as a packet of its own, and of what broadcasting adds for it."""
    data = [
        {
            "type": "bar", "name": name, "x": list(names), "y": [bits / 8e3 for bits in sizes],
            "marker": {"color": color, "pattern": {"shape": pattern}},
            "hovertemplate": "%{x}: %{y:.2f} kB<extra>" + name + "</extra>",
        }
        for name, sizes, color, pattern in (
            ("as a packet of its own", packets, ORANGE, "/"),
            ("base, then refinements", parts, GREEN, ""),
        )
    ]  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("What the device then has")},
            {"title": titled("Size (kB)")},
            barmode="group",
        ),
    }
