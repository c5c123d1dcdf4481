"""Panels of the library and the network: each control redraws, every figure is valid."""

import plotly.graph_objects as go
import pytest

from insitu_widgets.explorer.course import library_panels as panels


def drawn(panel):
    """All that the panel shows, each checked against Plotly's schema."""
    assert panel.charts.errors == {}
    assert panel.charts.stale == {}
    for chart in panel.charts.charts.values():
        go.Figure(chart["spec"])
        assert chart["title"]
        assert "nan" not in chart["text"]
        for axis in ("xaxis", "yaxis"):
            title = chart["spec"]["layout"][axis].get("title", {"text": "categories"})
            assert title["text"]
    return panel.charts.charts


def moved(panel):
    """Move each control in turn, and say what has been drawn."""
    for control in panel.controls.values():
        before = control.value
        values = getattr(control, "_options_values", None) or (before, before + 1)
        control.value = next(value for value in values if value != before)
        drawn(panel)
        control.value = before


@pytest.fixture(scope="module")
def library():
    panel = panels.library_panel()
    return panel, drawn(panel)


def test_nested_variants_cost_little_more_than_the_root(library):
    _, charts = library
    apart, pieces, nested = (trace["y"] for trace in charts["storage"]["spec"]["data"])
    root = charts["storage"]["spec"]["layout"]["shapes"][0]["y0"]
    assert nested[-1] < 1.01 * root < pieces[-1] < apart[-1]
    assert len(apart) == 8


def test_the_time_to_the_edge_is_way_and_work(library):
    _, charts = library
    way, work = (trace for trace in charts["fetching"]["spec"]["data"])
    assert way["y"][::-1] == [
        "edge, ready", "local, ready", "central, ready", "edge, nested", "edge, made"
    ]  # fmt: skip
    assert all(x > 0 for x in work["x"][:2])
    assert work["x"][2:] == [0, 0, 0]


def test_the_library_panel_redraws(library):
    panel, _ = library
    panel.controls["variants"].value = 24
    panel.controls["root"].value = "vgg-digits"
    panel.controls["seed"].value = 1
    assert "24 variants of vgg-digits" in drawn(panel)["storage"]["text"]


@pytest.fixture(scope="module")
def population():
    return panels.population_panel()


def test_three_curves_over_load(population):
    charts = drawn(population)
    assert list(charts) == ["accuracy", "hits", "waiting"]
    for chart in charts.values():
        assert [trace["name"] for trace in chart["spec"]["data"]] == list(panels.POLICIES)
        assert all(len(trace["x"]) == len(panels.LOADS) for trace in chart["spec"]["data"])
    hits = [trace["y"] for trace in charts["hits"]["spec"]["data"]]
    assert all(insitu > one for one, insitu in zip(hits[0], hits[2], strict=True))
    assert "from edge" in population.words.value


def test_every_control_of_the_population_redraws(population):
    before = population.controls["requests"].options
    population.controls["requests"].options = [("200", 200), ("300", 300)]
    moved(population)
    population.controls["requests"].options = before


def test_the_broadcast_panel_redraws():
    panel = panels.broadcast_panel()
    unicast, apart, nested = (t["y"] for t in drawn(panel)["air"]["spec"]["data"])
    assert nested[-1] < apart[-1] < unicast[-1]
    moved(panel)


def test_where_nobody_is_reached_nothing_is_drawn():
    panel = panels.broadcast_panel()
    panel.controls["rate_bps"].value = 1e5
    panel.controls["latency_s"].value = 0.05
    panel.controls["spread_db"].value = 0.0
    panel.controls["root"].value = "vit-digits"
    drawn(panel)
    assert not any(panel.charts.charts["air"]["spec"]["data"][0]["y"])
