import gc
import weakref

import torch
from torch import nn

from insitu_widgets import Recipe, Root, derive, unpack
from insitu_widgets.air.payload import pack
from insitu_widgets.remembered import Remembered


def counted():
    asked = []

    def total(tensor):
        asked.append(tensor)
        return float(tensor.sum())

    return Remembered(total), asked


def test_it_is_worked_out_once_a_tensor():
    total, asked = counted()
    first, alike = torch.ones(3), torch.ones(3)
    assert [total(first), total(first), total(alike)] == [3.0, 3.0, 3.0]
    assert len(asked) == 2


def test_it_is_worked_out_again_after_a_change():
    total, _ = counted()
    parameter = nn.Parameter(torch.ones(3), requires_grad=False)
    assert total(parameter) == 3.0
    parameter[0] = 5.0
    assert total(parameter) == 7.0
    parameter.mul_(2)
    assert total(parameter) == 14.0


def test_it_is_forgotten_with_its_tensor():
    total = Remembered(lambda tensor: nn.Identity())
    tensor = torch.ones(3)
    result = weakref.ref(total(tensor))
    assert result() is not None
    del tensor
    gc.collect()
    assert result() is None


def test_an_all_in_one_root_that_is_trained_further_is_cut_anew():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    root = Root.wrap("mine", nn.Identity(), [nn.Identity()], [linear])
    root.name = "mine-nested"
    recipe = Recipe("mine-nested", keep=0.5, bits=4)
    before = derive(root, recipe)
    assert derive(root, recipe) == before
    weight = root.heads[0][1].weight
    weight.copy_(weight.flip(0))
    after = derive(root, recipe)
    assert after != before
    kept = after.layers[0]
    assert torch.equal(kept.mask, before.layers[0].mask.flip(0))
    assert unpack(pack(after), root=root)[0] == after
