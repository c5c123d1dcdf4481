import math
import re
from dataclasses import fields, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from insitu_widgets import PRESETS, ROOTS, Catalogue, Link, Measurement, Recipe, Situation, choose
from insitu_widgets.cards import Card
from insitu_widgets.levels.recipe import BITS, MIXED_BITS
from insitu_widgets.network.catalogue import load_catalogue
from insitu_widgets.network.permalink import from_query, to_query
from insitu_widgets.network.situation import (
    AS_IF,
    MOST_SEED,
    NUMBERS,
    broken_limit,
    candidates,
)
from insitu_widgets.units import quantity
from tests.conftest import DIGITS_ROOTS

GUARDS = ["none", "clamp", "zero"]


def limits(name):
    return NUMBERS[name].metadata["low"], NUMBERS[name].metadata["high"]


def spread(name):
    """Values over a field's whole range, as likely small as large."""
    low, high = limits(name)
    within = st.floats(low, high)
    if low > 0:
        logarithm = st.floats(math.log(low), math.log(high))
        within = within | logarithm.map(lambda x: min(max(math.exp(x), low), high))
    return within


def situations(**fixed):
    parts = {name: spread(name) for name in NUMBERS}
    return st.sampled_from(DIGITS_ROOTS).flatmap(
        lambda root: st.builds(
            Situation,
            **{
                "root": st.just(root),
                "guard": st.sampled_from(GUARDS),
                "seed": st.integers(0, MOST_SEED),
                "application": st.text(max_size=20),
                "recipe": st.none()
                | st.builds(
                    Recipe,
                    st.just(root),
                    st.integers(1, 6),
                    st.floats(0, 1, exclude_min=True),
                    st.sampled_from(BITS),
                )
                | st.builds(
                    Recipe,
                    st.sampled_from([root, f"{root}-nested"]),
                    st.integers(1, 6),
                    bits=st.sampled_from(MIXED_BITS),
                    mixed=st.booleans(),
                ),
                **parts,
                **fixed,
            },
        )
    )


# Situation


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_its_range_is_refused(name):
    low, high = limits(name)
    unit = NUMBERS[name].metadata["unit"]
    wrong = [low - 1e-6, math.nextafter(low, -1), math.nextafter(high, 1e99), high * 2]
    wrong += [math.nan, math.inf, -math.inf, 10**400, True, None, "1", [1.0], 1j]
    for value in wrong:
        with pytest.raises(ValueError, match=r"Give a value in that range\.$") as caught:
            Situation(**{name: value})
        text = str(caught.value)
        assert text.startswith(f"{name} must be a number from {low:g} to {high:g} {unit}".rstrip())
        assert f"got {value!r}" in text
    for value in (low, high):
        assert getattr(Situation(**{name: value}), name) == value


@pytest.mark.parametrize("value", ["resnet", "", None, 3, ["resnet-digits"], "resnet19-cifar100"])
def test_a_root_that_is_not_shipped_is_refused(value):
    with pytest.raises(ValueError, match=r"^root must be one of resnet-digits, .+; got .+ Choose"):
        Situation(root=value)


@pytest.mark.parametrize("value", ["clip", "", None, 0, "Clamp"])
def test_a_guard_that_does_not_exist_is_refused(value):
    with pytest.raises(ValueError, match=r"^guard must be one of none, clamp, zero; got .+ Choose"):
        Situation(guard=value)


@pytest.mark.parametrize("value", [-1, MOST_SEED + 1, 1.0, True, "1", None, math.nan, 10**400])
def test_a_seed_is_a_whole_number(value):
    with pytest.raises(
        ValueError, match=r"^seed must be a whole number from 0 to 1e\+09; got .+ Give"
    ):
        Situation(seed=value)


@pytest.mark.parametrize("value", [None, 3, b"phone"])
def test_an_application_is_text(value):
    with pytest.raises(ValueError, match=r"^application must be text; got .+ Give a name"):
        Situation(application=value)


@pytest.mark.parametrize("value", ["resnet-digits", 3, Recipe("vgg-digits"), Recipe("mine")])
def test_a_recipe_is_one_for_the_root(value):
    with pytest.raises(ValueError, match=r"^recipe must be a Recipe for .+'resnet-digits'.+ got "):
        Situation(recipe=value)


@pytest.mark.parametrize("value", ["resnet50", None, 1.0, "ViT"])
def test_a_size_to_take_is_one_of_the_papers_models(value):
    with pytest.raises(ValueError, match=r"^as_if must be one of , ResNet-50, .+; got .+ Choose"):
        Situation(as_if=value)


