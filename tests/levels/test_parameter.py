from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.nn.utils import prune

from insitu_widgets import ImageSet, Recipe, derive
from insitu_widgets.evaluate import right_answers
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.parameter import (
    group_masks,
    group_size,
    importance,
    magnitude_masks,
    masks,
    near_group_masks,
)

keeps = st.floats(0, 1, exclude_min=True)
# Quarters tie often, which is what the rule for ties is about.
layers = st.lists(
    arrays(np.float32, st.integers(1, 30), elements=st.integers(-8, 8).map(lambda n: n / 4)),
    min_size=1,
    max_size=4,
).map(lambda values: {str(i): torch.from_numpy(v) for i, v in enumerate(values)})


def flat(masks):
    return torch.cat([mask.flatten() for mask in masks.values()])


@given(layers, keeps)
def test_exactly_the_announced_number_is_kept(weights, keep):
    total = sum(w.numel() for w in weights.values())
    assert int(flat(magnitude_masks(weights, keep)).sum()) == max(1, round(keep * total))


@given(layers, keeps, keeps)
def test_nested_masks_are_subsets(weights, a, b):
    small, large = (flat(magnitude_masks(weights, keep)) for keep in sorted([a, b]))
    assert not (small & ~large).any()


@given(layers, keeps)
def test_against_a_stable_sort(weights, keep):
    """The oracle: sort all magnitudes, largest first, earlier first where they tie."""
    everything = np.concatenate([w.numpy() for w in weights.values()])
    count = max(1, round(keep * everything.size))
    expected = np.zeros(everything.size, bool)
    expected[np.argsort(-np.abs(everything), kind="stable")[:count]] = True
    np.testing.assert_array_equal(flat(magnitude_masks(weights, keep)).numpy(), expected)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.3, 0.07, 0.001])
def test_against_torchs_own_global_pruning(root, keep):
    """The oracle: torch.nn.utils.prune, global and unstructured by L1 norm."""
    copies = nn.Module()
    weights, _ = weights_and_rest(root)
    magnitudes = torch.cat([w.flatten().abs() for w in weights.values()])
    total = magnitudes.numel()
    removed = total - max(1, round(keep * total))
    boundary = magnitudes.sort().values[removed - 1 : removed + 1]
    assert boundary[0] < boundary[1], "the oracle is only one where the boundary does not tie"
    for name, weight in weights.items():
        copies.register_parameter(name.replace(".", "_"), nn.Parameter(weight.clone()))
    prune.global_unstructured(
        [(copies, name) for name, _ in list(copies.named_parameters())],
        pruning_method=prune.L1Unstructured,
        amount=removed,
    )
    masks = magnitude_masks(weights, keep)
    for name, mask in masks.items():
        assert torch.equal(mask, getattr(copies, name.replace(".", "_") + "_mask").bool()), name


def test_everything_kept_is_a_full_mask_of_each_shape():
    weights = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    masks = magnitude_masks(weights, 1.0)
    assert {name: (mask.shape, bool(mask.all())) for name, mask in masks.items()} == {
        "a": ((2, 3), True),
        "b": ((4,), True),
    }


def test_the_weights_are_left_alone():
    weights = {"a": torch.tensor([3.0, -1.0, 2.0])}
    magnitude_masks(weights, 0.4)
    assert weights["a"].tolist() == [3.0, -1.0, 2.0]


# Other importance


@pytest.fixture(scope="module")
def network(roots):
    return cut(roots["vgg-digits"])


def test_the_magnitude_keeps_what_the_recipe_keeps(roots, network, few):
    root = roots["vgg-digits"]
    scores = importance("magnitude", network, few)
    recipe = Recipe(root.name, keep=0.3, bits=4)
    assert derive(root, recipe, scores) == derive(root, recipe)


def test_per_layer_every_layer_keeps_its_share(network, few):
    weights, _ = weights_and_rest(network)
    kept = masks(importance("magnitude, per layer", network, few), 0.25, weights)
    for name, mask in kept.items():
        assert abs(int(mask.sum()) - 0.25 * mask.numel()) <= 1
        assert weights[name].abs()[mask].min() >= weights[name].abs()[~mask].max()


