"""Predict first: a panel or the dashboard asks, and its controls unlock when it has an answer.

Until then figures and words stay hidden. Then the controls are put to the question's settings, the
panel measures, and prediction and measurement stand together with the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets

from insitu_widgets.explorer.charts import widget_thread
from insitu_widgets.explorer.classwork import answer_figures as figures
from insitu_widgets.explorer.classwork.answers import Answers
from insitu_widgets.explorer.classwork.questions import Question, Value
from insitu_widgets.explorer.dashboard import Board
from insitu_widgets.explorer.panels import Panel
from insitu_widgets.levels.recipe import Recipe

#: The name of the figure in which a curve is drawn, beside the panel's own.
CURVE = "prediction"
View = Panel | Board


def predict_first(view: View, question: Question, answers: Answers | None = None) -> PredictFirst:
    """Put a question before a panel or the dashboard. In a notebook, one call shows it.

    Parameters
    ----------
    view
        What :func:`~insitu_widgets.explorer.dashboard.dashboard` or any panel's function returns.
    question
        One of :data:`~insitu_widgets.explorer.classwork.questions.QUESTIONS`, or your own.
    answers
        Where the answer is kept; a question that has been answered there is not asked again.
    """
    return PredictFirst(view, question, answers or Answers())


class Lock:
    """Keeps every control of a view disabled, whatever sets it meanwhile, until it is opened."""

    def __init__(self, view: widgets.Box) -> None:
        self._wanted = {control: control.disabled for control in _controls(view)}
        for control in self._wanted:
            control.disabled = True
            control.observe(self._again, "disabled")

    def _again(self, change: dict[str, Any]) -> None:
        if not change["new"]:
            self._wanted[change["owner"]] = False
            change["owner"].disabled = True

    def open(self) -> None:
        """Let the controls be as they would be without the lock."""
        for control, wanted in self._wanted.items():
            control.unobserve(self._again, "disabled")
            control.disabled = wanted
        self._wanted = {}


def _controls(view: widgets.Widget) -> Iterator[widgets.Widget]:
    for child in getattr(view, "children", ()):
        if child.has_trait("disabled"):
            yield child
        yield from _controls(child)


class PredictFirst(widgets.VBox):
    """A question over a panel; :meth:`commit` (the button) answers it. See :func:`predict_first`.

    Attributes
    ----------
    inputs
        One control for a number or a choice, one for each point of a curve.
    locked
        Whether the question is still open.
    """

    def __init__(self, view: View, question: Question, answers: Answers) -> None:
        self.view, self.question, self.answers = view, question, answers
        self._post, _ = widget_thread()
        self.locked = answers.sheet.prediction(question.name) is None
        self.inputs = _inputs(question)
        self.button = widgets.Button(
            description="Lock in my prediction",
            tooltip="Keep this prediction and unlock the panel",
            layout={"width": "200px"},
        ).add_class("insitu-commit")
        self.back = widgets.Button(
            description="Back to the question's settings",
            tooltip="Put the controls where the question was asked",
            layout={"width": "240px"},
        )
        self.verdict = widgets.HTML().add_class("insitu-words").add_class("insitu-verdict")
        self._lock = Lock(view) if self.locked else None
        self.button.on_click(lambda _: self._post(self.commit))
        self.back.on_click(lambda _: self._post(self.settle))
        unit = [widgets.Label(question.y_title)] if question.kind == "curve" else []
        points = widgets.HBox([*unit, *self.inputs]).add_class("insitu-points")
        text = widgets.HTML(
            f'<p class="insitu-ask"><b>Predict first.</b> {escape(question.text)}</p>'
        )
        buttons = widgets.HBox([self.button, self.back])
        box = widgets.VBox([text, points, buttons, self.verdict])
        box.add_class("insitu").add_class("insitu-panel").add_class("insitu-question")
        super().__init__([box, view])
        for control in self.inputs:
            control.observe(lambda _: self._post(self._draw), "value")
        self._follow()
        self._show()

    def _follow(self) -> None:
        """Compare whenever the view may have become complete."""
        view = self.view
        signs: list[tuple[Any, list[str]]] = [(view.charts, ["charts", "stale"])]
        if isinstance(view, Board):
            signs.append((view.explorer, ["done"]))
        else:
            signs += [(view.bar, ["value"]), (view.stop, ["disabled"])]
        for owner, traits in signs:
            owner.observe(lambda _: self._post(self._weigh), traits)

    @property
    def value(self) -> Value | None:
        """The prediction as it stands; ``None`` while nothing has been chosen."""
        values = tuple(control.value for control in self.inputs)
        return values if self.question.kind == "curve" else values[0]

    def commit(self) -> None:
        """Keep the prediction, unlock the panel and let it measure; a bad one is told."""
        if not self.locked:
            return
        if self.value is None:
            self._say("Choose an answer first, then lock it.", "insitu-notice", "alert")
            return
        try:
            self.answers.predict(self.question, self.value)
        except ValueError as error:
            self._say(str(error), "insitu-notice", "alert")
            return
        self.locked = False
        assert self._lock
        self._lock.open()
        self._show()
        self.settle()

    def settle(self) -> None:
        """Put the controls to the question's settings and measure there."""
        settings = self.question.settings
        if isinstance(self.view, Board):
            self.view.explorer.change(**_fields(settings))
        else:
            for name, value in settings.items():
                self.view.controls[name].value = value
            self.view.run()
        self._weigh()

    def _complete(self) -> bool:
        """Whether the panel shows a complete measurement at the question's settings."""
        settings = self.question.settings
        if isinstance(self.view, Board):
            explorer = self.view.explorer
            here = explorer.situation
            asked = all(getattr(here, k) == v for k, v in _fields(settings).items())
            return asked and explorer.done and explorer.request == explorer.measured
        asked = all(self.view.controls[name].value == value for name, value in settings.items())
        return asked and not self.view.running and not self.view.charts.stale

    def _weigh(self) -> None:
        """Put the measurement beside the prediction, once it is complete and drawn."""
        if self._complete():
            self._post(self._record)  # whatever is still to be drawn of it has been asked for

    def _record(self) -> None:
        made = self.answers.sheet.prediction(self.question.name)
        if made is None or made.measured is not None or not self._complete():
            return
        found = self.question.reads(self.view.charts.charts)
        if found is not None:
            self.answers.measured(self.question, found)
            self._show()

    def _show(self) -> None:
        (self.view.add_class if self.locked else self.view.remove_class)("insitu-locked")
        made = self.answers.sheet.prediction(self.question.name)
        for control in (*self.inputs, self.button):
            control.disabled = not self.locked
        self.back.layout.display = "none" if self.locked else ""
        if made is None:
            self._say("Figures and controls unlock when you have locked in a prediction.")
        else:
            self._say(_told(self.question, made.predicted, made.measured), "insitu-sentence")
            values = made.predicted if isinstance(made.predicted, tuple) else (made.predicted,)
            for control, value in zip(self.inputs, values, strict=True):
                control.value = value
        self._draw()

    def _draw(self) -> None:
        if self.question.kind != "curve":
            return
        made = self.answers.sheet.prediction(self.question.name)
        predicted = made.predicted if made else self.value
        measured = made.measured if made else None
        assert isinstance(predicted, tuple)
        assert not isinstance(measured, (str, float))
        chart = {
            "title": "Your prediction" + ("" if measured is None else " and the measurement"),
            "text": _told(self.question, predicted, measured),
            "spec": figures.curve(self.question, [predicted], measured),
        }
        self.view.charts.charts = {CURVE: chart, **_without(self.view.charts.charts)} | {
            CURVE: chart
        }

    def _say(self, text: str, style: str = "insitu-quiet", role: str = "status") -> None:
        self.verdict.value = f'<p class="{style}" role="{role}">{escape(text)}</p>'


