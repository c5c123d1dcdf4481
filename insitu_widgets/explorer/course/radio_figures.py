"""Figures of the radio panels, as plain dictionaries in Plotly's schema."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING

from insitu_widgets.air.radio import (
    MODULATIONS,
    RELIABLE_BER,
    Mode,
    Radio,
    capacity_bps_hz,
    fastest,
)
from insitu_widgets.explorer.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    Spec,
    lay_out,
    titled,
)
from insitu_widgets.network.task_oriented import RELAXED_BER
from insitu_widgets.units import error_rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from insitu_widgets.air.trace import Trace
    from insitu_widgets.network.follow import Air

SNRS_DB = tuple(range(-10, 43))
_LINES = dict(
    zip(
        MODULATIONS,
        (
            (BLUE, "solid", "circle"),
            (ORANGE, "dash", "square"),
            (GREEN, "dashdot", "diamond"),
            (RED, "dot", "x"),
            (PURPLE, "longdash", "triangle-up"),
        ),
        strict=True,
    )
)
NETWORKS = ("rate-centric", "relaxed, then chosen", "task-oriented")
_NETWORK_LINES = dict(
    zip(
        NETWORKS,
        ((RED, "dot", "x"), (ORANGE, "dash", "square-open"), (BLUE, "solid", "circle")),
        strict=True,
    )
)
_SNR_TEXT = "SNR of a symbol with one antenna (dB)"
_SNR = {"title": titled(_SNR_TEXT), "dtick": 10}


@dataclass(frozen=True)
class Point:
    """What one network's plan came to at one SNR: accuracies in [0, 1] over the channel's draws."""

    snr_db: float
    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Step:
    """What a device holds from ``time_s`` on, and its measured accuracy in [0, 1]."""

    time_s: float
    name: str
    accuracy: float


def bit_error_rates(
    radio: Radio, code: str, counted: Mapping[str, Sequence[tuple[float, float]]]
) -> Spec:
    """Bit-error rate against SNR, one line a modulation, with what a real modem counted."""
    data: list[Spec] = []
    for name, (color, dash, symbol) in _LINES.items():
        mode = Mode(name, code)
        rates = [
            mode.bit_error_rate(Radio(snr_db, radio.antennas, radio.fading)) for snr_db in SNRS_DB
        ]
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": name, "x": list(SNRS_DB),
                "y": [rate if rate > 1e-13 else None for rate in rates],
                "line": {"color": color, "dash": dash, "width": 2.5},
                "hovertemplate": "%{x} dB: %{y:.1e}<extra>" + name + "</extra>",
            }
        )  # fmt: skip
        points = counted.get(name, ())
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": f"{name}, counted",
                "showlegend": False, "x": [x for x, _ in points], "y": [y for _, y in points],
                "marker": {"color": color, "symbol": symbol, "size": 8},
                "hovertemplate": "%{x} dB, counted: %{y:.1e}<extra>" + name + "</extra>",
            }
        )  # fmt: skip
    powers = range(-12, 1, 2)
    return {
        "data": data,
        "layout": lay_out(
            {**_SNR, "range": [SNRS_DB[0], SNRS_DB[-1]]},
            {
                "type": "log", "title": titled("Bit-error rate"), "range": [-11, 0],
                "tickvals": [10.0**p for p in powers],
                "ticktext": [error_rate(10.0**p) for p in powers],
            },
            shapes=[_level(RELAXED_BER), _level(RELIABLE_BER)],
            annotations=[
                _note("sufficient (section 4)", RELAXED_BER), _note("reliable", RELIABLE_BER)
            ],
        ),
    }  # fmt: skip


def _level(y: float) -> Spec:
    return {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y,
        "line": {"color": GREY, "width": 1.5, "dash": "dot"},
    }  # fmt: skip


def _note(text: str, y: float) -> Spec:
    return {
        "text": text, "xref": "paper", "x": 0.005, "xanchor": "left", "y": log10(y),
        "yanchor": "bottom", "showarrow": False, "font": {"size": 11},
    }  # fmt: skip


def rates(radio: Radio) -> Spec:
    """Efficiency of the fastest mode against SNR: reliable, sufficient, and Shannon's capacity."""
    air = [Radio(snr_db, radio.antennas, radio.fading) for snr_db in SNRS_DB]
    data: list[Spec] = [
        {
            "type": "scatter", "mode": "lines", "name": "capacity (Shannon)",
            "x": list(SNRS_DB), "y": [capacity_bps_hz(at) for at in air],
            "line": {"color": GREY, "dash": "dash", "width": 2},
            "hovertemplate": "%{x} dB: %{y:.2f} bit/s/Hz<extra>capacity</extra>",
        }
    ]  # fmt: skip
    for most, name, color, dash in (
        (RELAXED_BER, "BER at most 10⁻³", BLUE, "solid"),
        (RELIABLE_BER, "BER at most 10⁻⁹", RED, "dot"),
    ):
        modes = [fastest(at, most) for at in air]
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": name, "x": list(SNRS_DB),
                "y": [mode.efficiency_bps_hz if mode else 0.0 for mode in modes],
                "text": [str(mode or "no mode") for mode in modes],
                "line": {"color": color, "dash": dash, "width": 2.5, "shape": "hv"},
                "hovertemplate": "%{x} dB: %{y:.2f} bit/s/Hz, %{text}<extra>" + name + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {**_SNR, "range": [SNRS_DB[0], SNRS_DB[-1]]},
            {"title": titled("Efficiency (bit/s/Hz)"), "range": [0, 10]},
        ),
    }


