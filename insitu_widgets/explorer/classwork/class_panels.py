"""The teacher's panel: a class's files of answers in one picture, and the league table.

A file that is not one of answers is refused by its name, and harms no other. Solutions are
measured again before they enter the league: what a file claims of itself does not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from insitu_widgets.explorer.classwork import answer_figures as figures
from insitu_widgets.explorer.classwork.answer_sheet import Prediction, Sheet, Solution, read_sheet
from insitu_widgets.explorer.classwork.answers import solutions_table
from insitu_widgets.explorer.classwork.questions import QUESTIONS, Question, Value
from insitu_widgets.explorer.panels import Chart, Panel, Picture
from insitu_widgets.network.challenges import CHALLENGES, check


@dataclass(frozen=True)
class Merged:
    """A class's files: sheets by file name, and why each of the others was refused."""

    sheets: Mapping[str, Sheet]
    refused: Mapping[str, str]


def merge(
    files: Iterable[tuple[str, bytes]], questions: Mapping[str, Question] = QUESTIONS
) -> Merged:
    """Read files of answers, given as name and content; of two with one name the later counts."""
    sheets: dict[str, Sheet] = {}
    refused: dict[str, str] = {}
    for name, data in files:
        sheets.pop(name, None)
        refused.pop(name, None)
        try:
            sheets[name] = read_sheet(data, questions)
        except ValueError as error:
            refused[name] = str(error)
    return Merged(sheets, refused)


def league(merged: Merged) -> Iterator[tuple[tuple[str, Solution] | None, str]]:
    """Measure every solution again: learner and solution, or ``None`` and why it does not count."""
    for name, sheet in merged.sheets.items():
        for claimed in sheet.solutions:
            challenge = CHALLENGES[claimed.challenge]
            try:
                verdict = check(challenge, claimed.recipe, claimed.guard)
            except ValueError as error:
                yield None, f"{name}, {claimed.challenge}: {error}"
                continue
            if verdict.met:
                row = verdict.row
                true = replace(claimed, num_bits=row.num_bits, accuracy=row.accuracy)
                yield (sheet.student or name, true), ""
            else:
                yield None, f"{name}, {claimed.challenge}: {'; '.join(verdict.faults)}"


def class_panel(
    folder: str | Path | None = None, questions: Mapping[str, Question] = QUESTIONS
) -> Panel:
    """A class's answers in one picture: uploaded files, and those of a folder (``*.json``).

    Parameters
    ----------
    folder
        Where the files lie on this machine; ``None``: only what is uploaded.
    questions
        Name -> question: the course's, and your own if you asked any.
    """
    upload = widgets.FileUpload(
        accept=".json", multiple=True, description="Files of answers", layout={"width": "220px"}
    )
    return Panel(
        "The class",
        "From the files of answers. Predictions are shown as they are; each solution of a "
        "challenge is measured again.",
        {"upload": upload},
        partial(_steps, None if folder is None else Path(folder), questions),
    )


def _steps(
    folder: Path | None, questions: Mapping[str, Question], *, upload: Sequence[Any]
) -> Iterator[Picture]:
    lying, unread = ([], {}) if folder is None else _lying(folder)
    merged = merge([*lying, *((each.name, bytes(each.content)) for each in upload)], questions)
    merged = replace(merged, refused={**unread, **merged.refused})
    charts = _pictures(merged, questions)
    count = sum(len(sheet.solutions) for sheet in merged.sheets.values())
    yield Picture(charts, _words(merged, [], []), 0.1 if count else 1.0)
    places: list[tuple[str, Solution]] = []
    fallen: list[str] = []
    for done, (place, why) in enumerate(league(merged), 1):
        places += [place] if place else []
        fallen += [why] if why else []
        yield Picture({}, _words(merged, places, fallen), done / count)


def _lying(folder: Path) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """The files of a folder, and why each of the others could not be read."""
    if not folder.is_dir():
        return [], {str(folder): "folder must be one of this machine; there is none. Make it."}
    files, unread = [], {}
    for path in sorted(folder.glob("*.json")):
        try:
            files.append((path.name, path.read_bytes()))
        except OSError as error:
            unread[path.name] = f"file must be readable; it is not ({error.strerror}). Replace it."
    return files, unread


def _pictures(merged: Merged, questions: Mapping[str, Question]) -> dict[str, Chart]:
    charts = {}
    for name, question in questions.items():
        found = [sheet.prediction(name) for sheet in merged.sheets.values()]
        made = [each for each in found if each is not None]
        if made:
            charts[name] = _picture(question, made)
    return charts


def _picture(question: Question, made: Sequence[Prediction]) -> Chart:
    seen = Counter(each.measured for each in made if each.measured is not None)
    measured: Any = seen.most_common(1)[0][0] if seen else None
    draw: Any = {"curve": figures.curve, "number": figures.numbers, "choice": figures.choices}
    predicted: list[Value] = [each.predicted for each in made]
    said = f"{len(made)} predictions of {question.name}."
    if measured is not None:
        errors = sorted(question.error(value, measured) for value in predicted)
        said += f" {question.found}: {question.said(measured)}. "
        said += (
            f"{errors.count(0.0)} are right."
            if question.kind == "choice"
            else f"Half are off by {errors[len(errors) // 2]:.1f} or less."
        )
    return Chart(question.name, said, draw[question.kind](question, predicted, measured))


def _words(merged: Merged, places: list[tuple[str, Solution]], fallen: list[str]) -> str:
    parts = [f"<p>{len(merged.sheets)} files read, {len(merged.refused)} refused.</p>"]
    complaints = [*(f"{name}: {why}" for name, why in merged.refused.items()), *fallen]
    if complaints:
        items = "".join(f"<li>{escape(line)}</li>" for line in complaints)
        parts.append(f'<div class="insitu-notice"><ul>{items}</ul></div>')
    table = solutions_table(places)
    return "".join(parts) + (f"<h3>League</h3>{table}" if table else "")
