"""All-in-one against one-shot pruning: counted image by image, of received bytes."""

from pathlib import Path

import pytest

from insitu_widgets import Recipe, accuracy, derive, load_data, load_root
from insitu_widgets.estimate import paired_interval
from insitu_widgets.network import paired
from insitu_widgets.network.catalogue import shipped
from insitu_widgets.network.paired import (
    COLUMNS,
    KEEPS,
    SUFFIX,
    WIDTHS,
    Paired,
    load_paired,
    main,
    read,
)

ROOT = "vgg-digits"


@pytest.fixture
def command(tmp_path, monkeypatch):
    path = tmp_path / "some.csv"

    def run(*options, widths=(4, 3)):
        monkeypatch.setattr(paired, "KEEPS", (0.1,))
        monkeypatch.setattr(paired, "WIDTHS", widths)
        main([ROOT, "--images", "200", "--out", str(path), *options])
        with path.open(encoding="utf-8") as file:
            return path, list(read(file))

    return run


def test_its_rows_are_the_accuracies_of_both_on_the_same_images(command):
    _, rows = command()
    images = load_data("digits", limit=200)
    assert [row.recipe for row in rows] == [Recipe(ROOT, keep=0.1, bits=b) for b in (4, 3)]
    for row in rows:
        for name, found in ((ROOT, row.one_shot), (f"{ROOT}-nested", row.all_in_one)):
            root = load_root(name)
            *_, alone = accuracy(derive(root, Recipe(name, keep=0.1, bits=row.recipe.bits)), images)
            assert found == alone
        middle, low, high = row.difference
        assert middle == pytest.approx(row.all_in_one.accuracy - row.one_shot.accuracy)
        assert low < middle < high


def test_it_goes_on_with_the_next_cut_and_refuses_other_images(command, monkeypatch):
    path, rows = command(widths=(4,))
    text = path.read_text()
    done = []
    measure = paired.measure
    monkeypatch.setattr(paired, "measure", lambda *all_: done.append(all_[0]) or measure(*all_))
    _, more = command()
    assert path.read_text().startswith(text)
    assert more[0] == rows[0]
    assert done == [Recipe(ROOT, keep=0.1, bits=3)]
    with pytest.raises(SystemExit, match="other weights or images"):
        command("--bfloat16")


def test_the_interval_of_a_difference_is_that_of_paired_images():
    middle, low, high = paired_interval(60, 40, 1000)
    assert middle == pytest.approx(0.02)
    # McNemar's variance: (b + c - (b - c)² / n) / n²
    assert (high - low) / 2 == pytest.approx(1.959964 * (100 - 400 / 1000) ** 0.5 / 1000)
    assert middle - low == pytest.approx(high - middle)
    row = Paired(Recipe(ROOT), 900, 60, 40, 1000)
    assert (row.one_shot.correct, row.all_in_one.correct) == (940, 960)
    assert row.difference == paired_interval(60, 40, 1000)


def test_a_root_without_a_table_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^root must be one of .*; got 'vgg-digits'\. Choose"):
        load_paired(ROOT)


def test_what_is_shipped_is_whole_and_says_what_the_course_says():
    assert shipped(SUFFIX) == ("resnet18-cifar100",)
    rows = {(row.recipe.keep, row.recipe.bits): row for row in load_paired("resnet18-cifar100")}
    assert list(rows) == [(keep, bits) for keep in KEEPS for bits in WIDTHS]
    assert {row.seen for row in rows.values()} == {10_000}
    clearly = {cut for cut, row in rows.items() if row.difference[1] > 0}
    assert {(0.2, 4), (0.2, 3), (0.1, 4), (0.1, 3)} <= clearly
    for bits in (32, 8):  # level at 20 %: one shot loses only two points there
        _, low, high = rows[0.2, bits].difference
        assert low < 0.01
        assert high > -0.01
    assert len(COLUMNS) == 8
    notebook = Path(__file__).parents[2] / "notebooks/03_parameter_pruning_and_nesting.ipynb"
    course = notebook.read_text(encoding="utf-8")
    for cut, said in (((0.2, 4), "by {:.1f} ± {:.1f} points"), ((0.2, 3), "by {:.0f} ± {:.0f} in"),
                      ((0.1, 4), "by {:.1f} ± {:.1f} (4 bit")):  # fmt: skip
        middle, low, high = rows[cut].difference
        assert said.format(100 * middle, 50 * (high - low)) in course
