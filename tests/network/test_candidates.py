"""Candidates measured before: the table goes on where it was cut, and holds what is measured."""

from dataclasses import replace

import pytest

from insitu_widgets import Recipe, load_data, load_root
from insitu_widgets.cards import ROOTS, family_of
from insitu_widgets.network import candidates
from insitu_widgets.network.candidates import (
    COLUMNS,
    SUFFIX,
    Job,
    load_candidates,
    main,
    plan,
    read,
)
from insitu_widgets.network.catalogue import load_finest, shipped
from insitu_widgets.network.envelope import FAMILIES, Channel, measure, measured, recipes

ROOT = "vgg-digits"
SOME = [
    Job(Recipe(ROOT, 2), Channel()),
    Job(Recipe(ROOT, None, 0.5, 3, mixed=True), Channel()),
    Job(Recipe(ROOT, 3, 1.0, 16), Channel(1e-3, "zero", seeds=(0, 1))),
    Job(Recipe(ROOT, 4, 0.2, 4, recalibrated=True), Channel(1e-2, seeds=(0, 1))),
    Job(Recipe(ROOT, 4, 0.2, 4, recalibrated=True), Channel(1e-2, protected=1, seeds=(0, 1))),
    Job(Recipe(ROOT, 4, 0.2, 4), Channel(1e-2, protected=1, seeds=(0, 1))),
]


def test_a_rate_is_whole_before_the_next_begins():
    wanted = list(plan(ROOT, (0, 1)))
    rates = [job.channel.bit_error_rate for job in wanted]
    assert rates == sorted(rates)
    assert len(wanted) == len(set(wanted))
    clean = [job.recipe for job in wanted if job.channel == Channel()]
    clean = [recipe for recipe in clean if not recipe.recalibrated]
    exits = ROOTS[ROOT].num_exits
    assert set(clean) >= {r for family in FAMILIES[:4] for r in recipes(ROOT, family, exits)}
    sent = [job for job in wanted if job.channel.bit_error_rate]
    assert all(job.channel.seeds == (0, 1) for job in sent)
    assert all(job.recipe.bits <= 8 for job in sent if job.channel.protected)


def test_whatever_is_sent_as_codes_is_measured_recalibrated_too():
    wanted = list(plan(ROOT))
    again = {job for job in wanted if job.recipe.recalibrated}
    exits = ROOTS[ROOT].num_exits
    assert {job.recipe for job in again} >= set(recipes(ROOT, FAMILIES[4], exits))
    codes = {
        job._replace(recipe=replace(job.recipe, recalibrated=True))
        for job in set(wanted) - again
        if job.channel.bit_error_rate
    }
    assert {job for job in codes if job.recipe.bits <= 8} <= again
    assert all(job.recipe.bits <= 8 for job in again if job.channel.bit_error_rate)


def test_what_has_no_batch_norms_is_not_recalibrated():
    for name in ("vit-digits", f"{ROOT}-nested"):  # the latter was trained with the root's norms
        assert not any(job.recipe.recalibrated for job in plan(name))


