"""Fixtures that are costly to make, made once; and hypothesis without a clock or a dice box."""

import pytest
import torch
from hypothesis import settings
from torch import nn

from insitu_widgets import ROOTS, Root, load_data, load_root

# The same examples on every run, however busy the machine: a red test is a change, not luck.
settings.register_profile("insitu", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("insitu")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def roots():
    """The shipped roots by name."""
    return {name: load_root(name) for name in ROOTS}


@pytest.fixture(scope="session", params=list(ROOTS))
def root(request, roots):
    """Each shipped root in turn."""
    return roots[request.param]


@pytest.fixture(scope="session")
def digits():
    """All test images."""
    return load_data("digits")


@pytest.fixture(scope="session")
def few():
    """Forty test images, four a class."""
    return load_data("digits", limit=40)


@pytest.fixture(scope="session")
def tiny():
    """A user's own root: two exits, a norm with statistics, about 140 weights an exit."""
    random = torch.Generator().manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    blocks = [nn.Conv2d(3, 3, 3, stride=4), nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 1))]
    heads = [nn.Sequential(nn.Flatten(), nn.Linear(size, 3)) for size in (12, 8)]
    root = Root.wrap("tiny", stem, blocks, heads)
    for tensor in [*root.parameters(), *root.buffers()]:
        tensor.copy_(torch.randn(tensor.shape, generator=random))
    root.stem[1].running_var.abs_().add_(0.1)
    return root
