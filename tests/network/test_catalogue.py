import hashlib
import io
import random
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import (
    ROOTS,
    Catalogue,
    Link,
    Measurement,
    Recipe,
    derive,
    load_catalogue,
    load_root,
    pack,
    transmit,
    unpack,
)
from insitu_widgets import accuracy as stream
from insitu_widgets.air.channel import GUARDS
from insitu_widgets.cards import NESTED_SUFFIX
from insitu_widgets.levels.recipe import BITS, MIXED_BITS
from insitu_widgets.network import catalogue as catalogues
from insitu_widgets.network import grids
from insitu_widgets.network.catalogue import COLUMNS, read_rows, write_rows
from insitu_widgets.network.catalogue import shipped as shipped_roots
from tests.conftest import DIGITS_ROOTS

HEADING = ",".join(COLUMNS)
GOOD = "resnet-digits,3,0.2,16,0.001,clamp,12345,678,0.9,0.8,0.95,797,5"


def row(recipe, error_rate=0.0, guard="none", accuracy=0.9):
    return Measurement(recipe, error_rate, guard, 1000, 100, accuracy, 0.8, 1.0, 797, 5)


def written(rows):
    file = io.StringIO()
    write_rows(rows, file)
    return file.getvalue()


# Written and read

six_digits = st.integers(0, 10**6).map(lambda n: n / 10**6)
measurements = st.builds(
    Measurement,
    st.builds(
        Recipe,
        st.sampled_from([*DIGITS_ROOTS, "mine, with a comma", 'mine "quoted"']),
        st.none() | st.integers(1, 6),
        st.floats(0, 1, exclude_min=True),
        st.sampled_from(BITS),
    )
    | st.builds(
        Recipe,
        st.sampled_from(["resnet-digits", "mine, with a comma", "vgg-digits-nested"]),
        bits=st.sampled_from(MIXED_BITS),
        mixed=st.just(True),
        recalibrated=st.booleans(),
    )
    | st.builds(
        Recipe,
        st.just("vgg-digits"),
        bits=st.sampled_from(BITS),
        recalibrated=st.just(True),
    ),
    st.just(0.0) | st.floats(1e-12, 0.5),
    st.sampled_from(GUARDS),
    st.integers(1, 10**12),
    st.integers(1, 10**9),
    six_digits,
    six_digits,
    six_digits,
    st.integers(1, 10**6),
    st.integers(1, 99),
)


@given(st.lists(measurements, max_size=8), st.lists(st.sampled_from(["a note", "ü: 1,2"])))
def test_what_is_written_is_read_back(rows, notes):
    """Keys to the last digit; accuracies have six."""
    text = "".join(f"# {note}\n" for note in notes) + HEADING + "\n" + written(rows)
    catalogue = read_rows(io.StringIO(text))
    assert catalogue.rows == tuple(rows)
    assert catalogue.notes == tuple(notes)
    assert written(catalogue.rows) == written(rows)


def test_a_row_reads_like_this():
    recipe = Recipe("resnet-digits", 3, 0.2, 16)
    expected = Measurement(recipe, 1e-3, "clamp", 12345, 678, 0.9, 0.8, 0.95, 797, 5)
    assert read_rows([HEADING, GOOD]).rows == (expected,)
    assert written([expected]) == GOOD + "\n"
    mixed = replace(expected, recipe=Recipe("resnet-digits", 3, 0.2, 3, mixed=True), guard="none")
    line = GOOD.replace(",16,", ",3 mixed,").replace("clamp", "none")
    assert read_rows([HEADING, line]).rows == (mixed,)
    assert written([mixed]) == line + "\n"
    again = replace(mixed, recipe=replace(mixed.recipe, recalibrated=True))
    line = line.replace(" mixed,", " mixed recalibrated,")
    assert read_rows([HEADING, line]).rows == (again,)
    assert written([again]) == line + "\n"


