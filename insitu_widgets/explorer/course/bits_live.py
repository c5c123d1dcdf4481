"""What the panels of the bit level measure, on test images with real bytes; kept once measured."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from insitu_widgets.air import codebooks, entropy, protection
from insitu_widgets.cards import card_of
from insitu_widgets.data import ImageSet, balanced
from insitu_widgets.estimate import Estimate
from insitu_widgets.evaluate import accuracy, answers, batch_of
from insitu_widgets.explorer.course import loaded
from insitu_widgets.explorer.course.beforehand import measured_before
from insitu_widgets.explorer.live import missing_images
from insitu_widgets.levels import mixed
from insitu_widgets.levels.nested_bits import Nested, nest
from insitu_widgets.levels.quantised import Quantised, quantise_network, tensors_of
from insitu_widgets.levels.quantisers import PER_CHANNEL

#: Roots that are trained on within seconds; their measurements take less.
DIGITS_ROOTS = ("resnet-digits", "vgg-digits", "vit-digits")
#: Of the training images, those that sensitivity is measured on: of the digits the ones that
#: `train --holdout` keeps, of photographs as many, alike from all classes.
HELD = slice(800, 1000)
#: Photographs that each point of a curve is measured on: some seconds of ResNet-18.
POINT_IMAGES = 500
#: Nested bits: the widths of the whole, and those that the steps may be chosen for.
NESTED_WIDTHS, BEST_AT = (4, 6, 8), (2, 3, 4)
#: Coding and protection: widths, and the bit-error rates of either figure.
SENT_WIDTHS, CODED_RATES, PROTECTED_RATES = (2, 3, 4, 6, 8), (1e-6, 1e-5, 1e-4, 1e-3), (1e-3, 1e-2)
#: Channel draws that a point is averaged over; of photographs there is one.
SEEDS = 3


def is_quick(name: str) -> bool:
    """Whether a root answers all of its test images in a fraction of a second: the digits'."""
    card = card_of(name)
    return card is not None and card.data == "digits"


def point_images(name: str) -> ImageSet:
    """The test images that each point of a curve is measured on, every class as often."""
    images = loaded.images_of(name)
    few = is_quick(name) or len(images) <= POINT_IMAGES
    return images if few else images.take(balanced(images.labels, POINT_IMAGES))


def measured_on(name: str) -> str:
    """The number and the kind of these images, in words."""
    if missing_images(name):
        return f"{POINT_IMAGES} test photographs, measured before"
    return f"{len(point_images(name))} test {'digits' if is_quick(name) else 'photographs'}"


def draws_of(name: str) -> range:
    """Seeds of the channel draws that a point is averaged over."""
    return range(SEEDS if is_quick(name) else 1)


def weights_of(name: str) -> dict[str, Tensor]:
    """Layer name -> weights, on the way to the last exit."""
    return tensors_of(loaded.root_of(name))[0]


def estimate(module: nn.Module, images: ImageSet) -> Estimate:
    """Accuracy on all of these images."""
    batch = min(200, batch_of(images.images))
    return deque(accuracy(module, images, batch), maxlen=1).pop()


def at_point(module: nn.Module, name: str) -> Estimate:
    """Accuracy of what was made of a root, on the images of a curve's point."""
    return estimate(module, point_images(name))


def averaged(draws: list[Estimate]) -> Estimate:
    """Several channel draws as one: their mean, with the interval that the images alone give."""
    return Estimate(round(sum(e.correct for e in draws) / len(draws)), draws[0].seen)


@lru_cache(maxsize=8)  # large ones take 10 MB each
def quantised(name: str, quantiser: str, bits: int) -> Quantised:
    """A root quantised alike in all layers."""
    return quantise_network(loaded.root_of(name), quantiser, bits)


@lru_cache(maxsize=512)
def quantised_bytes(name: str, quantiser: str, bits: int) -> int:
    """Bytes of its parcel."""
    return codebooks.pack_quantised(quantised(name, quantiser, bits)).num_bits // 8


