"""A network made ready: the same function, folded, and left alone where that is not safe."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torchvision.models import VisionTransformer, mobilenet_v3_small, resnet50

from insitu_widgets import Recipe, accuracy, derive, load_root
from insitu_widgets.evaluate import WORTH_PREPARING, accuracies
from insitu_widgets.inference import for_inference
from insitu_widgets.levels.depth import Joined, cut


def with_statistics(network):
    """Batch norms as after a training: a fresh one folds to almost nothing."""
    random = torch.Generator().manual_seed(0)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.copy_(0.1 * torch.randn(norm.num_features, generator=random))
            norm.running_var.copy_(0.5 + torch.rand(norm.num_features, generator=random))
            norm.weight.data.copy_(0.5 + torch.rand(norm.num_features, generator=random))
    return network.eval().requires_grad_(requires_grad=False)


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("make", [resnet50, mobilenet_v3_small])
def test_torchvisions_networks_lose_every_norm_and_no_logit(make):
    torch.manual_seed(0)
    network, images = with_statistics(make(num_classes=10)), torch.randn(2, 3, 64, 64)
    ready = for_inference(network)
    assert norms(network) > 30
    assert norms(ready) == 0
    with torch.inference_mode():
        expected, found = network(images), ready(images)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_photo_root_answers_the_same_at_every_exit(photo_root, noise):
    root = with_statistics(copy.deepcopy(photo_root))
    before = {name: tensor.clone() for name, tensor in root.state_dict().items()}
    ready = for_inference(root)
    assert norms(ready) == 0
    with torch.inference_mode():
        for mine, theirs in zip(ready.exits(noise.images[:8]), root.exits(noise.images[:8]),
                                strict=True):  # fmt: skip
            scale = float(theirs.abs().max())
            assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-4 * scale)
    assert all(torch.equal(root.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("bfloat16", [False, True])
def test_torchvisions_vit_attends_to_the_same_in_fewer_steps(bfloat16):
    torch.manual_seed(0)
    network = VisionTransformer(16, 4, 3, 4, 24, 48, num_classes=10).eval()
    nn.init.normal_(network.heads.head.weight)
    ready, images = for_inference(network), torch.randn(5, 3, 16, 16)
    attentions = [m for m in ready.modules() if isinstance(m, nn.MultiheadAttention)]
    assert attentions == []
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)
    with torch.inference_mode(), autocast:
        expected, found = network(images).float(), ready(images).float()
    near = (0.05 if bfloat16 else 1e-5) * float(expected.abs().max())
    assert torch.allclose(found, expected, rtol=0, atol=near)


@pytest.mark.parametrize("exits", [(1,), (6,), (2, 4), (1, 2, 3, 4, 5, 6)])
def test_of_a_vits_last_block_only_the_class_token_is_computed(roots, digits, exits):
    root = roots["vit-digits"]
    whole = Joined([cut(root, exit_) for exit_ in exits])
    ready, seen = for_inference(whole), []
    for block in ready.blocks:
        block.register_forward_hook(lambda _, __, tokens: seen.append(tokens.shape[1]))
    images = digits.images[:50]
    with torch.inference_mode():
        for mine, theirs in zip(ready(images), whole(images), strict=True):
            assert torch.allclose(mine, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
    assert seen == [17] * (exits[-1] - 1) + [1]


def test_a_vits_last_block_is_whole_where_a_head_hears_its_other_tokens(roots, digits):
    class Mean(nn.Module):
        def forward(self, tokens):
            return tokens.mean(dim=1)

    network = cut(roots["vit-digits"], 2)
    network.head = Mean()
    ready, images = for_inference(network), digits.images[:5]
    with torch.inference_mode():
        assert torch.allclose(ready(images), network(images), atol=1e-5)


def test_accuracy_of_many_values_is_measured_on_the_folded_network(noise, monkeypatch):
    root = load_root("vgg-digits")  # any convolutions: the images decide
    first = nn.Sequential(nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(8), root).eval()
    assert noise.images.numel() >= WORTH_PREPARING
    *_, prepared = accuracy(first, noise)
    *_, plain = accuracy(first.forward, noise)  # not a network, so not prepared
    assert prepared == plain
    seen = []
    monkeypatch.setattr("insitu_widgets.evaluate.for_inference", lambda n: seen.append(n) or n)
    list(accuracy(first, noise))
    list(accuracy(first, noise.take(torch.arange(20))))
    list(accuracy(first.train(), noise))
    assert seen == [first]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_network_that_a_channel_has_broken_is_run_as_it_arrived(roots, value):
    network = copy.deepcopy(roots["vgg-digits"])
    next(network.parameters()).flatten()[0] = value
    assert for_inference(network) is network


def test_a_convolution_used_twice_keeps_both_its_places():
    shared = nn.Conv2d(2, 2, 1)
    network = nn.Sequential(nn.Sequential(shared, nn.BatchNorm2d(2)), nn.ReLU(), shared)
    images = torch.randn(3, 2, 4, 4)
    ready = for_inference(with_statistics(network))
    assert torch.allclose(ready(images), network(images), atol=1e-6)


def test_all_exits_from_one_pass_are_each_ones_accuracy(roots, digits):
    root = roots["resnet-digits"]
    cuts = [derive(root, Recipe(root.name, exit_)) for exit_ in (1, 4, None)]
    *_, together = accuracies(Joined([one.module for one in cuts]), digits)
    for one, estimate in zip(cuts, together, strict=True):
        *_, alone = accuracy(one, digits)
        assert estimate == alone


def test_an_activation_that_is_shared_stands_between_all_that_it_stands_between():
    relu, random = nn.ReLU(), torch.Generator().manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), relu, nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), relu]
    network = with_statistics(nn.Sequential(*layers, nn.BatchNorm2d(8)))
    images = torch.randn(2, 3, 9, 9, generator=random)
    ready = for_inference(network)
    assert norms(ready) == 2, "none follows its convolution at once"
    assert torch.allclose(ready(images), network(images), rtol=1e-4, atol=1e-5)


class Backwards(nn.Sequential):
    def forward(self, images):
        return self[0](self[1](images))


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)),
        Backwards(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)),
        nn.Sequential(weight_norm(nn.Conv2d(3, 3, 3)), nn.BatchNorm2d(3)),
    ],
    ids=["no statistics", "another order", "weights made anew"],
)
def test_a_norm_that_cannot_be_folded_stays(network):
    network = network.eval().requires_grad_(requires_grad=False)
    images = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
            norm.running_mean.fill_(0.5)
            norm.running_var.fill_(2.0)
    ready = for_inference(network)
    assert norms(ready) == 1
    assert torch.allclose(ready(images), network(images), rtol=1e-4, atol=1e-5)
