"""What an eavesdropper makes of the feature that goes up (paper, section 2.1).

The attacker knows the device's half and has images like the device's: he fits a decoder from
feature to image on the training images and tries it on the test images. How good his pictures are
is measured, not assumed: the paper says that privacy grows with depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import inf, log10
from typing import TYPE_CHECKING

import torch
from torch import nn

from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.split import split
from insitu_widgets.network.split import pack_feature, unpack_feature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from insitu_widgets.data import ImageSet
    from insitu_widgets.roots import Root

    Decoder = Callable[[Tensor], Tensor]

ATTACKERS = ("ridge", "network")
#: Strengths that the ridge regression tries, relative to the mean eigenvalue.
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
HIDDEN, STEPS, BATCH = 256, 400, 100
#: Training images: one to fit and one to choose on, and more than any machine holds features of.
LEAST_TRAINING, MOST_TRAINING = 2, 10**6
#: Images whose features go up together.
TOGETHER = 200
_SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Attack:
    """What an attacker makes of the uploads at one split point.

    Attributes
    ----------
    point : int
        Blocks on the device.
    guesses : Tensor
        float32 ``[N, C, H, W]``: his pictures of the test images.
    psnr_db : float
        Peak signal-to-noise ratio over all test images; higher is less private.
    """

    point: int
    guesses: Tensor
    psnr_db: float


def psnr_db(images: Tensor, guesses: Tensor, peak: float) -> float:
    """10 log10(peak² / mean squared error) over all images: infinite where they are equal."""
    error = float((images - guesses).square().mean(dtype=torch.float64))
    return 10 * log10(peak**2 / error) if error else inf


def attack(
    root: Root, point: int, train: ImageSet, test: ImageSet, *, bits: int, attacker: str = "ridge"
) -> Attack:
    """Fit a decoder to one split point's uploads, and try it.

    Parameters
    ----------
    root, point
        The network, and how many of its blocks are on the device; 0 … n - 1, because at n nothing
        goes up.
    train, test
        What the decoder is fitted to (two images or more), and what it is judged by.
    bits
        Bits for each value that goes up.
    attacker
        ``"ridge"``: a linear map, its strength chosen on a fifth of the training images;
        ``"network"``: a network with one hidden layer.

    Raises
    ------
    ValueError
        For a split point where nothing goes up, an attacker that does not exist, or fewer than two
        training images.
    """
    halves = split(root, point)
    if not halves.uploads:
        msg = (
            f"split point must be 0 to {root.num_exits - 1}; got {point}. At {point} nothing goes "
            f"up, and there is nothing to attack: choose an earlier one."
        )
        raise ValueError(msg)
    return overhear(halves.device, point, train, test, bits=bits, attacker=attacker)


def overhear(
    device: Callable[[Tensor], Tensor],
    point: int,
    train: ImageSet,
    test: ImageSet,
    *,
    bits: int,
    attacker: str = "ridge",
) -> Attack:
    """:func:`attack` of a device's half: it is asked once about each of the images.

    In their order, :data:`TOGETHER` at a time, first the training images.

    Raises
    ------
    ValueError
        For an attacker that does not exist, or fewer than two training images.
    """
    one_of("attacker", attacker, ATTACKERS)
    in_range("number of training images", len(train), LEAST_TRAINING, MOST_TRAINING)
    heard = _joined(_heard(device, train.images, bits), len(train))
    centre = heard.mean(0)
    heard -= centre
    scale = (torch.linalg.vector_norm(heard) / heard.numel() ** 0.5).clamp(min=_SMALLEST)
    heard /= scale
    wanted = train.images.flatten(1)
    decoder = _ridge(heard, wanted) if attacker == "ridge" else _network(heard, wanted)
    overheard = _heard(device, test.images, bits)
    pictures = torch.cat([decoder((some - centre) / scale) for some in overheard])
    low, high = float(wanted.min()), float(wanted.max())
    guesses = pictures.clamp(low, high).view_as(test.images)
    return Attack(point, guesses, psnr_db(test.images, guesses, high - low))


def blind_guess(train: ImageSet, test: ImageSet) -> Attack:
    """The pictures of an attacker who hears nothing: the mean training image."""
    return _guess(train, test, train.images.mean(0, keepdim=True).expand_as(test.images), -1)


def class_guess(train: ImageSet, test: ImageSet) -> Attack:
    """The pictures of one who learns the class only, as any server does: the class's mean.

    Of a class without a training image it is the mean of all of them.
    """
    means = train.images.mean(0).repeat(len(test.classes), 1, 1, 1)
    for label in train.labels.unique():
        means[label] = train.images[train.labels == label].mean(0)
    return _guess(train, test, means[test.labels], -2)


def _guess(train: ImageSet, test: ImageSet, guesses: Tensor, point: int) -> Attack:
    peak = float(train.images.max() - train.images.min())
    return Attack(point, guesses, psnr_db(test.images, guesses, peak))


def _heard(device: Callable[[Tensor], Tensor], images: Tensor, bits: int) -> Iterator[Tensor]:
    """What arrives at the server, some images at a time: ``[n, values]``, as bytes of an upload."""
    for batch in images.split(TOGETHER):
        with torch.no_grad():
            feature = device(batch)
            packet = pack_feature(feature, bits)
        yield unpack_feature(packet, feature.shape[1:], bits).flatten(1)


def _joined(parts: Iterator[Tensor], count: int) -> Tensor:
    """All ``count`` rows in one tensor, which they fill one part after the other."""
    first = next(parts)
    whole, end = first.new_empty(count, first.shape[1]), 0
    for part in chain([first], parts):
        whole[end : end + len(part)] = part
        end += len(part)
    return whole


def _ridge(features: Tensor, images: Tensor) -> Decoder:
    """Ridge regression by its dual: as many equations as images, however wide the feature is.

    Nor is the map from feature to image ever made: of a wide feature it would be by far the largest
    of all tensors.
    """
    cut = len(features) * 4 // 5
    target = images.mean(0)
    gram = features @ features.T
    values, vectors = torch.linalg.eigh(gram[:cut, :cut])
    values = values.clamp(min=0)
    seen = vectors.T @ (images[:cut] - target)
    across = gram[cut:, :cut] @ vectors
    unit = values.mean().clamp(min=_SMALLEST)

    def missed(strength: float) -> float:
        guess = across @ (seen / (values + strength * unit)[:, None]) + target
        return float((guess - images[cut:]).square().mean())

    best = min(RIDGES, key=missed)
    gram.diagonal().add_(best * gram.diagonal().mean().clamp(min=_SMALLEST))
    weights = torch.linalg.solve(gram, images - target)
    return lambda heard: heard @ features.T @ weights + target


def _network(features: Tensor, images: Tensor) -> Decoder:
    """A network with one hidden layer, trained by Adam from a fixed seed."""
    random = torch.Generator().manual_seed(0)
    hidden = nn.Linear(features.shape[1], HIDDEN)
    outer = nn.Linear(HIDDEN, images.shape[1])
    for layer in (hidden, outer):
        bound = layer.in_features**-0.5
        for tensor in layer.parameters():
            nn.init.uniform_(tensor, -bound, bound, generator=random)
    network = nn.Sequential(hidden, nn.ReLU(), outer)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        index = torch.randint(len(features), (min(BATCH, len(features)),), generator=random)
        loss = (network(features[index]) - images[index]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return lambda heard: network(heard).detach()