@lru_cache(maxsize=512)
@measured_before
def quantised_accuracy(name: str, quantiser: str, bits: int) -> Estimate:
    """Its accuracy, after it has been packed and restored."""
    parcel = codebooks.pack_quantised(quantised(name, quantiser, bits))
    network, _ = codebooks.unpack_quantised(parcel, loaded.root_of(name))
    return at_point(network.module(loaded.root_of(name)), name)


@lru_cache(maxsize=8)
def held_of(name: str) -> ImageSet:
    """The training images that sensitivity is measured on."""
    images = loaded.images_of(name, "train")
    if is_quick(name):
        return images.take(torch.arange(len(images))[HELD])
    return images.take(balanced(images.labels, HELD.stop - HELD.start))


@lru_cache(maxsize=512)
def layer_loss(name: str, layer: str) -> mixed.LayerLoss:
    """The sensitivity of one layer."""
    images = held_of(name).images
    return mixed.layer_loss(loaded.root_of(name), layer, images, answers_of(name))


@lru_cache(maxsize=8)
def answers_of(name: str) -> Tensor:
    """What a root says to the images that sensitivity is measured on."""
    return mixed.answers(loaded.root_of(name), held_of(name).images)


@lru_cache(maxsize=64)
def mixed_answers(name: str, widths: tuple[int, ...]) -> Tensor:
    """What a root with these bits by layer answers to the images of a curve's point."""
    root, bits = loaded.root_of(name), dict(zip(weights_of(name), widths, strict=True))
    return answers(quantise_network(root, bits=bits).module(root), point_images(name))


@lru_cache(maxsize=512)
@measured_before
def mixed_accuracy(name: str, widths: tuple[int, ...]) -> Estimate:
    """Accuracy with these bits by layer."""
    return _share(mixed_answers(name, widths) == point_images(name).labels)


@lru_cache(maxsize=512)
@measured_before
def mixed_agreement(name: str, widths: tuple[int, ...]) -> Estimate:
    """Share of images that are answered, rightly or not, as the root in float32 answers them."""
    return _share(mixed_answers(name, widths) == root_answers(name))


@lru_cache(maxsize=8)
def root_answers(name: str) -> Tensor:
    """What a root answers to the images of a curve's point."""
    return answers(loaded.root_of(name), point_images(name))


def _share(of: Tensor) -> Estimate:
    return Estimate(int(of.sum()), len(of))


@lru_cache(maxsize=4)
def nested(name: str, bits: int, best_at: int) -> Nested:
    """A nested root."""
    return nest(loaded.root_of(name), bits, best_at)


@lru_cache(maxsize=512)
@measured_before
def prefix_accuracy(name: str, bits: int, best_at: int, width: int) -> Estimate:
    """Accuracy of a prefix of it."""
    return at_point(nested(name, bits, best_at).prefix(width).module(loaded.root_of(name)), name)


@lru_cache(maxsize=512)
@measured_before
def coded_accuracy(name: str, bits: int, coder: str, ber: float, seed: int) -> Estimate:
    """Accuracy of a stream of codes sent with bit errors."""
    network = quantised(name, PER_CHANNEL, bits)
    data = codebooks.damaged(entropy.encode(network.layers, coder), ber, seed)
    layers = entropy.decode(network.layers, data, coder)
    return at_point(replace(network, layers=layers).module(loaded.root_of(name)), name)


@lru_cache(maxsize=512)
@measured_before
def protected_accuracy(name: str, bits: int, protected: int, ber: float, seed: int) -> Estimate:
    """Accuracy with the first bits of each code protected, the others sent with bit errors."""
    network = quantised(name, PER_CHANNEL, bits)
    parts = protection.split(network.layers, protected).sent(ber, seed)
    layers = protection.join(network.layers, parts)
    return at_point(replace(network, layers=layers).module(loaded.root_of(name)), name)


def sent_accuracy(network: Quantised, name: str, ber: float, seed: int) -> Estimate:
    """Accuracy of a quantised network whose packed codes were sent with bit errors."""
    parcel = codebooks.pack_quantised(network)
    body = codebooks.damaged(parcel.body, ber, seed)
    arrived, _ = codebooks.unpack_quantised(parcel.with_body(body), loaded.root_of(name))
    return at_point(arrived.module(loaded.root_of(name)), name)
