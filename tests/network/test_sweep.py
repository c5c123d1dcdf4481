import copy
import os
from dataclasses import replace
from functools import partial

import pytest
import torch

from insitu_widgets import (
    ImageSet,
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
from insitu_widgets.network import grids
from insitu_widgets.network import sweep as sweeping
from insitu_widgets.network.catalogue import COLUMNS, comparable, finest, read_rows
from insitu_widgets.network.cluster import local_client

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
    """What is really measured: recipe, bit-error rate, guard."""
    seen, measure = [], sweeping.measure

    def spy(job, *others):
        seen.extend((recipe, job.bit_error_rate, job.guard) for recipe in job.recipes)
        return measure(job, *others)

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
        (32, 0.0, "none"),
        (4, 1e-3, "none"),
        (32, 1e-3, "none"),
        (32, 1e-3, "zero"),
        (4, 1 / 30, "none"),
        (32, 1 / 30, "none"),
        (32, 1 / 30, "zero"),
    ]


def test_a_recipe_asked_twice_is_measured_once(few, calls):
    measured([RECIPES[0], RECIPES[0]], few)
    assert [recipe for recipe, _, _ in calls] == RECIPES[:1] * 3


def test_exits_that_keep_all_weights_go_in_one_pass_and_nothing_changes(few, monkeypatch):
    """At every rate: a shorter packet is hit where the longer one is, as far as both go."""
    exits = [Recipe(NAME, exit_, 1.0, bits) for bits in (32, 4) for exit_ in (2, 5, None, 3)]
    passes, accuracies = [], sweeping.accuracies
    spy = lambda *given: passes.append(1) or accuracies(*given)  # noqa: E731
    monkeypatch.setattr(sweeping, "accuracies", spy)
    together = measured(exits, few).rows
    assert len(passes) == (1 + 2 * 2 * 2) + (1 + 2 * 2)  # rates, guards and seeds of 32 and 4 bits
    alone = [row for recipe in exits for row in measured([recipe], few).rows]
    assert by_key(together) == by_key(alone)


def test_pruned_exits_share_no_pass(few):
    """Their masks are global over each sub-model."""
    pruned = [Recipe(NAME, exit_, 0.5) for exit_ in (1, 2)]
    jobs = sweeping.jobs_of(pruned, ((0.0,), ("none",), (0,)))
    assert [job.recipes for job in jobs] == [(Recipe(NAME, 1, 0.5),), (Recipe(NAME, 2, 0.5),)]


def test_mixed_exits_share_no_pass():
    """Their widths are allocated over each sub-model."""
    mixed = [Recipe(NAME, exit_, bits=3, mixed=True) for exit_ in (1, 2)]
    jobs = sweeping.jobs_of([*mixed, Recipe(NAME, 1, bits=3)], ((0.0,), ("none",), (0,)))
    assert [len(job.recipes) for job in jobs] == [1, 1, 1]


def test_recalibrated_exits_share_their_pass_with_each_other_only(few):
    again = [Recipe(NAME, exit_, bits=3, recalibrated=True) for exit_ in (1, 2)]
    jobs = list(sweeping.jobs_of([*again, Recipe(NAME, 1, bits=3)], ((0.0,), ("none",), (0,))))
    assert [len(job.recipes) for job in jobs] == [2, 1]
    apart = [sweeping.measure(replace(jobs[0], recipes=(recipe,)), few)[0] for recipe in again]
    assert sweeping.measure(jobs[0], few) == apart


def test_all_recipes_come_before_the_next_rate():
    jobs = sweeping.jobs_of(RECIPES, ((0.0, 1e-2, 1e-3), ("none", "zero"), (0,)))
    rates = [job.bit_error_rate for job in jobs]
    assert list(dict.fromkeys(rates)) == [0.0, 1e-2, 1e-3]
    assert rates == sorted(rates, key=[0.0, 1e-2, 1e-3].index)