def test_layer_adaptive_by_hand():
    """Each square over the sum of those in its layer no smaller; the first of a tie wins."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 4.0]]))
        network[1].weight.zero_()
    found = importance("magnitude, layer-adaptive", network)
    expected = torch.tensor([[9 / 41, 1.0], [0.0, 16 / 32]])
    torch.testing.assert_close(found["0.weight"], expected)
    assert found["1.weight"].tolist() == [[0.0, 0.0]]


def test_layer_adaptive_leaves_some_of_each_layer_and_the_largest_of_it(network, few):
    weights, _ = weights_and_rest(network)
    kept = masks(importance("magnitude, layer-adaptive", network, few), 0.02, weights)
    for name, mask in kept.items():
        assert mask.any()
        assert weights[name].abs()[mask].min() >= weights[name].abs()[~mask].max()


def test_layer_adaptive_holds_what_magnitude_loses(roots, network, digits):
    root, recipe, right = roots["vgg-digits"], Recipe("vgg-digits", keep=0.1), {}
    for kind in ("magnitude", "magnitude, layer-adaptive"):
        module = derive(root, recipe, importance(kind, network)).module
        right[kind] = round(100 * float(right_answers(module, digits).double().mean()))
    course = Path(__file__).parents[2] / "notebooks/03_parameter_pruning_and_nesting.ipynb"
    said = "{} % are left, but {} % layer-adaptive".format(*right.values())
    assert said in course.read_text(encoding="utf-8")


def test_taylor_by_hand():
    """One linear layer, one image: the gradient of the cross-entropy is (p - y) xᵀ."""
    layer = nn.Linear(2, 2, bias=False)
    images = ImageSet(torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([1]), ("a", "b"))
    flat = nn.Sequential(nn.Flatten(), layer)
    logits = flat(images.images)[0]
    error = logits.softmax(0) - torch.tensor([0.0, 1.0])
    by_hand = (layer.weight * error[:, None] * torch.tensor([1.0, -2.0])).square()
    found = importance("first-order Taylor", flat, images)["1.weight"]
    torch.testing.assert_close(found, by_hand.detach())


def test_random_is_a_control_that_repeats(network, few):
    first, again, other = (importance("random", network, few, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.1.0.weight"], other["blocks.1.0.weight"])


def test_scores_of_another_shape_and_unknown_kinds_are_refused(network, few):
    weights, _ = weights_and_rest(network)
    with pytest.raises(ValueError, match=r"importance must have a score for each weight of head"):
        masks({n: w for n, w in weights.items() if not n.startswith("head")}, 0.5, weights)
    with pytest.raises(ValueError, match=r"importance must be one of magnitude, .*; got 'size'"):
        importance("size", network, few)
    with pytest.raises(
        ValueError, match=r"images must be .* first-order Taylor.*; got None\. Give"
    ):
        importance("first-order Taylor", network)


@given(keeps, keeps)
def test_groups_nest_whole_and_keep_no_more_than_announced(a, b):
    random = torch.Generator().manual_seed(0)
    shapes = {"conv": (4, 3, 3, 3), "linear": (5, 24), "odd": (3, 5)}
    weights = {n: torch.randn(shape, generator=random) for n, shape in shapes.items()}
    small, large = (group_masks(weights, keep) for keep in sorted([a, b]))
    assert not (flat(small) & ~flat(large)).any()
    total = sum(w.numel() for w in weights.values())
    assert int(flat(large).sum()) <= max(9, round(max(a, b) * total))
    for name, size in (("conv", 9), ("linear", 8), ("odd", 1)):
        rows = large[name].reshape(-1, size)
        assert (rows == rows[:, :1]).all()
    assert flat(group_masks(weights, 1.0)).all()


@given(layers, keeps)
def test_groups_against_a_stable_sort(weights, keep):
    """The oracle: sort all groups, strongest first, and take whole ones while there is room."""
    weights = {n: w.repeat(3).view(-1, 3, 1) for n, w in weights.items()}
    weights["pairs"] = torch.tensor([[0.5, 0.5], [0.25, 2.0], [0.0, 0.0]])
    groups = [row for w in weights.values() for row in w.view(-1, group_size(w.shape))]
    order = np.argsort([-float(g.square().mean()) for g in groups], kind="stable")
    total = sum(g.numel() for g in groups)
    held = np.cumsum([groups[i].numel() for i in order])
    chosen = set(order[: max(1, (held <= round(keep * total)).sum())])
    expected = torch.cat([torch.full(g.shape, i in chosen) for i, g in enumerate(groups)])
    assert torch.equal(flat(group_masks(weights, keep)), expected)


@pytest.mark.parametrize("keep", [0.03, 0.2, 0.7, 1.0])
def test_masks_from_a_sample_are_those_of_a_share_close_by(keep):
    random = torch.Generator().manual_seed(0)
    shapes = {"a": (64, 32, 3, 3), "b": (128, 64, 1, 1), "c": (64, 64, 3, 3), "d": (10, 64)}
    weights = {n: torch.randn(shape, generator=random) * len(shape) for n, shape in shapes.items()}
    near = near_group_masks(weights, keep, sample=2000)
    share = float(flat(near).float().mean())
    assert share == pytest.approx(keep, abs=4 * (keep * (1 - keep) / 2000) ** 0.5 + 1e-6)
    exact = group_masks(weights, share)
    assert all(torch.equal(near[name], exact[name]) for name in weights)
    assert torch.equal(
        flat(near_group_masks(weights, keep)), flat(group_masks(weights, keep))
    )  # so few are all sorted
