"""Re-training with quantisation: the root stays, the codes are what is trained."""

import copy
from itertools import islice

import pytest
import torch

from insitu_widgets import Recipe, derive, load_data
from insitu_widgets.air.codebooks import body_of, damaged, with_codes
from insitu_widgets.levels.quantised import Quantised, quantise_network
from insitu_widgets.levels.retrain import Hardening, retrain


@pytest.fixture(scope="module")
def train():
    return load_data("digits", "train")


def last(steps):
    for step in steps:
        final = step
    return final


def right(root, network, images, ber=0.0):
    layers = with_codes(network.layers, damaged(body_of(network.layers), ber, 0))
    module = Quantised(network.root, None, layers, network.rest).module(root)
    with torch.inference_mode():
        return float((module(images.images).argmax(1) == images.labels).double().mean())


def test_at_two_bits_a_short_training_wins_back_most(roots, train, digits):
    root = roots["vgg-digits"]
    before = copy.deepcopy(root.state_dict())
    trained = last(retrain(root, train, Hardening(bits=2, steps=12))).quantised(root)
    assert right(root, trained, digits) > right(root, quantise_network(root, bits=2), digits) + 0.04
    assert all(torch.equal(before[name], tensor) for name, tensor in root.state_dict().items())
    assert {layer.bits for layer in trained.layers.values()} == {2}


def test_training_with_errors_and_clipping_bears_errors(roots, train, digits):
    root = roots["vgg-digits"]
    plan = Hardening(bits=4, steps=25, bit_error_rate=1e-2, clip=1.5)
    hardened = last(retrain(root, train, plan)).quantised(root)
    assert right(root, hardened, digits, 1e-2) > 0.1 + right(
        root, quantise_network(root, bits=4), digits, 1e-2
    )


def test_the_same_seed_trains_the_same_and_stopping_is_not_asking(tiny):
    images = load_data("digits", "train", limit=60)
    images = type(images)(images.images, images.labels % 3, ("a", "b", "c"))
    plan = Hardening(bits=3, steps=50, bit_error_rate=1e-2, batch=20)
    runs = [[s.loss for s in islice(retrain(tiny, images, plan, seed), 3)] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_clipping_holds(tiny):
    images = load_data("digits", "train", limit=60)
    images = type(images)(images.images, images.labels % 3, ("a", "b", "c"))
    plan = Hardening(bits=4, steps=2, clip=0.5, batch=20)
    step = last(retrain(tiny, images, plan))
    for name, weight in step.network.named_parameters():
        if weight.ndim > 1:
            own = dict(tiny.named_parameters())[name.replace("head.", "heads.1.")]
            limit = 0.5 * own.flatten(1).square().mean(1).sqrt()
            assert (weight.flatten(1).abs() <= limit[:, None] * (1 + 1e-6)).all()


def test_as_a_root_it_is_cut_like_any_other(tiny):
    images = load_data("digits", "train", limit=60)
    labelled = type(images)(images.images, images.labels % 3, ("a", "b", "c"))
    step = last(retrain(tiny, labelled, Hardening(bits=4, steps=2, batch=20)))
    root = step.as_root(tiny)
    assert (root.name, root.num_exits) == ("tiny", 2)
    assert not any(tensor.requires_grad for tensor in root.parameters())
    whole = derive(root, Recipe("tiny"))
    assert torch.equal(whole(images.images), step.network.eval()(images.images))
    codes = {layer.name: layer.values for layer in derive(root, Recipe("tiny", bits=4)).layers}
    assert all(torch.equal(codes[n], la.codes) for n, la in step.quantised(tiny).layers.items())


@pytest.mark.parametrize(
    ("field", "value"),
    [("bits", 9), ("steps", 0), ("bit_error_rate", 0.6), ("clip", 0.0), ("batch", 1)],
)
def test_a_plan_out_of_range_names_its_field(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        Hardening(**{field: value})
