"""Fixtures that are costly to make, made once; and hypothesis without a clock or a dice box."""

import os

import pytest
import torch
from hypothesis import settings
from torch import nn

from insitu_widgets import ROOTS, ImageSet, Root, load_data, load_root
from insitu_widgets.levels.allocation import WIDTHS, LayerLoss
from insitu_widgets.levels.quantised import tensors_of
from insitu_widgets.roots import ARCHITECTURES

# The same examples on every run, however busy the machine: a red test is a change, not luck.
settings.register_profile("insitu", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("insitu")
torch.set_num_threads(1)
if "PYTEST_XDIST_WORKER" in os.environ:  # files are run side by side: what they start has one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")


#: The roots of the embedded digits: small, always shipped, and their images are always there.
DIGITS_ROOTS = [name for name, card in ROOTS.items() if card.data == "digits"]
PHOTO_ROOTS = [name for name in ARCHITECTURES if name.endswith("-cifar100")]


def losses_of(root, exit_=None):
    """A sensitivity to cut mixed recipes by: each layer twice as sensitive as the one before."""
    return [
        LayerLoss(name, weight.numel(), tuple(2.0**place * 4.0**-width for width in WIDTHS))
        for place, (name, weight) in enumerate(tensors_of(root, exit_)[0].items())
    ]


@pytest.fixture(scope="session")
def roots():
    """The digits' roots by name."""
    return {name: load_root(name) for name in DIGITS_ROOTS}


@pytest.fixture(scope="session", params=DIGITS_ROOTS)
def root(request, roots):
    """Each root of the digits in turn."""
    return roots[request.param]


@pytest.fixture(scope="session", params=PHOTO_ROOTS)
def photo_root(request):
    """Each root of the photographs in turn: the shipped one, or its architecture, untrained."""
    if request.param in ROOTS:
        return load_root(request.param)
    torch.manual_seed(0)
    return ARCHITECTURES[request.param]().eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def noise():
    """Two hundred images of CIFAR-100's shape and no meaning."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(200, 3, 32, 32, generator=random)
    labels = torch.arange(200) % 100
    return ImageSet(images, labels, tuple(f"class {number}" for number in range(100)))


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
