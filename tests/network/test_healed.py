"""Re-training measured before: both accuracies are those of received bytes."""

from collections import deque

import pytest

from insitu_widgets import Recipe, accuracy, derive, load_data, load_root, pack
from insitu_widgets.levels.pruning import Healing, heal
from insitu_widgets.network import healed
from insitu_widgets.network.catalogue import shipped
from insitu_widgets.network.healed import COLUMNS, CUTS, SUFFIX, load_healed, main, read

ROOT = "vgg-digits"


@pytest.fixture
def command(tmp_path, monkeypatch):
    path = tmp_path / "some.csv"

    def run(*options, cuts=((0.1, 32), (1.0, 2))):
        monkeypatch.setattr(healed, "CUTS", cuts)
        main([ROOT, "--images", "200", "--steps", "5", "--batch", "50", "--out", str(path),
              *options])  # fmt: skip
        with path.open() as file:
            return path, list(read(file))

    return run


def test_its_rows_are_what_re_training_gives(command):
    _, rows = command()
    root, images = load_root(ROOT), load_data("digits", limit=200)
    for row, recipe in zip(rows, (Recipe(ROOT, keep=0.1), Recipe(ROOT, bits=2)), strict=True):
        assert row.recipe == recipe
        assert row.num_bits == pack(derive(root, recipe)).num_bits
        *_, before = accuracy(derive(root, recipe), images)
        assert row.before == before
        plan = Healing(5, 5e-4, 50)
        step = deque(heal(root, recipe, load_data("digits", "train"), plan), maxlen=1).pop()
        *_, after = accuracy(step.submodel(), images)
        assert row.after == after
        assert row.before != row.after
        assert (row.steps, row.batch) == (5, 50)
        assert row.seconds > 0


def test_it_goes_on_with_the_next_recipe(command, monkeypatch):
    path, rows = command(cuts=((0.1, 32),))
    text = path.read_text()
    done = []
    measure = healed.measure
    monkeypatch.setattr(healed, "measure", lambda *all_: done.append(all_[1]) or measure(*all_))
    _, more = command()
    assert path.read_text().startswith(text)
    assert more[0] == rows[0]
    assert done == [Recipe(ROOT, bits=2)]


def test_another_pace_is_refused_and_nonsense_is_told(command, capsys):
    command(cuts=((0.1, 32),))
    with pytest.raises(SystemExit, match="other weights or images"):
        command("--peak-rate", "1e-3")
    with pytest.raises(SystemExit):
        command("--steps", "0")
    assert "steps must be" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command("--images", "798")
    assert "--images must be a whole number from 1 to 797" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="was measured with other --steps or --batch"):
        command("--steps", "6")


def test_a_root_without_a_table_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^root must be one of .*; got 'vgg-digits'\. Choose"):
        load_healed(ROOT)


def test_what_is_shipped_is_whole():
    assert "resnet18-cifar100" in shipped(SUFFIX)
    for root in shipped(SUFFIX):
        rows = load_healed(root)
        assert [(row.recipe.keep, row.recipe.bits) for row in rows] == list(CUTS)
        assert len(healed.written(rows[0])) == len(COLUMNS)