def _planned(snrs_db: Sequence[float]) -> Spec:
    """The axis of figures whose lines are planned with; it says why markers may lie above them."""
    why = (
        "Lines: what was measured at the catalogue's next higher bit-error rate, which is cautious."
        "<br>Markers: measured now at the link's own rate, so often better."
    )
    title = titled(f"{_SNR_TEXT}<br>{why}")
    return {**_SNR, "title": title, "range": [snrs_db[0] - 1, snrs_db[-1] + 1], "automargin": True}


def accuracy_against_snr(
    snrs_db: Sequence[float],
    expected: Mapping[str, Sequence[float | None]],
    measured: Mapping[str, Sequence[Point]],
) -> Spec:
    """Accuracy against SNR for each network: the catalogue's word (lines), measured (markers)."""
    data: list[Spec] = []
    for name, (color, dash, symbol) in _NETWORK_LINES.items():
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": name, "x": list(snrs_db),
                "y": [None if value is None else 100 * value for value in expected[name]],
                "line": {"color": color, "dash": dash, "width": 2},
                "hovertemplate": "%{x} dB, expected: %{y:.1f} %<extra>" + name + "</extra>",
            }
        )  # fmt: skip
        points = measured.get(name, ())
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": f"{name}, measured",
                "showlegend": False, "x": [point.snr_db for point in points],
                "y": [100 * point.mean for point in points],
                "error_y": {
                    "type": "data", "symmetric": False, "thickness": 1.5, "width": 4,
                    "array": [100 * (point.highest - point.mean) for point in points],
                    "arrayminus": [100 * (point.mean - point.lowest) for point in points],
                },
                "marker": {"color": color, "symbol": symbol, "size": 9},
                "hovertemplate": "%{x} dB, measured: %{y:.1f} %<extra>" + name + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            _planned(snrs_db),
            {"title": titled("Accuracy (%)"), "range": [0, 103]},
        ),
    }


def gain_against_snr(
    snrs_db: Sequence[float],
    expected: Mapping[str, Sequence[float]],
    measured: Mapping[str, Sequence[tuple[float, float]]],
) -> Spec:
    """Points gained over the rate-centric network; no model at all counts as guessing."""
    data: list[Spec] = []
    for name in NETWORKS[1:]:
        color, dash, symbol = _NETWORK_LINES[name]
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": name, "x": list(snrs_db),
                "y": [100 * gain for gain in expected[name]],
                "line": {"color": color, "dash": dash, "width": 2},
                "hovertemplate": "%{x} dB, expected: %{y:+.1f} points<extra>" + name + "</extra>",
            }
        )  # fmt: skip
        points = measured.get(name, ())
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": f"{name}, measured",
                "showlegend": False, "x": [x for x, _ in points],
                "y": [100 * gain for _, gain in points],
                "marker": {"color": color, "symbol": symbol, "size": 9},
                "hovertemplate": "%{x} dB, measured: %{y:+.1f} points<extra>" + name + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            _planned(snrs_db),
            {"title": titled("Gain (accuracy points)"), "zeroline": True, "zerolinecolor": GREY},
        ),
    }


def channel(trace: Trace, air: Air) -> Spec:
    """Rate of the body and of the header against time."""
    rates_bps = [air.rates_bps(slot) for slot in range(len(trace.snr_db))]
    times = list(trace.times_s)
    data: list[Spec] = [
        {
            "type": "scatter", "mode": "lines", "name": name, "x": times,
            "y": [rate[part] / 1e6 for rate in rates_bps],
            "line": {"color": color, "dash": dash, "width": 2, "shape": "hv"},
            "hovertemplate": "%{x:.2f} s: %{y:.2f} Mbit/s<extra>" + name + "</extra>",
        }
        for part, name, color, dash in (
            (1, "body", BLUE, "solid"),
            (0, "header (reliable)", RED, "dot"),
        )
    ]  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Time (s)"), "range": [0, len(times) * trace.slot_s]},
            {"title": titled("Rate (Mbit/s)"), "rangemode": "tozero"},
        ),
    }


def held(ends_s: float, guess: float, followed: Sequence[Step], fixed: Sequence[Step]) -> Spec:
    """Accuracy of what the device holds against time; guessing until something is there."""
    data: list[Spec] = []
    for name, steps, color, dash, symbol in (
        ("increments", followed, BLUE, "solid", "circle"),
        ("fixed at the start", fixed, RED, "dot", "x"),
    ):
        values = [guess, *(step.accuracy for step in steps)]
        words = ["nothing yet", *(step.name for step in steps)]
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": name,
                "x": [0.0, *(step.time_s for step in steps), ends_s],
                "y": [100 * value for value in (*values, values[-1])],
                "text": [*words, words[-1]],
                "line": {"color": color, "dash": dash, "width": 2.5, "shape": "hv"},
                "marker": {"symbol": symbol, "size": 8},
                "hovertemplate": "%{x:.2f} s: %{text}, %{y:.1f} %<extra>" + name + "</extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            {"title": titled("Time (s)"), "range": [0, ends_s]},
            {"title": titled("Accuracy on the device (%)"), "range": [0, 103]},
        ),
    }
