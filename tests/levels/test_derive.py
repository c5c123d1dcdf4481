import copy
import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from insitu_widgets import Recipe, Root, derive
from insitu_widgets.cards import ROOTS
from insitu_widgets.levels import depth
from insitu_widgets.levels.bit import reconstruct
from insitu_widgets.levels.derive import sent, weights_and_rest
from insitu_widgets.levels.recipe import BITS, MIXED_BITS
from insitu_widgets.levels.submodel import SubModel
from tests.conftest import losses_of


def fingerprint(module):
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def same_bits(a, b):
    return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def all_recipes(root, keeps=(1.0, 0.3)):
    exits = range(1, root.num_exits + 1)
    return [Recipe(root.name, e, keep, bits) for e in exits for keep in keeps for bits in BITS]


# Depth


def test_the_full_recipe_is_the_root_to_the_bit(root, few):
    assert same_bits(derive(root, Recipe(root.name))(few.images), root(few.images))


def test_every_exit_uncut_is_the_root_at_that_exit_to_the_bit(root, few):
    for exit_ in range(1, root.num_exits + 1):
        submodel = derive(root, Recipe(root.name, exit=exit_))
        assert same_bits(submodel(few.images), root(few.images, exit=exit_)), exit_


def test_the_root_is_never_changed(roots, few):
    for root in roots.values():
        before = fingerprint(root)
        for recipe in all_recipes(root)[:: 7 if root.num_exits > 2 else 1]:
            derive(root, recipe)(few.images[:2])
        assert fingerprint(root) == before


def test_a_users_root_is_cut_like_a_shipped_one(tiny):
    before = fingerprint(tiny)
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for exit_ in (1, 2):
        submodel = derive(tiny, Recipe("tiny", exit=exit_))
        assert same_bits(submodel(images), tiny(images, exit=exit_))
    for recipe in all_recipes(tiny):
        assert derive(tiny, recipe)(images).isfinite().all()
    assert fingerprint(tiny) == before


def test_at_full_precision_it_shares_the_roots_memory(tiny):
    submodel = derive(tiny, Recipe("tiny"))
    ours = {name: p.data_ptr() for name, p in submodel.module.named_parameters()}
    roots = {p.data_ptr() for p in tiny.parameters()}
    assert set(ours.values()) <= roots


def test_it_has_the_cut_roots_modules_and_no_others(tiny):
    cut = depth.cut(tiny, 1)
    assert [name for name, _ in cut.named_children()] == ["stem", "blocks", "head"]
    names = {name for name, _ in derive(tiny, Recipe("tiny", exit=1)).module.named_parameters()}
    assert names == {name for name, _ in cut.named_parameters()}
    assert not any(name.startswith("blocks.1") for name in names)


# Parameter and bit


@pytest.mark.parametrize("keep", [0.5, 0.11, 1e-9])
@pytest.mark.parametrize("bits", BITS)
def test_it_keeps_what_the_recipe_says(tiny, keep, bits):
    submodel = derive(tiny, Recipe("tiny", 1, keep, bits))
    weights, _ = weights_and_rest(depth.cut(tiny, 1))
    total = sum(weight.numel() for weight in weights.values())
    assert submodel.num_weights == max(1, round(keep * total))
    module = submodel.module
    for layer in submodel.layers:
        dense = module.get_parameter(layer.name)
        assert layer.bits == bits
        assert not dense[~layer.mask].any()
        assert layer.values.numel() == int(layer.mask.sum())


def test_the_order_is_depth_then_parameter_then_bit(tiny):
    """Importance is ranked in what depth leaves; scales are fitted to what pruning leaves."""
    weights, _ = weights_and_rest(depth.cut(tiny, 2))
    magnitudes = torch.cat([weight.flatten() for weight in weights.values()]).abs()
    threshold = magnitudes.sort().values[-round(0.4 * magnitudes.numel())]
    submodel = derive(tiny, Recipe("tiny", 2, 0.4, 8))
    for layer in submodel.layers:
        weight = weights[layer.name]
        assert torch.equal(layer.mask, weight.abs() >= threshold)
        wide = layer.scales.view(-1, *[1] * (weight.ndim - 1))
        codes = torch.zeros(weight.shape).masked_scatter(layer.mask, layer.values.float())
        expected = reconstruct(codes, wide, 8) * layer.mask
        assert torch.equal(layer.dense(), expected)
        assert (expected - weight)[layer.mask].abs().max() < 0.02 * weight.abs().max()


