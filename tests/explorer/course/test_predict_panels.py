"""The panels on prediction and feedback: each control moves, each figure is one."""

import plotly.graph_objects as go
import pytest

from insitu_widgets.explorer.course import predict_panels
from insitu_widgets.explorer.course.predict_figures import short
from insitu_widgets.explorer.course.predict_panels import analytics_panel, day_panel
from insitu_widgets.levels.recipe import Recipe


def check(panel, names):
    assert panel.charts.errors == {}
    assert panel.charts.stale == {}
    assert set(panel.charts.charts) == names
    for chart in panel.charts.charts.values():
        assert go.Figure(chart["spec"]).layout.xaxis.title.text
        assert len(chart["text"]) > 40


def test_the_day_panel(monkeypatch):
    monkeypatch.setattr(predict_panels, "_DAYS", 20)
    panel = day_panel()
    check(panel, {"day", "trade"})
    assert "Mean of 20 days" in panel.charts.charts["trade"]["text"]
    assert "oracle" in panel.words.value
    for name, value in (
        ("spread", 0.8),
        ("storage_bytes", 8e5),
        ("least_probability", 0.0),
        ("seed", 9),
    ):
        before = panel.words.value
        panel.controls[name].value = value
        check(panel, {"day", "trade"})
        assert panel.words.value != before
    marks = panel.charts.charts["day"]["spec"]["data"]
    there, waited, _ = (trace["x"] for trace in marks)
    visits = len(panel.charts.charts["day"]["spec"]["layout"]["annotations"])
    assert len(there) + len(waited) == 3 * (visits - 1), "each arrival is marked once a policy"


def test_the_analytics_panel():
    panel = analytics_panel()
    check(panel, {"beliefs", "regret"})
    assert "Feedback pays here." in panel.words.value
    panel.controls["most_bytes"].value = 5e3
    for name, value in (("shift", "none"), ("strength", 1.0), ("trust", 500.0), ("seed", 4)):
        panel.controls[name].value = value
        check(panel, {"beliefs", "regret"})
    assert "does not pay" in panel.words.value


@pytest.mark.parametrize(
    ("recipe", "label"),
    [
        (Recipe("vgg-digits", 4, bits=5), "vgg e4 5 b"),
        (Recipe("resnet-digits", keep=0.5, bits=7), "resnet last 50 % 7 b"),
    ],
)
def test_labels_are_short(recipe, label):
    assert short(recipe) == label
