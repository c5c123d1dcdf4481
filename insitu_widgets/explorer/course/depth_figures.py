"""Figures of the depth level (paper, section 2.1): plain Plotly dictionaries, no torch."""

from __future__ import annotations

from math import isclose, isfinite
from typing import TYPE_CHECKING, Any

from insitu_widgets.explorer.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    lay_out,
    log_axis,
    series,
    titled,
    vertical,
    whiskers,
)
from insitu_widgets.units import duration, time_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from insitu_widgets.estimate import Estimate
    from insitu_widgets.levels.routing import Routing
    from insitu_widgets.network.tradeoff import SplitTime

    Spec = dict[str, Any]

_PARTS = (
    ("download", BLUE, ""),
    ("device", ORANGE, "/"),
    ("uplink", GREEN, "x"),
    ("server", PURPLE, "."),
)


#: Accuracies closer than this are drawn on one spot.
_NEAR = 0.03


def place(point: int, last: int) -> str:
    """A split point as an axis says it."""
    return {0: "0: server", last: f"{last}: device"}.get(point, str(point))


def _places(last: int) -> Spec:
    return {
        "title": titled("Split point (blocks on the device)"),
        "tickvals": list(range(last + 1)),
        "ticktext": [place(point, last) for point in range(last + 1)],
        "tickangle": 0,
        "range": [-0.5, last + 0.5],
    }


def sizes(download_bits: Sequence[int], upload_bits: Sequence[int]) -> Spec:
    """The trade-off itself: bits down once, and bits up for each image, by split point."""
    last = len(download_bits) - 1
    points = range(last + 1)
    hover = "%{y:.3s}bit<extra>%{fullData.name}</extra>"
    down = [bits or None for bits in download_bits]
    up = [bits or None for bits in upload_bits]
    known = [bits for bits in (*down, *up) if bits]
    return {
        "data": [
            series("down, once", points, down, 0, hovertemplate=hover),
            series("up, each image", points, up, 1, hovertemplate=hover),
        ],
        "layout": lay_out(_places(last), log_axis(known, "Bits (logarithmic)", "bit")),
    }


def split_times(
    times: Sequence[SplitTime], images: int, best: Sequence[int], allowed: Sequence[int]
) -> Spec:
    """Where the time goes at each split point, every bar at its own length.

    ``best`` are starred: one split, or several that are as good as equal; splits that are not
    ``allowed`` are paler.
    """
    last = times[-1].point
    totals = [time.total_s(images) for time in times]
    unit_s, unit = time_unit(max(totals))
    parts = {
        "download": [time.download_s for time in times],
        "device": [images * time.device_s for time in times],
        "uplink": [images * time.upload_s for time in times],
        "server": [images * time.server_s for time in times],
    }
    bars = [
        {
            "type": "bar", "name": name, "x": [time.point for time in times],
            "y": [seconds / unit_s for seconds in parts[name]],
            "customdata": [duration(seconds) for seconds in parts[name]],
            "marker": {
                "color": color, "pattern": {"shape": pattern},
                "opacity": [1.0 if time.point in allowed else 0.3 for time in times],
            },
            "hovertemplate": "%{customdata}<extra>" + name + "</extra>",
        }
        for name, color, pattern in _PARTS
    ]  # fmt: skip
    notes = [
        {
            "text": ("★ " if time.point in best else "") + duration(total),
            "x": time.point, "y": total / unit_s, "yanchor": "bottom", "showarrow": False,
            "font": {"size": 11},
        }
        for time, total in zip(times, totals, strict=True)
    ]  # fmt: skip
    label = f"Time for {images:,} image{'s' if images > 1 else ''} ({unit})"
    layout = lay_out(
        _places(last),
        {"title": titled(label), "range": [0, 1.12 * max(totals) / unit_s]},
        barmode="stack",
        bargap=0.25,
        annotations=notes,
    )
    layout["legend"]["traceorder"] = "normal"
    return {"data": bars, "layout": layout}