@pytest.mark.parametrize("name", AS_IF)
def test_another_size_changes_sizes_and_no_accuracy(name):
    """Every candidate is as many times larger; what was measured of it stays."""
    catalogue = load_catalogue("vgg-digits")
    plain, large = Situation(root="vgg-digits"), Situation(root="vgg-digits", as_if=name)
    assert large.scale == AS_IF[name] / ROOTS["vgg-digits"].parameters
    assert large.root_bits == pytest.approx(32 * AS_IF[name])
    rows = zip(candidates(plain, catalogue), candidates(large, catalogue), strict=True)
    for mine, theirs in rows:
        assert theirs == replace(mine, num_bits=round(mine.num_bits * large.scale))
    fast = replace(large, bandwidth_hz=1e10, memory_bytes=1e9, latency_s=1.0)
    decision = choose(fast, catalogue)
    assert decision.fits
    assert decision.expected.num_bits / fast.rate_bps < 1.0
    assert choose(large, catalogue).recipe is None


def test_a_root_of_ones_own_brings_its_card():
    card = Card("mine", "own", "own", 3, 1000, (10, 1000), (0.5, 0.6))
    mine = Situation(root="mine", own=card)
    assert (mine.card, mine.root_bits) == (card, 32_000)
    assert from_query(to_query(mine), card) == (mine, ())
    assert from_query("", card)[0] == mine
    assert from_query("root=vgg-digits", card)[0] == Situation(root="vgg-digits")
    (problem,) = from_query(to_query(mine))[1]
    assert "root model (root=mine) must be one of resnet-digits, " in problem
    with pytest.raises(ValueError, match="root must be one of mine; got 'resnet-digits'"):
        Situation(own=card)


def test_the_rate_is_bandwidth_times_efficiency():
    situation = Situation(bandwidth_hz=1e6, spectral_efficiency_bps_hz=2.5, delay_s=0.125)
    assert situation.rate_bps == 2.5e6
    assert situation.link == Link(2.5e6, 0.125, situation.bit_error_rate)


@given(situations())
def test_it_is_a_value(situation):
    assert replace(situation) == situation
    assert len({situation, replace(situation)}) == 1
    assert all(isinstance(getattr(situation, name), float) for name in NUMBERS)
    with pytest.raises(AttributeError):
        situation.guard = "none"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_documented_and_served(name):
    preset = PRESETS[name]
    assert len(preset.application) > 20
    assert choose(preset, load_catalogue(preset.root)).fits


def test_the_presets_tell_different_stories():
    decisions = [choose(preset, load_catalogue(preset.root)) for preset in PRESETS.values()]
    assert len({decision.recipe for decision in decisions}) > 2
    assert {decision.binding for decision in decisions} == {"none", "latency", "memory"}


def test_a_recipe_of_another_root_says_what_to_change():
    with pytest.raises(ValueError, match=r"recipe of resnet-digits, or set root to vgg-digits\.$"):
        Situation(recipe=Recipe("vgg-digits"))


def test_a_recipe_of_the_all_in_one_root_is_one_of_the_roots():
    nested = Recipe("vgg-digits-nested", 3, 0.2, 3, mixed=True)
    assert Situation(root="vgg-digits", recipe=nested).recipe == nested
    with pytest.raises(ValueError, match=r"for the situation's root 'resnet-digits'.*or none\.$"):
        Situation(recipe=nested)
    text = "recipe=vgg-digits-nested+·+exit+3+·+keep+20+%25+·+3+bit+mixed"
    assert from_query(f"root=vgg-digits&{text}")[0].recipe == nested


# The choice


@pytest.mark.parametrize(
    "better",
    [
        Recipe("vgg-digits", 3, bits=3, mixed=True),
        Recipe("vgg-digits", 3, 0.5, bits=3, mixed=True),
        Recipe("vgg-digits-nested", 3, bits=3),
        Recipe("vgg-digits-nested", 3, 0.2, bits=2, mixed=True),
    ],
)
def test_mixed_and_all_in_one_sub_models_are_chosen_where_they_are_better(better):
    """Of the same size and more accurate, or as accurate and smaller."""
    plain = Measurement(
        Recipe("vgg-digits", 3, bits=3), 0.0, "none", 80_000, 900, 0.8, 0.7, 0.9, 797, 1
    )
    situation = Situation(root="vgg-digits", bit_error_rate=0.0)
    for other in (
        replace(plain, recipe=better, accuracy=0.9),
        replace(plain, recipe=better, num_bits=79_999),
    ):
        decision = choose(situation, Catalogue([plain, other]))
        assert decision.recipe == better
        assert decision.expected == other
        assert decision.feasible == {plain.recipe, better}
        assert "fits" in decision.reasons[plain.recipe]
        scarce = replace(situation, memory_bytes=1e4 - 1 / 16)
        assert (choose(scarce, Catalogue([plain, other])).recipe == better) == (
            other.num_bits < plain.num_bits
        )
    asked = replace(situation, recipe=better)
    assert choose(asked, Catalogue([plain, other])).expected == other


