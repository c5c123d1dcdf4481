"""What an eavesdropper makes of the feature that goes up (paper, section 2.1).

The attacker knows the device's half and has images like the device's: he fits a decoder from
feature to image on the training images and tries it on the test images. How good his pictures are
is measured, not assumed: the paper says that privacy grows with depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10
from typing import TYPE_CHECKING

import torch
from torch import nn

from insitu_widgets.errors import one_of
from insitu_widgets.levels.split import split
from insitu_widgets.network.split import pack_feature, unpack_feature

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from insitu_widgets.data import ImageSet
    from insitu_widgets.roots import Root

    Decoder = Callable[[Tensor], Tensor]

ATTACKERS = ("ridge", "network")
#: Strengths that the ridge regression tries, relative to the mean eigenvalue.
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
HIDDEN, STEPS, BATCH = 256, 400, 100


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
        What the decoder is fitted to, and what it is judged by.
    bits
        Bits for each value that goes up.
    attacker
        ``"ridge"``: a linear map, its strength chosen on a fifth of the training images;
        ``"network"``: a network with one hidden layer.

    Raises
    ------
    ValueError
        For a split point where nothing goes up, or an attacker that does not exist.
    """
    one_of("attacker", attacker, ATTACKERS)
    halves = split(root, point)
    if not halves.uploads:
        msg = (
            f"split point must be 0 to {root.num_exits - 1}; got {point}. At {point} nothing goes "
            f"up, and there is nothing to attack: choose an earlier one."
        )
        raise ValueError(msg)
    heard, overheard = (_heard(halves.device, images.images, bits) for images in (train, test))
    centre = heard.mean(0)
    scale = (heard - centre).square().mean().sqrt().clamp(min=1e-12)
    heard, overheard = (heard - centre) / scale, (overheard - centre) / scale
    wanted = train.images.flatten(1)
    decoder = _ridge(heard, wanted) if attacker == "ridge" else _network(heard, wanted)
    low, high = float(wanted.min()), float(wanted.max())
    guesses = decoder(overheard).clamp(low, high).view_as(test.images)
    return Attack(point, guesses, psnr_db(test.images, guesses, high - low))


def blind_guess(train: ImageSet, test: ImageSet) -> Attack:
    """The pictures of an attacker who hears nothing: the mean training image."""
    return _guess(train, test, train.images.mean(0, keepdim=True).expand_as(test.images), -1)


def class_guess(train: ImageSet, test: ImageSet) -> Attack:
    """The pictures of one who learns the class only, as any server does: the class's mean."""
    means = torch.stack([train.images[train.labels == c].mean(0) for c in range(len(test.classes))])
    return _guess(train, test, means[test.labels], -2)


def _guess(train: ImageSet, test: ImageSet, guesses: Tensor, point: int) -> Attack:
    peak = float(train.images.max() - train.images.min())
    return Attack(point, guesses, psnr_db(test.images, guesses, peak))


def _heard(device: nn.Module, images: Tensor, bits: int) -> Tensor:
    """What arrives at the server: ``[N, values]``, through the same bytes as any upload."""
    parts = []
    with torch.inference_mode():
        for batch in images.split(200):
            feature = device(batch)
            packet = pack_feature(feature, bits)
            parts.append(unpack_feature(packet, feature.shape[1:], bits).flatten(1))
    return torch.cat(parts)


def _ridge(features: Tensor, images: Tensor) -> Decoder:
    """Ridge regression by its dual: as many equations as images, however wide the feature is."""
    cut = len(features) * 4 // 5
    target = images.mean(0)
    fit, held = features[:cut], features[cut:]
    values, vectors = torch.linalg.eigh(fit @ fit.T)
    seen = vectors.T @ (images[:cut] - target)
    across = held @ fit.T @ vectors
    unit = values.clamp(min=0).mean()

    def missed(strength: float) -> float:
        guess = across @ (seen / (values.clamp(min=0) + strength * unit)[:, None]) + target
        return float((guess - images[cut:]).square().mean())

    best = min(RIDGES, key=missed)
    gram = features @ features.T
    gram.diagonal().add_(best * gram.diagonal().mean())
    weights = features.T @ torch.linalg.solve(gram, images - target)
    return lambda heard: heard @ weights + target


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
