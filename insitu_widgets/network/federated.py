"""Distributed model improvement (paper, section 5): federated averaging with counted updates.

Each device tunes the root with its own images and uplinks the difference. The update is itself a
model, so it is pruned, quantised and packed as any other, and its bits are those of the packet:
scales, mask and header too. The server adds the updates' mean to the root (McMahan et al.,
"Communication-efficient learning of deep networks from decentralized data", AISTATS 2017).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from insitu_widgets.air.payload import Packet, pack, unpack
from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.tuning import Tuning, tune
from insitu_widgets.roots import Root, assign, skeleton


def fresh_root(name: str, seed: int) -> Root:
    """A shipped root's architecture with untrained weights of a generator's own.

    (A module's own initialisation draws from the process's generator, which threads share.)
    """
    random = torch.Generator().manual_seed(seed)
    root = copy.deepcopy(skeleton(name))
    tensors: dict[str, Tensor] = {}
    for key, parameter in root.named_parameters():
        if parameter.ndim > 1:
            inputs = parameter[0].numel() if key.endswith("weight") else 2500
            noise = torch.randn(parameter.shape, generator=random)
            tensors[key] = noise * (2 / inputs) ** 0.5  # He et al., ICCV 2015
        else:
            tensors[key] = torch.full(parameter.shape, float(key.endswith("weight")))
    for key, buffer in root.named_buffers():
        tensors[key] = torch.full(buffer.shape, float(key.endswith("running_var")))
    assign(root, tensors)
    return root


def young_root(name: str, images: ImageSet, tuning: Tuning, seed: int) -> Root:
    """An under-trained root: fresh weights and a few passes over a few images."""
    root = fresh_root(name, seed)
    _learn(root, images, tuning, torch.Generator().manual_seed(seed))
    return root


def share_out(labels: Tensor, devices: int, alpha: float, seed: int) -> list[Tensor]:
    """Share images out to devices whose classes differ (Hsu et al., arXiv:1909.06335).

    Parameters
    ----------
    labels
        int64 ``[N]``.
    devices
        How many.
    alpha
        Concentration of the Dirichlet distribution from which each class's shares are drawn:
        large for equal shares, small for devices that have a few classes each.
    seed
        Of the shares.

    Returns
    -------
    list[Tensor]
        Each device's positions, in ascending order; together all N, none twice.
    """
    in_range("devices", devices, 1, 10_000)
    in_range("alpha", alpha, 1e-3, 1e6)
    random = torch.Generator().manual_seed(seed)
    shares: list[list[Tensor]] = [[] for _ in range(devices)]
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        places = places[torch.randperm(len(places), generator=random)]
        weights = torch._standard_gamma(  # noqa: SLF001  (Dirichlet's own sampler takes no generator)
            torch.full((devices,), alpha, dtype=torch.float64), generator=random
        ).clamp(min=1e-300)
        ends = (len(places) * (weights / weights.sum()).cumsum(0)).round().long()
        for share, part in zip(shares, places.tensor_split(ends[:-1]), strict=True):
            share.append(part)
    return [torch.cat(share).sort().values for share in shares]


def pack_update(before: Root, after: Root, keep: float, bits: int) -> Packet:
    """The difference between two roots of one architecture, all exits, as a packet."""
    name = f"{before.name} update"
    change = copy.deepcopy(before)
    old, new = before.state_dict(), after.state_dict()
    assign(change, {key: new[key] - old[key] for key in old})
    return pack(derive(_enclosed(name, change), Recipe(name, keep=keep, bits=bits)))


def read_update(packet: Packet, root: Root) -> dict[str, Tensor]:
    """What a packet adds to each of the root's tensors, as the server reads it."""
    name = f"{root.name} update"
    submodel, _ = unpack(packet, root=_enclosed(name, root))
    change = submodel.module.get_submodule("blocks.0").state_dict()
    return {key: change[key] for key in root.state_dict()}


def _enclosed(name: str, root: Root) -> Root:
    # As the only block of another root, so that a recipe keeps all of its exits' heads.
    return Root(name, nn.Identity(), [root], [nn.Identity()])


@dataclass(frozen=True)
class Federation:
    """How devices improve a root together.

    Parameters
    ----------
    rounds
        Rounds of local training and averaging.
    tuning
        What each device does in a round.
    bits, keep
        Of an update's weights: bits each, and the share that is sent.
    feedback
        Whether a device adds what compression took from its last update to its next one (Seide
        et al., Interspeech 2014).
    """

    rounds: int
    tuning: Tuning
    bits: int = 8
    keep: float = 1.0
    feedback: bool = True

    def __post_init__(self) -> None:
        in_range("rounds", self.rounds, 1, 10_000)
        Recipe("update", keep=self.keep, bits=self.bits)  # checks both


@dataclass(frozen=True, eq=False)
class Round:
    """The root after so many rounds, and the bits that all devices have uplinked until then.

    ``loss`` is the devices' mean loss in this round, NaN before the first one.
    """

    number: int
    root: Root
    uplink_bits: int
    loss: float


def federate(
    root: Root,
    images: ImageSet,
    shares: Sequence[Tensor],
    federation: Federation,
    seed: int = 0,
) -> Iterator[Round]:
    """Improve a root by federated averaging; the given root stays as it is.

    Parameters
    ----------
    root
        What the devices have downloaded.
    images, shares
        The images, and each device's positions among them.
    federation, seed
        How; order and warping.

    Yields
    ------
    Round
        The root as it was, then after each round; to stop, do not ask for the next.

    Raises
    ------
    ValueError
        If there is no device, or one without images.
    """
    in_range("devices", len(shares), 1, 10_000)
    for device, share in enumerate(shares, 1):
        if len(share) == 0:
            msg = (
                f"shares: device {device} of {len(shares)} must have at least 1 image; got 0. "
                f"Raise alpha, take fewer devices or another seed."
            )
            raise ValueError(msg)
    random = torch.Generator().manual_seed(seed)
    current, uplink_bits = copy.deepcopy(root), 0
    left: list[Mapping[str, Tensor]] = [{} for _ in shares]
    total = sum(len(share) for share in shares)
    yield Round(0, current, 0, float("nan"))
    for number in range(1, federation.rounds + 1):
        tensors = {key: tensor.clone() for key, tensor in current.state_dict().items()}
        loss = 0.0
        for device, share in enumerate(shares):
            local = copy.deepcopy(current)
            weight = len(share) / total
            loss += weight * _learn(local, images.take(share), federation.tuning, random)
            wanted = local.state_dict()
            for key, remainder in left[device].items():
                wanted[key].add_(remainder)
            packet = pack_update(current, local, federation.keep, federation.bits)
            uplink_bits += packet.num_bits
            update = read_update(packet, current)
            before = current.state_dict()
            if federation.feedback:
                left[device] = {k: wanted[k] - before[k] - update[k] for k in update}
            for key, change in update.items():
                tensors[key] += weight * change
        current = copy.deepcopy(current)
        assign(current, tensors)
        yield Round(number, current, uplink_bits, loss)


def _learn(root: Root, images: ImageSet, tuning: Tuning, random: torch.Generator) -> float:
    root.requires_grad_(requires_grad=True)
    *_, loss = tune(root, root.exits, images, replace(tuning, statistics=True), random)
    root.requires_grad_(requires_grad=False)
    return loss