def test_bfloat16_is_near(few):
    recipe = [Recipe(NAME, bits=4)]
    fine, coarse = (measured(recipe, few, bfloat16=b, seeds=(0,)).rows for b in (False, True))
    for a, b in zip(fine[:2], coarse[:2], strict=True):
        assert a.num_bits == b.num_bits
        assert abs(a.accuracy - b.accuracy) <= 0.1


def test_a_users_own_root(tiny, few):
    rows = measured([Recipe("tiny", keep=0.5, bits=b) for b in (2, 32)], few, root=tiny).rows
    assert len(rows) == 3 + 5
    assert {row.recipe.root for row in rows} == {"tiny"}


def test_the_grid_is_every_combination():
    grid = grids.grid(NAME, keeps=(1.0, 0.5), bits=(4, 32))
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


def test_a_mixed_recipe_without_a_sensitivity_is_refused_at_once(tiny, few, calls):
    mine = Recipe("tiny", bits=3, mixed=True)
    for own in (mine, Recipe("tiny", recalibrated=True)):
        with pytest.raises(ValueError, match=r"width .* norms; got tiny .*sensitivity=…, images=…"):
            measured([own], few, root=tiny)
    with pytest.raises(ValueError, match=r"sensitivity of 'tiny' must be measured"):
        measured([*RECIPES, mine], few)
    assert not calls


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
    count = len(calls)
    again = measured(RECIPES, few, path=path)
    assert len(calls) == count == len(first.rows)
    assert list(again.rows) == rounded(first.rows)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 3, 40, 250, 600])
