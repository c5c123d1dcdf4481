"""Answers: kept, exported, read back, merged; a bad file is refused by name and harms no other."""

import json
from datetime import UTC, datetime
from urllib.parse import unquote

import plotly.graph_objects as go
import pytest
from traitlets import Bunch

from insitu_widgets.explorer.classwork.answer_sheet import Prediction, Sheet, Solution, read_sheet
from insitu_widgets.explorer.classwork.answers import Answers, answers_panel
from insitu_widgets.explorer.classwork.challenge_panels import challenges_panel
from insitu_widgets.explorer.classwork.class_panels import class_panel, league, merge
from insitu_widgets.explorer.classwork.questions import QUESTIONS
from insitu_widgets.levels.recipe import Recipe

CURVE = (40.0, 90.0, 95.0, 97.0, 98.0, 99.0)
BEST = Recipe("vgg-digits", 2, 1.0, 5)


def sheet(student="Ada <b>", number=50.0):
    predictions = (
        Prediction("exits-of-the-vgg", CURVE, (41.0, 91.0, 96.0, 98.0, 99.0, 99.0)),
        Prediction("best-cut", "block 3", "block 1"),
        Prediction("two-bits", number, 87.5),
        Prediction("naked-floats", 0.0),
    )
    return Sheet(student, predictions, (Solution("sensor", BEST, "none", 12896, 0.956),))


def record(**changes):
    return json.loads(sheet().to_json()) | changes


def test_a_sheet_comes_back_as_it_was():
    assert read_sheet(sheet().to_json().encode()) == sheet()
    assert read_sheet(Sheet().to_json().encode()) == Sheet()


def test_the_file_says_how_far_off():
    errors = {each["question"]: each["error"] for each in record()["predictions"]}
    assert errors == {
        "exits-of-the-vgg": pytest.approx(5 / 6),
        "best-cut": 1.0,
        "two-bits": 37.5,
        "naked-floats": None,
    }


PREDICTION = {"question": "two-bits", "predicted": 50.0, "measured": None}
SOLUTION = record()["solutions"][0]
BAD = {
    "no JSON": (b"{", "must be JSON text"),
    "no UTF-8": (b"\xff\xfe{}", "must be JSON text"),
    "deep": (b"[" * 100_000, "must be JSON text"),
    "large": (b" " * 1_000_001, "at most 1,000,000 B; got 1,000,001 B"),
    "a list": ([], "file must be of type dict; got list"),
    "another format": (record(format="x"), "format must be one of insitu-answers; got 'x'"),
    "another version": (record(version=2), "version must be one of 1; got 2"),
    "no student": (record(student=None), "student must be of type str"),
    "a long name": (record(student="x" * 81), "at most 80 letters; got 81"),
    "no predictions": (record(predictions="x"), "predictions must be of type list"),
    "no entries": (record(predictions=[1]), "each of predictions must be of type dict"),
    "twice": (record(predictions=[PREDICTION] * 2), "one entry for each question"),
    "unknown": (record(predictions=[PREDICTION | {"question": ["x"]}]), "question must be one of"),
    "too much": (record(predictions=[PREDICTION | {"predicted": 101}]), "from 0 to 100 %; got 101"),
    "not finite": (b'{"student": NaN}', "NaN is no number"),
    "infinite": (record(predictions=[PREDICTION | {"predicted": 1e999}]), "Infinity is no number"),
    "text": (record(predictions=[PREDICTION | {"predicted": "50"}]), "got '50'"),
    "truth": (record(predictions=[PREDICTION | {"predicted": True}]), "got True"),
    "few points": (
        record(predictions=[PREDICTION | {"question": "exits-of-the-vgg", "predicted": [1, 2]}]),
        "must have 6 points; got \\[1, 2\\]",
    ),
    "measured": (record(predictions=[PREDICTION | {"measured": -1}]), "measurement of two-bits"),
    "no recipe": (record(solutions=[SOLUTION | {"recipe": "rm -r"}]), "recipe must read like"),
    "no challenge": (record(solutions=[SOLUTION | {"challenge": "x"}]), "challenge must be one of"),
    "no guard": (record(solutions=[SOLUTION | {"guard": "x"}]), "guard must be one of"),
    "no bits": (record(solutions=[SOLUTION | {"num_bits": 0.5}]), "num_bits must be a whole"),
}


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_and_harms_no_other(data, why):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    good = sheet().to_json().encode()
    with pytest.raises(ValueError, match=why):
        read_sheet(data)
    merged = merge([("one.json", good), ("bad.json", data), ("two.json", good)])
    assert merged.sheets == {"one.json": sheet(), "two.json": sheet()}
    assert list(merged.refused) == ["bad.json"]


def test_a_prediction_is_made_once():
    answers = Answers()
    answers.predict(QUESTIONS["two-bits"], 40.0)
    with pytest.raises(ValueError, match="must be made once"):
        answers.predict(QUESTIONS["two-bits"], 87.0)
    assert answers.sheet.predictions == (Prediction("two-bits", 40.0),)


