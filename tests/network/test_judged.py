"""Small shares: chosen on some test images, judged on all the others, beside the root."""

import pytest
import torch

from insitu_widgets import Recipe, load_data, load_root
from insitu_widgets.cards import ROOTS
from insitu_widgets.data import balanced
from insitu_widgets.evaluate import right_answers
from insitu_widgets.network import judged
from insitu_widgets.network.candidates import BIT_ERROR_RATES, Job, Row, load_candidates
from insitu_widgets.network.catalogue import shipped
from insitu_widgets.network.envelope import Candidate, Channel, cut, measure
from insitu_widgets.network.judged import (
    COLUMNS,
    SHARES,
    SUFFIX,
    Judged,
    choice,
    load_judged,
    main,
    others,
    plan,
    read,
)

ROOT = "vgg-digits"
NOISY = Channel(1e-2, protected=1)
CHOSE = 200


def row(job, num_bits, right):
    return Row(job.recipe, job.channel, Candidate(str(job.recipe), num_bits, right, (50, 50)))


@pytest.fixture
def candidates(monkeypatch):
    """A whole root and two cuts, measured, at two bit-error rates."""
    root, few = load_root(ROOT), load_data("digits", limit=CHOSE)
    training = load_data("digits", "train", limit=judged.CALIBRATION)
    found = []
    for job in (
        Job(Recipe(ROOT), Channel()),
        Job(Recipe(ROOT, 3, 1.0, 3), Channel(), recalibrated=True),
        Job(Recipe(ROOT, 3, 1.0, 3), Channel()),
        Job(Recipe(ROOT, 3, 1.0, 4), NOISY),
    ):
        calibration = training if job.recalibrated else None
        candidate = measure(root, job.recipe, few, job.channel, calibration)
        found.append(Row(job.recipe, job.channel, candidate, job.recalibrated))
    monkeypatch.setattr(judged, "load_candidates", lambda _: tuple(found))
    monkeypatch.setattr(judged, "BIT_ERROR_RATES", (0.0, 1e-2))
    monkeypatch.setattr(judged, "SHARES", (0.06,))
    monkeypatch.setattr(judged, "SEEDS", 2)
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


def test_the_others_are_those_that_chose_nothing():
    images, rest = load_data("digits"), others("digits", CHOSE)
    chose = {
        tensor.numpy().tobytes() for tensor in images.take(balanced(images.labels, CHOSE)).images
    }
    assert len(rest) == len(images) - CHOSE
    twins = sum(tensor.numpy().tobytes() in chose for tensor in rest.images)
    assert twins == 0


def test_the_best_that_fits_is_chosen_and_the_smallest_of_equals():
    recipe = Recipe(ROOT)
    rows = [
        row(Job(recipe, Channel()), 100, (30, 30)),
        row(Job(Recipe(ROOT, 1), Channel()), 80, (40, 20)),
        row(Job(Recipe(ROOT, 2), Channel()), 90, (35, 26)),
        row(Job(Recipe(ROOT, 3), Channel(1e-3)), 10, (50, 50)),
    ]
    assert choice(rows, 0.0, 100).recipe == Recipe(ROOT, 2)
    assert choice(rows, 0.0, 89).recipe == Recipe(ROOT, 1)
    assert choice(rows, 1e-3, 89).recipe == Recipe(ROOT, 3)
    assert choice([rows[0], rows[1]], 0.0, 100).recipe == Recipe(ROOT, 1)
    with pytest.raises(ValueError, match=r"at least one candidate; got 79\. Give more bits"):
        choice(rows, 0.0, 79)


def test_it_judges_image_by_image_beside_the_root(command):
    clean, noisy = command()
    root, rest = load_root(ROOT), others("digits", CHOSE)
    expected = right_answers(root, rest)
    training = load_data("digits", "train", limit=judged.CALIBRATION)
    assert clean.job == Job(Recipe(ROOT, 3, 1.0, 3), Channel(), recalibrated=True)
    right = right_answers(cut(root, clean.job.recipe, training).submodel.module, rest)
    assert clean.right == int(expected.sum())
    assert clean.lost == int((expected & ~right).sum())
    assert clean.gained == int((right & ~expected).sum())
    assert clean.seen == len(rest)
    assert clean.estimate.correct == int(right.sum())
    assert noisy.job.channel.seeds == (0, 1)
    assert noisy.job.channel.protected == 1
    again = measure(root, noisy.job.recipe, rest, noisy.job.channel)
    assert noisy.right - noisy.lost + noisy.gained == pytest.approx(sum(again.right))
    assert noisy.num_bits == pytest.approx(again.num_bits, abs=0.5)


def test_the_loss_has_the_interval_of_paired_images():
    """As many draws of who is right, the interval holds the true loss in about 95 of 100."""
    random, held = torch.Generator().manual_seed(0), 0
    job = Job(Recipe(ROOT), Channel())
    for _ in range(400):
        root = torch.rand(500, generator=random) < 0.8
        worse = root & (torch.rand(500, generator=random) < 0.9)
        better = ~root & (torch.rand(500, generator=random) < 0.2)
        lost, gained = int((root & ~worse).sum()), int(better.sum())
        mean, low, high = Judged(0.1, job, 1, int(root.sum()), lost, gained, 500).loss
        assert low <= mean <= high
        held += low <= 0.8 * 0.1 - 0.2 * 0.2 <= high
    assert 0.92 < held / 400 < 0.98


def test_it_goes_on_where_it_was_cut_and_refuses_what_others_chose(
    command, candidates, monkeypatch
):
    command()
    whole = command.path.read_text()
    command.path.write_text(whole[:-3])
    calls = []
    judge = judged.judge
    monkeypatch.setattr(judged, "judge", lambda *all_: calls.append(all_) or judge(*all_))
    command()
    assert command.path.read_text() == whole
    assert len(calls) == 1
    monkeypatch.setattr(judged, "load_candidates", lambda _: (candidates[0], *candidates[2:]))
    with pytest.raises(SystemExit, match=r"was chosen from other candidates\. Delete it"):
        command()


def test_a_root_without_a_table_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^root must be one of .*; got 'vgg-digits'\. Choose"):
        load_judged(ROOT)


def test_what_is_shipped_is_the_choice_of_the_shipped_candidates():
    assert "resnet18-cifar100" in shipped(SUFFIX)
    for root in shipped(SUFFIX):
        rows = load_judged(root)
        wanted = [(share, judged._drawn(row)) for share, row in plan(root)]
        assert [(row.share, row.job) for row in rows] == wanted
        assert len(rows) == len(SHARES) * len(BIT_ERROR_RATES)
        whole = max(r.candidate.num_bits for r in load_candidates(root) if r.recipe.root == root)
        assert all(row.num_bits <= row.share * whole for row in rows)
        assert len(judged.written(rows[0])) == len(COLUMNS)
        accuracy = ROOTS[root].accuracy[-1]
        assert rows[0].right / rows[0].seen == pytest.approx(accuracy, abs=0.02)
