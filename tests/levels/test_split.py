"""Two halves that make the whole, and what each costs."""

import pytest
import torch
from torch import nn

from insitu_widgets import Recipe, Root, derive
from insitu_widgets.levels.imagenet import IMAGE_SHAPE, LARGE, large, parameter_bits
from insitu_widgets.levels.split import count, split


def test_device_then_server_is_the_whole_to_the_bit(root, few):
    whole = root(few.images)
    for point in range(root.num_exits + 1):
        halves = split(root, point)
        assert torch.equal(halves.server(halves.device(few.images)), whole), point
        assert halves.uploads == (point < root.num_exits)


def test_a_users_root_divides_like_a_shipped_one(tiny):
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for point in (0, 1, 2):
        halves = split(tiny, point)
        assert torch.equal(halves.server(halves.device(images)), tiny(images))


def test_the_device_runs_what_it_has_received(roots, few):
    root = roots["vgg-digits"]
    coarse = derive(root, Recipe(root.name, exit=3, bits=2))
    halves, exact = split(root, 3, coarse.module), split(root, 3)
    assert not torch.equal(halves.device(few.images), exact.device(few.images))
    feature = exact.device(few.images)
    assert torch.equal(halves.server(feature), exact.server(feature))
    whole = derive(root, Recipe(root.name, bits=2))
    last = split(root, root.num_exits, whole.module)
    assert torch.equal(last.device(few.images), whole(few.images))


@pytest.mark.parametrize("point", [-1, 7, 1.0, True])
def test_a_split_that_is_not_there_names_those_that_are(roots, point):
    with pytest.raises(ValueError, match=r"split point of vgg-digits .* from 0 to 6; got .*Give"):
        split(roots["vgg-digits"], point)


@pytest.mark.parametrize(("point", "exit_"), [(3, 2), (3, 4), (3, None), (6, 5)])
def test_a_device_that_was_cut_at_another_exit_is_refused_at_once(roots, point, exit_):
    root = roots["vgg-digits"]
    other = derive(root, Recipe(root.name, exit=exit_, bits=4)).module
    sentence = rf"^local must be .+'vgg-digits' cut at exit {point}, .+ Give derive.+exit={point}"
    with pytest.raises(ValueError, match=sentence):
        split(root, point, other)


def test_a_device_with_another_root_or_with_none_is_refused_at_once(roots):
    root = roots["vgg-digits"]
    other = derive(roots["resnet-digits"], Recipe("resnet-digits", exit=3))
    with pytest.raises(ValueError, match=r"^local must be the network of 'vgg-digits' cut at exit"):
        split(root, 3, other.module)
    with pytest.raises(
        TypeError, match=r"^local must be of type Module; got SubModel\. Give a sub"
    ):
        split(root, 3, other)
    with pytest.raises(TypeError, match=r"^root must be of type Root; got 'vgg-digits'\. Load one"):
        split("vgg-digits", 2)


def test_operations_are_those_of_the_formulas(roots):
    costs = count(roots["vgg-digits"], (1, 8, 8))
    sides, widths = (8, 8, 4, 4, 2, 2), (1, 8, 16, 32, 64, 128, 192)
    assert costs.block_flops == tuple(
        2 * 9 * a * b * side**2 for side, a, b in zip(sides, widths, widths[1:], strict=False)
    )
    assert costs.head_flops == tuple(2 * 10 * width for width in widths[1:])
    tokens, width, hidden = 17, 96, 192
    attention = 2 * tokens * width * 4 * width + 2 * 2 * tokens**2 * width
    block = attention + 2 * 2 * tokens * width * hidden
    assert count(roots["vit-digits"], (1, 8, 8)).block_flops == (block,) * 6


def test_the_halves_costs_add_up(root):
    costs = count(root, (1, 8, 8))
    for point in range(costs.last + 1):
        assert costs.device_flops(point) + costs.server_flops(point) == costs.whole_flops
    assert (costs.device_flops(0), costs.server_flops(costs.last)) == (0, 0)
    assert costs.uploaded_values(0) == 64
    assert costs.uploaded_values(costs.last) == 0
    for point in range(1, costs.last):
        feature = split(root, point).device(torch.zeros(1, 1, 8, 8))
        assert feature.numel() == costs.uploaded_values(point)
    exits = [costs.exit_flops(exit_) for exit_ in range(1, costs.last + 1)]
    assert exits == sorted(exits)
    for beyond in (-1, costs.last + 1):
        with pytest.raises(ValueError, match="split point"):
            costs.uploaded_values(beyond)
    with pytest.raises(ValueError, match="exit"):
        costs.exit_flops(0)


@pytest.mark.parametrize("name", LARGE)
def test_large_networks_are_known_by_their_shapes(name):
    root = large(name)
    assert all(parameter.is_meta for parameter in root.parameters())
    costs = count(root, IMAGE_SHAPE)
    assert costs.values[0] == 3 * 224 * 224
    assert costs.head_flops[-1] > 0
    bits = [parameter_bits(root, point, 1.0, 32) for point in range(root.num_exits + 1)]
    assert bits == sorted(bits)
    assert bits[-1] == 32 * root.num_parameters
    with pytest.raises(ValueError, match="split point"):
        parameter_bits(root, root.num_exits + 1, 1.0, 32)


def test_large_networks_have_the_published_sizes():
    """Parameters and multiply-adds as torchvision's model table gives them (GFLOPS column)."""
    published = {
        "VGG-16": (138_365_992, 15.47),
        "ResNet-50": (25_557_032, 4.09),
        "MobileNet-V2": (3_504_872, 0.30),
        "ConvNeXt-Tiny": (28_589_128, 4.46),
    }
    for name, (parameters, giga) in published.items():
        root = large(name)
        assert root.num_parameters == parameters
        assert count(root, IMAGE_SHAPE).whole_flops / 2e9 == pytest.approx(giga, abs=0.01)


def test_a_network_that_is_not_there_names_those_that_are():
    with pytest.raises(ValueError, match=r"network must be one of VGG-16.*Choose"):
        large("AlexNet")


def test_counting_leaves_the_root_as_it_is():
    root = Root.wrap("one", nn.Identity(), [nn.Linear(4, 4)], [nn.Linear(4, 2)])
    before = [parameter.clone() for parameter in root.parameters()]
    assert count(root, (4,)).block_flops == (32,)
    after = list(root.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in after)