def test_the_solution_with_fewer_bits_is_kept():
    answers = Answers()
    for bits in (300, 200, 250):
        answers.solve(Solution("sensor", BEST, "none", bits, 0.9))
    assert [each.num_bits for each in answers.sheet.solutions] == [200]


def test_the_answers_panel_saves_what_it_shows():
    answers = Answers()
    shown = answers_panel(answers)
    assert "Nothing has been answered" in shown.children[2].value
    shown.children[1].value = "<Ada>"
    answers.predict(QUESTIONS["two-bits"], 40.0)
    words = shown.children[2].value
    assert "40.0 %" in words
    assert "not yet" in words
    saved = unquote(words.partition("charset=utf-8,")[2].partition('"')[0])
    assert read_sheet(saved.encode()) == answers.sheet
    assert answers.sheet.student == "<Ada>"
    assert 'download="-Ada-.json"' in words


def test_a_challenge_is_judged_and_its_best_solution_kept():
    answers = Answers()
    panel = challenges_panel(answers)
    assert "✗" in panel.words.value
    panel.controls["root"].value = "vgg-digits"
    for bits in (6, 5):
        panel.controls["exit_"].value = 2
        panel.controls["bits"].value = bits
        assert "✓ Met" in panel.words.value
    assert [(s.challenge, s.recipe, s.num_bits) for s in answers.sheet.solutions] == [
        ("sensor", BEST, 12896)
    ]
    table = panel.words.value
    assert table.index("12,896 bit") < table.index("14,280 bit")
    chart = panel.charts.charts["tries"]
    go.Figure(chart["spec"])
    assert "12,896 bit" in chart["text"]


def test_the_league_measures_again():
    """A file may claim what it likes: bits are counted and accuracy measured anew."""
    forged = Solution("sensor", BEST, "none", 1, 1.0)
    late = Solution("sensor", Recipe("resnet-digits"), "none", 1, 1.0)
    foreign = Solution("sensor", Recipe("mine", 1), "none", 1, 1.0)
    sheets = [("a.json", Sheet("A", (), (forged,))), ("b.json", Sheet("B", (), (late,))),
              ("c.json", Sheet("C", (), (foreign,)))]  # fmt: skip
    merged = merge((name, each.to_json().encode()) for name, each in sheets)
    places, fallen = zip(*league(merged), strict=True)
    assert [place and (place[0], place[1].num_bits) for place in places] == [
        ("A", 12896), None, None
    ]  # fmt: skip
    assert [why.partition(",")[0] for why in fallen] == ["", "b.json", "c.json"]


def test_a_large_root_is_refused_and_its_images_are_not_fetched(monkeypatch):
    """One file must not start a download on the teacher's machine, nor end the league."""
    large = Solution("sensor", Recipe("resnet18-cifar100", 1, 0.05, 1), "none", 1, 1.0)
    fine = Solution("sensor", BEST, "none", 12896, 0.956)
    monkeypatch.setattr("insitu_widgets.cifar100.find", lambda: pytest.fail("looked for"))
    sheets = [("a.json", Sheet("A", (), (large,))), ("b.json", Sheet("B", (), (fine,)))]
    merged = merge((name, each.to_json().encode()) for name, each in sheets)
    (nothing, why), (place, _) = league(merged)
    assert nothing is None
    assert why.startswith("a.json, sensor: root must be one of resnet-digits, ")
    assert place[0] == "B"


def uploaded(name, sheet_):
    content = sheet_.to_json().encode()
    return Bunch(
        name=name, type="", size=len(content), content=content, last_modified=datetime.now(UTC)
    )


def test_one_classs_pictures_do_not_stand_beside_anothers():
    panel = class_panel()
    for question, predicted in (("best-cut", "block 3"), ("two-bits", 50.0)):
        one = Sheet("Ann", (Prediction(question, predicted),))
        panel.controls["upload"].value = (uploaded("one.json", one),)
        assert list(panel.charts.charts) == [question]


def test_the_class_in_one_picture(tmp_path):
    for number in range(3):
        text = sheet(f"group {number} <i>", 20.0 * number).to_json()
        (tmp_path / f"{number}.json").write_text(text, encoding="utf-8")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "folder.json").mkdir()
    panel = class_panel(tmp_path)
    assert panel.charts.errors == {}
    charts = panel.charts.charts
    assert list(charts) == list(QUESTIONS)
    for chart in charts.values():
        go.Figure(chart["spec"])
    assert sum(charts["two-bits"]["spec"]["data"][0]["y"]) == 3
    assert charts["best-cut"]["spec"]["data"][0]["x"][0] == "★ block 1"
    assert len(charts["exits-of-the-vgg"]["spec"]["data"]) == 4
    assert "Half are off by 67.5 or less" in charts["two-bits"]["text"]
    words = panel.words.value
    assert "3 files read, 2 refused" in words
    assert "folder.json: file must be readable" in words
    assert "broken.json: file must be JSON" in words
    assert words.count("12,896 bit") == 3
    assert "<i>" not in words


def test_a_class_without_files_says_so():
    assert "0 files read, 0 refused" in class_panel().words.value
    assert "there is none. Make it." in class_panel("no/such").words.value
