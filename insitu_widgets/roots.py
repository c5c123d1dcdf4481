"""Root models: torchvision's ResNet, VGG and ViT seen as a stem, blocks and heads.

A root (paper, section 2) is the large network from which every sub-model is cut. Here each of
its blocks is followed by an exit, a small classifier of its own (the "backbone neural network"
of section 2.1), so that cutting after block e leaves a complete network.

The table :data:`ARCHITECTURES` names the shipped ones; :meth:`Root.wrap` makes a root of any
other classifier.
"""

from __future__ import annotations

import copy
import math
from functools import lru_cache, partial
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from insitu_widgets.cards import NESTED_ROOTS, NESTED_SUFFIX, ROOTS
from insitu_widgets.cpus import usable_cpus
from insitu_widgets.errors import in_range, of_type, one_of

from insitu_widgets import vision  # isort: skip  # noqa: F401  (makes the next importable)
from torchvision.models import VisionTransformer, resnet18  # isort: skip
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet, conv1x1  # isort: skip
from torchvision.models.vgg import make_layers  # isort: skip
from torchvision.models.vision_transformer import EncoderBlock  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

#: torchvision's modules whose ``bn1`` follows ``conv1``, and so on.
RESIDUAL = (BasicBlock, Bottleneck, ResNet)
#: Its module whose ``self_attention`` is asked about its own input only, batch first.
ENCODER = EncoderBlock


