"""Graceful degradation: what is lost is known, and something else takes its place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import Recipe, derive, pack
from insitu_widgets.air.channel import Link
from insitu_widgets.air.degradation import UNITS, Segments, fill, lossy, receive, segment
from insitu_widgets.levels.recipe import BITS

LINK = Link(1e6, 0.01)


def sent(root, **cut):
    submodel = derive(root, Recipe(root.name, **cut))
    return submodel, pack(submodel)


def weights(network):
    return torch.cat([p.flatten() for p in network.parameters()])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("bits", BITS)
def test_without_loss_it_is_the_sub_model(tiny, bits, unit):
    submodel, packet = sent(tiny, bits=bits)
    segments = segment(submodel, packet, 16, unit)
    (draw,) = lossy(submodel, packet, segments, None, LINK, loss=0.0, seeds=[0], root=tiny)
    for network in draw.networks.values():
        assert torch.equal(weights(network), weights(submodel.module))
    assert (draw.segments_lost, draw.weights_lost) == (0, 0.0)
    assert draw.retransmission_s == draw.time_s
    assert draw.retransmission_bits == 8 * len(packet.body)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_with_everything_lost_it_is_the_held_model_or_zero(tiny, bits, keep):
    submodel, packet = sent(tiny, bits=bits, keep=keep)
    held, _ = sent(tiny, bits=2)
    arrived, lacking = receive(packet, np.ones(len(packet.body), bool), tiny)
    filled, empty = fill(arrived, lacking, held), fill(arrived, lacking, None)
    for layer, old in zip(submodel.layers, held.layers, strict=True):
        assert torch.equal(lacking[layer.name], layer.mask)
        new = filled.get_parameter(layer.name)
        assert torch.equal(new, old.dense() * layer.mask)
        assert not empty.get_parameter(layer.name).any()


@given(seed=st.integers(0, 10**6), bits=st.sampled_from(BITS), keep=st.sampled_from([1.0, 0.3]))
def test_what_has_arrived_is_untouched(tiny, seed, bits, keep):
    submodel, packet = sent(tiny, bits=bits, keep=keep)
    missing = np.random.default_rng(seed).random(len(packet.body)) < 0.3
    arrived, lacking = receive(packet, missing, tiny)
    network = fill(arrived, lacking, None)
    for layer in submodel.layers:
        there = ~lacking[layer.name]
        assert torch.equal(network.get_parameter(layer.name)[there], layer.dense()[there])
    assert any(gone.any() for gone in lacking.values()) == bool(missing.any())


@given(size=st.integers(1, 400), unit=st.sampled_from(UNITS[:2]))
def test_no_segment_is_too_long_and_none_is_empty(tiny, size, unit):
    submodel, packet = sent(tiny)
    if size < 4:
        with pytest.raises(ValueError, match="segment_bytes must be a whole number from 4"):
            segment(submodel, packet, size, unit)
        return
    sizes = segment(submodel, packet, size, unit).sizes_bytes
    assert sizes.sum() == len(packet.body)
    assert sizes.min() > 0
    assert sizes.max() <= size


def test_layers_are_lost_as_a_whole(tiny):
    submodel, packet = sent(tiny, bits=3)
    segments = segment(submodel, packet, 1500, "layers")
    lost = np.zeros(len(submodel.layers), bool)
    lost[1] = True
    _, lacking = receive(packet, lost[segments.of_byte], tiny)
    assert [bool(gone.all()) for gone in lacking.values()] == lost.tolist()
    assert [bool(gone.any()) for gone in lacking.values()] == lost.tolist()


def test_what_is_lost_at_a_small_probability_is_lost_at_a_larger_one():
    segments = Segments(np.arange(1000))
    few, many = (segments.lost(p, np.random.default_rng(1)) for p in (0.1, 0.4))
    assert not (few & ~many).any()
    assert few.mean() == pytest.approx(0.1, abs=0.04)
    assert many.mean() == pytest.approx(0.4, abs=0.06)


def test_sending_again_takes_as_many_bits_as_the_losses_say():
    segments = Segments(np.repeat(np.arange(2000), 10))
    seconds, bits = segments.retransmission(LINK, 0.5, np.random.default_rng(0))
    assert bits == pytest.approx(2 * 8 * 20_000, rel=0.1)
    rounds = (seconds - bits / LINK.rate_bps) / LINK.delay_s
    assert rounds == pytest.approx(round(rounds))
    assert rounds > 5


def test_the_head_of_another_exit_does_not_fit(tiny):
    _, packet = sent(tiny)
    held, _ = sent(tiny, exit=1)
    arrived, lacking = receive(packet, np.ones(len(packet.body), bool), tiny)
    network = fill(arrived, lacking, held)
    assert not network.get_parameter("head.1.weight").any()
    assert torch.equal(network.get_parameter("stem.0.weight"), tiny.stem[0].weight)
    assert not torch.equal(network.get_parameter("stem.0.weight"), torch.zeros(()))


def test_what_the_device_holds_is_better_than_zero(roots, few):
    root = roots["vgg-digits"]
    submodel, packet = sent(root, bits=4)
    held, _ = sent(root, bits=2)
    segments = segment(submodel, packet, 1500, "interleaved segments")
    (draw,) = lossy(submodel, packet, segments, held, LINK, loss=0.3, seeds=[0])
    with torch.inference_mode():
        right = {
            name: int((network(few.images).argmax(1) == few.labels).sum())
            for name, network in draw.networks.items()
        }
    assert right["held"] >= 34
    assert right["zero"] <= 20


@pytest.mark.parametrize("loss", [-0.1, 1.0, float("nan"), "0.1", True])
def test_a_probability_out_of_range(loss):
    with pytest.raises(ValueError, match=r"loss must be a number from 0 to 0\.99; got"):
        Segments(np.arange(3)).lost(loss, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"loss must be a number from 0 to 0\.99; got"):
        Segments(np.arange(3)).retransmission(LINK, loss, np.random.default_rng(0))


def test_wrong_input(tiny, roots):
    submodel, packet = sent(tiny)
    with pytest.raises(ValueError, match="unit must be one of segments, interleaved segments"):
        segment(submodel, packet, 1500, "bits")
    with pytest.raises(ValueError, match="missing must say of each of the body's"):
        receive(packet, np.zeros(3, bool), tiny)
    other, _ = sent(roots["vgg-digits"])
    with pytest.raises(ValueError, match="held must be a model of 'tiny'"):
        fill(submodel, {}, other)