def test_norms_and_biases_stay_float32_and_unchanged(root):
    for bits in (1, 16):
        submodel = derive(root, Recipe(root.name, 2, 0.1, bits))
        _, rest = weights_and_rest(depth.cut(root, 2))
        assert submodel.rest.keys() == rest.keys()
        for name, tensor in rest.items():
            assert tensor.dtype == torch.float32
            assert same_bits(submodel.rest[name], tensor), name
        assert all(t.ndim == 1 or not name.endswith("weight") for name, t in rest.items())


def test_half_precision_is_ieee_half_and_never_infinite(tiny):
    huge = Root.wrap("tiny", tiny.stem, tiny.blocks, tiny.heads)
    with torch.no_grad():
        huge.blocks[0].weight[0, 0, 0, 0] = 1e6
    layers = {layer.name: layer for layer in derive(huge, Recipe("tiny", bits=16)).layers}
    expected = huge.blocks[0].weight.numpy().clip(-65504, 65504).astype(np.float16)
    assert layers["blocks.0.weight"].values.numpy().tobytes() == expected.tobytes()


def test_sizes_are_those_of_the_card(root):
    card = ROOTS[root.name]
    for exit_, size in enumerate(card.exit_parameters, 1):
        assert derive(root, Recipe(root.name, exit=exit_)).num_parameters == size
    pruned = derive(root, Recipe(root.name, keep=0.25))
    whole = derive(root, Recipe(root.name))
    left_out = whole.num_weights - pruned.num_weights
    assert pruned.num_weights == round(0.25 * whole.num_weights)
    assert pruned.num_parameters == whole.num_parameters - left_out
    assert f"{pruned.num_parameters:,}" in repr(pruned)


def test_tied_weights_stay_tied():
    shared = nn.Linear(4, 4, bias=False)
    root = Root.wrap("tied", nn.Flatten(), [shared, shared], [nn.Linear(4, 2), nn.Linear(4, 2)])
    submodel = derive(root, Recipe("tied", keep=0.5, bits=4))
    first, second = (submodel.module.blocks[i].weight for i in (0, 1))
    assert first.data_ptr() == second.data_ptr()
    assert [layer.name for layer in submodel.layers] == ["blocks.0.weight", "head.weight"]


# Mixed precision


@pytest.mark.parametrize("keep", [1.0, 0.4, 1e-9])
@pytest.mark.parametrize("bits", MIXED_BITS)
def test_mixed_the_kept_weights_take_at_most_their_average(tiny, keep, bits):
    recipe = Recipe("tiny", 2, keep, bits, mixed=True)
    submodel = derive(tiny, recipe, sensitivity=losses_of(tiny, 2))
    uniform = derive(tiny, replace(recipe, mixed=False))
    spent = sum(layer.bits * layer.values.numel() for layer in submodel.layers)
    assert spent <= bits * submodel.num_weights
    for layer, other in zip(submodel.layers, uniform.layers, strict=True):
        assert torch.equal(layer.mask, other.mask)
        assert not (layer.values.int() >> layer.bits).any()
    assert submodel.recipe == recipe
    assert submodel != uniform


def test_mixed_layers_are_those_of_their_width(tiny):
    recipe = Recipe("tiny", 2, 0.4, 3, mixed=True)
    submodel = derive(tiny, recipe, sensitivity=losses_of(tiny, 2))
    assert len({layer.bits for layer in submodel.layers}) > 1
    for place, layer in enumerate(submodel.layers):
        other = derive(tiny, replace(recipe, bits=layer.bits, mixed=False)).layers[place]
        assert torch.equal(layer.values, other.values)
        assert torch.equal(layer.scales, other.scales)


