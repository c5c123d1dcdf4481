import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets.levels.masked import scatter, select

TYPES = (torch.uint8, torch.bool, torch.float16, torch.float32)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sampled_from(TYPES), st.booleans())
def test_what_is_selected_is_what_torch_selects_and_goes_back_to_its_place(flags, dtype, turned):
    mask = torch.tensor([flags, flags[::-1]])
    tensor = (torch.arange(mask.numel()) % 251).view(mask.shape).to(dtype)
    if turned:
        mask, tensor = mask.T, tensor.T
    values = select(tensor, mask)
    assert values.dtype == dtype
    assert torch.equal(values, tensor[mask])
    assert torch.equal(scatter(values, mask), tensor * mask)


def test_of_a_trained_parameter_and_of_an_expanded_mask():
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
    mask = torch.tensor([True, False])[:, None].expand(2, 3)
    assert select(weight, mask).tolist() == [0.0, 1.0, 2.0]
    assert not select(weight, torch.ones(2, 3, dtype=torch.bool)).requires_grad


def test_all_of_them_are_not_copied():
    tensor = torch.arange(4)
    assert select(tensor, torch.ones(4, dtype=torch.bool)).data_ptr() == tensor.data_ptr()


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="cannot assign 3 input values to the 2"):
        scatter(torch.zeros(3), torch.tensor([True, True, False, False]))


def test_nothing_may_be_selected():
    assert select(torch.arange(3), torch.tensor([False] * 3)).shape == (0,)