def total_times(times: Sequence[SplitTime], ever_best: Sequence[int], images: int) -> Spec:
    """Total time against the number of images, for the splits that are ever the best."""
    last = times[-1].point
    counts = [m * 10**d for d in range(7) for m in (1, 2, 5)][:-2]
    totals = [[times[point].total_s(count) for count in counts] for point in ever_best]
    data = [
        series(
            f"split {place(point, last)}",
            counts,
            totals[style],
            style,
            mode="lines",
            text=[duration(total) for total in totals[style]],
            hovertemplate="%{x:,} images: %{text}<extra>%{fullData.name}</extra>",
        )
        for style, point in enumerate(ever_best)
    ]
    seconds = [total for line in totals for total in line if total > 0]
    return {
        "data": data,
        "layout": lay_out(
            log_axis([1, 10**6], "Images (logarithmic)", ""),
            log_axis(seconds, "Total time (logarithmic)", "s"),
            shapes=[vertical(images)],
        ),
    }


def accuracies(measured: Mapping[int, Estimate], last: int, whole: float) -> Spec:
    """Measured accuracy with the bits on both links, by split point, beside the float32 root's."""
    points = sorted(measured)
    line = series(
        "measured",
        points,
        [100 * measured[point].accuracy for point in points],
        0,
        mode="markers",
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [100 * (measured[p].high - measured[p].accuracy) for p in points],
            "arrayminus": [100 * (measured[p].accuracy - measured[p].low) for p in points],
        },
        hovertemplate="split %{x}: %{y:.1f} %<extra></extra>",
    )
    root = series("whole root, float32", [-0.5, last + 0.5], [100 * whole] * 2, 3, mode="lines")
    lowest = min([whole, *(estimate.low for estimate in measured.values())])
    return {
        "data": [line, root],
        "layout": lay_out(
            _places(last),
            {"title": titled("Accuracy (%)"), "range": [max(0.0, 100 * lowest - 5), 101]},
        ),
    }


def exits_curve(
    curve: Sequence[tuple[float, Estimate]],
    alone: Sequence[tuple[float, Estimate]],
    chosen: tuple[float, Estimate] | None,
    target: float,
    axis: tuple[str, str],
) -> Spec:
    """Accuracy against mean cost: all thresholds, each exit alone, and the threshold chosen.

    Parameters
    ----------
    curve, alone, chosen
        Pairs of mean cost and accuracy.
    target
        Accuracy asked for.
    axis
        Title and unit of the cost.
    """
    costs = [cost for cost, _ in (*curve, *alone)]
    data = [
        series(
            "by confidence",
            [cost for cost, _ in curve],
            [100 * estimate.accuracy for _, estimate in curve],
            0,
            mode="lines",
            hovertemplate="%{x:.3s}: %{y:.1f} %<extra>by confidence</extra>",
        ),
        series(
            "all at one exit",
            [cost for cost, _ in alone],
            [100 * estimate.accuracy for _, estimate in alone],
            1,
            mode="markers+text",
            text=_exits(alone),
            textposition="bottom center",
            customdata=list(range(1, len(alone) + 1)),
            hovertemplate="exit %{customdata}: %{x:.3s}, %{y:.1f} %<extra></extra>",
        ),
    ]
    if chosen:
        cost, estimate = chosen
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": "threshold in use",
                "x": [cost], "y": [100 * estimate.accuracy], "error_y": whiskers(estimate),
                "marker": {"color": PURPLE, "symbol": "star", "size": 15, "line": {"width": 1}},
                "hovertemplate": "%{x:.3s}: %{y:.1f} %<extra>threshold in use</extra>",
            }
        )  # fmt: skip
    lowest = min(target, *(estimate.accuracy for _, estimate in (*curve, *alone)))
    return {
        "data": data,
        "layout": lay_out(
            log_axis([cost for cost in costs if cost > 0], *axis),
            {"title": titled("Accuracy (%)"), "range": [100 * lowest - 4, 101]},
            shapes=[
                {
                    "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 100 * target,
                    "y1": 100 * target, "line": {"color": GREY, "width": 1.5, "dash": "dot"},
                }
            ],
            annotations=[
                {
                    "text": "target", "xref": "paper", "x": 0.995, "xanchor": "right",
                    "y": 100 * target, "yanchor": "bottom", "showarrow": False,
                    "font": {"size": 11},
                }
            ],
        ),
    }  # fmt: skip