def test_it_goes_on_where_it_was_cut_short(few, tmp_path, calls, cut):
    """Cut by so many bytes from the end: in the last line, before it, in an earlier row."""
    path = tmp_path / "rows.csv"
    measured(RECIPES, few, path=path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    calls.clear()
    rows = measured(RECIPES, few, path=path).rows
    assert path.read_bytes() == whole
    assert len(calls) == whole[: len(whole)].count(b"\n") - whole[:-cut].count(b"\n")
    assert by_key(rounded(rows)) == by_key(rounded(measured(RECIPES, few).rows))


NOTE = "# measured with: python\n"


@pytest.mark.parametrize(
    "begun", ["", "# meas", "root,exit,ke", NOTE, f"{NOTE}# half a no", f"{NOTE}root,exit,ke"]
)
def test_it_goes_on_from_a_file_that_was_hardly_begun(few, tmp_path, begun):
    path = tmp_path / "rows.csv"
    path.write_text(begun)
    rows = measured(RECIPES[:1], few, path=path).rows
    notes, _, _ = path.read_text().partition(HEADING)
    first, *others = notes.splitlines(keepends=True)
    assert (first == NOTE) == begun.startswith(NOTE)
    assert all(line.startswith("# ") for line in others)
    assert any(line.startswith(f"# weights of {NAME}: SHA-256 ") for line in (first, *others))
    with path.open() as file:
        assert list(read_rows(file).rows) == rounded(rows)


@pytest.mark.parametrize(
    "foreign",
    [
        b"my one line, without an end",
        b"my first line\nmy last one",
        b"# Title",
        b"# Title\n",
        b"# Title\n# and its last line",
        f"{HEADING}my first line\nmy last one".encode(),
        HEADING.strip().encode() + b",more",
        b"\x89PNG\xff\x00",
    ],
)
def test_a_file_of_another_is_refused_and_stays_as_it_is(few, tmp_path, calls, foreign):
    path = tmp_path / "rows.csv"
    path.write_bytes(foreign)
    with pytest.raises(ValueError, match=r"^path must be .*rows\.csv.* [Nn]ame another file\.$"):
        measured(RECIPES[:1], few, path=path)
    assert path.read_bytes() == foreign
    assert list(tmp_path.iterdir()) == [path]
    assert not calls


def test_a_path_that_cannot_be_a_file_is_refused_at_once(few, tmp_path, calls):
    lost = tmp_path / "no" / "rows.csv"
    with pytest.raises(ValueError, match=r"^path must be a file in a folder.*rows\.csv.* Make th"):
        measured(RECIPES[:1], few, path=lost)
    with pytest.raises(ValueError, match=r"^path must be a file; got the folder .* Name a file in"):
        measured(RECIPES[:1], few, path=tmp_path)
    with pytest.raises(ValueError, match=r"^path must be a file; got .*, which is a device\. Name"):
        measured(RECIPES[:1], few, path=os.devnull)
    assert not calls


def test_a_link_goes_on_pointing_to_the_file(few, tmp_path):
    path, link = tmp_path / "rows.csv", tmp_path / "link.csv"
    link.symlink_to(path)
    measured(RECIPES[:1], few, path=link)
    assert link.is_symlink()
    with path.open() as file:
        assert len(read_rows(file).rows) == 3


def test_replacing_the_file_touches_no_other(few, tmp_path):
    path, other = tmp_path / "rows.csv", tmp_path / "rows.part"
    other.write_text("mine")
    measured(RECIPES[:1], few, path=path)
    assert other.read_text() == "mine"


def test_what_was_measured_with_fewer_draws_is_replaced(few, tmp_path, calls):
    """More seeds are a better measurement; fewer are no reason for another."""
    path = tmp_path / "rows.csv"
    recipe = RECIPES[1]
    expected = measured([recipe], few, path=path).rows
    calls.clear()
    measured([recipe], few, path=path, seeds=(3,))
    assert not calls
    measured([recipe], few, path=path, seeds=(3, 4, 5))
    assert {(rate > 0) for _, rate, _ in calls} == {True}
    with path.open() as file:
        rows = read_rows(file).rows
    assert [(row.images, row.seeds) for row in rows] == [(40, 1)] + [(40, 3)] * 4
    assert rows[0] == rounded(expected)[0]


def test_rows_of_other_weights_images_or_seeds_are_refused(tiny, few, tmp_path):
    path, recipe = tmp_path / "rows.csv", Recipe("tiny", 1)
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 3
    one, two = (
        ImageSet(torch.randn(12, 1, 8, 8, generator=random), labels, ("a", "b", "c"))
        for _ in range(2)
    )
    trained = copy.deepcopy(tiny)
    next(trained.parameters()).mul_(-1.0)
    measured([recipe], one, root=tiny, path=path)
    before = path.read_bytes()
    for root, images, seeds, words in (
        (trained, one, (3, 4), r"says weights of tiny: SHA-256 \w+, and now it is SHA-256"),
        (tiny, two, (3, 4), "says 12 images: SHA-256"),
        (tiny, one, (7, 8), "says seeds of the channel: 3, 4, and now it is 7, 8. Name another"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            measured([recipe], images, root=root, path=path, seeds=seeds)
        assert "path must be a table that was measured under the same" in str(caught.value)
    assert path.read_bytes() == before
    assert len(measured([recipe], one, root=tiny, path=path, seeds=(3, 4, 5)).rows) == 5
    measured([Recipe(NAME, 1)], few, path=path, seeds=(3,))  # of another root, on other images


def test_other_images_are_measured_beside_what_is_there(few, tmp_path, calls):
    """Two sets are not equally hard: of each what was asked for is returned, and both are kept."""
    path = tmp_path / "rows.csv"
    less = load_data("digits", limit=30)
    before = measured(RECIPES, less, path=path).rows
    calls.clear()
    after = measured(RECIPES, few, path=path).rows
    assert rounded(after) == rounded(measured(RECIPES, few).rows)
    assert {row.images for row in after} == {40}
    calls.clear()
    assert by_key(measured(RECIPES, less, path=path).rows) == by_key(rounded(before))
    assert not calls
    with path.open() as file:
        assert set(read_rows(file).rows) == {*rounded(before), *rounded(after)}


def test_recipes_are_compared_on_one_set_of_images_and_drawn_on_the_largest(few, tmp_path):
    """No loss is read from one set to another; a stopped sweep leaves some channels only."""
    path = tmp_path / "rows.csv"
    first, second = RECIPES[:2]
    less = load_data("digits", limit=30)
    measured([first, second], less, path=path)
    more = partial(measured, [first], few, path=path)

    def kept(choice):
        with path.open() as file:
            rows = choice(read_rows(file).rows)
        return {(row.recipe, row.images) for row in rows}

    more(bit_error_rates=(0.0,))
    assert kept(comparable) == kept(finest) == {(first, 30), (second, 30)}
    more(bit_error_rates=(1e-3, 1 / 30))
    assert kept(comparable) == {(first, 30), (second, 30)}
    assert kept(finest) == {(first, 40), (second, 30)}
    measured([second], few, path=path)
    assert kept(comparable) == kept(finest) == {(first, 40), (second, 40)}
    assert comparable(()) == finest(()) == ()


def test_other_rates_are_added(few, tmp_path, calls):
    path = tmp_path / "rows.csv"
    measured(RECIPES[:1], few, path=path, bit_error_rates=(0.0, 1e-4))
    measured(RECIPES[:1], few, path=path)
    assert [rate for _, rate, _ in calls] == [0.0, 1e-4, 1e-3, 1 / 30]


def test_fewer_channels_than_the_file_holds_need_no_measurement(few, tmp_path, calls):
    path = tmp_path / "rows.csv"
    measured(RECIPES, few, path=path)
    before = path.read_bytes()
    rows = measured(RECIPES[:1], few, path=path, bit_error_rates=(0.0,)).rows
    assert {row.recipe for row in rows} == {RECIPES[0]}
    assert path.read_bytes() == before
    assert len(calls) == before.partition(HEADING.encode())[2].count(b"\n")


def test_recipes_that_were_not_asked_for_stay_in_the_file(few, tmp_path):
    """Nor does a finer grid for one recipe cost what is known of the others."""
    path = tmp_path / "rows.csv"
    measured(RECIPES, few, path=path)
    with path.open() as file:
        before = set(read_rows(file).rows)
    measured(RECIPES[:1], few, path=path, bit_error_rates=(0.0, 1e-4, 1e-3, 1e-2))
    with path.open() as file:
        after = set(read_rows(file).rows)
    assert before < after
    assert sum(r.recipe == RECIPES[0] for r in after) == 5


def test_what_is_done_when_it_fails_is_kept(few, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    measure = sweeping.measure

    def fails_on_the_last(job, *others):
        if RECIPES[-1] in job.recipes:
            raise PayloadError("a fault")
        return measure(job, *others)

    monkeypatch.setattr(sweeping, "measure", fails_on_the_last)
    with pytest.raises(PayloadError, match="a fault"):
        measured(RECIPES, few, path=path)
    with path.open() as file:
        assert {row.recipe for row in read_rows(file).rows} == set(RECIPES[:-1])


def test_progress_is_shown_and_can_be_silenced(few, capsys):
    sweep(RECIPES[:1], few, bit_error_rates=(0.0,))
    assert "row" in capsys.readouterr().err
    sweep(RECIPES[:1], few, bit_error_rates=(0.0,), progress=False)
    assert capsys.readouterr().err == ""


# On Dask


def test_dask_measures_the_same_rows_and_writes_the_same_file(few, tmp_path, monkeypatch):
    """One real worker process: what crosses to it and back must survive pickling."""
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    in_line = measured(RECIPES, few, path=here)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with local_client(1) as client:
        # With it a network takes 1.4 times as long: benchmarks/paper_scale.py.
        assert list(client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_").values()) == [None]
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


@pytest.fixture
def command(tmp_path, monkeypatch, few):
    """Runs the command on forty images and one recipe; gives the file."""
    monkeypatch.setattr(grids, "grid", lambda name, *_, **__: [Recipe(name, 1, 0.5, 4)])
    monkeypatch.setattr(grids, "mixed", lambda _: [])
    load = lambda name, limit=None: load_data(name, limit=limit or 40)  # noqa: E731
    monkeypatch.setattr(sweeping, "load_data", load)
    path = tmp_path / "rows.csv"

    def run(*options):
        sweeping.main([NAME, "--out", str(path), *options])
        with path.open() as file:
            return read_rows(file)

    run.path = path
    return run


def test_the_command_leaves_a_file_of_another(command):
    command.path.write_text("my one line")
    with pytest.raises(
        SystemExit, match=r"^path must be .*rows\.csv is another file.* Name another"
    ):
        command()
    assert command.path.read_text() == "my one line"


def test_the_command_writes_how_when_and_on_what(command):
    catalogue = command()
    assert catalogue.notes[0] == f"measured with: python -m insitu_widgets.network.sweep {NAME}"
    assert "images: 40 of 797 test images of digits, balanced over the classes" in catalogue.notes
    assert len(catalogue.rows) == len(grids.BIT_ERROR_RATES)
    before = command.path.read_bytes()
    command()
    assert command.path.read_bytes() == before


def test_the_command_takes_images_seeds_and_a_smaller_grid(command):
    catalogue = command("--grid", "planner", "--images", "30", "--seeds", "2", "--bfloat16")
    assert {(r.images, r.seeds) for r in catalogue.rows} == {(30, 1), (30, 2)}
    assert {r.bit_error_rate for r in catalogue.rows} == set(grids.PAPER_RATES)
    assert catalogue.notes[0].endswith(
        f"sweep {NAME} --grid planner --images 30 --seeds 2 --bfloat16"
    )
    assert "some rows were computed in bfloat16" in catalogue.notes
    assert "seeds of the channel: 0, 1" in catalogue.notes


def test_the_command_refuses_a_file_of_other_weights(command):
    command("--grid", "planner")
    text = command.path.read_text()
    command.path.write_text(text.replace("SHA-256 ", "SHA-256 0"))
    with pytest.raises(SystemExit, match=f"was measured on other weights of {NAME}. Delete it"):
        command()


# The grids


def test_the_grid_of_fig_3_is_each_level_alone():
    plan = grids.fig3(NAME)
    assert plan.images is None
    assert (plan.seeds, plan.bit_error_rates[:2]) == (5, (0.0, 1e-3))
    assert set(plan.bit_error_rates) == {0.0, 1e-5, 1e-4, 1e-3, 1e-2}
    depth = {Recipe(NAME, exit_) for exit_ in range(1, 7)}
    width = {Recipe(NAME, bits=bits) for bits in range(1, 9)}
    keeps = {Recipe(NAME, keep=keep) for keep in grids.KEEPS}
    mixed = {Recipe(NAME, bits=bits, mixed=True) for bits in (2, 3, 4)}
    assert depth | width | keeps | mixed <= set(plan.recipes)
    assert {recipe for recipe in plan.recipes if recipe.mixed} == mixed
    assert all(recipe.keep == 1.0 for recipe in set(plan.recipes) - keeps)  # they cost no pass
    assert len(plan.recipes) == 6 * 9 + 5 + 3


def test_a_choice_has_mixed_precision_and_all_in_one_weights_to_choose_from():
    for plan in (grids.full, grids.planner):
        mixed = [recipe for recipe in plan(NAME).recipes if recipe.mixed]
        assert {recipe.bits for recipe in mixed} == {2, 3, 4}
        assert {recipe.exit for recipe in mixed} == {1, 2, 3, 4, 5, None}
        nested = plan(f"{NAME}-nested").recipes
        assert {recipe.root for recipe in nested} == {f"{NAME}-nested"}
        assert {recipe.bits for recipe in nested if not recipe.mixed} == {2, 3, 4, 8}
    with pytest.raises(ValueError, match=r"root must be one of .*vgg-digits-nested.*got 'mine'"):
        grids.full("mine")


@pytest.mark.parametrize("name", grids.PLANS)
def test_every_grid_holds_the_whole_root_and_begins_without_errors(name):
    plan = grids.PLANS[name](NAME)
    assert Recipe(NAME) in plan.recipes
    assert plan.bit_error_rates[0] == 0.0
    assert len(set(plan.recipes)) == len(plan.recipes)
