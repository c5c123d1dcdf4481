"""Cooperation for pruned and quantised models (paper, section 5: an open problem).

Depth-level models are made for split inference; parameter-level and bit-level ones are not: the
device's weights differ from the root's, and so does every feature. Here the server continues all
the same from the feature that the device has computed already, instead of starting again from the
image. Each upload is really packed, read back and continued from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from insitu_widgets.air import coding
from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range
from insitu_widgets.estimate import Estimate
from insitu_widgets.levels import bit
from insitu_widgets.levels.recipe import WIDEST_CODE
from insitu_widgets.levels.submodel import SubModel
from insitu_widgets.roots import Root

#: Bits of a pixel, where the image itself is sent.
PIXEL_BITS = 8


@dataclass(frozen=True, eq=False)
class Upload:
    """Features of some images as they cross the uplink.

    Attributes
    ----------
    body : bytes
        The codes, ``bits`` bits each, packed side by side.
    scales : Tensor
        float32 ``[N, 2]``: every image's mean and step.
    shape : tuple[int, …]
        ``[N, …]``, of the features; the receiver knows it.
    bits : int
        1 … 8 bits a value.
    """

    body: bytes
    scales: Tensor
    shape: tuple[int, ...]
    bits: int

    @property
    def num_bits(self) -> int:
        """All bits that cross the uplink, the scales too."""
        return 8 * len(self.body) + 32 * self.scales.numel()

    def feature(self) -> Tensor:
        """What the server reads: float32 of ``shape``."""
        count = self.scales.shape[0]
        codes = coding.unpack_codes(self.body, torch.Size(self.shape).numel(), self.bits)
        values = torch.from_numpy(codes).view(count, -1)
        mean, step = self.scales[:, :1], self.scales[:, 1:]
        return (bit.reconstruct(values, step, self.bits) + mean).view(self.shape)


def upload(feature: Tensor, bits: int) -> Upload:
    """Quantise features ``[N, …]`` around each image's mean, as weights are, and pack them.

    Raises
    ------
    ValueError
        If ``bits`` is not from 1 to 8.
    """
    in_range("feature bits", bits, 1, WIDEST_CODE, "bit")
    rows = feature.flatten(1)
    mean = rows.mean(1, keepdim=True)
    codes, steps = bit.quantise(rows - mean, torch.ones_like(rows, dtype=torch.bool), bits)
    body = coding.pack_codes(codes.flatten().numpy(), bits)
    return Upload(body, torch.cat([mean, steps[:, None]], 1), tuple(feature.shape), bits)


def device_feature(submodel: SubModel, images: Tensor, split: int) -> Tensor:
    """The feature after the sub-model's block ``split``, of ``images [N, C, H, W]``."""
    return _feature(submodel.module, images, split)


def server_logits(root: Root, feature: Tensor, split: int) -> Tensor:
    """Logits ``[N, classes]``: the root from its block ``split + 1`` on.

    Raises
    ------
    ValueError
        If the root has no such split.
    """
    in_range("split", split, 1, root.num_exits)
    for block in root.blocks[split:]:
        feature = block(feature)
    return root.heads[-1](feature)


@dataclass(frozen=True, eq=False)
class Correction:
    """What the server does to each channel of a feature: ``slope · x + shift``.

    The server knows which sub-model it has sent. On training images it can therefore find how the
    device's feature differs from the root's own, and move each channel's mean and spread back: no
    bit more on the air. (A least-squares line does worse: it shrinks what is uncertain.)
    """

    slope: Tensor
    shift: Tensor

    @classmethod
    def fit(cls, received: Tensor, own: Tensor) -> Correction:
        """Match mean and spread, channel by channel, of ``received`` to ``own``; shapes alike."""
        axis = 1 if received.ndim == 4 else received.ndim - 1  # [N, C, H, W], else channels last
        others = [i for i in range(received.ndim) if i != axis]
        mean, target = (x.mean(others, keepdim=True) for x in (received, own))
        spread, wanted = (x.std(others, correction=0, keepdim=True) for x in (received, own))
        alive = spread > 1e-6  # a channel that says nothing is replaced by its mean
        slope = torch.where(alive, wanted / spread.clamp(min=1e-6), torch.zeros(()))
        return cls(slope, target - slope * mean)

    def __call__(self, feature: Tensor) -> Tensor:
        """Correct a feature."""
        return self.slope * feature + self.shift


