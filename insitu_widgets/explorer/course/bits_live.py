"""What the panels of the bit level measure, on test images with real bytes; kept once measured."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import lru_cache

from torch import Tensor, nn

from insitu_widgets.air import codebooks, entropy, protection
from insitu_widgets.data import ImageSet, load_data
from insitu_widgets.estimate import Estimate
from insitu_widgets.evaluate import accuracy
from insitu_widgets.levels import mixed
from insitu_widgets.levels.nested_bits import Nested, nest
from insitu_widgets.levels.quantised import Quantised, quantise_network, tensors_of
from insitu_widgets.levels.quantisers import PER_CHANNEL
from insitu_widgets.roots import Root, load_root

#: Roots whose measurements take seconds.
DIGITS_ROOTS = ("resnet-digits", "vgg-digits", "vit-digits")
#: Training images that sensitivity is measured on: those that `train --holdout` keeps.
HELD = slice(800, 1000)


@lru_cache(maxsize=2 * len(DIGITS_ROOTS))  # and their all-in-one roots
def root_of(name: str) -> Root:
    """The root, loaded once."""
    return load_root(name)


@lru_cache(maxsize=2)
def images_of(split: str) -> ImageSet:
    """The digits, loaded once."""
    return load_data("digits", split)


def weights_of(name: str) -> dict[str, Tensor]:
    """Layer name -> weights, on the way to the last exit."""
    return tensors_of(root_of(name))[0]


def estimate(module: nn.Module) -> Estimate:
    """Accuracy on all test images."""
    return deque(accuracy(module, images_of("test"), batch=200), maxlen=1).pop()


def averaged(draws: list[Estimate]) -> Estimate:
    """Several channel draws as one: their mean, with the interval that the images alone give."""
    return Estimate(round(sum(e.correct for e in draws) / len(draws)), draws[0].seen)


@lru_cache(maxsize=512)
def quantised(name: str, quantiser: str, bits: int) -> tuple[Quantised, int]:
    """A root quantised alike in all layers, and the bytes of its parcel."""
    network = quantise_network(root_of(name), quantiser, bits)
    return network, codebooks.pack_quantised(network).num_bits // 8


@lru_cache(maxsize=512)
def quantised_accuracy(name: str, quantiser: str, bits: int) -> Estimate:
    """Its accuracy, after it has been packed and restored."""
    parcel = codebooks.pack_quantised(quantised(name, quantiser, bits)[0])
    network, _ = codebooks.unpack_quantised(parcel, root_of(name))
    return estimate(network.module(root_of(name)))


@lru_cache(maxsize=512)
def layer_loss(name: str, layer: str) -> mixed.LayerLoss:
    """The sensitivity of one layer."""
    images = images_of("train").images[HELD]
    return mixed.layer_loss(root_of(name), layer, images, answers_of(name))


@lru_cache(maxsize=len(DIGITS_ROOTS))
def answers_of(name: str) -> Tensor:
    """What a root says to the images that sensitivity is measured on."""
    return mixed.answers(root_of(name), images_of("train").images[HELD])


@lru_cache(maxsize=512)
def mixed_accuracy(name: str, widths: tuple[int, ...]) -> Estimate:
    """Accuracy with these bits by layer."""
    bits = dict(zip(weights_of(name), widths, strict=True))
    return estimate(quantise_network(root_of(name), bits=bits).module(root_of(name)))


@lru_cache(maxsize=32)
def nested(name: str, bits: int, best_at: int) -> Nested:
    """A nested root."""
    return nest(root_of(name), bits, best_at)


@lru_cache(maxsize=512)
def prefix_accuracy(name: str, bits: int, best_at: int, width: int) -> Estimate:
    """Accuracy of a prefix of it."""
    return estimate(nested(name, bits, best_at).prefix(width).module(root_of(name)))


@lru_cache(maxsize=512)
def coded_accuracy(name: str, bits: int, coder: str, ber: float, seed: int) -> Estimate:
    """Accuracy of a stream of codes sent with bit errors."""
    network, _ = quantised(name, PER_CHANNEL, bits)
    data = codebooks.damaged(entropy.encode(network.layers, coder), ber, seed)
    layers = entropy.decode(network.layers, data, coder)
    return estimate(replace(network, layers=layers).module(root_of(name)))


@lru_cache(maxsize=512)
def protected_accuracy(name: str, bits: int, protected: int, ber: float, seed: int) -> Estimate:
    """Accuracy with the first bits of each code protected, the others sent with bit errors."""
    network, _ = quantised(name, PER_CHANNEL, bits)
    parts = protection.split(network.layers, protected).sent(ber, seed)
    layers = protection.join(network.layers, parts)
    return estimate(replace(network, layers=layers).module(root_of(name)))


def sent_accuracy(network: Quantised, name: str, ber: float, seed: int) -> Estimate:
    """Accuracy of a quantised network whose packed codes were sent with bit errors."""
    parcel = codebooks.pack_quantised(network)
    body = codebooks.damaged(parcel.body, ber, seed)
    arrived, _ = codebooks.unpack_quantised(parcel.with_body(body), root_of(name))
    return estimate(arrived.module(root_of(name)))
