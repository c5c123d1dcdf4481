"""Unequal protection: the first bits on the reliable channel."""

import pytest
import torch

from insitu_widgets.air.protection import join, split
from insitu_widgets.levels.quantised import quantise_network


@pytest.fixture(scope="module")
def layers(roots):
    return dict(quantise_network(roots["vgg-digits"], bits=4, exit=4).layers)


@pytest.mark.parametrize("protected", range(5))
def test_two_streams_make_the_codes(layers, protected):
    parts = split(layers, protected)
    assert join(layers, parts) == layers
    count = sum(c.codes.numel() for c in layers.values())
    assert len(parts.reliable) == pytest.approx(count * protected / 8, abs=len(layers))
    assert parts.air_bits(1.0) == pytest.approx(4 * count, rel=1e-2)
    assert parts.air_bits(0.5) - parts.air_bits(1.0) == 8 * len(parts.reliable)


@pytest.mark.parametrize("protected", range(4))
def test_flips_move_a_weight_by_less_than_the_protected_bits_are_worth(layers, protected):
    arrived = join(layers, split(layers, protected).sent(0.05, 0))
    moved = [(arrived[n].codes.int() - c.codes.int()).abs().max() for n, c in layers.items()]
    assert 0 < int(torch.stack(moved).max()) < 2 ** (4 - protected)


def test_all_protected_is_not_touched(layers):
    assert join(layers, split(layers, 4).sent(0.5, 0)) == layers


def test_wrong_input_says_the_remedy(layers, roots):
    with pytest.raises(ValueError, match="protected must be a whole number from 0 to 4"):
        split(layers, 5)
    with pytest.raises(ValueError, match=r"code_rate must be a number from 0\.05 to 1"):
        split(layers, 1).air_bits(0.0)
    vectors = quantise_network(roots["vgg-digits"], "product", 2, exit=4).layers
    with pytest.raises(ValueError, match="Use a scalar quantiser"):
        split(vectors, 1)
