from dataclasses import replace

import pytest
from distributed import Client, LocalCluster

from insitu_widgets import (
    Link,
    PayloadError,
    Recipe,
    accuracy,
    derive,
    load_data,
    pack,
    sweep,
    transmit,
    unpack,
)
from insitu_widgets.network import sweep as sweeping
from insitu_widgets.network.catalogue import COLUMNS, read_rows

NAME = "vgg-digits"
RECIPES = [Recipe(NAME, 1, 0.5, 4), Recipe(NAME, 2, 1 / 3, 32), Recipe(NAME, 1, 1.0, 16)]
CHANNELS = {"bit_error_rates": (0.0, 1e-3, 1 / 30), "guards": ("none", "zero"), "seeds": (3, 4)}
HEADING = ",".join(COLUMNS) + "\n"


def measured(recipes, images, **changes):
    return sweep(recipes, images, progress=False, **(CHANNELS | changes))


def rounded(rows):
    """Rows as a file holds them."""
    accuracies = ("accuracy", "lowest", "highest")
    return [replace(r, **{n: float(f"{getattr(r, n):.6g}") for n in accuracies}) for r in rows]


def by_key(rows):
    return sorted(rows, key=lambda r: (r.recipe, r.bit_error_rate, r.guard))


@pytest.fixture
def calls(monkeypatch):
    """The recipes that are really measured."""
    seen, measure = [], sweeping.measure

    def spy(recipe, *others):
        seen.append(recipe)
        return measure(recipe, *others)

    monkeypatch.setattr(sweeping, "measure", spy)
    return seen


# What is measured


def test_each_row_is_what_the_public_names_measure(few, roots):
    """The oracle: derive, pack, transmit, unpack, accuracy, one after the other."""
    for row in measured(RECIPES, few).rows:
        sent = derive(roots[NAME], row.recipe)
        packet = pack(sent)
        seeds = CHANNELS["seeds"] if row.bit_error_rate else [0]
        results = []
        for seed in seeds:
            arrived = transmit(packet, Link(1.0, bit_error_rate=row.bit_error_rate), seed)
            *_, last = accuracy(unpack(arrived, row.guard)[0], few)
            results.append(last)
        shares = [result.accuracy for result in results]
        assert (row.num_bits, row.num_parameters) == (packet.num_bits, sent.num_parameters)
        assert row.accuracy == sum(shares) / len(shares)
        if row.bit_error_rate:
            assert (row.lowest, row.highest) == (min(shares), max(shares))
        else:
            assert (row.lowest, row.highest) == (results[0].low, results[0].high)
        assert (row.images, row.seeds) == (len(few), len(seeds))


def test_guards_are_measured_apart_for_floats_with_errors_only(few):
    rows = measured(RECIPES[:2], few).rows
    assert [(r.recipe.bits, r.bit_error_rate, r.guard) for r in rows] == [
        (4, 0.0, "none"),
        (4, 1e-3, "none"),
        (4, 1 / 30, "none"),
        (32, 0.0, "none"),
        (32, 1e-3, "none"),
        (32, 1e-3, "zero"),
        (32, 1 / 30, "none"),
        (32, 1 / 30, "zero"),
    ]


def test_a_recipe_asked_twice_is_measured_once(few, calls):
    measured([RECIPES[0], RECIPES[0]], few)
    assert calls == RECIPES[:1]


def test_a_users_own_root(tiny, few):
    rows = measured([Recipe("tiny", keep=0.5, bits=b) for b in (2, 32)], few, root=tiny).rows
    assert len(rows) == 3 + 5
    assert {row.recipe.root for row in rows} == {"tiny"}


def test_the_grid_is_every_combination():
    grid = sweeping.grid(NAME, keeps=(1.0, 0.5), bits=(4, 32))
    assert len(grid) == len(set(grid)) == 6 * 2 * 2
    assert Recipe(NAME) in grid
    assert Recipe(NAME, 1, 0.5, 4) in grid


# What cannot be measured


@pytest.mark.parametrize("field", ["bit_error_rates", "guards", "seeds"])
def test_nothing_to_measure_is_refused(few, field):
    with pytest.raises(ValueError, match=f"^{field} must hold at least one value; got none"):
        measured(RECIPES, few, **{field: ()})


def test_a_guard_or_a_rate_that_cannot_be_is_refused(few, tmp_path):
    path = tmp_path / "rows.csv"
    with pytest.raises(ValueError, match="guards must be one of none, clamp, zero; got 'clip'"):
        measured(RECIPES, few, guards=("none", "clip"), path=path)
    assert not path.exists()
    with pytest.raises(
        ValueError, match=r"^bit_error_rate must be a number from 0 to 0\.5; got 0\.9"
    ):
        measured(RECIPES, few, bit_error_rates=(0.9,))


def test_a_root_that_is_not_shipped_is_refused(few):
    with pytest.raises(ValueError, match="root must be one of resnet-digits"):
        measured([Recipe("mine")], few)


# A file that grows


def test_the_file_holds_what_is_returned(few, tmp_path):
    path = tmp_path / "rows.csv"
    rows = measured(RECIPES, few, path=path).rows
    with path.open() as file:
        assert list(read_rows(file).rows) == rounded(rows)


def test_what_is_done_is_not_measured_again(few, tmp_path, calls):
    path = tmp_path / "rows.csv"
    first = measured(RECIPES, few, path=path)
    before = path.read_bytes()
    again = measured(RECIPES, few, path=path)
    assert calls == RECIPES
    assert list(again.rows) == rounded(first.rows)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 3, 40, 250, 600])
