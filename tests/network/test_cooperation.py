"""Cooperation: the server goes on from what the device has computed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import ImageSet, Recipe, derive
from insitu_widgets.network.cooperation import (
    Correction,
    cooperate,
    device_feature,
    pixels,
    server_logits,
    upload,
)


def test_device_half_and_server_half_make_the_root(root, few):
    submodel = derive(root, Recipe(root.name))
    whole = root(few.images)
    for split in range(1, root.num_exits + 1):
        feature = device_feature(submodel, few.images, split)
        assert torch.allclose(server_logits(root, feature, split), whole, atol=1e-5)


@given(
    bits=st.integers(1, 8),
    shape=st.sampled_from([(3, 5), (1, 2, 3, 3), (4, 7, 6)]),
    seed=st.integers(0, 1000),
)
def test_an_upload_is_packed_and_read_back(bits, shape, seed):
    feature = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()
    sent = upload(feature, bits)
    values = feature.numel()
    assert sent.num_bits == 8 * -(-values * bits // 8) + 64 * shape[0]
    read = sent.feature()
    assert read.shape == feature.shape
    assert read.isfinite().all()
    finer = upload(feature, 8).feature()
    assert (finer - feature).square().sum() <= (read - feature).square().sum() + 1e-6


def test_a_constant_feature_survives():
    feature = torch.full((2, 3, 2, 2), 1.5)
    assert torch.allclose(upload(feature, 1).feature(), feature)


@pytest.mark.parametrize("shape", [(50, 4, 3, 3), (50, 9, 4)])
def test_a_correction_moves_mean_and_spread_of_each_channel(shape):
    random = torch.Generator().manual_seed(0)
    own = torch.randn(shape, generator=random)
    channels = (1, 4, 1, 1) if len(shape) == 4 else (1, 1, 4)
    factor = torch.tensor([0.5, 2.0, 1.0, 3.0]).view(channels)
    assert torch.allclose(Correction.fit(own * factor + 2, own)(own * factor + 2), own, atol=1e-4)
    dead = Correction.fit(torch.zeros_like(own), own)(torch.zeros_like(own))
    assert dead.isfinite().all()


def test_the_ways_are_measured_in_their_order(roots, few):
    root = roots["vgg-digits"]
    submodel = derive(root, Recipe(root.name, bits=2))
    alone, image, *features = cooperate(root, submodel, few, (1, 8))
    right = submodel(few.images).argmax(1) == few.labels
    assert (alone.split, alone.num_bits, alone.estimate.correct) == (None, 0, int(right.sum()))
    assert (image.split, image.bits_per_question, image.asked) == (0, 8 * 64, 40)
    again = root(pixels(few.images, few.images)).argmax(1) == few.labels
    assert image.estimate.correct == int(again.sum())
    assert [(row.split, row.bits) for row in features] == [
        (split, bits) for split in range(1, 7) for bits in (1, 8)
    ]
    assert all(row.bits_per_image == row.bits_per_question for row in features)


def test_a_sure_device_asks_less(roots, few):
    root = roots["resnet-digits"]
    submodel = derive(root, Recipe(root.name, bits=2))
    asked = [list(cooperate(root, submodel, few, (4,), confidence=c))[1] for c in (0, 0.9, 1)]
    assert asked[0].asked == asked[0].bits_per_question == 0
    assert 0 < asked[1].asked < asked[2].asked == 40
    assert asked[1].bits_per_image < asked[2].bits_per_image == 512


def test_the_correction_helps_a_coarse_device(roots, digits):
    root = roots["resnet-digits"]
    submodel = derive(root, Recipe(root.name, bits=2))
    images = digits.take(torch.arange(200))
    training = digits.take(torch.arange(300, 500))
    for plain, corrected in zip(
        *(cooperate(root, submodel, images, (4,), training=t) for t in (None, training)),
        strict=True,
    ):
        if plain.split == 2:
            assert corrected.estimate.correct > plain.estimate.correct
            return


def test_wrong_input(roots, tiny, few):
    submodel = derive(tiny, Recipe("tiny"))
    with pytest.raises(ValueError, match="submodel must be cut out of 'vgg-digits'"):
        next(cooperate(roots["vgg-digits"], submodel, few, (1,)))
    vgg = derive(roots["vgg-digits"], Recipe("vgg-digits"))
    with pytest.raises(ValueError, match="confidence must be a number from 0 to 1"):
        next(cooperate(roots["vgg-digits"], vgg, few, (1,), confidence=2.0))
    none = ImageSet(few.images[:0], few.labels[:0], few.classes)
    with pytest.raises(ValueError, match="images must be a whole number from 1"):
        next(cooperate(roots["vgg-digits"], vgg, none, (1,)))
    with pytest.raises(ValueError, match="split must be a whole number from 1 to 6; got 7"):
        device_feature(vgg, few.images, 7)
    with pytest.raises(ValueError, match="split must be a whole number from 1 to 6; got 0"):
        server_logits(roots["vgg-digits"], few.images, 0)
    with pytest.raises(ValueError, match="feature bits must be a whole number from 1 to 8"):
        upload(few.images, 9)
