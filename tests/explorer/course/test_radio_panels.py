"""The panels on the air: each control moves, each figure is one."""

import plotly.graph_objects as go
import pytest

from insitu_widgets.explorer.course import radio_panels
from insitu_widgets.explorer.course.radio_panels import (
    radio_panel,
    task_oriented_panel,
    trace_panel,
)


def check(panel, names):
    """The panel has finished, and shows these figures with words and units."""
    assert panel.charts.errors == {}
    assert panel.charts.stale == {}
    assert panel.bar.value == 1.0
    assert set(panel.charts.charts) == names
    for chart in panel.charts.charts.values():
        figure = go.Figure(chart["spec"])
        assert len(chart["text"]) > 40
        for axis in (figure.layout.xaxis, figure.layout.yaxis):
            assert axis.title.text
            assert "(" in axis.title.text or "rate" in axis.title.text


def text(panel, name):
    return panel.charts.charts[name]["text"]


@pytest.fixture
def quick(monkeypatch):
    """Fewer SNRs and seconds; the rest as it is."""
    monkeypatch.setattr(radio_panels, "_TASK_SNRS_DB", (0, 18, 38))
    monkeypatch.setattr(radio_panels, "_TRACE_S", 1.0)
    monkeypatch.setattr(radio_panels, "_BITS_COUNTED", 2000)


@pytest.mark.usefixtures("quick")
def test_the_radio_panel():
    panel = radio_panel()
    check(panel, {"ber", "rate"})
    assert "BPSK 3 dB" in text(panel, "ber")
    for name, value in (("fading", "Rayleigh"), ("antennas", 4), ("code", "uncoded")):
        before = text(panel, "ber")
        panel.controls[name].value = value
        check(panel, {"ber", "rate"})
        assert text(panel, "ber") != before


def test_what_is_counted_lies_on_the_line_without_a_code():
    panel = radio_panel()
    panel.controls["code"].value = "uncoded"
    traces = panel.charts.charts["ber"]["spec"]["data"]
    lines = {t["name"]: dict(zip(t["x"], t["y"], strict=True)) for t in traces}
    compared = 0
    for name in ("BPSK", "16-QAM", "256-QAM"):
        for snr_db, counted in lines[f"{name}, counted"].items():
            assert counted == pytest.approx(lines[name][snr_db], rel=0.5)
            compared += 1
    assert compared >= 6


@pytest.mark.usefixtures("quick")
def test_the_task_oriented_panel():
    panel = task_oriented_panel()
    check(panel, {"accuracy", "gain"})
    assert "Measured at 3 of 3 SNRs" in text(panel, "gain")
    gains = panel.charts.charts["gain"]["spec"]["data"][-1]
    at = dict(zip(gains["x"], gains["y"], strict=True))
    assert at[18] > 50, "a gain where the rate is short"
    assert abs(at[38]) < 1, "none where the air is good"
    assert at[0] == 0, "none where nothing arrives"
    for name, value in (
        ("root", "vgg-digits"),
        ("fading", "AWGN"),
        ("antennas", 2),
        ("bandwidth_hz", 1e5),
        ("latency_s", 0.05),
        ("guard", "none"),
        ("draws", 1),
    ):
        panel.controls[name].value = value
        check(panel, {"accuracy", "gain"})


@pytest.mark.usefixtures("quick")
def test_the_trace_panel():
    panel = trace_panel()
    check(panel, {"rate", "held"})
    assert "Increments: first model after" in text(panel, "held")
    for name, value in (
        ("way", "bit by bit, exit 3"),
        ("root", "resnet-digits"),
        ("snr_db", 5),
        ("doppler_hz", 10),
        ("bandwidth_hz", 5e4),
        ("most_ber", 1e-9),
        ("seed", 7),
    ):
        panel.controls[name].value = value
        check(panel, {"rate", "held"})
    assert "nothing has arrived" in text(panel, "held")