@pytest.mark.parametrize(
    "heading", [None, "", GOOD, HEADING + ",more", HEADING.replace("bits,", "")]
)
def test_a_heading_of_something_else_is_refused(heading):
    lines = ["# a note\n", *([] if heading is None else [heading])]
    with pytest.raises(ValueError, match=r"^heading must be root,exit,.+; got .* Measure it anew"):
        read_rows(lines)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "resnet-digits",
        GOOD + ",7",
        GOOD.replace(",5", ""),
        GOOD.replace("0.2", "a fifth"),
        GOOD.replace("0.2", "1.5"),
        GOOD.replace(",3,", ",9,"),
        GOOD.replace(",16,", ",9,"),
        GOOD.replace(",16,", ",16 mixed,"),
        GOOD.replace(",16,", ",3 mix,"),
        GOOD.replace("12345", ""),
        GOOD.replace("797", "79.7"),
        GOOD.replace("0.001", "-0.001"),
        GOOD.replace("0.001", "0.6"),
        GOOD.replace("0.001", "nan"),
        GOOD.replace("clamp", "foo"),
        GOOD.replace("12345", "-12345"),
        GOOD.replace("12345", "0"),
        GOOD.replace("678", "-1"),
        GOOD.replace("0.9,", "nan,"),
        GOOD.replace("0.9,", "3.5,"),
        GOOD.replace("0.8", "-0.1"),
        GOOD.replace("0.95", "inf"),
        GOOD.replace("797", "0"),
        GOOD.removesuffix("5") + "-5",
    ],
)
def test_a_bad_row_is_refused_with_its_line(bad):
    with pytest.raises(ValueError, match=r"^line 5 must .+ Measure it anew\.$"):
        read_rows(["# one\n", "# two\n", HEADING + "\n", GOOD + "\n", bad + "\n"])


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        (
            {"accuracy": float("nan")},
            ValueError,
            r"^accuracy must be a number from 0 to 1; got nan",
        ),
        ({"bit_error_rate": 0.9}, ValueError, r"^bit_error_rate must be a number from 0 to 0\.5"),
        (
            {"num_bits": 10.5},
            ValueError,
            r"^num_bits must be a whole number from 1 to .+; got 10\.5",
        ),
        ({"seeds": True}, ValueError, r"^seeds must be a whole number"),
        ({"guard": "foo"}, ValueError, r"^guard must be one of none, clamp, zero; got 'foo'"),
        ({"recipe": "vgg-digits"}, TypeError, r"^recipe must be of type Recipe; got 'vgg-digits'"),
    ],
)
def test_a_measurement_that_cannot_be_is_refused(changed, error, sentence):
    with pytest.raises(error, match=sentence):
        replace(row(FLOATS), **changed)


def test_a_measurement_may_hold_numpys_numbers():
    found = replace(row(FLOATS), accuracy=np.float32(0.5), num_bits=np.int64(80), lowest=0)
    assert (found.accuracy, found.num_bits, found.lowest) == (0.5, 80, 0)


# Found

FLOATS, CODES = Recipe("resnet-digits", 1), Recipe("resnet-digits", 2, bits=4)


@pytest.fixture
def catalogue():
    rates = (1e-3, 1e-5)  # out of order on purpose
    rows = [row(FLOATS), row(CODES)]
    rows += [row(FLOATS, r, guard) for r, guard in product(rates, GUARDS)]
    rows += [row(CODES, r) for r in rates]
    return Catalogue(rows)


@pytest.mark.parametrize("guard", GUARDS)
def test_a_curve_ascends_and_begins_without_errors(catalogue, guard):
    floats = catalogue.curve(FLOATS, guard)
    assert [r.bit_error_rate for r in floats] == [0.0, 1e-5, 1e-3]
    assert [r.guard for r in floats] == ["none", guard, guard]


@pytest.mark.parametrize("guard", GUARDS)
def test_codes_know_no_guard(catalogue, guard):
    assert catalogue.curve(CODES, guard) == catalogue.curve(CODES, "none")
    assert catalogue.find(CODES, 1e-3, guard).guard == "none"


def test_found_is_the_same_rate_or_the_next_higher(catalogue):
    rates = {0.0: 0.0, 1e-9: 1e-5, 1e-5: 1e-5, 1.0001e-5: 1e-3, 5e-4: 1e-3, 1e-3: 1e-3}
    for asked, found in rates.items():
        assert catalogue.find(FLOATS, asked, "zero").bit_error_rate == found
    assert catalogue.find(FLOATS, 1e-5 * (1 + 1e-12), "zero").bit_error_rate == 1e-5
    assert catalogue.find(FLOATS, 1.1e-3, "zero") is None


