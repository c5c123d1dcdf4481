"""What one learner has predicted and solved, as a value; and its file (JSON).

The file's layout is a list of plain records, so that a teacher may read it without this package::

    {"format": "insitu-answers", "version": 1, "student": "group 4",
     "predictions": [{"question": …, "predicted": …, "measured": …, "error": …}],
     "solutions": [{"challenge": …, "recipe": …, "guard": …, "num_bits": …, "accuracy": …}]}

A file is refused whole, with the field, what is allowed, what came and what to do. Needs no widget.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.errors import in_range, of_type, one_of
from insitu_widgets.explorer.classwork.questions import QUESTIONS, Question, Value
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.challenges import CHALLENGES

FORMAT, VERSION = "insitu-answers", 1
#: Larger than a class's longest file by a hundred.
MOST_BYTES = 1_000_000
MOST_LETTERS = 80
_AGAIN = "Export the answers anew."
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Prediction:
    """A question's answer: what was predicted, and what was then measured (``None``: not yet)."""

    question: str
    predicted: Value
    measured: Value | None = None


@dataclass(frozen=True)
class Solution:
    """What met a challenge: bits of the whole packet, mean accuracy over the channel's draws."""

    challenge: str
    recipe: Recipe
    guard: str
    num_bits: int
    accuracy: float


@dataclass(frozen=True)
class Sheet:
    """All answers of one learner: one prediction a question, the smallest solution a challenge."""

    student: str = ""
    predictions: tuple[Prediction, ...] = ()
    solutions: tuple[Solution, ...] = ()

    def prediction(self, question: str) -> Prediction | None:
        """The answer to a question, if there is one."""
        return next((each for each in self.predictions if each.question == question), None)

    def to_json(self, questions: Mapping[str, Question] = QUESTIONS) -> str:
        """The sheet as JSON text; :func:`read_sheet` reads it."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "student": self.student,
                "predictions": [
                    {
                        "question": each.question,
                        "predicted": each.predicted,
                        "measured": each.measured,
                        "error": None
                        if each.measured is None
                        else questions[each.question].error(each.predicted, each.measured),
                    }
                    for each in self.predictions
                ],
                "solutions": [
                    {**vars(each), "recipe": str(each.recipe)} for each in self.solutions
                ],
            },
            indent=2,
            ensure_ascii=False,
        )


def read_sheet(data: bytes, questions: Mapping[str, Question] = QUESTIONS) -> Sheet:
    """Read a file of answers.

    Raises
    ------
    ValueError
        If it is not one, naming the field, what is allowed, what came and what to do.
    """
    if len(data) > MOST_BYTES:
        msg = f"file must have at most {MOST_BYTES:,} B; got {len(data):,} B. {_AGAIN}"
        raise ValueError(msg)
    try:
        record = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        msg = f"file must be JSON text in UTF-8; it is not ({error}). {_AGAIN}"
        raise ValueError(msg) from error
    try:
        of_type("file", record, dict, _AGAIN)
        one_of("format", record.get("format"), [FORMAT])
        one_of("version", record.get("version"), [VERSION])
        student = record.get("student")
        of_type("student", student, str, _AGAIN)
        if len(student) > MOST_LETTERS:
            msg = f"student must have at most {MOST_LETTERS} letters; got {len(student)}. Cut it."
            raise ValueError(msg)
        return Sheet(
            student,
            _entries(record, "predictions", lambda entry: _prediction(entry, questions)),
            _entries(record, "solutions", _solution),
        )
    except TypeError as error:
        raise ValueError(str(error)) from error


def _no_number(text: str) -> NoReturn:
    msg = f"{text} is no number"
    raise ValueError(msg)


def _entries(
    record: dict[str, Any], field: str, read: Callable[[dict[str, Any]], Entry]
) -> tuple[Entry, ...]:
    entries = record.get(field)
    of_type(field, entries, list, _AGAIN)
    assert isinstance(entries, list)
    for entry in entries:
        of_type(f"each of {field}", entry, dict, _AGAIN)
    key = field.removesuffix("s").replace("prediction", "question").replace("solution", "challenge")
    names = [str(entry.get(key)) for entry in entries]
    if len(set(names)) < len(names):
        msg = f"{field} must have one entry for each {key}; got {', '.join(names):.80}. {_AGAIN}"
        raise ValueError(msg)
    return tuple(map(read, entries))


def _prediction(entry: dict[str, Any], questions: Mapping[str, Question]) -> Prediction:
    one_of("question", entry.get("question"), questions)
    question = questions[entry["question"]]
    measured = entry.get("measured")
    return Prediction(
        question.name,
        question.checked(entry.get("predicted")),
        None if measured is None else question.checked(measured, "measurement"),
    )


def _solution(entry: dict[str, Any]) -> Solution:
    one_of("challenge", entry.get("challenge"), CHALLENGES)
    one_of("guard", entry.get("guard"), GUARDS)
    of_type("recipe", entry.get("recipe"), str, _AGAIN)
    values: Any = entry
    return Solution(
        entry["challenge"],
        Recipe.parse(entry["recipe"]),
        entry["guard"],
        in_range("num_bits", values.get("num_bits"), 1, 10**12),
        in_range("accuracy", values.get("accuracy"), 0.0, 1.0),
    )
