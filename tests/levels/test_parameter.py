import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.nn.utils import prune

from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.parameter import magnitude_masks

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
