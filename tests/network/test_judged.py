"""Small shares: chosen on half of the test images, judged on the other half, beside the root."""

from pathlib import Path

import pytest
import torch

from insitu_widgets import Recipe, derive, load_data, load_root
from insitu_widgets.cards import ROOTS
from insitu_widgets.evaluate import right_answers
from insitu_widgets.network import judged
from insitu_widgets.network.candidates import (
    BIT_ERROR_RATES,
    Job,
    Row,
    load_candidates,
    whole_bits,
)
from insitu_widgets.network.catalogue import shipped, shipped_lines
from insitu_widgets.network.envelope import Candidate, Channel, measure
from insitu_widgets.network.judged import (
    COLUMNS,
    SHARES,
    SUFFIX,
    Finalist,
    Judged,
    between,
    choice,
    finalists,
    load_judged,
    main,
    plan,
    read,
)

ROOT = "vgg-digits"
NOISY = Channel(1e-2, protected=1)
CHOSE = 200


def row(job, num_bits, right):
    return Row(job, Candidate(str(job.recipe), num_bits, right, (50, 50)))


@pytest.fixture
def candidates(monkeypatch):
    """A whole root and two cuts, measured, at two bit-error rates."""
    root, few = load_root(ROOT), load_data("digits", limit=CHOSE)
    found = []
    for job in (
        Job(Recipe(ROOT), Channel()),
        Job(Recipe(ROOT, 3, 1.0, 3, recalibrated=True), Channel()),
        Job(Recipe(ROOT, 3, 1.0, 3), Channel()),
        Job(Recipe(ROOT, 3, 1.0, 4), NOISY),
    ):
        candidate = measure(root, job.recipe, few, job.channel)
        found.append(Row(job, candidate))
    monkeypatch.setattr(judged, "load_candidates", lambda _: tuple(found))
    monkeypatch.setattr(judged, "BIT_ERROR_RATES", (0.0, 1e-2))
    monkeypatch.setattr(judged, "SHARES", (0.06,))
    monkeypatch.setattr(judged, "DRAWS", 2)
    monkeypatch.setattr(judged, "FINALISTS", 2)
    return found


@pytest.fixture
def command(tmp_path, candidates):
    path = tmp_path / "some.csv"

    def run(*options):
        main([ROOT, "--out", str(path), *options])
        with path.open() as file:
            return list(read(file))

    run.path = path
    return run


def test_no_image_both_chooses_and_judges():
    images = load_data("digits")
    parts = [
        load_data("digits", limit=CHOSE),
        between(images, CHOSE, 400),
        between(images, 400, len(images)),
    ]
    assert [len(part) for part in parts] == [CHOSE, 400 - CHOSE, len(images) - 400]
    pixels = [tensor.numpy().tobytes() for part in parts for tensor in part.images]
    assert sorted(pixels) == sorted(tensor.numpy().tobytes() for tensor in images.images)
    assert len(set(pixels)) == len(pixels)


def test_the_best_that_fit_are_finalists_and_the_smallest_of_equals_wins():
    rows = [
        row(Job(Recipe(ROOT), Channel()), 100, (30, 30)),
        row(Job(Recipe(ROOT, 1), Channel()), 80, (40, 20)),
        row(Job(Recipe(ROOT, 2), Channel()), 90, (35, 26)),
        row(Job(Recipe(ROOT, 3), Channel(1e-3)), 10, (50, 50)),
    ]
    assert [each.job.recipe.exit for each in finalists(rows, 0.0, 100)] == [2, 1, None]
    assert [each.job.recipe.exit for each in finalists(rows, 0.0, 89)] == [1]
    assert [each.job.recipe.exit for each in finalists(rows, 1e-3, 89)] == [3]
    with pytest.raises(ValueError, match=r"at least one candidate; got 79\. Give more bits"):
        finalists(rows, 0.0, 79)
    some = [Finalist(0.1, Job(Recipe(ROOT, n), Channel()), bits, right)
            for n, bits, right in ((1, 90, 10), (2, 80, 10), (3, 70, 9))]  # fmt: skip
    assert choice(some).job.recipe.exit == 2


def test_it_judges_image_by_image_beside_the_root(command, candidates):
    best, plain, clean, noise, noisy = command()
    images, root = load_data("digits"), load_root(ROOT)
    half = round(judged.CHOOSING * len(images))
    second, last = between(images, CHOSE, half), between(images, half, len(images))
    assert (best.job.recipe.recalibrated, plain.job.recipe.recalibrated) == (True, False)
    for found, first in ((best, candidates[1]), (plain, candidates[2])):
        more = measure(root, found.job.recipe, second, Channel())
        assert found.chose == sum(first.candidate.right) + sum(more.right)
    assert clean.job == best.job
    expected = right_answers(root, last)
    right = right_answers(derive(root, clean.job.recipe).module, last)
    assert clean.right == int(expected.sum())
    assert clean.lost == (int((expected & ~right).sum()),)
    assert clean.gained == (int((right & ~expected).sum()),)
    assert clean.seen == len(last)
    assert clean.accuracy == pytest.approx(int(right.sum()) / len(last))
    assert noisy.job.channel.protected == 1
    again = measure(root, noisy.job.recipe, last, noisy.job.channel)
    assert noisy.accuracy == pytest.approx(sum(again.right) / len(last))
    assert noisy.num_bits == pytest.approx(again.num_bits, abs=0.5)
    assert noise.job.channel.bit_error_rate == 1e-2


