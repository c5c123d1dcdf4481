"""Panels of the open problems: every control is moved, every figure is in Plotly's schema."""

from itertools import count, islice

import plotly.graph_objects as go
import pytest

from insitu_widgets import load_data
from insitu_widgets.explorer.course.problems_panels import (
    cooperation_panel,
    customise_panel,
    degradation_panel,
    evolve_panel,
    federated_panel,
)
from insitu_widgets.explorer.runner import Inline
from insitu_widgets.network.federated import share_out

PANELS = {
    cooperation_panel: {
        "keep": 0.2,
        "bits": 4,
        "confidence": 1.0,
        "corrected": False,
        "name": "resnet-digits",
    },
    degradation_panel: {
        "held": "keep",
        "unit": "interleaved segments",
        "rate_bps": 1e7,
        "seed": 5,
        "name": "resnet-digits",
    },
    customise_panel: {
        "keep": 1.0,
        "strength": 1.0,
        "user": 1,
        "part": "head",
        "rate": 1e-3,
        "epochs": 3,
        "name": "resnet-digits",
    },
    evolve_panel: {
        "strength": 1.0,
        "user": 1,
        "generations": 1,
        "children": 2,
        "price": 0.1,
        "name": "resnet-digits",
    },
    federated_panel: {
        "devices": 2,
        "alpha": 10.0,
        "bits": 1,
        "keep": 0.1,
        "rounds": 1,
        "seed": 1,
        "name": "resnet-digits",
    },
}


class Begun(Inline):
    """Two pictures only: what a user sees first."""

    def request(self, steps, on_step, on_end):
        super().request(lambda: islice(steps(), 2), on_step, on_end)


class Held(Inline):
    """Nothing yet."""

    def request(self, steps, on_step, on_end):
        pass


def check(panel):
    assert panel.charts.errors == {}, panel.words.value
    assert panel.charts.stale == {}
    for chart in panel.charts.charts.values():
        assert chart["title"]
        assert chart["text"]
        go.Figure(chart["spec"])
        for axis in ("xaxis", "yaxis"):
            shown = chart["spec"]["layout"][axis]
            pictures = chart["spec"]["data"][0]["type"] == "heatmap"
            assert "title" in shown or pictures


@pytest.mark.parametrize("make", PANELS, ids=lambda make: make.__name__)
def test_each_control_asks_anew(make):
    panel = make(Begun())
    check(panel)
    assert set(PANELS[make]) == set(panel.controls)
    for name, value in PANELS[make].items():
        before = panel.charts.charts
        panel.controls[name].value = value
        assert panel.values[name] == value
        assert panel.charts.charts is not before
        check(panel)


def test_cooperation_runs_to_its_end():
    panel = cooperation_panel(Inline())
    check(panel)
    accuracy, uplink = (panel.charts.charts[name]["spec"] for name in ("accuracy", "uplink"))
    names = [trace["name"] for trace in accuracy["data"]]
    assert names == [
        "device alone",
        "image sent (8 bit a pixel)",
        "1 bit",
        "2 bit",
        "4 bit",
        "8 bit",
    ]
    assert all(len(trace["x"]) == 6 for trace in accuracy["data"][2:])
    assert uplink["data"][0]["y"] == [512, 512]
    assert "The device asks about" in panel.words.value
    panel.controls["confidence"].value = 0.5
    check(panel)


def test_degradation_runs_to_its_end():
    panel = degradation_panel(Inline())
    check(panel)
    zero, held = panel.charts.charts["accuracy"]["spec"]["data"][2:]
    assert zero["y"][0] == held["y"][0] > 95
    assert zero["y"][-1] < held["y"][-1]
    assert panel.words.value.count("<tr>") == 7
    times = panel.charts.charts["time"]["spec"]["data"][1]["y"]
    assert times == sorted(times)


def test_an_older_version_fills_the_gaps():
    panel = degradation_panel(Held())
    panel._runner = Inline()
    panel.controls["held"].value = "older"
    check(panel)
    intact, older = panel.charts.charts["accuracy"]["spec"]["data"][:2]
    assert intact["y"][0] != older["y"][0], "more training has made another model"
    zero, filled = panel.charts.charts["accuracy"]["spec"]["data"][2:]
    assert filled["y"][-1] > zero["y"][-1] + 50


def test_customisation_helps_the_user():
    panel = customise_panel(Inline())
    check(panel)
    user, general = panel.charts.charts["accuracy"]["spec"]["data"]
    assert len(user["y"]) == len(general["y"]) == 13
    assert user["y"][-1] > user["y"][0]
    assert len(panel.charts.charts["sample"]["spec"]["data"][0]["z"]) == 2 * (8 + 2)  # framed


def test_evolution_runs_to_its_end():
    panel = evolve_panel(Inline())
    check(panel)
    assert len(panel.charts.charts["path"]["spec"]["data"][0]["x"]) == 13
    parents = panel.charts.charts["cloud"]["spec"]["data"][0]
    assert parents["name"] == "a parent now"
    assert len(parents["x"]) == 2


def test_federation_offers_the_improved_root():
    panel = federated_panel(Inline())
    check(panel)
    rounds = panel.charts.charts["rounds"]["spec"]["data"][0]
    assert rounds["x"][0] == 0
    assert rounds["y"][-1] > rounds["y"][0]
    assert "Offered for download" in panel.words.value
    counts = panel.charts.charts["shares"]["spec"]["data"][0]["z"]
    assert sum(map(sum, counts)) == 900


def test_a_device_without_images_is_said_so():
    theirs = load_data("digits", "train").labels[100:]
    seed = next(s for s in count(1) if min(map(len, share_out(theirs, 12, 0.1, s))) == 0)
    panel = federated_panel(Begun())
    panel._runner = Held()
    for name, value in {"alpha": 0.1, "devices": 12, "seed": seed}.items():
        panel.controls[name].value = value
    panel._runner = Inline()
    panel.run()
    assert "must have at least 1 image; got 0" in panel.words.value
    assert "Raise alpha" in panel.charts.errors["shares"]
