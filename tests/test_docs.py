"""What the documents say is there: links, pictures, the instructor's snippets, the citation."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import insitu_widgets
from insitu_widgets.cards import ROOTS
from insitu_widgets.network.candidates import load_candidates, whole_bits
from insitu_widgets.network.catalogue import shipped_lines
from insitu_widgets.network.challenges import CHALLENGES, known_solutions
from insitu_widgets.network.grids import full
from insitu_widgets.network.judged import SUFFIX, Finalist, load_judged, read
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


def test_the_accuracies_of_the_photograph_roots_are_true():
    names = ("resnet18-cifar100", "vgg16-cifar100", "vit-cifar100")
    first, second, third = (f"{100 * ROOTS[name].accuracy[-1]:.2f}" for name in names)
    words = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"the three reach {first}, {second} and {third} %" in words


def test_what_the_changelog_says_of_the_smallest_share_is_true():
    """The chosen cut is the one without errors, bare: with a protected bit it is too large."""
    words = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    root = "resnet18-cifar100"
    found = {(row.share, row.job.channel.bit_error_rate): row for row in load_judged(root)}
    for share in (0.06, 0.03):
        assert found[share, 1e-3].job.channel.protected == 1
        assert found[share, 1e-3].loss[0] == pytest.approx(found[share, 0.0].loss[0], abs=5e-4)
    clean, bare = found[0.015, 0.0], found[0.015, 1e-3]
    assert (bare.job.recipe, bare.job.channel.protected) == (clean.job.recipe, 0)
    assert f"cost {100 * (bare.loss[0] - clean.loss[0]):.1f} points more" in words
    rows = load_candidates(root)
    channel = replace(bare.job.channel, protected=1, seeds=(0,))
    (large,) = (row for row in rows if row.job == bare.job._replace(channel=channel))
    share = large.candidate.num_bits / whole_bits(rows, root)
    assert share > 0.015
    assert f"would take {100 * share:.2f} % with it" in words
    tried = [row for row in read(shipped_lines(root, SUFFIX)) if isinstance(row, Finalist)]
    tried = [row for row in tried if (row.share, row.job.channel.bit_error_rate) == (0.015, 1e-3)]
    (chosen,) = (row.chose for row in tried if row.job.recipe == bare.job.recipe)
    protected = [row.chose for row in tried if row.job.channel.protected]
    assert protected
    assert max(protected) < chosen


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


def test_what_is_said_of_trainings_without_exits_is_in_the_cards():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("resnet18-cifar100", "vgg16-cifar100", "vit-cifar100"):
        path = ROOT / "insitu_widgets" / "weights" / f"{name}.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        assert f"{100 * card['alone']['accuracy']:.2f}" in readme
        assert card["alone"]["accuracy"] < card["accuracy"][-1], (
            "the exits cost the last one nothing"
        )