def test_no_draw_both_chooses_and_judges(command, candidates):
    *_, noise, noisy = command()
    assert candidates[3].job.channel.seeds == (0,)
    assert noise.job.channel.seeds == (1,)
    assert noisy.job.channel.seeds == (2, 3)


@pytest.mark.parametrize(("draws", "common"), [(1, 0.0), (5, 0.0), (5, 0.02)])
def test_the_loss_has_an_interval_that_holds_it_19_times_in_20(draws, common):
    """What one draw of the errors does to all images is in it, too."""
    random, held = torch.Generator().manual_seed(0), 0
    job, share = Job(Recipe(ROOT), Channel()), 0.1
    for _ in range(400):
        root = torch.rand(500, generator=random) < 0.8
        spoilt = share + common * torch.randn(draws, 1, generator=random)
        # An image is as likely spoilt in every draw: the images are the same ones.
        lost = (torch.rand(500, generator=random) < spoilt) & root
        gained = (torch.rand(500, generator=random) < 0.2).expand(draws, -1) & ~root
        counts = [tuple(each.sum(1).tolist()) for each in (lost, gained)]
        mean, low, high = Judged(0.1, job, 1, int(root.sum()), *counts, 500).loss
        assert low <= mean <= high
        held += low <= 0.8 * share - 0.2 * 0.2 <= high
    assert 0.92 < held / 400 <= 1.0


@pytest.mark.parametrize("lines", [1, 2, 4])
def test_it_goes_on_where_it_was_cut(command, monkeypatch, lines):
    command()
    whole = command.path.read_text()
    command.path.write_text("".join(whole.splitlines(keepends=True)[:-lines]) + "0.06,vgg")
    calls = []
    for name in ("judge", "measured"):
        real = getattr(judged, name)
        monkeypatch.setattr(
            judged, name, lambda *all_, real=real: calls.append(real) or real(*all_)
        )
    command()
    assert command.path.read_text() == whole
    assert len(calls) == lines


def test_finalists_of_other_candidates_are_refused(command, candidates, monkeypatch):
    command()
    monkeypatch.setattr(judged, "load_candidates", lambda _: (candidates[0], *candidates[2:]))
    with pytest.raises(SystemExit, match=r"holds finalists of other candidates\. Delete it"):
        command()


def test_a_root_without_a_table_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^root must be one of .*; got 'vgg-digits'\. Choose"):
        load_judged(ROOT)


def test_what_is_shipped_is_the_choice_of_the_shipped_candidates():
    assert "resnet18-cifar100" in shipped(SUFFIX)
    for root in shipped(SUFFIX):
        rows = list(read(shipped_lines(root, SUFFIX)))
        found = {(row.share, row.job): row for row in rows if isinstance(row, Finalist)}
        chosen = load_judged(root)
        assert len(chosen) == len(SHARES) * len(BIT_ERROR_RATES)
        whole = whole_bits(load_candidates(root), root)
        for row, (share, best) in zip(chosen, plan(root), strict=True):
            winner = choice([found.pop((share, judged._again(each))) for each in best])
            assert (row.share, row.job) == (share, judged._drawn(winner.job, judged.DRAWS))
            if row.job.channel.bit_error_rate:
                assert len(row.job.channel.seeds) == judged.DRAWS
                used = {*winner.job.channel.seeds, *best[0].job.channel.seeds}
                assert used.isdisjoint(row.job.channel.seeds)
            assert row.num_bits <= share * whole
        assert not found
        assert len(judged.written(rows[0])) == len(judged.written(rows[-1])) == len(COLUMNS)
        accuracy = ROOTS[root].accuracy[-1]
        assert chosen[0].right / chosen[0].seen == pytest.approx(accuracy, abs=0.02)


def test_notebook_05_says_what_bit_errors_cost_and_where_nothing_is_protected():
    rows = {
        (row.share, row.job.channel.bit_error_rate): row for row in load_judged("resnet18-cifar100")
    }
    more = {share: 100 * (rows[share, 1e-3].loss[0] - rows[share, 0.0].loss[0]) for share in SHARES}
    bare = {share for share in SHARES if not rows[share, 1e-3].job.channel.protected}
    assert bare == {0.015}
    assert max(more[share] for share in SHARES if share not in bare) < 0.1
    course = Path(__file__).parents[2] / "notebooks/05_three_levels_together.ipynb"
    said = f"At 1.5 % bit errors of 10⁻³ cost {more[0.015]:.1f} points more than none"
    assert said in course.read_text(encoding="utf-8")