class Root(nn.Module):
    """A network as stem, blocks and heads, one head (exit) after every block.

    Attributes
    ----------
    name : str
        The root's name; it is what a :class:`~insitu_widgets.Recipe` refers to.
    stem : nn.Module
        Images ``[N, C, H, W]`` to the first feature.
    blocks, heads : nn.ModuleList
        ``heads[e - 1]`` turns the feature after ``blocks[e - 1]`` into logits ``[N, classes]``.
    """

    def __init__(
        self, name: str, stem: nn.Module, blocks: Iterable[nn.Module], heads: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.name = name
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.heads = nn.ModuleList(heads)
        if len(self.blocks) != len(self.heads) or not self.blocks:
            msg = (
                f"heads: a root needs one head for each of its blocks, at least one; got "
                f"{len(self.blocks)} blocks and {len(self.heads)} heads. Add the missing ones."
            )
            raise ValueError(msg)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
                module.num_batches_tracked = None  # a counter of training; inference ignores it

    @classmethod
    def wrap(
        cls, name: str, stem: nn.Module, blocks: Iterable[nn.Module], heads: Iterable[nn.Module]
    ) -> Self:
        """Make a root of a user's own network, given how it divides.

        The modules are copied, set to float32 and to evaluation mode; the originals stay as they
        are.

        Raises
        ------
        ValueError
            If the numbers of blocks and heads differ, or there are none; or for a name that is a
            shipped root's, an all-in-one root's (``…-nested``), or none at all.
        """
        _check_name(name)
        parts = copy.deepcopy((stem, nn.ModuleList(blocks), nn.ModuleList(heads)))
        return cls(name, *parts).float().eval().requires_grad_(requires_grad=False)

    @property
    def num_exits(self) -> int:
        """Number of exits, the last one included."""
        return len(self.heads)

    @property
    def is_nested(self) -> bool:
        """Whether it is an all-in-one root, by its name: then its sub-models share their grids."""
        return self.name.endswith(NESTED_SUFFIX)

    @property
    def num_parameters(self) -> int:
        """Trainable parameters, all heads included (buffers are not parameters)."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, images: Tensor, exit: int | None = None) -> Tensor:  # noqa: A002
        """Logits ``[N, classes]`` of ``images [N, C, H, W]`` at one exit (``None``: the last)."""
        index = self.num_exits if exit is None else in_range("exit", exit, 1, self.num_exits)
        feature = self.stem(images)
        for block in self.blocks[:index]:
            feature = block(feature)
        return self.heads[index - 1](feature)

    def exits(self, images: Tensor) -> list[Tensor]:
        """Logits ``[N, classes]`` of every exit, from one pass."""
        feature = self.stem(images)
        logits = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            feature = block(feature)
            logits.append(head(feature))
        return logits


#: Characters of the name of a user's root, which stands in legends, tables and packets.
_LONGEST_NAME = 100


def _check_name(name: object) -> None:
    """Check the name of a user's root: recipes, rows, packets and legends refer to it by that."""
    of_type("name", name, str, 'Give the root a name: Root.wrap("mine", …).')
    name = str(name)
    if not (name.isprintable() and name[:1].isalnum() and name == name.strip()) or (
        len(name) > _LONGEST_NAME
    ):
        msg = (
            f"name must begin with a letter or a digit and be one line of 1 to {_LONGEST_NAME} "
            f"characters; got {name[:_LONGEST_NAME]!r}. Name it like this: mine."
        )
        raise ValueError(msg)
    if name in ARCHITECTURES:
        msg = (
            f"name must be another than the shipped roots'; got {name!r}, which recipes and "
            f"packets would take for that one. Choose another: my-{name}."
        )
        raise ValueError(msg)
    if name.endswith(NESTED_SUFFIX):
        msg = (
            f"name must not end with {NESTED_SUFFIX!r}; got {name!r}. It marks an all-in-one root, "
            f"whose sub-models share one grid. Leave it out, or, if yours was trained as one, set "
            f"it afterwards: root.name = {name!r}."
        )
        raise ValueError(msg)


def is_weight(name: str, parameter: Tensor) -> bool:
    """Tell a weight matrix or kernel from a norm, a bias or an embedding.

    Only the weights of convolutions, linear layers and attention projections are pruned,
    quantised and exposed to the channel; axis 0 is their output channel.
    """
    return parameter.ndim > 1 and name.endswith("weight")


def assign(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Give a (meta) module its tensors, without copying them.

    Raises
    ------
    ValueError
        If a name or a shape is not the module's own, or one is missing.
    """
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    wanted = {name: tuple(tensor.shape) for name, tensor in (parameters | buffers).items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != given:
        different = sorted(set(wanted.items()) ^ set(given.items()))
        msg = f"tensors: they do not fit the network; the first difference is {different[0]}."
        raise ValueError(msg)
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        value = nn.Parameter(tensor, requires_grad=False) if name in parameters else tensor
        setattr(module.get_submodule(path), leaf, value)
    return module


def _pooled_head(channels: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def _resnet_digits() -> Root:
    def block(before: int, after: int, stride: int) -> nn.Module:
        if before == after and stride == 1:
            return BasicBlock(before, after)
        shortcut = nn.Sequential(conv1x1(before, after, stride), nn.BatchNorm2d(after))
        return BasicBlock(before, after, stride, downsample=shortcut)

    widths, strides = (16, 24, 48, 64, 96, 128), (1, 1, 2, 1, 2, 1)
    stem = nn.Sequential(
        nn.Conv2d(1, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
    )
    befores = (widths[0], *widths)
    blocks = [block(*shape) for shape in zip(befores, widths, strides, strict=False)]
    return Root("resnet-digits", stem, blocks, map(_pooled_head, widths))


def _vgg_digits() -> Root:
    widths = (8, 16, 32, 64, 128, 192)
    layers = list(make_layers([8, 16, "M", 32, 64, "M", 128, 192, "M"], batch_norm=True))
    layers[0] = nn.Conv2d(1, widths[0], 3, padding=1)  # one grey channel instead of three colours
    starts = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    blocks = [
        nn.Sequential(*layers[start:end])
        for start, end in zip(starts, [*starts[1:], len(layers)], strict=True)
    ]
    return Root("vgg-digits", nn.Identity(), blocks, map(_pooled_head, widths))


class PatchTokens(nn.Module):
    """A ViT's stem: patches, class token, position embedding: ``[N, C, H, W]`` to ``[N, T, D]``."""

    def __init__(self, vit: VisionTransformer, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection
        self.class_token = vit.class_token
        self.position = vit.encoder.pos_embedding

    def forward(self, images: Tensor) -> Tensor:
        """Embed the patches."""
        patches = self.projection(images)
        position = self.position
        if patches[0, 0].numel() != position.shape[1] - 1:
            position = _resized(position, patches.shape[-2:])
        first = self.class_token.expand(patches.shape[0], -1, -1)
        return torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1) + position


def _resized(position: Tensor, shape: torch.Size) -> Tensor:
    """A position embedding ``[1, 1 + S·S, D]`` for a grid of patches of another shape.

    For training on smaller images than the root's own (Dosovitskiy et al., ICLR 2021, section 3.2).
    """
    side = math.isqrt(position.shape[1] - 1)
    grid = position[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    grid = functional.interpolate(grid, tuple(shape), mode="bilinear")
    return torch.cat([position[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class TokenHead(nn.Module):
    """A ViT's exit: norm and linear layer on the class token, ``[N, T, D]`` to logits."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.linear = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Classify."""
        return self.linear(self.norm(tokens[:, 0]))


def _vit_digits() -> Root:
    width, depth = 96, 6
    vit = VisionTransformer(
        image_size=8,
        patch_size=2,
        num_layers=depth,
        num_heads=4,
        hidden_dim=width,
        mlp_dim=2 * width,
        num_classes=10,
    )
    stem = PatchTokens(vit, nn.Conv2d(1, width, 2, stride=2))
    heads = [TokenHead(width, 10) for _ in range(depth)]
    return Root("vit-digits", stem, vit.encoder.layers, heads)


def _convolution(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    kernel = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return [kernel, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


def _convolutional_head(channels: int, *widths: int, classes: int = 100) -> nn.Module:
    # An early feature is large and knows little. Each grouped convolution halves its sides, so that
    # what is pooled has seen as much of the image as a later block has, for few parameters. (Groups
    # of eight channels, because oneDNN is slow with single ones in bfloat16.)
    layers: list[nn.Module] = []
    for before, after in zip((channels, *widths), widths, strict=False):
        layers += [
            nn.Conv2d(before, before, 3, 2, padding=1, groups=before // 8, bias=False),
            nn.Conv2d(before, after, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, *_pooled_head(widths[-1], classes))


def _resnet18_cifar100() -> Root:
    net = resnet18(num_classes=100, zero_init_residual=True)
    # For 32×32 images: a 3×3 stem of stride 1 for the 7×7 one of stride 2 and its max pooling.
    stem = nn.Sequential(*_convolution(3, 64))
    blocks: list[nn.Module] = [*net.layer1, *net.layer2, *net.layer3, *net.layer4]
    heads = [
        *(_convolutional_head(64, 64, 128, 256) for _ in net.layer1),
        *(_convolutional_head(128, 256, 256) for _ in net.layer2),
        *(_convolutional_head(256, 256) for _ in net.layer3),
        *(_pooled_head(512, 100) for _ in net.layer4),
    ]
    return Root("resnet18-cifar100", stem, blocks, heads)


def _vgg16_cifar100() -> Root:
    # VGG-16's thirteen convolutions in five stages, the later ones narrowed from 256, 512 and 512
    # to 176, 256 and 256 channels, and one linear layer for its three. The head's average stands
    # for the last pooling, so that smaller images than 32×32 can be learnt from as well.
    stages = ((64, 64), (128, 128), (176, 176, 176), (256, 256, 256), (256, 256, 256))
    plan: list[str | int] = [entry for stage in stages for entry in (*stage, "M")]
    layers = list(make_layers(plan[:-1], batch_norm=True))
    ends = [i + 1 for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    ends.append(len(layers))
    blocks = [nn.Sequential(*layers[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    heads = [
        _convolutional_head(64, 128, 256),
        _convolutional_head(128, 256, 256),
        _convolutional_head(176, 256),
        _pooled_head(256, 100),
        _pooled_head(256, 100),
    ]
    return Root("vgg16-cifar100", nn.Identity(), blocks, heads)


def _vit_cifar100() -> Root:
    width, depth = 192, 6
    vit = VisionTransformer(
        image_size=32,
        patch_size=4,
        num_layers=depth,
        num_heads=3,
        hidden_dim=width,
        mlp_dim=4 * width,
        num_classes=100,
    )
    # A convolutional stem to 8×8 patches: from 50,000 images a ViT learns little without one.
    projection = nn.Sequential(
        *_convolution(3, 48),
        *_convolution(48, 96, stride=2),
        *_convolution(96, 96),
        nn.Conv2d(96, width, 3, stride=2, padding=1),
    )
    heads = [TokenHead(width, 100) for _ in range(depth)]
    return Root("vit-cifar100", PatchTokens(vit, projection), vit.encoder.layers, heads)


_ARCHITECTURES: Mapping[str, Callable[[], Root]] = {
    "resnet-digits": _resnet_digits,
    "vgg-digits": _vgg_digits,
    "vit-digits": _vit_digits,
    "resnet18-cifar100": _resnet18_cifar100,
    "vgg16-cifar100": _vgg16_cifar100,
    "vit-cifar100": _vit_cifar100,
}


def _all_in_one(name: str) -> Root:
    root = _ARCHITECTURES[name]()
    root.name = name + NESTED_SUFFIX
    return root


#: Root name -> a function that builds its architecture with fresh weights; the all-in-one roots
#: have the architectures of the others.
ARCHITECTURES: Mapping[str, Callable[[], Root]] = {
    **_ARCHITECTURES,
    **{name + NESTED_SUFFIX: partial(_all_in_one, name) for name in _ARCHITECTURES},
}


@lru_cache(maxsize=len(ARCHITECTURES))
def skeleton(name: str) -> Root:
    """A root's architecture on the meta device: shapes without memory. Never write to it."""
    one_of("root", name, ARCHITECTURES)
    with torch.device("meta"):
        return ARCHITECTURES[name]().eval().requires_grad_(requires_grad=False)


def load_root(name: str) -> Root:
    """Load a shipped root.

    Parameters
    ----------
    name
        One of :data:`insitu_widgets.ROOTS`, or of the all-in-one roots beside them, such as
        ``"resnet-digits-nested"``.

    Returns
    -------
    Root
        In evaluation mode, float32, its weights mapped from the file.

    Raises
    ------
    ValueError
        If there is no root of that name, or the file of its weights is damaged.
    """
    one_of("root", name, [*ROOTS, *NESTED_ROOTS])
    # In a container torch counts the machine's cores; more threads than CPUs only fight.
    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
    root = copy.deepcopy(skeleton(name))
    with as_file(files("insitu_widgets") / "weights" / f"{name}.safetensors") as path:
        tensors = _read_weights(path)
    # Some files hold the weights in half precision; what is float32 already stays mapped.
    assign(root, {name: tensor.float() for name, tensor in tensors.items()})
    return root


#: How the text begins that Git LFS leaves for a file it has not fetched.
_POINTER = b"version https://git-lfs"


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        with path.open("rb") as file:
            pointer = file.read(len(_POINTER)) == _POINTER
        why = "it is a pointer of Git LFS" if pointer else str(error)
        remedy = "Fetch it: git lfs pull" if pointer else "Install the package again"
        plain = path.stem.removesuffix(NESTED_SUFFIX)
        program = "train" if plain == path.stem else "levels.all_in_one"
        msg = (
            f"{path} must hold a root's weights; {why}. {remedy}, or train the root anew: "
            f"python -m insitu_widgets.{program} {plain}"
        )
        raise ValueError(msg) from error