def test_what_was_not_measured_is_not_found(catalogue):
    other = Recipe("resnet-digits", 5)
    assert catalogue.curve(other, "none") == ()
    assert catalogue.find(other, 0.0, "none") is None
    assert catalogue.at("vgg-digits", 0.0, "none") == ()


def test_a_guard_never_borrows_the_unguarded_rows_with_errors():
    """Measured without a row at bit-error rate 0, the first row of "none" is no guard's."""
    only = Catalogue([row(FLOATS, 1e-3, "none"), row(FLOATS, 1e-3, "clamp")])
    assert [r.guard for r in only.curve(FLOATS, "clamp")] == ["clamp"]
    assert only.find(FLOATS, 0.0, "clamp").guard == "clamp"
    assert only.find(FLOATS, 0.0, "zero") is None


def test_without_errors_every_guard_is_known():
    clean = Catalogue([row(FLOATS)])
    for guard in GUARDS:
        assert clean.find(FLOATS, 0.0, guard) == row(FLOATS)
        assert clean.find(FLOATS, 1e-9, guard) is None


def test_at_finds_every_recipe_of_a_root_once(catalogue):
    rows = catalogue.at("resnet-digits", 1e-4, "clamp")
    assert [(r.recipe, r.guard) for r in rows] == [(FLOATS, "clamp"), (CODES, "none")]
    assert {r.bit_error_rate for r in rows} == {1e-3}


# Shipped


@pytest.fixture(scope="module", params=DIGITS_ROOTS)
def shipped(request):
    return request.param, load_catalogue(request.param)


@pytest.fixture(params=[name for name in shipped_roots() if name not in DIGITS_ROOTS])
def large(request):
    return request.param, load_catalogue(request.param)


def test_every_digits_root_has_its_catalogue():
    assert [name for name in shipped_roots() if name in DIGITS_ROOTS] == DIGITS_ROOTS


def test_the_catalogue_of_a_photo_root_says_how_it_was_measured(large):
    """Each row says on how many images and draws; sizes and error-free accuracies are the root's"""
    name, catalogue = large
    command = f"measured with: python -m insitu_widgets.network.sweep {name} --grid "
    assert f"{command}planner --bfloat16" in catalogue.notes
    assert f"{command}fig3 --images 10000 --seeds 5 --bfloat16" in catalogue.notes
    weights = (files("insitu_widgets") / "weights" / f"{name}.safetensors").read_bytes()
    assert f"weights: SHA-256 {hashlib.sha256(weights).hexdigest()}" in catalogue.notes
    for r in catalogue.rows:
        assert 0 <= r.lowest <= r.accuracy + 1e-6 <= r.highest + 2e-6 <= 1 + 2e-6
        assert 100 <= r.images <= 10_000
        assert r.seeds == 1 if r.bit_error_rate == 0 else r.seeds >= 1
    whole = catalogue.find(Recipe(name), 0.0, "none")
    margin = 4 * (0.25 / whole.images) ** 0.5 if whole.images < 10_000 else 0.003
    assert abs(whole.accuracy - ROOTS[name].accuracy[-1]) < margin
    root = load_root(name)
    for recipe in random.Random(0).sample(sorted({r.recipe for r in catalogue.rows}), 3):
        submodel = derive(root, recipe)
        found = catalogue.curve(recipe, "none")[0]
        assert found.num_bits == pack(submodel).num_bits
        assert found.num_parameters == submodel.num_parameters


def test_a_root_without_a_catalogue_is_refused():
    with pytest.raises(ValueError, match=r"^root must be one of resnet-digits, .+; got 'mine'"):
        load_catalogue("mine")


def counted(rows):
    return Counter((r.recipe, r.bit_error_rate, r.guard) for r in rows)


def everywhere(recipes):
    """Every recipe at every rate behind every guard that acts on it."""
    expected = Counter()
    for recipe, rate in product(recipes, grids.BIT_ERROR_RATES):
        guards = GUARDS if recipe.bits > 8 and rate > 0 else ("none",)
        expected.update((recipe, rate, guard) for guard in guards)
    return expected


def test_every_recipe_is_there_at_every_rate_behind_every_guard(shipped):
    name, catalogue = shipped
    uniform = [r for r in catalogue.rows if r.recipe.root == name and not r.recipe.mixed]
    assert counted(uniform) == everywhere(grids.grid(name))
    assert len(grids.grid(name)) == 6 * 6 * 10


