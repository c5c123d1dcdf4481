"""What the documents say is there: links, pictures, the instructor's snippets, the citation."""

import re
from pathlib import Path

import pytest
import yaml

import insitu_widgets
from insitu_widgets.network.challenges import CHALLENGES, known_solutions
from insitu_widgets.network.grids import full
from tests.browser.screenshot import PICTURES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "docs/instructor.md", "docs/glossary.md")
]
INSTRUCTOR = (ROOT / "docs" / "instructor.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_are_there(path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        there = path.parent / target if target else path
        assert there.is_file(), link
        if anchor:
            heads = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}


def test_every_picture_is_taken_by_the_script():
    assert {path.stem for path in (ROOT / "docs").glob("*.png")} == set(PICTURES)


def test_the_instructors_snippets_run(tmp_path, monkeypatch):
    """All of them in one session, as they stand."""
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.+?)```", INSTRUCTOR, flags=re.DOTALL)
    assert len(snippets) == 2
    session = {}
    for snippet in snippets:
        exec(snippet, session)  # noqa: S102
    assert session["class_panel"]("answers").charts.errors == {}
    asked = session["predict_first"](session["dashboard"](), session["mine"])
    asked.inputs[0].value = 90.0
    asked.commit()
    assert re.search(r"Measured: [\d.]+ %\.", asked.verdict.value)


def test_the_number_of_candidates_is_true():
    own, nested = (len(full(name).recipes) for name in ("vgg-digits", "vgg-digits-nested"))
    words = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{own} recipes of a digits root and {nested} of its all-in-one weights" in words
    assert f"choosing the best of {own + nested} on them" in words
    notebook = (ROOT / "notebooks" / "12_sweeps_on_a_cluster.ipynb").read_text(encoding="utf-8")
    assert f"catalogues have {own} recipes for each root" in notebook


def test_the_instructors_table_of_challenges_is_true():
    for challenge in CHALLENGES.values():
        found = known_solutions(challenge)
        (row,) = re.findall(rf"^\| {challenge.name} \|.*$", INSTRUCTOR, flags=re.MULTILINE)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2].startswith(f"{len(found)}, ")
        assert cells[3] == f"{found[0].num_bits:,}"


def test_the_citation_names_this_version_and_the_paper():
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert record["version"] == insitu_widgets.__version__
    assert record["license"] == "BSD-3-Clause"
    paper = record["preferred-citation"]
    assert paper["title"].startswith("In-situ Model Downloading")
    assert [author["family-names"] for author in paper["authors"]] == ["Huang", "Wu", "Liu", "Qi"]