def test_another_roots_all_in_one_weights_are_no_candidates():
    row = Measurement(Recipe("vgg-digits-nested"), 0.0, "none", 80, 9, 0.8, 0.7, 0.9, 797, 1)
    with pytest.raises(ValueError, match="catalogue must hold measurements of 'resnet-digits'"):
        choose(Situation(bit_error_rate=0.0), Catalogue([row]))


def fits(situation, row):
    """The two limits, written out."""
    time_s = situation.delay_s + row.num_bits / situation.rate_bps
    return time_s <= situation.latency_s and row.num_bits <= 8 * situation.memory_bytes


def by_the_network(**fixed):
    return situations(recipe=st.none(), **fixed)


@given(by_the_network())
@settings(max_examples=100)
def test_the_choice_never_breaks_a_limit_and_is_the_best_of_what_fits(situation):
    """The oracle: every row of the catalogue, looked at one by one."""
    catalogue = load_catalogue(situation.root)
    decision = choose(situation, catalogue)
    recipes = {row.recipe for row in catalogue.rows}
    measured = [
        catalogue.find(recipe, situation.bit_error_rate, situation.guard) for recipe in recipes
    ]
    feasible = [row for row in measured if fits(situation, row)]
    assert decision.feasible == {row.recipe for row in feasible}
    assert decision.fits == bool(feasible) == (decision.recipe is not None)
    if not feasible:
        assert (decision.recipe, decision.expected) == (None, None)
        return
    chosen = decision.expected
    assert chosen.recipe == decision.recipe
    assert fits(situation, chosen)
    best = max(row.accuracy for row in feasible)
    assert chosen.accuracy == best
    assert chosen.num_bits == min(row.num_bits for row in feasible if row.accuracy == best)


@given(situations())
@settings(max_examples=60)
def test_every_other_candidate_gets_a_true_reason(situation):
    catalogue = load_catalogue(situation.root)
    decision = choose(situation, catalogue)
    assert set(decision.reasons) == {row.recipe for row in catalogue.rows} - {decision.recipe}
    for recipe, reason in decision.reasons.items():
        row = catalogue.find(recipe, situation.bit_error_rate, situation.guard)
        late = situation.link.time_s(row.num_bits) > situation.latency_s
        assert ("arrive after" in reason) == late
        assert ("fits" in reason) == fits(situation, row)
        assert (
            late or fits(situation, row) or f"takes {quantity(row.num_bits / 8, 'B', 4)}" in reason
        )
        if decision.expected and fits(situation, row):
            gap = 100 * (decision.expected.accuracy - row.accuracy)
            assert ("less accurate" in reason) == (gap > 0)
            assert ("more accurate" in reason) == (gap < 0)
            stated = re.search(r"([\d.]+) points", reason)
            assert (float(stated[1]) if stated else 0) == pytest.approx(abs(gap), abs=0.00501)
            assert bool(stated and float(stated[1])) == (gap != 0)


@given(by_the_network())
@settings(max_examples=100)
def test_the_binding_limit_is_what_keeps_the_next_better_out(situation):
    catalogue = load_catalogue(situation.root)
    decision = choose(situation, catalogue)
    rows = {
        recipe: catalogue.find(recipe, situation.bit_error_rate, situation.guard)
        for recipe in {*decision.reasons, *decision.feasible}
    }
    floor = decision.expected.accuracy if decision.expected else -1
    better = [row for row in rows.values() if row.accuracy > floor and not fits(situation, row)]
    if not better:
        assert (decision.binding, decision.next_better) == ("none", None)
        return
    following = rows[decision.next_better]
    assert following in better
    assert following.num_bits == min(row.num_bits for row in better)
    assert decision.binding == broken_limit(situation, following.num_bits)
    without = {"latency": {"latency_s": 10.0, "delay_s": 0.0}, "memory": {"memory_bytes": 1e9}}
    relaxed = replace(situation, **without[decision.binding])
    if decision.binding == "latency":
        assume(following.num_bits / situation.rate_bps <= 10)
    assert broken_limit(relaxed, following.num_bits) != decision.binding


def test_a_looser_limit_never_makes_it_worse():
    catalogue = load_catalogue("resnet-digits")
    previous = -1.0
    for latency_s in (0.001, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 10.0):
        situation = Situation(latency_s=latency_s, bandwidth_hz=1e6, delay_s=0.0)
        expected = choose(situation, catalogue).expected
        accuracy = expected.accuracy if expected else -1.0
        assert accuracy >= previous
        previous = accuracy
    assert previous > 0.95


# Nothing fits

