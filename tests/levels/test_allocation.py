"""Widths of layers keep the budget of what is kept; what is shipped is true."""

import hashlib
import json
from importlib.resources import files

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import derive, load_data, load_root
from insitu_widgets.cards import card_of
from insitu_widgets.levels.allocation import (
    WIDTHS,
    LayerLoss,
    allocate,
    shipped_sensitivity,
    widths_under,
)
from insitu_widgets.levels.mixed import answers, layer_loss
from insitu_widgets.levels.recipe import MIXED_BITS, Recipe
from tests.conftest import DIGITS_ROOTS

FOLDER = files("insitu_widgets") / "catalogue"
NESTED = [f"{name}-nested" for name in DIGITS_ROOTS]
losses = st.lists(st.floats(0, 10), min_size=8, max_size=8).map(tuple)
layers = st.lists(st.tuples(losses, st.integers(0, 500)), min_size=1, max_size=12).filter(
    lambda drawn: any(count for _, count in drawn)
)


def needed(name):
    """The shipped measurement of a root; what is not shipped yet says how it is made."""
    if not (FOLDER / f"{name}-sensitivity.json").is_file():
        pytest.skip(f"no sensitivity is shipped: python -m insitu_widgets.levels.mixed {name}")
    return shipped_sensitivity(name)


@given(layers, st.sampled_from(MIXED_BITS))
def test_the_kept_weights_keep_their_budget(drawn, average):
    """Whatever the losses: noisy, rising, all alike."""
    measured = [LayerLoss(str(place), 1000, loss) for place, (loss, _) in enumerate(drawn)]
    kept = {str(place): count for place, (_, count) in enumerate(drawn)}
    widths = widths_under(measured, kept, average)
    assert list(widths) == list(kept)
    assert set(widths.values()) <= set(WIDTHS)
    assert sum(widths[name] * count for name, count in kept.items()) <= average * sum(kept.values())
    assert all(widths[name] == 1 for name, count in kept.items() if not count)


@given(st.floats(1e-3, 10), st.floats(0, 10), st.integers(1, 10**6))
def test_a_straight_line_of_losses_is_followed_to_its_end(steepness, last, count):
    """Rounding makes a later edge look steeper; a layer's width never falls for it."""
    line = tuple(last + steepness * (8 - width) / 7 for width in WIDTHS)
    given_all = allocate([LayerLoss("one", count, line)], 8 * count)
    assert given_all.bits == {"one": 8}


def test_a_layer_without_a_measurement_is_named():
    known = LayerLoss("known", 10, (1.0, 0.5))
    with pytest.raises(
        ValueError, match=r"sensitivity must have .*lacks is 'other'.*Measure it on"
    ):
        widths_under([known], {"known": 5, "other": 5}, 3)


def test_what_is_not_shipped_says_how_it_is_measured():
    remedy = r"sensitivity of 'mine' must be measured .*levels\.mixed mine; of your own give it"
    with pytest.raises(ValueError, match=remedy):
        shipped_sensitivity("mine")


@pytest.mark.parametrize("name", [*DIGITS_ROOTS, *NESTED])
def test_what_is_shipped_was_measured_on_these_weights(name):
    measured = needed(name)
    about = json.loads((FOLDER / f"{name}-sensitivity.json").read_text())
    weights = (files("insitu_widgets") / "weights" / f"{name}.safetensors").read_bytes()
    assert about["weights"] == f"SHA-256 {hashlib.sha256(weights).hexdigest()}"
    assert about["data"] == "the last 200 training images of digits"
    assert about["images"] == 200
    assert list(measured) == list(range(1, card_of(name).num_exits + 1))
    root = load_root(name)
    for exit_, found in measured.items():
        sent = derive(root, Recipe(name, exit_))
        expected = [(layer.name, layer.values.numel()) for layer in sent.layers]
        assert [(each.name, each.weights) for each in found] == expected
        assert all(len(each.losses) == len(WIDTHS) for each in found)


@pytest.mark.parametrize("name", ["vgg-digits", "vgg-digits-nested"])
def test_a_shipped_loss_is_that_of_a_fresh_measurement(name):
    measured = needed(name)[2]
    root, images = load_root(name), load_data("digits", "train").images[-200:]
    torch.set_num_threads(1)
    again = layer_loss(root, measured[1].name, images, answers(root, images, 2), 2)
    assert again.losses == pytest.approx(measured[1].losses, rel=1e-3, abs=1e-7)