def _without(charts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: chart for name, chart in charts.items() if name != CURVE}


def _told(question: Question, predicted: Value, measured: Value | None) -> str:
    said = f"You predict {question.said(predicted)}."
    if measured is None:
        return f"{said} Not {question.found.lower()} yet."
    found = f"{question.found}: {question.said(measured)}."
    return f"{said} {found} {question.verdict(predicted, measured)}"


def _fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as fields of a situation; a recipe may be given as its text."""
    recipe = settings.get("recipe")
    return {**settings, "recipe": Recipe.parse(recipe) if isinstance(recipe, str) else recipe}


def _inputs(question: Question) -> list[Any]:
    limits = {"min": question.low, "max": question.high}
    if question.kind == "choice":
        return [
            widgets.RadioButtons(
                description=question.y_title, options=list(question.options), value=None
            )
        ]
    if question.kind == "number":
        return [
            widgets.BoundedFloatText(
                description=question.y_title,
                **limits,
                value=question.low,
                style={"description_width": "150px"},
            )
        ]
    return [
        widgets.FloatSlider(
            description=f"{question.x_title} {tick}",
            **limits,
            step=(question.high - question.low) / 100,
            value=(question.low + question.high) / 2,
            orientation="vertical",
            readout_format=".0f",
            layout={"height": "180px", "width": "80px"},
        )
        for tick in question.ticks
    ]
