"""Sensitivity to pruning, and re-training of what was kept."""

import copy

import pytest
import torch

from insitu_widgets import Recipe, accuracy, derive, load_data, pack, unpack
from insitu_widgets.levels.mixed import answers
from insitu_widgets.levels.pruning import Healing, heal, pruned_layer_loss


def right(model, images):
    *_, last = accuracy(model, images)
    return last.accuracy


def test_what_is_mixed_is_not_re_trained(roots, few):
    steps = heal(roots["vgg-digits"], Recipe("vgg-digits", bits=4, mixed=True), few, Healing())
    with pytest.raises(ValueError, match=r"recipe must have one width .* Give it mixed=False"):
        next(steps)


def test_nothing_pruned_moves_nothing_and_everything_moves_most(roots, few):
    root = roots["vgg-digits"]
    expected = answers(root, few.images)
    found = pruned_layer_loss(root, "blocks.3.0.weight", (1.0, 0.3, 0.01), few.images, expected)
    assert found.losses[0] == pytest.approx(0.0, abs=1e-9)
    assert found.losses[0] < found.losses[1] < found.losses[2]
    assert found.weights == 32 * 64 * 9


@pytest.mark.parametrize("bits", [4, 32])
def test_a_short_training_heals_and_what_was_pruned_stays_away(roots, digits, bits):
    root, train = roots["vgg-digits"], load_data("digits", "train")
    before = copy.deepcopy(root.state_dict())
    recipe = Recipe("vgg-digits", keep=0.1, bits=bits)
    pruned = derive(root, recipe)
    *_, last = heal(root, recipe, train, Healing(steps=25))
    healed = last.submodel()
    assert right(healed, digits) > right(pruned, digits) + 0.1
    for a, b in zip(pruned.layers, healed.layers, strict=True):
        assert torch.equal(a.mask, b.mask)
    assert unpack(pack(healed))[0] == healed
    assert all(torch.equal(before[name], tensor) for name, tensor in root.state_dict().items())


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("peak_rate", 2.0), ("batch", 1)])
def test_a_plan_out_of_range_names_its_field(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        Healing(**{field: value})