scarce = {
    "bandwidth_hz": st.floats(1e3, 1e5),
    "spectral_efficiency_bps_hz": st.floats(0.1, 2.0),
    "memory_bytes": st.floats(1e3, 3e4),
    "latency_s": st.floats(1e-3, 2.0),
    "delay_s": st.floats(0.0, 2.0),
}
PREFIXES = {"": 1.0, "µ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def asked(before, unit, remedy):
    """The quantity that stands between the words ``before`` and its unit, in SI."""
    found = re.search(rf"{before} ([\d.]+(?:e[+-]?\d+)?) ([µmkMGT]?){unit} \(now", remedy)
    return float(found[1]) * PREFIXES[found[2]] * (1 + 1e-12) if found else None


@given(by_the_network(**scarce))
@settings(max_examples=120)
def test_whoever_does_what_the_remedy_says_is_served(situation):
    catalogue = load_catalogue(situation.root)
    decision = choose(situation, catalogue)
    assert (decision.remedy == "") == bool(decision.feasible)
    assume(decision.remedy)
    budget = asked("latency budget of", "s", decision.remedy)
    rate = asked("rate of", "bit/s", decision.remedy)
    memory = asked("(?:needs|and)", "B of memory", decision.remedy)
    rows = [catalogue.find(r, situation.bit_error_rate, situation.guard) for r in decision.reasons]
    smallest = min(row.num_bits for row in rows)
    named = [row.num_bits for row in rows if f"({row.recipe})" in decision.remedy]
    assert named == [smallest]
    assert (budget is not None) == (situation.link.time_s(smallest) > situation.latency_s)
    assert (memory is not None) == (smallest / 8 > situation.memory_bytes)
    roomy = {} if memory is None else {"memory_bytes": memory}
    if budget is not None:
        assert f"(now {quantity(situation.latency_s, 's')})" in decision.remedy
        left = situation.latency_s - situation.delay_s
        assert (rate is None) == (left <= 0) == ("the delay alone takes" in decision.remedy)
    if budget is None or budget <= 10:
        patient = {} if budget is None else {"latency_s": budget}
        assert choose(replace(situation, **roomy, **patient), catalogue).fits
    if rate is not None and rate <= 1e12 and situation.latency_s - situation.delay_s > 1e-9:
        faster = {"bandwidth_hz": rate / 100, "spectral_efficiency_bps_hz": 100.0}
        assume(1e3 <= rate / 100 <= 1e10)
        assert choose(replace(situation, **roomy, **faster), catalogue).fits


def test_the_remedy_names_what_is_there_and_what_is_needed():
    rows = [Measurement(Recipe("resnet-digits", 1), 0.0, "none", 80_000, 1, 0.9, 0.8, 1.0, 9, 1)]
    poor = Situation(
        bandwidth_hz=1e5,
        spectral_efficiency_bps_hz=1.0,
        latency_s=0.1,
        delay_s=0.05,
        memory_bytes=2e3,
        bit_error_rate=0.0,
        guard="none",
    )
    decision = choose(poor, Catalogue(rows))
    assert (decision.recipe, decision.fits, decision.binding) == (None, False, "latency")
    assert decision.remedy == (
        "Even the smallest sub-model (resnet-digits · exit 1 · keep 100 % · 32 bit) needs "
        "a latency budget of 851 ms (now 100 ms), or a rate of 1.61 Mbit/s (now 100 kbit/s), "
        "and 10 kB of memory (now 2 kB)."
    )


# By hand


@given(situations(recipe=st.none()), st.data())
def test_a_recipe_asked_for_by_hand_is_judged_alone(situation, data):
    catalogue = load_catalogue(situation.root)
    recipes = sorted({row.recipe for row in catalogue.rows})
    asked_for = data.draw(st.sampled_from(recipes))
    decision = choose(replace(situation, recipe=asked_for), catalogue)
    row = catalogue.find(asked_for, situation.bit_error_rate, situation.guard)
    assert (decision.recipe, decision.expected) == (asked_for, row)
    assert decision.fits == fits(situation, row)
    if not decision.fits:
        assert decision.binding == broken_limit(situation, row.num_bits)
    assert asked_for not in decision.reasons


def test_a_recipe_that_was_never_measured_has_no_expectation():
    recipe = Recipe("resnet-digits", 2, 0.123, 5)
    decision = choose(Situation(recipe=recipe), load_catalogue("resnet-digits"))
    assert (decision.recipe, decision.expected) == (recipe, None)


def test_a_catalogue_of_another_root_is_refused():
    with pytest.raises(
        ValueError, match=r"catalogue must hold .+'vgg-digits' at .+; it holds none. Make"
    ):
        choose(Situation(root="vgg-digits"), load_catalogue("resnet-digits"))


def test_every_field_is_covered_here():
    named = {"root", "guard", "seed", "application", "recipe", "as_if", "own", *NUMBERS}
    assert {item.name for item in fields(Situation)} == named
