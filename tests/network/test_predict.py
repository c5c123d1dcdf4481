"""A user's day: what each policy may and may not do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.predict import (
    PLACES,
    POLICIES,
    Device,
    Outcome,
    Place,
    Visit,
    catalogue_bits,
    draw_day,
    live,
)

SIZES = catalogue_bits()
DEVICE = Device()
seeds = st.integers(0, 10_000)
devices = st.builds(
    Device,
    storage_bytes=st.sampled_from([6e5, 1e6, 1.5e6, 3e6]),
    least_probability=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    caution=st.sampled_from([0.0, 1.0, 3.0]),
)


@given(seeds, st.sampled_from(POLICIES), devices)
def test_books_balance(seed, policy, device):
    day = draw_day(np.random.default_rng(seed))
    outcome = live(day, policy, device, SIZES)
    assert outcome.arrivals == len(day) - 1
    assert 0 <= outcome.hits <= outcome.arrivals
    assert 0 <= outcome.wasted_bytes <= outcome.downloaded_bytes * (1 + 1e-9)
    assert 0 <= outcome.stall_s <= day[-1].leaves_s
    spans = [t.ends_s - t.begins_s for t in outcome.transfers]
    assert min(spans, default=0) >= 0
    assert outcome.energy_j <= sum(spans) * device.receive_power_w * (1 + 1e-9)


@given(seeds, devices)
def test_on_demand_fetches_nothing_ahead(seed, device):
    outcome = live(draw_day(np.random.default_rng(seed)), "on demand", device, SIZES)
    assert not any(transfer.ahead for transfer in outcome.transfers)
    assert (outcome.stall_s == 0.0) == (outcome.hits == outcome.arrivals)


@given(seeds)
def test_transfers_do_not_overlap(seed):
    outcome = live(draw_day(np.random.default_rng(seed)), "predictive", DEVICE, SIZES)
    for before, after in zip(outcome.transfers, outcome.transfers[1:], strict=False):
        assert before.ends_s <= after.begins_s + 1e-6


def summed(policy, device=DEVICE, spread=0.3):
    random = np.random.default_rng(0)
    days = [draw_day(random, spread) for _ in range(40)]
    return sum((live(day, policy, device, SIZES, spread=spread) for day in days), Outcome())


def test_foresight_waits_less_and_guessing_costs_bytes():
    demand, guess, oracle = (summed(policy) for policy in POLICIES)
    assert oracle.stall_s <= guess.stall_s < demand.stall_s
    assert oracle.hit_rate >= guess.hit_rate > demand.hit_rate
    assert guess.downloaded_bytes > oracle.downloaded_bytes
    assert guess.wasted_bytes > oracle.wasted_bytes
    assert guess.energy_j > demand.energy_j, "prediction is paid for with energy"


def test_a_threshold_of_one_never_guesses():
    assert summed("predictive", replace(DEVICE, least_probability=1.0)) == summed("on demand")


def test_room_for_one_model_leaves_nothing_to_predict():
    """Two of the larger ones do not fit together, so little can be fetched ahead."""
    tight = replace(DEVICE, storage_bytes=6e5)
    assert summed("oracle", tight).hit_rate < 0.5 < summed("oracle").hit_rate


def test_a_day_by_hand():
    recipes = Recipe("resnet-digits", bits=8), Recipe("vgg-digits", bits=8)
    places = {
        "home": Place(recipes[0], 100.0, 1e6, {"car": 1.0}),
        "car": Place(recipes[1], 100.0, 1e5, {"home": 1.0}),
    }
    sizes = {recipes[0]: 4_000_000, recipes[1]: 2_000_000}
    day = [Visit("home", 0.0, 100.0), Visit("car", 100.0, 200.0)]
    device = Device(storage_bytes=1e6, delay_s=0.5)
    demand = live(day, "on demand", device, sizes, places=places)
    assert demand.stall_s == pytest.approx(20.5)  # 2 Mbit at 100 kbit/s, and the request
    assert demand.energy_j == pytest.approx(20.0)
    oracle = live(day, "oracle", device, sizes, places=places)
    assert (oracle.hits, oracle.stall_s) == (1, 0.0)
    assert oracle.energy_j == pytest.approx(2.0)  # the same bits, ten times as fast
    early = [Visit("home", 0.0, 99.0), Visit("car", 99.0, 200.0)]
    hasty = replace(device, caution=0.0)  # begins at 98 s: half has arrived when the user leaves
    guess = live(early, "predictive", hasty, sizes, spread=0.0, places=places)
    assert guess.hits == 0
    assert guess.stall_s == pytest.approx(10.5)
    assert guess.wasted_bytes == 0.0


def test_sizes_are_the_catalogues():
    assert set(SIZES) == {place.recipe for place in PLACES.values()}
    assert SIZES[Recipe("resnet-digits", bits=8)] == 4_420_080


def test_the_same_seed_is_the_same_day():
    assert draw_day(np.random.default_rng(5)) == draw_day(np.random.default_rng(5))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Place(Recipe("vgg-digits"), 1.0, 1.0, {"x": 0.4}), "onward must add up to 1"),
        (lambda: Place(Recipe("vgg-digits"), 0.0, 1.0, {"x": 1.0}), "stay_s must be a number"),
        (lambda: Device(storage_bytes=-1.0), "storage_bytes must be a number"),
        (lambda: live(draw_day(np.random.default_rng(0)), "luck", DEVICE, SIZES), "policy must be"),
        (
            lambda: live(
                draw_day(np.random.default_rng(0)), "oracle", Device(storage_bytes=1e3), SIZES
            ),
            "storage_bytes must be a number",
        ),
        (lambda: draw_day(np.random.default_rng(0), 2.0), "spread must be a number from 0 to 1"),
        (
            lambda: catalogue_bits(
                {"a": Place(Recipe("vgg-digits", keep=0.77), 1.0, 1.0, {"a": 1.0})}
            ),
            "recipe must be in the catalogue",
        ),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match="must") as caught:
        make()
    assert words in str(caught.value)
