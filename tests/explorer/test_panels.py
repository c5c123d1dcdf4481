"""Panels without a browser: controls in front of a stream of pictures."""

import json

import plotly.graph_objects as go
import pytest

from insitu_widgets.explorer.panels import (
    WORDS,
    Chart,
    Panel,
    Picture,
    choice,
    number,
    rates_panel,
    slider,
)
from insitu_widgets.explorer.runner import Inline

SPEC = {"data": [], "layout": {}}


class Held(Inline):
    """Pulls one step a call of ``pull``, so that a test sees what stands in between."""

    def request(self, steps, on_step, on_end):
        self.steps, self.on_step, self.on_end = steps(), on_step, on_end

    def pull(self):
        self.on_step(next(self.steps))

    def cancel(self):
        self.steps = iter(())


def pictures(count):
    if count == 0:
        raise ValueError("count must be at least 1; got 0. Ask for one.")
    for i in range(count):
        spec = {**SPEC, "layout": {"title": {"text": str(i)}}}
        yield Picture({"walk": Chart("A walk", f"step {i}", spec)}, f"<p>{i}</p>", (i + 1) / count)


def panel(runner=None, value=3):
    knobs = {"count": number("Steps", 0, 9, value)}
    return Panel("Walk", "Simulated.", knobs, pictures, runner)


def test_it_shows_the_last_picture():
    shown = panel()
    assert shown.charts.charts["walk"]["text"] == "step 2"
    assert shown.words.value == "<p>2</p>"
    assert shown.charts.stale == {}
    assert shown.stop.disabled


def test_a_control_asks_anew():
    shown = panel()
    shown.controls["count"].value = 5
    assert shown.charts.charts["walk"]["text"] == "step 4"
    assert shown.bar.layout.visibility == "hidden"


def test_what_is_out_of_date_says_so_until_it_is_drawn():
    runner = Held()
    shown = panel(runner)
    runner.pull()
    assert shown.charts.stale == {}
    assert shown.bar.value == pytest.approx(1 / 3)
    assert shown.bar.layout.visibility == "visible"
    shown.controls["count"].value = 4
    assert "out of date" in shown.charts.stale["walk"]
    assert not shown.stop.disabled
    runner.pull()
    assert shown.charts.stale == {}


def test_stop_says_that_it_is_not_complete():
    runner = Held()
    shown = panel(runner)
    runner.pull()
    shown.stop.click()
    assert shown.charts.stale == {"walk": "stopped before it was complete"}
    assert shown.stop.disabled
    with pytest.raises(StopIteration):
        runner.pull()


def shipped_then_measured(count):
    """One figure and the words are there at once; the other grows, and fails at its third step."""
    shipped = Chart("Shipped", "shipped.", SPEC)
    yield Picture({"shipped": shipped}, "<p>a table</p>", 0.1, complete=(WORDS, "shipped"))
    for i in range(count):
        if i == 2:
            raise ValueError("count must be below 3; got more. Ask for fewer.")
        yield Picture({"walk": Chart("A walk", f"step {i}", SPEC)}, progress=0.1 + 0.2 * i)


def test_stop_leaves_what_is_complete_as_it_is():
    runner = Held()
    knobs = {"count": number("Steps", 0, 9, 5)}
    shown = Panel("Walk", "Simulated.", knobs, shipped_then_measured, runner)
    for _ in range(2):
        runner.pull()
    shown.stop.click()
    assert shown.charts.stale == {"walk": "stopped before it was complete"}
    assert "insitu-faded" not in shown.words._dom_classes
    assert shown.running
    shown.controls["count"].value = 4
    assert shown.charts.stale == dict.fromkeys(("shipped", "walk"), "out of date: computing …")
    assert "insitu-faded" in shown.words._dom_classes


def test_a_failure_stands_beside_what_it_kept_from_being_complete():
    knobs = {"count": number("Steps", 0, 9, 3)}
    shown = Panel("Walk", "Simulated.", knobs, shipped_then_measured)
    assert shown.charts.errors.keys() == {"walk"}
    assert shown.charts.stale.keys() == {"walk"}
    assert "Ask for fewer" in shown.words.value