def test_it_goes_on_where_it_was_cut_short(few, tmp_path, calls, cut):
    """Cut by so many bytes from the end: in the last line, before it, in an earlier recipe."""
    path = tmp_path / "rows.csv"
    measured(RECIPES, few, path=path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    calls.clear()
    rows = measured(RECIPES, few, path=path).rows
    assert path.read_bytes() == whole
    assert calls == RECIPES[1 if cut == 600 else 2 :]
    assert by_key(rounded(rows)) == by_key(rounded(measured(RECIPES, few).rows))


@pytest.mark.parametrize(
    "begun", ["", "# a note\n", "# a note\n# half a no", "# a note\nroot,exit,ke"]
)
def test_it_goes_on_from_a_file_that_was_hardly_begun(few, tmp_path, begun):
    path = tmp_path / "rows.csv"
    path.write_text(begun)
    rows = measured(RECIPES[:1], few, path=path).rows
    notes = "# a note\n" if begun.startswith("# a note\n") else ""
    assert path.read_text().startswith(notes + HEADING)
    with path.open() as file:
        assert list(read_rows(file).rows) == rounded(rows)


def test_what_was_measured_otherwise_is_measured_again(few, tmp_path, calls):
    """Other rates, seeds or images are other measurements, however many rows they make."""
    path = tmp_path / "rows.csv"
    recipe = RECIPES[1]
    measured([recipe], few, path=path, bit_error_rates=(0.0, 1e-4, 1e-2))
    expected = measured([recipe], few).rows
    assert rounded(measured([recipe], few, path=path).rows) == rounded(expected)
    assert len(calls) == 3
    measured([recipe], few, path=path, seeds=(3, 4, 5))
    measured([recipe], load_data("digits", limit=30), path=path, seeds=(3, 4, 5))
    assert len(calls) == 5


def test_fewer_channels_than_the_file_holds_need_no_measurement(few, tmp_path, calls):
    path = tmp_path / "rows.csv"
    measured(RECIPES, few, path=path)
    before = path.read_bytes()
    rows = measured(RECIPES[:1], few, path=path, bit_error_rates=(0.0,)).rows
    assert {row.recipe for row in rows} == {RECIPES[0]}
    assert (len(calls), path.read_bytes()) == (3, before)


def test_recipes_that_were_not_asked_for_stay_in_the_file(few, tmp_path):
    """Nor does a finer grid for one recipe cost what is known of the others."""
    path = tmp_path / "rows.csv"
    measured(RECIPES, few, path=path)
    with path.open() as file:
        before = set(read_rows(file).rows)
    measured(RECIPES[:1], few, path=path, bit_error_rates=(0.0, 1e-4, 1e-3, 1e-2))
    with path.open() as file:
        after = set(read_rows(file).rows)
    assert {r for r in before if r.recipe != RECIPES[0]} == {
        r for r in after if r.recipe != RECIPES[0]
    }
    assert sum(r.recipe == RECIPES[0] for r in after) == 4


def test_what_is_done_when_it_fails_is_kept(few, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    measure = sweeping.measure

    def fails_on_the_last(recipe, *others):
        if recipe == RECIPES[-1]:
            raise PayloadError("a fault")
        return measure(recipe, *others)

    monkeypatch.setattr(sweeping, "measure", fails_on_the_last)
    with pytest.raises(PayloadError, match="a fault"):
        measured(RECIPES, few, path=path)
    with path.open() as file:
        assert {row.recipe for row in read_rows(file).rows} == set(RECIPES[:-1])


def test_progress_is_shown_and_can_be_silenced(few, capsys):
    sweep(RECIPES[:1], few, bit_error_rates=(0.0,))
    assert "recipe" in capsys.readouterr().err
    sweep(RECIPES[:1], few, bit_error_rates=(0.0,), progress=False)
    assert capsys.readouterr().err == ""


# On Dask


def test_dask_measures_the_same_rows_and_writes_the_same_file(few, tmp_path):
    """One real worker process: what crosses to it and back must survive pickling."""
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    in_line = measured(RECIPES, few, path=here)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", local_directory=str(tmp_path)
        ) as cluster,
        Client(cluster) as client,
    ):
        on_dask = measured(RECIPES, few, path=there, client=client)
        again = measured(RECIPES, few, client=client)
        with pytest.raises(ValueError, match="exit must be a whole number from 1 to 6; got 9"):
            measured([Recipe("mine", 9)], few, root=load_mine(), client=client)
    assert by_key(on_dask.rows) == by_key(again.rows) == by_key(in_line.rows)
    assert sorted(there.read_text().splitlines()) == sorted(here.read_text().splitlines())


def load_mine():
    root = sweeping.load_root(NAME)
    root.name = "mine"
    return root


# The command


def test_the_command_writes_how_when_and_on_what(tmp_path, monkeypatch, few):
    monkeypatch.setattr(sweeping, "grid", lambda name: [Recipe(name, 1, 0.5, 4)])
    monkeypatch.setattr(sweeping, "load_data", lambda name: few)
    path = tmp_path / "rows.csv"
    sweeping.main([NAME, "--out", str(path)])
    with path.open() as file:
        catalogue = read_rows(file)
    assert catalogue.notes[0] == f"measured with: python -m insitu_widgets.network.sweep {NAME}"
    assert catalogue.notes[3] == "images: all 40 test images of digits"
    assert len(catalogue.rows) == len(sweeping.BIT_ERROR_RATES)
    before = path.read_bytes()
    sweeping.main([NAME, "--out", str(path)])
    assert path.read_bytes() == before
