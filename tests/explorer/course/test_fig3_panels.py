"""The panel of Fig. 3, without a browser."""

import time
from dataclasses import replace

import plotly.graph_objects as go
import pytest

from insitu_widgets import Catalogue, load_data
from insitu_widgets.explorer.course import fig3_panels
from insitu_widgets.explorer.course.fig3_panels import fig3_panel
from insitu_widgets.explorer.runner import Inline
from insitu_widgets.network.catalogue import load_finest, shipped
from insitu_widgets.network.fig3 import LEVELS, MIXED, spots


@pytest.fixture
def panel():
    panel = fig3_panel()
    panel.controls["root"].value = "vgg-digits"
    return panel


def charts(panel):
    assert panel.charts.errors == {}
    assert panel.charts.stale == {}
    for chart in panel.charts.charts.values():
        go.Figure(chart["spec"])
        assert chart["text"].endswith(".")
    return panel.charts.charts


def test_it_draws_the_catalogues_points(panel):
    lines = {line["name"]: line for line in charts(panel)["depth"]["spec"]["data"]}
    assert list(lines) == ["no bit error", "guard none", "guard clamp", "guard zero"]
    found = spots(load_finest("vgg-digits"), "vgg-digits", "depth", (1e-3, "zero"))
    assert lines["guard zero"]["y"] == [100 * spot.row.accuracy for spot in found]
    bars = lines["guard zero"]["error_y"]
    assert bars["array"] == [100 * (s.row.highest - s.row.accuracy) for s in found]
    assert panel.words.value.count("<tr>") == 1 + 5


def test_every_control_redraws(panel):
    for name, value in (("bit_error_rate", 1e-5), ("count", "parameters"), ("against", 32)):
        before = charts(panel)
        panel.controls[name].value = value
        assert charts(panel) != before, name


def test_every_root_with_a_catalogue_is_drawn_in_time(panel):
    assert panel.controls["root"].options == shipped()
    for root in shipped():
        start = time.process_time()
        panel.controls["root"].value = root
        assert time.process_time() - start < 5
        assert charts(panel).keys() == {*LEVELS, "receivers"}


def test_mixed_codes_are_a_line_of_their_own(panel):
    lines = {line["name"]: line for line in charts(panel)["bit"]["spec"]["data"]}
    assert list(lines) == ["no bit error", "codes at 10⁻³", "mixed, no bit error", "mixed at 10⁻³"]
    styles = {(line["line"]["color"], line["marker"]["symbol"]) for line in lines.values()}
    assert len(styles) == 4
    found = spots(load_finest("vgg-digits"), "vgg-digits", MIXED)
    assert lines["mixed, no bit error"]["y"] == [100 * spot.row.accuracy for spot in found]
    assert all("bit mixed<br>797 images" in text for text in lines["mixed at 10⁻³"]["text"])
    assert lines["mixed at 10⁻³"]["text"][0].endswith(", 5 draws")
    assert lines["mixed, no bit error"]["text"][0].endswith("797 images")


@pytest.mark.parametrize("images", [797, 100])
def test_it_says_on_how_many_images_and_draws_each_kind_was_measured(panel, monkeypatch, images):
    known = load_finest("vgg-digits")
    rows = [replace(row, images=images) if row.recipe.mixed else row for row in known.rows]
    monkeypatch.setattr(fig3_panels, "load_finest", lambda _: Catalogue(rows))
    panel.run()
    assert "codes 797 images, draws: 5; " in panel.words.value
    assert f"mixed precision {images} images, draws: 5." in panel.words.value
    assert ("Left out" in panel.words.value) == (images == 100)
    names = [line["name"] for line in charts(panel)["bit"]["spec"]["data"]]
    assert ("mixed at 10⁻³ (100 images)" in names) == (images == 100)


def test_one_button_measures_again(panel, monkeypatch):
    monkeypatch.setattr("insitu_widgets.explorer.course.loaded.images_of", lambda _: few)
    few = load_data("digits", limit=100)
    panel.controls["live"].value = True
    for level, count in (("depth", 6 * 4), ("parameter", 6 * 4), ("bit", (4 + 3) * 2)):
        line = charts(panel)[level]["spec"]["data"][-1]
        assert line["name"] == "measured now"
        assert len(line["y"]) == count
    clean = charts(panel)["depth"]["spec"]["data"][-1]["y"][5]
    assert clean == pytest.approx(98, abs=3)
    panel.controls["live"].value = False
    names = [line["name"] for line in charts(panel)["depth"]["spec"]["data"]]
    assert "measured now" not in names


def test_stop_marks_only_the_levels_that_were_not_measured_to_their_end(panel, monkeypatch):
    monkeypatch.setattr("insitu_widgets.explorer.course.loaded.images_of", lambda _: few)
    few = load_data("digits", limit=10)

    class Stopping(Inline):
        """Presses Stop as soon as a point of the second level is there."""

        def request(self, steps, on_step, on_end):
            def watched(step):
                on_step(step)
                if {"parameter"} == set(step.charts):
                    panel.stop.click()

            super().request(steps, watched, on_end)

    panel._runner = Stopping()
    panel.controls["live"].value = True
    assert panel.charts.stale == dict.fromkeys(
        ("parameter", "bit"), "stopped before it was complete"
    )
    assert "insitu-faded" not in panel.words._dom_classes
    assert panel.words.value.count("<tr>") == 1 + 5


def test_without_images_it_says_how_to_measure(panel, monkeypatch):
    monkeypatch.setattr(fig3_panels, "missing_images", lambda _: "Fetch them first.")
    panel.controls["live"].value = True
    assert "<p>Fetch them first.</p>" in panel.words.value
    assert len(charts(panel)["depth"]["spec"]["data"]) == 4


def test_few_photographs_are_balanced(noise):
    assert len(fig3_panels._few(noise)) == 200
    assert len(fig3_panels._few(load_data("digits"))) == 797