def test_every_mixed_recipe_is_there_at_every_rate(shipped):
    name, catalogue = shipped
    found = [r for r in catalogue.rows if r.recipe.root == name and r.recipe.mixed]
    if not found:
        pytest.skip(f"no mixed rows are shipped: python -m insitu_widgets.network.sweep {name}")
    assert counted(found) == everywhere(grids.mixed(name))


def test_every_sub_model_of_the_all_in_one_root_is_there_at_every_rate(shipped):
    name, catalogue = shipped
    nested = name + NESTED_SUFFIX
    found = [r for r in catalogue.rows if r.recipe.root == nested]
    if not found:
        pytest.skip(f"no rows of it are shipped: python -m insitu_widgets.network.sweep {nested}")
    assert counted(found) == everywhere(grids.full(nested).recipes)
    assert load_catalogue(nested).rows == tuple(found)
    weights = (files("insitu_widgets") / "weights" / f"{nested}.safetensors").read_bytes()
    assert f"weights: SHA-256 {hashlib.sha256(weights).hexdigest()}" in catalogue.notes


def test_rows_of_the_all_in_one_root_come_with_the_roots(tmp_path, monkeypatch):
    folder = tmp_path / "catalogue"
    folder.mkdir()
    for name in ("vgg-digits", "vgg-digits-nested"):
        line = GOOD.replace("resnet-digits", name)
        (folder / f"{name}.csv").write_text(f"# of {name}\n{HEADING}\n{line}\n")
    monkeypatch.setattr(catalogues, "files", lambda _: tmp_path)
    both = load_catalogue.__wrapped__("vgg-digits")
    assert [r.recipe.root for r in both.rows] == ["vgg-digits", "vgg-digits-nested"]
    assert both.notes == ("of vgg-digits", "of vgg-digits-nested")
    alone = load_catalogue.__wrapped__("vgg-digits-nested")
    assert alone.rows == both.rows[1:]
    assert [r.recipe.root for r in both.at("vgg-digits", 0.001, "clamp")] == ["vgg-digits"]


def test_it_says_how_when_and_on_what_it_was_measured(shipped):
    name, catalogue = shipped
    assert f"measured with: python -m insitu_widgets.network.sweep {name}" in catalogue.notes
    assert any(note.startswith("begun: 20") for note in catalogue.notes)
    assert "images: all 797 test images of digits" in catalogue.notes
    digest = next(note for note in catalogue.notes if note.startswith("weights: SHA-256 "))
    weights = (files("insitu_widgets") / "weights" / f"{name}.safetensors").read_bytes()
    assert digest.split()[-1] == hashlib.sha256(weights).hexdigest()


def test_every_row_is_plausible(shipped):
    for r in shipped[1].rows:
        assert 0 <= r.lowest <= r.accuracy + 1e-6
        assert r.accuracy <= r.highest + 1e-6
        assert r.highest <= 1
        assert (r.images, r.seeds) == (797, 5 if r.bit_error_rate else 1)
        assert r.num_bits > r.num_parameters  # at least one bit each


def sample(name, count, seed=0):
    whole = Recipe(name)
    return [whole, *random.Random(seed).sample(grids.grid(name), count)]


def test_sizes_are_those_of_packets_derived_afresh(shipped, roots):
    name, catalogue = shipped
    for recipe in sample(name, 25):
        submodel = derive(roots[name], recipe)
        for r in catalogue.curve(recipe, "clamp"):
            assert (r.num_bits, r.num_parameters) == (
                pack(submodel).num_bits,
                submodel.num_parameters,
            )


def test_accuracy_without_errors_is_that_of_a_fresh_measurement(shipped, roots, digits):
    """To the last digit stored."""
    name, catalogue = shipped
    for recipe in sample(name, 5, seed=1):
        found = catalogue.find(recipe, 0.0, "none")
        submodel, _ = unpack(pack(derive(roots[name], recipe)))
        *_, last = stream(submodel, digits, batch=200)
        assert f"{found.accuracy:.6g}" == f"{last.accuracy:.6g}"
        assert f"{found.lowest:.6g} {found.highest:.6g}" == f"{last.low:.6g} {last.high:.6g}"
    assert catalogue.find(Recipe(name), 0.0, "none").accuracy == ROOTS[name].accuracy[-1]


