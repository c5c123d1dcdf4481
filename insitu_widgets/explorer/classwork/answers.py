"""Answers of one session: kept in the kernel, shown as a table, exported as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from html import escape
from typing import Any, TypeVar
from urllib.parse import quote

import ipywidgets as widgets
from traitlets import HasTraits, Instance

from insitu_widgets.explorer.charts import widget_thread
from insitu_widgets.explorer.classwork.answer_sheet import MOST_LETTERS, Prediction, Sheet, Solution
from insitu_widgets.explorer.classwork.questions import QUESTIONS, Question, Value
from insitu_widgets.explorer.words import html_table
from insitu_widgets.units import percent, quantity

Entry = TypeVar("Entry", Prediction, Solution)


class Answers(HasTraits):
    """What a learner answers and solves while the kernel lives. Handlers set :attr:`sheet`.

    One object serves all panels of a notebook: a panel that is shown again finds its question
    answered.
    """

    sheet = Instance(Sheet, args=())

    def __init__(self) -> None:
        super().__init__()
        self._post, _ = widget_thread()
        self._asked = dict(QUESTIONS)

    def predict(self, question: Question, value: Value) -> None:
        """Keep a prediction; the first one counts.

        Raises
        ------
        ValueError
            If it is none for this question, or the question has been answered.
        """
        if self.sheet.prediction(question.name):
            msg = (
                f"prediction of {question.name} must be made once; got a second one. Restart the "
                "kernel to begin anew."
            )
            raise ValueError(msg)
        self._asked[question.name] = question
        made = Prediction(question.name, question.checked(value))
        self.sheet = replace(self.sheet, predictions=(*self.sheet.predictions, made))

    def measured(self, question: Question, value: Value) -> None:
        """Put the measurement beside the prediction."""
        value = question.checked(value, "measurement")
        self.sheet = replace(
            self.sheet,
            predictions=tuple(
                replace(each, measured=value) if each.question == question.name else each
                for each in self.sheet.predictions
            ),
        )

    def solve(self, solution: Solution) -> None:
        """Keep a solution, if it has fewer bits than the one before; any thread may call."""
        self._post(lambda: self._keep(solution))

    def _keep(self, solution: Solution) -> None:
        old = [each for each in self.sheet.solutions if each.challenge == solution.challenge]
        if not old or solution.num_bits < old[0].num_bits:
            others = (each for each in self.sheet.solutions if each not in old)
            self.sheet = replace(self.sheet, solutions=(*others, solution))

    def to_json(self) -> str:
        """The session's answers, as :func:`~.answer_sheet.read_sheet` reads them."""
        return self.sheet.to_json(self._asked)

    def table(self) -> str:
        """Predictions beside measurements, and solutions (HTML)."""
        return predictions_table(self.sheet.predictions, self._asked) + solutions_table(
            ("", each) for each in self.sheet.solutions
        )


def predictions_table(predictions: Iterable[Prediction], asked: dict[str, Question]) -> str:
    """Predicted, measured and how far off (HTML); empty where nothing has been predicted."""
    rows = [
        (
            each.question,
            asked[each.question].said(each.predicted),
            "not yet" if each.measured is None else _found(asked[each.question], each.measured),
            ""
            if each.measured is None
            else asked[each.question].verdict(each.predicted, each.measured),
        )
        for each in predictions
    ]
    return html_table(("question", "predicted", "found", ""), rows) if rows else ""


def _found(question: Question, value: Value) -> str:
    return f"{question.found.lower()}: {question.said(value)}"


def solutions_table(solutions: Iterable[tuple[str, Solution]]) -> str:
    """Solutions of challenges with their learners (HTML), the fewest bits first."""
    ordered = sorted(solutions, key=lambda pair: (pair[1].challenge, pair[1].num_bits))
    rows = [
        (
            each.challenge,
            student,
            f"{each.num_bits:,} bit ({quantity(each.num_bits / 8, 'B')})",
            percent(each.accuracy),
            str(each.recipe),
            each.guard,
        )
        for student, each in ordered
    ]
    heads = ("challenge", "who", "packet", "accuracy", "sub-model", "guard")
    return html_table(heads, rows) if rows else ""


def answers_panel(answers: Answers) -> widgets.VBox:
    """Who answers, the answers so far, and a link that saves them as JSON."""
    who = widgets.Text(
        description="Name or group",
        layout={"width": "440px"},
        style={"description_width": "150px"},
    )
    who.value = answers.sheet.student
    table = widgets.HTML().add_class("insitu-words")
    post, _ = widget_thread()

    def name(change: dict[str, Any]) -> None:
        answers.sheet = replace(answers.sheet, student=change["new"].strip()[:MOST_LETTERS])

    def show() -> None:
        said = answers.table() or "<p>Nothing has been answered yet.</p>"
        table.value = f"{said}<p>{_link(answers)}</p>"

    who.observe(name, "value")
    answers.observe(lambda _: post(show), "sheet")
    show()
    head = widgets.HTML(
        '<h2 class="insitu-name">Your answers</h2><p class="insitu-provenance">They are kept '
        "while this page is open. Save them, and give the file to your teacher.</p>"
    )
    return widgets.VBox([head, who, table]).add_class("insitu").add_class("insitu-panel")


def _link(answers: Answers) -> str:
    letters = "".join(c if c.isalnum() else "-" for c in answers.sheet.student) or "answers"
    return (
        f'<a class="insitu-save" download="{escape(letters)}.json" '
        f'href="data:application/json;charset=utf-8,{quote(answers.to_json())}">'
        "Save the answers (JSON)</a>"
    )