def test_a_failure_stands_beside_the_figures_and_goes_when_it_is_mended():
    shown = panel()
    shown.controls["count"].value = 0
    assert "Ask for one" in shown.charts.errors["walk"]
    assert "Ask for one" in shown.words.value
    assert shown.charts.charts["walk"]["text"] == "step 2"
    shown.controls["count"].value = 2
    assert shown.charts.errors == {}
    assert shown.charts.charts["walk"]["text"] == "step 1"


def test_text_is_shown_as_text():
    knobs = {"which": choice("Which", [("<b>", "a"), ("other", "b")], "b")}

    def fail(which):
        raise ValueError(f"<script>{which}</script>")
        yield

    shown = Panel("<i>", "<u>", knobs, fail)
    assert "<script>" not in shown.words.value
    assert "&lt;i&gt;" in shown.children[0].value


def test_what_this_run_has_not_shown_goes_when_it_ends():
    """An earlier run's figure is no answer to the new question; one that a shell adds stays."""

    def steps(count):
        spec = Chart("A walk", f"step {count}", SPEC)
        yield Picture({f"walk {count}": spec, "always": spec}, "<p>said</p>" * (count == 3))

    shown = Panel("Walk", "Simulated.", {"count": number("Steps", 0, 9, 3)}, steps)
    shown.charts.charts = {**shown.charts.charts, "added": {"title": "", "text": "", "spec": SPEC}}
    assert set(shown.charts.charts) == {"walk 3", "always", "added"}
    shown.controls["count"].value = 5
    assert set(shown.charts.charts) == {"walk 5", "always", "added"}
    assert shown.words.value == ""


def test_plotly_is_sent_once_however_many_panels_there_are():
    first, second = panel(), panel()
    assert first.charts.plotly is second.charts.plotly
    sizes = [len(json.dumps(each.charts.get_state(), default=str)) for each in (first, second)]
    assert max(sizes) < 200_000
    assert len(first.charts.plotly.source) > 1_000_000
    first.charts.plotly.close()
    assert panel().charts.plotly.comm is not None


def test_a_slider_says_its_values_with_their_units():
    control = slider("Rate", [1.0, 2.0], 2.0, lambda value: f"{value:g} bit/s")
    assert control.options == (("1 bit/s", 1.0), ("2 bit/s", 2.0))
    assert control.label == "2 bit/s"


def rates_chart(panel):
    chart = panel.charts.charts["rates"]
    go.Figure(chart["spec"])
    return chart


def test_the_rates_panel_shows_the_lines_that_are_chosen():
    shown = rates_panel()
    notes = lambda: [n["text"] for n in rates_chart(shown)["spec"]["layout"]["annotations"]]  # noqa: E731
    assert len(notes()) == 4
    assert "6G peak" not in notes()
    before = len(rates_chart(shown)["spec"]["layout"]["shapes"])
    shown.controls["lines"].value = ("5G user", "6G peak")
    assert notes() == ["5G user", "6G peak"]
    assert len(rates_chart(shown)["spec"]["layout"]["shapes"]) == before - 2
    assert rates_chart(shown)["spec"]["layout"]["yaxis"]["range"][1] > 12  # the peak is 1 Tbit/s
    assert "<th>6G user</th>" not in shown.words.value


def test_the_rates_panel_says_what_fits():
    """Paper, section 4: ResNet compressed to about 30 % is what a video call allows."""
    shown = rates_panel()
    shown.controls["latency_s"].value = 0.2
    assert "27.2 %" in shown.words.value
    assert "3.68 Gbit/s" in shown.words.value


def test_the_rates_panel_takes_a_model_by_its_name():
    shown = rates_panel()
    shown.controls["mine"].value = "mobilenet_v3_small"
    assert "mobilenet_v3_small (2.5 M)" in shown.words.value
    assert rates_chart(shown)["spec"]["data"][3]["y"][-1] == 2_542_856 * 32
    shown.controls["mine"].value = "mobilenet_v4"
    assert "Try mobilenet_v" in shown.charts.errors["rates"]
    shown.controls["mine"].value = ""
    assert shown.charts.errors == {}
    assert "mobilenet" not in shown.words.value


def test_the_rates_panel_changes_the_counts():
    shown = rates_panel()
    last = lambda: shown.charts.charts["rates"]["spec"]["data"][0]["y"][-1]  # noqa: E731
    assert last() == 23_000_000 * 32
    shown.controls["counting"].value = "exact"
    assert last() == 25_557_032 * 32
    shown.controls["latency_s"].value = 0.2
    assert last() == pytest.approx(25_557_032 * 160)
