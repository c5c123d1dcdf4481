"""Recalibration: the norms fit the sub-model's own features, and nothing else has changed."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from insitu_widgets import ImageSet, Recipe, accuracy, derive, load_data, pack, unpack
from insitu_widgets.cards import ROOTS
from insitu_widgets.cifar100 import DataError
from insitu_widgets.levels import recalibrate
from insitu_widgets.levels.recalibrate import (
    BATCH,
    CALIBRATION,
    calibration_images,
    recalibrated,
)

NAME = "resnet-digits"
RECIPE = Recipe(NAME, keep=0.1, bits=4)


@pytest.fixture(scope="module")
def training():
    return load_data("digits", "train", limit=BATCH)


@pytest.fixture
def cut(roots):
    return derive(roots[NAME], RECIPE)


def share(model, images):
    return list(accuracy(model, images))[-1].accuracy


def test_each_norm_has_the_mean_and_variance_of_what_reaches_it(cut, training):
    """In one batch a norm that computes by it and one that has just been measured on it agree."""
    again = recalibrated(cut, training)
    seen = {}
    hooks = [
        module.register_forward_hook(lambda *all_, name=name: seen.update({name: all_[2].clone()}))
        for name, module in again.module.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        again.module(training.images)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(hooks) > 10
    for name, out in seen.items():
        norm = again.module.get_submodule(name)
        normal = (out - norm.bias[:, None, None]) / norm.weight[:, None, None]
        mean, variance = normal.mean((0, 2, 3)), normal.var((0, 2, 3))
        alive = norm.running_var > 1e-4  # of a channel without weights there is nothing to divide
        assert mean.abs().max() < 1e-2, name
        assert (variance[alive] - 1).abs().max() < 0.15, name


def test_several_passes_count_alike(cut):
    """What the first norm sees depends on no other: its mean is the mean of both halves' means."""
    images = load_data("digits", "train", limit=2 * BATCH)
    name = next(n for n, m in cut.module.named_modules() if isinstance(m, nn.BatchNorm2d))
    halves = [images.take(part) for part in torch.arange(2 * BATCH).split(BATCH)]
    both, first, second = (
        recalibrated(cut, part).rest[f"{name}.running_mean"] for part in (images, *halves)
    )
    assert not torch.equal(first, second)
    assert torch.allclose(both, (first + second) / 2, atol=1e-6)


def test_nothing_but_statistics_changes_and_no_bit_is_added(cut, training, roots):
    before = {name: tensor.clone() for name, tensor in roots[NAME].state_dict().items()}
    again = recalibrated(cut, training)
    assert again.recipe == replace(cut.recipe, recalibrated=True)
    assert again.layers is cut.layers
    changed = {n for n, t in again.rest.items() if not torch.equal(t, cut.rest[n])}
    assert changed == {n for n in cut.rest if n.endswith(("running_mean", "running_var"))}
    assert pack(again).num_bits == pack(cut).num_bits
    assert all(torch.equal(before[n], t) for n, t in roots[NAME].state_dict().items())
    assert unpack(pack(again))[0] == again


def test_it_gives_back_most_of_what_one_shot_loses(cut, training, digits, roots):
    whole = share(roots[NAME], digits)
    assert share(cut, digits) < whole - 0.2
    assert share(recalibrated(cut, training), digits) > whole - 0.03


def test_it_is_the_same_whenever_it_is_done(cut, training):
    assert recalibrated(cut, training) == recalibrated(cut, training)


def test_labels_are_not_used(cut, training):
    other = ImageSet(training.images, 1 - training.labels.clamp(max=1), training.classes)
    assert recalibrated(cut, other) == recalibrated(cut, training)


def test_a_last_batch_may_not_be_of_one_image(cut, roots):
    """251 images are two passes of about as many each; one image alone has no variance."""
    images = load_data("digits", "train", limit=BATCH + 1)
    assert torch.isfinite(recalibrated(cut, images)(images.images)).all()


def test_what_cannot_be_recalibrated_says_why(cut, training, roots):
    with pytest.raises(ValueError, match=r"submodel must have batch norms .*; got vit-digits .*"):
        recalibrated(derive(roots["vit-digits"], Recipe("vit-digits")), training)
    one = ImageSet(training.images[:1], training.labels[:1], training.classes)
    with pytest.raises(ValueError, match=r"images must be at least 2; got 1\. Give some hundreds"):
        recalibrated(cut, one)
    with pytest.raises(TypeError, match=r"submodel must be of type SubModel; got Root\. Cut one"):
        recalibrated(roots[NAME], training)
    with pytest.raises(TypeError, match=r"images must be of type ImageSet; got Tensor\. Load some"):
        recalibrated(cut, training.images)


def test_a_recipe_asks_for_it(roots, cut):
    recipe = replace(RECIPE, recalibrated=True)
    shipped = load_data("digits", "train", limit=CALIBRATION["digits"])
    again = derive(roots[NAME], recipe)
    assert again == derive(roots[NAME], recipe, images=shipped) == recalibrated(cut, shipped)
    assert again.recipe == recipe
    assert derive(roots[NAME], recipe, images=shipped.take(torch.arange(50))) != again
    assert derive(roots[NAME], RECIPE, images=shipped) == cut  # which asks for nothing


def test_exits_that_keep_all_weights_have_their_blocks_in_common(roots):
    """What comes later changes no norm: one pass measures all exits of a sweep."""
    deep, shallow = (
        derive(roots[NAME], Recipe(NAME, exit_, bits=3, recalibrated=True)) for exit_ in (5, 2)
    )
    both = {name: tensor for name, tensor in shallow.rest.items() if not name.startswith("head")}
    assert len(both) > 10
    assert all(torch.equal(tensor, deep.rest[name]) for name, tensor in both.items())


def test_without_images_it_says_which_are_missing(tiny, monkeypatch, few):
    mine = Recipe("tiny", recalibrated=True)
    with pytest.raises(ValueError, match=r"images must be given .* 'tiny'; got none\. .*images=…"):
        derive(tiny, mine)
    monkeypatch.setattr(recalibrate, "has_data", lambda _: False)
    calibration_images.cache_clear()
    with pytest.raises(DataError, match=r"images must be on this machine .*load_data\('digits'\)"):
        calibration_images(NAME)


@pytest.mark.parametrize("name", ["resnet-digits", "vgg-digits", "vit-digits"])
def test_a_card_tells_whether_a_root_has_batch_norms(name, roots):
    found = any(isinstance(module, nn.BatchNorm2d) for module in roots[name].modules())
    assert ROOTS[name].has_batch_norms == found
