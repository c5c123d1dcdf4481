"""Rate-centric and task-oriented networks: limits kept, gains real, bodies counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu_widgets.air.payload import pack
from insitu_widgets.air.radio import FADINGS, RELIABLE_BER, Radio
from insitu_widgets.evaluate import accuracy
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import Catalogue, Measurement, load_catalogue
from insitu_widgets.network.situation import Situation
from insitu_widgets.network.task_oriented import (
    RELAXED_BER,
    body_bits,
    deliver,
    rate_centric,
    relaxed,
    task_oriented,
)
from insitu_widgets.roots import load_root
from tests.conftest import losses_of

CATALOGUE = load_catalogue("resnet-digits")
situations = st.builds(
    Situation,
    bandwidth_hz=st.floats(1e4, 1e7),
    latency_s=st.floats(0.01, 1.0),
    memory_bytes=st.floats(1e3, 1e6),
    guard=st.sampled_from(["none", "clamp", "zero"]),
)
radios = st.builds(Radio, st.floats(-10, 40), st.integers(1, 8), st.sampled_from(FADINGS))


@pytest.mark.parametrize("cut", [(1, 0.2, 4), (2, 0.5, 16), (None, 1.0, 32), (3, 0.05, 1)])
def test_the_catalogue_knows_the_body(roots, cut):
    recipe = Recipe("resnet-digits", *cut)
    packet = pack(derive(roots["resnet-digits"], recipe))
    layers = len(derive(roots["resnet-digits"], recipe).layers)
    known = body_bits(CATALOGUE, "resnet-digits")[recipe]
    assert abs(known - 8 * len(packet.body)) <= 7 * layers + 2 * recipe.bits


@given(situations, radios)
@settings(max_examples=25)
def test_every_plan_keeps_every_limit(situation, radio):
    plans = [planner(situation, radio, CATALOGUE) for planner in (rate_centric, task_oriented)]
    for plan in plans:
        if plan is not None:
            assert plan.time_s <= situation.latency_s * (1 + 1e-9)
            assert plan.expected.num_bits / 8 <= situation.memory_bytes
            assert plan.expected.recipe == plan.recipe
            assert plan.expected.bit_error_rate >= plan.bit_error_rate * (1 - 1e-9)
            assert plan.header_mode.bit_error_rate(radio) <= RELIABLE_BER
            assert plan.body_mode.bit_error_rate(radio) == plan.bit_error_rate
    first, second = plans
    if first is not None:
        assert first.body_mode == first.header_mode
        assert second is not None
        assert second.expected.accuracy >= first.expected.accuracy


@given(situations, radios)
@settings(max_examples=15)
def test_choosing_together_is_expected_to_be_no_worse_than_relaxing(situation, radio):
    halfway = relaxed(situation, radio, CATALOGUE)
    if halfway is not None:
        assert halfway.bit_error_rate <= RELAXED_BER
        together = task_oriented(situation, radio, CATALOGUE)
        assert together.expected.accuracy >= halfway.expected.accuracy


def measured(plan, images, seed=0):
    *_, last = accuracy(deliver(plan, "clamp", seed).model, images, batch=400)
    return last.accuracy


def test_the_gain_is_there_where_the_rate_is_short(digits):
    radio, situation = Radio(18.0, 1, "Rayleigh"), Situation()
    first = measured(rate_centric(situation, radio, CATALOGUE), digits)
    second = measured(task_oriented(situation, radio, CATALOGUE), digits)
    assert first < 0.4
    assert second > 0.93


def test_the_gain_is_nil_where_the_air_is_good(digits):
    radio, situation = Radio(38.0), Situation()
    first = measured(rate_centric(situation, radio, CATALOGUE), digits)
    second = measured(task_oriented(situation, radio, CATALOGUE), digits)
    assert second == pytest.approx(first, abs=0.01)


def test_without_a_reliable_mode_nothing_arrives():
    for planner in (rate_centric, task_oriented, relaxed):
        assert planner(Situation(), Radio(-20.0), CATALOGUE) is None


def test_where_nothing_fits_nothing_is_planned():
    situation = Situation(memory_bytes=1e3)
    for planner in (rate_centric, task_oriented, relaxed):
        assert planner(situation, Radio(30.0), CATALOGUE) is None


def test_the_same_seed_delivers_the_same():
    plan = task_oriented(Situation(), Radio(6.0), CATALOGUE)
    first, again = (deliver(plan, "clamp", 3) for _ in range(2))
    assert first.model == again.model
    assert first.flips == again.flips
    assert plan.bit_error_rate > RELIABLE_BER


def test_mixed_and_all_in_one_bodies_are_known_too(roots):
    """Of a mixed one it is the budget, never more than the packet."""
    nested = load_root("resnet-digits-nested")
    for root, recipe in (
        (nested, Recipe(nested.name, 2, 0.5, 4)),
        (roots["resnet-digits"], Recipe("resnet-digits", 2, 0.5, 3, mixed=True)),
    ):
        submodel = derive(root, recipe, sensitivity=losses_of(root, 2) if recipe.mixed else None)
        packet = pack(submodel)
        row = Measurement(
            recipe, 0.0, "none", packet.num_bits, submodel.num_parameters, 0.9, 0.8, 1.0, 797, 1
        )
        known = body_bits(Catalogue([*CATALOGUE.rows, row]), "resnet-digits")[recipe]
        slack = 7 * len(submodel.layers) + 2 * recipe.bits
        least = max(layer.values.numel() for layer in submodel.layers)
        assert 8 * len(packet.body) - slack <= known <= packet.num_bits
        assert known - 8 * len(packet.body) <= (least if recipe.mixed else slack)


def test_a_catalogue_of_one_fraction_is_refused():
    whole = Catalogue(row for row in CATALOGUE.rows if row.recipe.keep == 1.0)
    with pytest.raises(ValueError, match="keep = 1 and a smaller one for every exit"):
        body_bits(whole, "resnet-digits")