def test_an_all_in_one_root_has_a_plan_of_its_own():
    name = f"{ROOT}-nested"
    exits = ROOTS[ROOT].num_exits
    wanted = list(plan(name))
    assert {job.recipe.root for job in wanted} == {name}
    clean = [job.recipe for job in wanted if job.channel == Channel()]
    assert clean[:exits] == [Recipe(name, exit_) for exit_ in range(1, exits + 1)]
    assert set(clean) >= {Recipe(name, keep=keep) for keep in (0.2, 0.1)}
    assert set(clean) >= set(recipes(ROOT, FAMILIES[5], exits))
    assert len(clean) == len(set(clean))
    assert not any(job.recipe.mixed for job in wanted)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Measure SOME of the plan on a hundred digits; returns the file."""
    path = tmp_path / "some.csv"

    def run(*options, wanted=SOME, images="100"):
        monkeypatch.setattr(candidates, "plan", lambda *_: iter(wanted))
        main([ROOT, "--images", images, "--seeds", "2", "--out", str(path), *options])
        return path

    return run


def rows_of(path):
    with path.open() as file:
        return list(read(file))


def test_its_rows_are_what_the_envelope_measures(command):
    path = command()
    root, images = load_root(ROOT), load_data("digits", limit=100)
    found = rows_of(path)
    assert [row.job for row in found] == SOME
    for row, job in zip(found, SOME, strict=True):
        expected = measure(root, job.recipe, images, job.channel)
        assert row.candidate.right == expected.right
        assert row.candidate.seen == (50, 50)
        assert row.candidate.num_bits == pytest.approx(expected.num_bits, abs=0.5)
        assert row.candidate.what == expected.what


@pytest.mark.parametrize("cut", [1, 30])
def test_it_goes_on_where_it_was_cut(command, cut, monkeypatch):
    whole = command().read_text()
    path = command()
    assert path.read_text() == whole  # nothing was left to do
    path.write_text(whole[:-cut])
    calls = []
    monkeypatch.setattr(candidates, "measured", lambda *all_: calls.append(all_) or measured(*all_))
    assert command().read_text() == whole
    assert len(calls) == 1


def test_other_images_are_refused(command):
    command()
    with pytest.raises(SystemExit, match=r"other weights or images\. Delete it"):
        command(images="200")
    with pytest.raises(SystemExit, match="other weights or images"):
        command("--bfloat16")


def test_other_draws_are_refused_and_nonsense_is_told(command, capsys):
    path = command()
    text = path.read_text()
    with pytest.raises(SystemExit, match="was measured with another number of --seeds"):
        main([ROOT, "--images", "100", "--seeds", "1", "--out", str(path)])
    assert path.read_text() == text
    for option, words in (("--seeds", "--seeds must be"), ("--images", "--images must be")):
        with pytest.raises(SystemExit):
            main([ROOT, option, "0", "--out", str(path)])
        assert words in capsys.readouterr().err
    assert f"candidates {ROOT} --images 100 --seeds 2\n" in text


def test_a_root_without_a_table_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^root must be one of .*; got 'vgg-digits'\. Choose"):
        load_candidates(ROOT)


def test_what_is_shipped_is_whole_for_its_first_rate():
    assert "resnet18-cifar100" in shipped(SUFFIX)
    for root in shipped(SUFFIX):
        rows = load_candidates(root)
        names = sorted({row.job.recipe.root for row in rows})
        assert names == sorted(family_of(root))
        wanted = {job.recipe for name in names for job in plan(name) if job.channel == Channel()}
        clean = [row.job for row in rows if row.job.channel.bit_error_rate == 0]
        assert {job.recipe for job in clean} == wanted
        assert len({row.candidate.seen for row in rows}) == 1
    assert len(COLUMNS) == len(candidates.written(rows[0]))


def test_what_is_shipped_agrees_with_the_catalogue_wherever_both_were_measured():
    """Two commands, the same images, or more: the same bits on the air, the same answers."""
    for root in shipped(SUFFIX):
        rows = [row for row in load_finest(root).rows if row.bit_error_rate == 0]
        known = {Job(row.recipe, Channel()): row for row in rows}
        both = [(r.candidate, known[r.job]) for r in load_candidates(root) if r.job in known]
        assert all(candidate.num_bits == row.num_bits for candidate, row in both)
        within = [(c, row) for c, row in both if row.images >= sum(c.seen)]  # others saw fewer
        assert len(within) > 50
        for candidate, row in within:
            right, seen, all_right = (
                sum(candidate.right),
                sum(candidate.seen),
                row.accuracy * row.images,
            )
            assert right <= all_right + 0.05
            assert seen - right <= row.images - all_right + 0.05
            assert right / seen == pytest.approx(row.accuracy, abs=0.04)
