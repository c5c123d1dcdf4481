"""Predict first: locked until there is a prediction, then both stand together with the error."""

from dataclasses import replace

import ipywidgets as widgets
import plotly.graph_objects as go
import pytest

from insitu_widgets import dashboard
from insitu_widgets.explorer.classwork.answers import Answers
from insitu_widgets.explorer.classwork.predict_first import CURVE, PredictFirst, predict_first
from insitu_widgets.explorer.classwork.questions import QUESTIONS, Question, height, heights
from insitu_widgets.explorer.course.bits_panels import quantisers_panel
from insitu_widgets.explorer.course.depth_panels import split_panel
from insitu_widgets.explorer.course.roots_panels import roots_panel
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, slider
from insitu_widgets.explorer.runner import Inline

ASKED = Question("rise", "How high?", height("walk", "line"), {"count": 3.0}, high=10.0, unit="m")
DRAWN = replace(ASKED, name="walk", reads=heights("walk", "line"), ticks=("1", "2", "3"))


class Held(Inline):
    """Pulls one step a call of ``pull``, and ends when told."""

    def request(self, steps, on_step, on_end):
        self.steps, self.on_step, self.on_end = steps(), on_step, on_end

    def pull(self):
        self.on_step(next(self.steps))


def walk(count, colour):
    for done in range(1, int(count) + 1):
        line = {"type": "scatter", "name": "line", "y": [i * i for i in range(1, done + 1)]}
        chart = Chart("A walk", f"{done} steps", {"data": [line], "layout": {}})
        yield Picture({"walk": chart}, f"<p>{done}</p>", done / count)


def panel(runner=None):
    knobs = {
        "count": slider("Steps", [1.0, 2.0, 3.0, 4.0], 1.0, str),
        "colour": choice("Colour", ["blue", "red"]),
    }
    return Panel("Walk", "Counted.", knobs, walk, runner)


def locked(view):
    return {control.disabled for control in [*view.controls.values(), view.again]}


def test_controls_are_locked_and_figures_hidden_until_there_is_a_prediction():
    view = panel()
    shown = predict_first(view, ASKED)
    assert locked(view) == {True}
    assert "insitu-locked" in view._dom_classes
    view.run()  # what unlocks its own buttons cannot unlock these
    assert locked(view) == {True}
    assert view.stop.disabled
    shown.inputs[0].value = 4.0
    shown.button.click()
    assert locked(view) == {False}
    assert "insitu-locked" not in view._dom_classes
    assert shown.inputs[0].disabled
    assert view.controls["count"].value == 3.0
    assert "You predict 4.0 m. Measured: 9.0 m. Off by 5.0 m." in shown.verdict.value


def test_only_a_complete_measurement_at_the_questions_settings_counts():
    runner, answers = Held(), Answers()
    view = panel(runner)
    shown = predict_first(view, ASKED, answers)
    runner.pull()
    runner.on_end(None)
    shown.commit()
    assert "Not measured yet" in shown.verdict.value
    runner.pull()
    runner.pull()
    assert answers.sheet.predictions[0].measured is None
    view.controls["count"].value = 1.0  # moves on before it is complete
    runner.pull()
    runner.on_end(None)
    assert answers.sheet.predictions[0].measured is None
    shown.back.click()
    for _ in range(3):
        runner.pull()
    assert answers.sheet.predictions[0].measured is None
    runner.on_end(None)
    assert answers.sheet.predictions[0].measured == 9.0


def test_a_failure_is_no_measurement():
    runner, answers = Held(), Answers()
    shown = predict_first(panel(runner), ASKED, answers)
    shown.commit()
    runner.pull()
    runner.on_end(ValueError("it broke"))
    assert answers.sheet.predictions[0].measured is None
    assert shown.view.charts.errors


def test_it_shadows_nothing_of_the_widget_that_it_is():
    mine = {name for name, value in vars(PredictFirst).items() if callable(value)}
    theirs = {name for name in dir(widgets.VBox) if not name.startswith("__")}
    assert mine & theirs == set()
    assert "PredictFirst" in repr(predict_first(panel(), ASKED))  # Voilà makes one


def test_what_has_been_answered_is_not_asked_again():
    answers = Answers()
    predict_first(panel(), ASKED, answers).commit()
    again = predict_first(panel(), ASKED, answers)
    assert not again.locked
    assert locked(again.view) == {False}
    assert "Measured: 9.0 m" in again.verdict.value


def test_a_curve_is_drawn_by_its_points_beside_what_is_measured():
    view = panel()
    shown = predict_first(view, DRAWN)
    for control, value in zip(shown.inputs, (2.0, 4.0, 6.0), strict=True):
        control.value = value
    chart = view.charts.charts[CURVE]
    assert [line["y"] for line in chart["spec"]["data"]] == [[2.0, 4.0, 6.0]]
    shown.commit()
    chart = view.charts.charts[CURVE]
    go.Figure(chart["spec"])
    assert [line["y"] for line in chart["spec"]["data"]] == [[2.0, 4.0, 6.0], [1.0, 4.0, 9.0]]
    assert "Measured: 1.0, 4.0, 9.0 m. Off by 1.3 m on average." in chart["text"]


def test_a_choice_has_to_be_made():
    asked = QUESTIONS["best-cut"]
    shown = predict_first(split_panel(), asked)
    shown.commit()
    assert shown.locked
    assert "Choose an answer first" in shown.verdict.value
    shown.inputs[0].value = "block 1"
    shown.commit()
    assert "Modelled: block 1. Right." in shown.verdict.value  # times are computed from bits
    notes = shown.view.charts.charts["times"]["spec"]["layout"]["annotations"]
    assert sum(note["text"].startswith("★") for note in notes) == 1  # no other cut is as good


@pytest.mark.parametrize(
    ("name", "make"), [("exits-of-the-vgg", roots_panel), ("two-bits", quantisers_panel)]
)
def test_the_courses_questions_are_answered_by_their_panels(name, make):
    answers = Answers()
    predict_first(make(), QUESTIONS[name], answers).commit()
    assert answers.sheet.predictions[0].measured is not None


def test_the_dashboard_asks_too():
    board = dashboard()
    shown = predict_first(board, QUESTIONS["naked-floats"])
    knobs = [child for child in board.children[0].children if child.has_trait("disabled")]
    assert len(knobs) > 10
    assert {knob.disabled for knob in knobs} == {True}
    board.explorer.change(bit_error_rate=1e-2)  # redraws the controls: they stay locked
    assert {knob.disabled for knob in knobs} == {True}
    shown.inputs[0].value = 90.0
    shown.commit()
    assert {knob.disabled for knob in knobs} == {False}
    measured = 100 * board.explorer.estimate.accuracy
    assert measured < 20
    assert f"Measured: {measured:.1f} %. Off by {90 - measured:.1f} points." in shown.verdict.value