@dataclass(frozen=True)
class Cooperation:
    """One way to answer the images about which the device is unsure.

    Attributes
    ----------
    split : int | None
        Blocks that the device ran before it sent a feature; 0: it sent the image; ``None``: it
        sent nothing and answered by itself.
    bits : int
        Bits a value (of the feature or a pixel).
    asked : int
        Images about which the server was asked.
    num_bits : int
        Bits uplinked for all of these.
    estimate : Estimate
        Accuracy over all images, whoever answered.
    """

    split: int | None
    bits: int
    asked: int
    num_bits: int
    estimate: Estimate

    @property
    def bits_per_question(self) -> float:
        """Bits uplinked for an image about which the server is asked."""
        return self.num_bits / self.asked if self.asked else 0.0

    @property
    def bits_per_image(self) -> float:
        """Bits uplinked for an image on average, most of which the device may answer itself."""
        return self.num_bits / self.estimate.seen


def cooperate(
    root: Root,
    submodel: SubModel,
    images: ImageSet,
    feature_bits: Sequence[int],
    *,
    confidence: float = 1.0,
    training: ImageSet | None = None,
) -> Iterator[Cooperation]:
    """Measure the ways to answer: the device, the image sent, then each split with each width.

    Parameters
    ----------
    root
        What the server runs; the sub-model was cut out of it.
    submodel
        What the device runs.
    images
        What is to be classified.
    feature_bits
        Bits a feature value is sent with, 1 … 8.
    confidence
        In [0, 1]: below this probability of its best class the device asks the server; at 1 it
        always asks, at 0 never.
    training
        Images on which the server fits a :class:`Correction` for every split and width; ``None``
        for none.

    Raises
    ------
    ValueError
        For another root's sub-model, a split that it lacks, a width or a confidence out of range,
        or no images.
    """
    if submodel.recipe.root != root.name:
        msg = (
            f"submodel must be cut out of {root.name!r}, the root given; got one of "
            f"{submodel.recipe.root!r}. Load that root, or cut this one."
        )
        raise ValueError(msg)
    in_range("confidence", confidence, 0.0, 1.0)
    in_range("images", len(images), 1, 10**9)
    with torch.inference_mode():
        own = submodel(images.images).softmax(1)
    answers = own.argmax(1)
    unsure = (own.amax(1) < confidence) | (confidence == 1.0) | own.isnan().any(1)
    asking = images.images[unsure]

    def outcome(split: int | None, bits: int, num_bits: int, logits: Tensor | None) -> Cooperation:
        final = answers.clone()
        if logits is not None:
            final[unsure] = logits.argmax(1)
        correct = int((final == images.labels).sum())
        asked = 0 if logits is None else len(asking)
        return Cooperation(split, bits, asked, num_bits, Estimate(correct, len(images)))

    yield outcome(None, 0, 0, None)
    with torch.inference_mode():
        sent = pixels(asking, images.images)
        logits = root(sent) if len(asking) else None
    yield outcome(0, PIXEL_BITS, PIXEL_BITS * asking.numel(), logits)
    if len(asking) == 0:
        return
    splits = len(list(submodel.module.get_submodule("blocks").children()))
    for split in range(1, splits + 1):
        with torch.inference_mode():
            feature = device_feature(submodel, asking, split)
            known = None
            if training is not None:
                known = [_feature(net, training.images, split) for net in (submodel.module, root)]
        for bits in feature_bits:
            with torch.inference_mode():
                arrived = upload(feature, bits)
                read = arrived.feature()
                if known is not None:
                    read = Correction.fit(upload(known[0], bits).feature(), known[1])(read)
                logits = server_logits(root, read, split)
            yield outcome(split, bits, arrived.num_bits, logits)


def pixels(images: Tensor, like: Tensor) -> Tensor:
    """Images as the server reads them from 8-bit pixels over the range of ``like``."""
    low, high = float(like.min()), float(like.max())
    step = max(high - low, 1e-9) / (2**PIXEL_BITS - 1)
    return ((images - low) / step).round().clamp(0, 2**PIXEL_BITS - 1) * step + low


def _feature(network: nn.Module, images: Tensor, split: int) -> Tensor:
    blocks = list(network.get_submodule("blocks").children())
    in_range("split", split, 1, len(blocks))
    feature: Tensor = network.get_submodule("stem")(images)
    for block in blocks[:split]:
        feature = block(feature)
    return feature
