"""Base and refinements: the larger packet to the bit, and time on the air that adds up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu_widgets import Link, Recipe, derive, load_root, pack, transmit
from insitu_widgets.network.broadcast import air_time, layers, links
from insitu_widgets.network.refine import grow, refinement
from insitu_widgets.network.store import NotNestedError

CHAINS = {
    "exits at 4 bits": [Recipe("vgg-digits", exit=e, bits=4) for e in (1, 2, 4, None)],
    "exits at 32 bits": [Recipe("resnet-digits", exit=e) for e in (1, 3, None)],
    "exits of a ViT": [Recipe("vit-digits", exit=e, bits=3) for e in (1, 2)],
    "keep at 32 bits": [Recipe("resnet-digits", exit=3, keep=k) for k in (0.05, 0.2, 0.5, 1.0)],
    "keep at 16 bits": [Recipe("vgg-digits", keep=k, bits=16) for k in (0.1, 0.11, 0.5)],
    "nothing new": [Recipe("vgg-digits", exit=2, keep=0.3)] * 2,
}


@pytest.mark.parametrize("name", CHAINS)
def test_base_and_refinements_grow_into_the_packed_sub_models_to_the_bit(name):
    cut = layers(CHAINS[name])
    held = cut.parts[0]
    for part, packet in zip(cut.parts[1:], cut.packets[1:], strict=True):
        held = grow(held, part)
        assert held == packet


@pytest.mark.parametrize("name", CHAINS)
def test_a_refinement_is_smaller_than_the_packet_that_it_makes(name):
    cut = layers(CHAINS[name])
    for part, packet in zip(cut.parts[1:], cut.packets[1:], strict=True):
        assert part.num_bits < packet.num_bits


@pytest.mark.parametrize(
    ("small", "large", "why"),
    [
        (Recipe("vgg-digits", bits=4), Recipe("vgg-digits", bits=8), "other scales"),
        (Recipe("vgg-digits"), Recipe("resnet-digits"), "one root"),
        (Recipe("vgg-digits", keep=0.5), Recipe("vgg-digits", keep=0.2), "weights of"),
        (Recipe("vgg-digits", exit=3), Recipe("vgg-digits", exit=1), "lacks blocks"),
        (Recipe("vgg-digits", keep=0.2, bits=4), Recipe("vgg-digits", bits=4), "weights of"),
    ],
)
def test_what_is_not_nested_is_refused(small, large, why):
    with pytest.raises(NotNestedError, match=f"base must be nested in.*{why}"):
        layers([small, large])


def test_a_refinement_serves_one_packet_and_none_that_was_damaged():
    cut = layers(CHAINS["keep at 32 bits"])
    with pytest.raises(NotNestedError, match="another one"):
        grow(cut.packets[1], cut.parts[1])
    damaged = transmit(cut.parts[1], Link(1.0, bit_error_rate=1e-2), 0)
    with pytest.raises(NotNestedError, match="without errors"):
        grow(cut.packets[0], damaged)


def test_another_roots_packet_is_not_nested():
    root = load_root("vgg-digits")
    recipe = Recipe("vgg-digits", exit=1)
    good = pack(derive(root, recipe))
    other = transmit(good, Link(1.0, bit_error_rate=1e-3), 0)
    with pytest.raises(NotNestedError, match="weights of"):
        refinement(other, pack(derive(root, Recipe("vgg-digits", exit=2))))


@pytest.fixture(scope="module")
def cut():
    return layers(CHAINS["exits at 4 bits"])


def test_time_on_the_air_by_hand(cut):
    rates = np.array([1e5, 1e6, 1e9])
    bits = [packet.num_bits for packet in cut.packets]
    latency = bits[1] / 1e6
    found = air_time(cut, rates, latency)
    first = 1 if bits[0] <= 1e5 * latency else 0
    assert found.level.tolist() == [first, 2, 4]
    parts = [part.num_bits for part in cut.parts]
    weakest = 1e5 if first else 1e6
    assert found.unicast_s == pytest.approx(first * bits[0] / 1e5 + bits[1] / 1e6 + bits[3] / 1e9)
    assert found.nested_s == pytest.approx(
        parts[0] / weakest + parts[1] / 1e6 + (parts[2] + parts[3]) / 1e9
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.floats(0.0, 10.0), st.floats(0.01, 10.0), st.integers(0, 99))
def test_broadcast_never_takes_longer_than_its_layers_within_the_latency(
    cut, listeners, spread, latency, seed
):
    rates = links(listeners, 1e5, spread, seed)
    found = air_time(cut, rates, latency)
    assert found.apart_s <= found.unicast_s * (1 + 1e-9)
    assert found.nested_s <= len(cut.parts) * latency
    assert (found.unicast_s == 0) == (found.level.max() == 0)


def test_more_listeners_cost_unicast_more_and_the_same_are_drawn_again():
    assert (links(100, 1e6, 6.0, 3)[:10] == links(10, 1e6, 6.0, 3)).all()


def test_wrong_input(cut):
    with pytest.raises(ValueError, match="rates_bps must be a number"):
        air_time(cut, np.array([-1.0]), 1.0)
    with pytest.raises(ValueError, match="rates_bps must be a number"):
        air_time(cut, np.array([]), 1.0)
    with pytest.raises(ValueError, match="latency_s must be a number"):
        air_time(cut, np.array([1.0]), 0.0)
    with pytest.raises(ValueError, match="at least one recipe, the base"):
        layers([])
    with pytest.raises(ValueError, match="listeners must be a whole number"):
        links(0, 1.0, 1.0, 0)