def test_mixed_sub_models_of_an_all_in_one_root_share_its_grid(roots):
    root = copy.deepcopy(roots["vgg-digits"])
    root.name = "vgg-digits-nested"
    recipe = Recipe(root.name, 3, 0.5, 3, mixed=True)
    submodel = derive(root, recipe, sensitivity=losses_of(root, 3))
    whole = derive(root, replace(recipe, bits=8, mixed=False))
    for layer, wide in zip(submodel.layers, whole.layers, strict=True):
        assert torch.equal(layer.values, wide.values >> (8 - layer.bits))


def test_a_mixed_recipe_needs_a_sensitivity(tiny):
    recipe = Recipe("tiny", 1, bits=4, mixed=True)
    with pytest.raises(ValueError, match=r"sensitivity of 'tiny' must be measured .*sensitivity="):
        derive(tiny, recipe)
    with pytest.raises(ValueError, match=r"first that it lacks is 'blocks.1.1.weight'"):
        derive(tiny, replace(recipe, exit=2), sensitivity=losses_of(tiny, 1))
    masks = {layer.name: layer.mask for layer in derive(tiny, Recipe("tiny", 1)).layers}
    with pytest.raises(ValueError, match=r"widths must give each layer of tiny .*mixed=False"):
        sent(depth.cut(tiny, 1), recipe, masks)


# Equality


def changed(submodel, **parts):
    whole = {"recipe": submodel.recipe, "layers": submodel.layers, "rest": submodel.rest}
    return SubModel(**(whole | parts), architecture=submodel._architecture)


def with_layer(submodel, **fields):
    first, *others = submodel.layers
    return changed(submodel, layers=(replace(first, **fields), *others))


def test_equality_sees_every_bit_that_is_sent(tiny):
    coded = derive(tiny, Recipe("tiny", 1, 0.5, 4))
    assert coded == derive(tiny, Recipe("tiny", 1, 0.5, 4))
    first = coded.layers[0]
    mask = first.mask.clone()
    mask.view(-1)[mask.view(-1).nonzero()[0]] = False
    name, tensor = next(iter(coded.rest.items()))
    others = {
        "value": with_layer(coded, values=first.values ^ 1),
        "scale": with_layer(coded, scales=first.scales * (1 + 2**-20)),
        "mask": with_layer(coded, mask=mask),
        "bits": with_layer(coded, bits=5),
        "name": with_layer(coded, name="other"),
        "type": with_layer(coded, values=first.values.float()),
        "no scales": with_layer(coded, scales=None),
        "fewer layers": changed(coded, layers=coded.layers[1:]),
        "rest": changed(coded, rest={**coded.rest, name: tensor + 1e-3}),
        "rest's names": changed(coded, rest={k: v for k, v in coded.rest.items() if k != name}),
        "recipe": changed(coded, recipe=replace(coded.recipe, keep=0.51)),
    }
    for what, other in others.items():
        assert coded != other, what
    assert coded != "tiny"


def test_equality_is_of_bits_not_of_numbers(tiny):
    floats = derive(tiny, Recipe("tiny", bits=32))
    values = floats.layers[0].values.clone()
    values[0] = 0.0
    zero = with_layer(floats, values=values)
    assert zero != with_layer(floats, values=torch.where(values == 0, -values, values))
    values[0] = torch.nan
    assert with_layer(floats, values=values) == with_layer(floats, values=values.clone())


# Errors


def test_a_recipe_for_another_root_is_refused(tiny):
    with pytest.raises(ValueError, match=r"recipe.root must be 'tiny'.+'resnet-digits'.+Load that"):
        derive(tiny, Recipe("resnet-digits"))


def test_an_exit_that_the_root_lacks_is_refused(tiny):
    with pytest.raises(ValueError, match="exit must be a whole number from 1 to 2; got 3"):
        derive(tiny, Recipe("tiny", exit=3))