def _exits(alone: Sequence[tuple[float, Estimate]]) -> list[str]:
    """A label for each exit; of exits drawn on one spot, the first says them all."""
    spots: list[list[int]] = []
    for number, (cost, estimate) in enumerate(alone):
        for spot in spots:
            other, before = alone[spot[0]]
            near = isclose(cost, other, rel_tol=0.05)
            if near and abs(estimate.accuracy - before.accuracy) < _NEAR:
                spot.append(number)
                break
        else:
            spots.append([number])
    said = {spot[0]: ", ".join(str(number + 1) for number in spot) for spot in spots}
    return [said.get(number, "") for number in range(len(alone))]


def shares(routing: Routing, point: int) -> Spec:
    """Share of the images that leave at each exit, on the device or on the server."""
    data = []
    for name, color, pattern in (("on the device", BLUE, ""), ("on the server", ORANGE, "/")):
        mine = [
            (exit_, share)
            for exit_, share in enumerate(routing.shares, 1)
            if (exit_ <= point) == (name == "on the device")
        ]
        data.append(
            {
                "type": "bar", "name": name,
                "x": [exit_ for exit_, _ in mine], "y": [100 * share for _, share in mine],
                "text": [f"{100 * share:.0f}" for _, share in mine],
                "textposition": "outside", "cliponaxis": False,
                "marker": {"color": color, "pattern": {"shape": pattern}},
                "hovertemplate": "exit %{x}: %{y:.1f} %<extra>" + name + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Exit"), "dtick": 1, "range": [0.4, len(routing.left) + 0.6]},
            {"title": titled("Images (%)"), "range": [0, 110]},
            barmode="overlay",
            bargap=0.25,
        ),
    }


def arriving(exits: Sequence[tuple[float, Estimate]], whole: tuple[float, Estimate] | None) -> Spec:
    """Accuracy of the best exit so far against time, and of the download in one piece."""
    times = [time for time, _ in exits]
    so_far = [max(e.accuracy for _, e in exits[: i + 1]) for i in range(len(exits))]
    end = max([*times, *([whole[0]] if whole else [])])
    data = [
        series(
            "best exit so far",
            [*times, end],
            [*(100 * share for share in so_far), 100 * so_far[-1]],
            0,
            mode="lines",
            line={"color": BLUE, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        ),
        series(
            "exit that has just arrived",
            times,
            [100 * estimate.accuracy for _, estimate in exits],
            1,
            mode="markers+text",
            text=[str(exit_) for exit_ in range(1, len(exits) + 1)],
            textposition="bottom center",
            customdata=[duration(time) for time in times],
            hovertemplate="exit %{text} at %{customdata}: %{y:.1f} %<extra></extra>",
        ),
    ]
    if whole:
        data.append(
            series(
                "in one piece",
                [whole[0]],
                [100 * whole[1].accuracy],
                3,
                mode="markers",
                customdata=[duration(whole[0])],
                hovertemplate="%{customdata}: %{y:.1f} %<extra>in one piece</extra>",
            )
        )
    return {
        "data": data,
        "layout": lay_out(
            log_axis([*times, end], "Time since the request (logarithmic)", "s"),
            {"title": titled("Accuracy (%)"), "range": [0, 105]},
        ),
    }


def nothing(note: str) -> Spec:
    """An empty figure that says why it is empty."""
    said = {"text": note, "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
    return {
        "data": [],
        "layout": lay_out({"visible": False}, {"visible": False}, annotations=[said]),
    }


def fidelity(heard: Mapping[int, float], references: Mapping[str, float], last: int) -> Spec:
    """How well the image is rebuilt from what goes up, by split point, beside blind guesses."""
    points = sorted(point for point, value in heard.items() if isfinite(value))
    every = range(points[0], points[-1] + 1) if points else points
    data = [
        series(
            "from what goes up",
            every,
            [heard[point] if point in points else None for point in every],  # no line over a gap
            0,
            hovertemplate="split %{x}: %{y:.1f} dB<extra></extra>",
        ),
        *(
            series(name, [-0.5, last + 0.5], [value] * 2, 2 + i, mode="lines")
            for i, (name, value) in enumerate(references.items())
        ),
    ]
    top = max(*(heard[point] for point in points), *references.values(), 30.0)
    return {
        "data": data,
        "layout": lay_out(
            _places(last),
            {"title": titled("PSNR of the attacker's pictures (dB)"), "range": [0, 1.08 * top]},
        ),
    }