@pytest.mark.parametrize("channel", [(4, "none", 1e-2), (32, "clamp", 1e-4)])
def test_accuracy_with_errors_is_reproduced_from_its_seeds(shipped, roots, digits, channel):
    name, catalogue = shipped
    bits, guard, rate = channel
    recipe = Recipe(name, 2, 0.5, bits)
    packet = pack(derive(roots[name], recipe))
    shares = []
    for seed in grids.SEEDS:
        arrived = transmit(packet, Link(1.0, bit_error_rate=rate), seed)
        *_, last = stream(unpack(arrived, guard)[0], digits, batch=400)
        shares.append(last.accuracy)
    found = catalogue.find(recipe, rate, guard)
    measured = (sum(shares) / len(shares), min(shares), max(shares))
    stored = (found.accuracy, found.lowest, found.highest)
    assert [f"{v:.6g}" for v in stored] == [f"{v:.6g}" for v in measured]


# Bits on the air, over the whole grid of every shipped root


@pytest.fixture(scope="module")
def sizes(shipped):
    return {r.recipe: r.num_bits for r in shipped[1].rows}


def rises(sizes, name, field, values):
    """Recipe, next value -> by how many bits the packet grows."""
    others = {"exit": range(1, 7), "keep": grids.KEEPS, "bits": BITS} | {field: [None]}
    found = {}
    for cut in product(*others.values()):
        fixed = dict(zip(others, cut, strict=True))
        for low, high in pairwise(sorted(values)):
            small, large = (Recipe(name, **(fixed | {field: v})) for v in (low, high))
            found[small, high] = sizes[large] - sizes[small]
    return found


def test_bits_on_the_air_grow_with_the_exit(shipped, sizes):
    assert min(rises(sizes, shipped[0], "exit", range(1, 7)).values()) > 0


def test_bits_on_the_air_grow_with_what_is_kept_of_a_pruned_model(shipped, sizes):
    pruned = [keep for keep in grids.KEEPS if keep < 1]
    assert min(rises(sizes, shipped[0], "keep", pruned).values()) > 0


def test_pruning_pays_once_the_mask_costs_less_than_it_saves(shipped, sizes):
    """A bitmap costs one bit a weight: half of the weights at 1 or 2 bits cost more than all."""
    name, _ = shipped
    dearer = {
        (keep, bits)
        for exit_, keep, bits in product(range(1, 7), grids.KEEPS, BITS)
        if keep < 1
        and sizes[Recipe(name, exit_, keep, bits)] >= sizes[Recipe(name, exit_, 1, bits)]
    }
    assert {(0.5, 1), (0.3, 1)} <= dearer <= {(0.5, 1), (0.3, 1), (0.5, 2)}


def test_bits_on_the_air_grow_with_the_bits_of_a_weight(shipped, sizes):
    """But from 8 to 16 bits a scale a channel gives way to a range a layer.

    A scale costs 32 bits, a range 64: where fewer than 4 weights a channel are left, 16 bits are
    the shorter packet. Only the smallest sub-models of the VGG, some hundred bytes, are so small.
    """
    name, _ = shipped
    growth = rises(sizes, name, "bits", BITS)
    shrinks = {
        (recipe.exit, recipe.keep, recipe.bits) for (recipe, _), rise in growth.items() if rise <= 0
    }
    tiny = {(1, 0.05, 8), (1, 0.1, 8), (1, 0.2, 8), (1, 0.3, 8), (2, 0.05, 8)}
    assert shrinks == (tiny if name == "vgg-digits" else set())


def test_from_8_to_16_bits_the_packet_grows_by_the_weights_less_the_scales(shipped, sizes, roots):
    name, _ = shipped
    for recipe, exit_, keep in [(Recipe(name, e, k, 8), e, k) for e in (1, 3) for k in (1.0, 0.05)]:
        submodel = derive(roots[name], recipe)
        channels = sum(layer.mask.shape[0] for layer in submodel.layers)
        growth = 8 * submodel.num_weights + 64 * len(submodel.layers) - 32 * channels
        assert sizes[Recipe(name, exit_, keep, 16)] - sizes[recipe] == growth
