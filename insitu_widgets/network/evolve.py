"""Evolve a downloaded model for one user, in the manner of muNet (paper, section 5, its [14]).

A. Gesmundo and J. Dean, arXiv:2205.10937: a child is a copy of a parent with one mutation (a layer
is cloned so that it may be trained, an adapter is inserted, the top layer is removed); it is
trained briefly and scored; the best are the next parents. What is neither cloned nor inserted
stays frozen and shared with the root, so that a user owns few parameters. Here it is small: a few
children, blocks for layers, one task.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range
from insitu_widgets.estimate import Estimate
from insitu_widgets.network.tuning import Tuning, tune
from insitu_widgets.roots import Root

MUTATIONS = ("insert", "clone", "remove")
#: Channels within an adapter.
ADAPTER_WIDTH = 8


class Adapter(nn.Module):
    """A residual block of two small linear maps over the channels; at first the identity.

    Features ``[N, C, H, W]`` or ``[N, T, C]`` keep their shape.
    """

    def __init__(self, channels: int, random: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(
            torch.randn(ADAPTER_WIDTH, channels, generator=random) / channels**0.5
        )
        self.up = nn.Parameter(torch.zeros(channels, ADAPTER_WIDTH))

    def forward(self, feature: Tensor) -> Tensor:
        """Add what the two maps make of the channels."""
        last = feature.movedim(1, -1) if feature.ndim == 4 else feature
        change = (last @ self.down.T).relu() @ self.up.T
        return feature + (change.movedim(-1, 1) if feature.ndim == 4 else change)


@dataclass(frozen=True, eq=False)
class Gene:
    """One block: the network, whether the user owns it, and whether it was inserted."""

    block: nn.Module
    owned: bool = False
    inserted: bool = False


@dataclass(frozen=True, eq=False)
class Individual:
    """One network of the population.

    Attributes
    ----------
    stem, head : nn.Module
        Before the first block (shared), and after the last one (always the user's own).
    genes : tuple[Gene, …]
        The blocks in their order.
    origin : str
        The mutation that made it, in words.
    """

    stem: nn.Module
    genes: tuple[Gene, ...]
    head: nn.Module
    origin: str

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of ``images [N, C, H, W]``."""
        feature = self.stem(images)
        for gene in self.genes:
            feature = gene.block(feature)
        logits: Tensor = self.head(feature)
        return logits

    @property
    def num_parameters(self) -> int:
        """Parameters that run."""
        shared = [gene.block for gene in self.genes if not gene.owned]
        return self.num_owned + _count([self.stem, *shared])

    @property
    def num_owned(self) -> int:
        """Parameters that the user owns; the rest is the root's."""
        return _count(self.owned)

    @property
    def owned(self) -> nn.ModuleList:
        """What is trained."""
        return nn.ModuleList([*(gene.block for gene in self.genes if gene.owned), self.head])

    @property
    def depth(self) -> int:
        """Blocks of the root that are left."""
        return sum(not gene.inserted for gene in self.genes)


@dataclass(frozen=True, eq=False)
class Child:
    """A child, trained and scored.

    Attributes
    ----------
    generation : int
        0: the root with a head of the user's own.
    individual : Individual
        The network.
    estimate : Estimate
        Accuracy on the images that selection is made with.
    score : float
        That accuracy, less the price of the parameters owned.
    """

    generation: int
    individual: Individual
    estimate: Estimate
    score: float


def mutate(
    parent: Individual, root: Root, mutation: str, like: Tensor, random: torch.Generator
) -> Individual:
    """A child with one mutation; what the parent owns is copied, the rest shared.

    Parameters
    ----------
    parent, root
        The parent; the root, for the head that belongs to a lesser depth.
    mutation
        ``"insert"`` an adapter after a block, ``"clone"`` a block that is the root's so that it
        may be trained, or ``"remove"`` the top block. Where there is no such block, insert.
    like
        An image ``[1, C, H, W]``, for the shapes.
    random
        Where.
    """
    genes = [replace(g, block=copy.deepcopy(g.block)) if g.owned else g for g in parent.genes]
    head = copy.deepcopy(parent.head)
    shared = [i for i, gene in enumerate(genes) if not gene.owned]
    if mutation == "clone" and shared:
        place = shared[_some(len(shared), random)]
        genes[place] = Gene(_free(copy.deepcopy(genes[place].block)), owned=True)
        return Individual(parent.stem, tuple(genes), head, f"clone block {place + 1}")
    if mutation == "remove" and parent.depth > 1:
        while genes[-1].inserted:  # what stands on the top block goes with it
            genes.pop()
        genes.pop()
        depth = sum(not gene.inserted for gene in genes)
        head = _free(copy.deepcopy(root.heads[depth - 1]))
        return Individual(parent.stem, tuple(genes), head, "remove the top block")
    place = _some(len(genes), random)
    with torch.inference_mode():
        feature = parent.stem(like)
        for gene in genes[: place + 1]:
            feature = gene.block(feature)
    channels = feature.shape[1] if feature.ndim == 4 else feature.shape[-1]
    genes.insert(place + 1, Gene(Adapter(channels, random), owned=True, inserted=True))
    return Individual(parent.stem, tuple(genes), head, f"insert after block {place + 1}")


def evolve(
    root: Root,
    images: ImageSet,
    selection: ImageSet,
    *,
    generations: int,
    children: int,
    tuning: Tuning,
    price: float = 0.02,
    seed: int = 0,
) -> Iterator[Child]:
    """Evolve a root for a user: yields each child when it has been scored.

    Parameters
    ----------
    root
        What was downloaded, with all its exits.
    images, selection
        The user's, to train with and to select with; they should share no image.
    generations, children
        How many, and children in each.
    tuning
        How each child is trained.
    price
        What the score loses for owning as many parameters as the root has.
    seed
        Of the mutations, the adapters and the order of the images.

    Yields
    ------
    Child
        The root with a tuned head, then the children.

    Raises
    ------
    ValueError
        For a count or a price out of range, or no images.
    """
    in_range("generations", generations, 0, 1000)
    in_range("children", children, 1, 1000)
    in_range("price", price, 0.0, 1.0)
    in_range("images to select with", len(selection), 1, 10**9)
    random = torch.Generator().manual_seed(seed)
    genes = tuple(Gene(block) for block in root.blocks)
    head = _free(copy.deepcopy(root.heads[-1]))
    first = Individual(root.stem, genes, head, "the root, its head tuned")

    def scored(individual: Individual, generation: int) -> Child:
        _run(tune(individual.owned, lambda x: [individual(x)], images, tuning, random))
        individual.owned.requires_grad_(requires_grad=False)
        estimate = _estimate(individual, selection)
        score = estimate.accuracy - price * individual.num_owned / root.num_parameters
        return Child(generation, individual, estimate, score)

    parents = [scored(first, 0)]
    yield parents[0]
    for generation in range(1, generations + 1):
        born: list[Child] = []
        for _ in range(children):
            parent = parents[_some(len(parents), random)].individual
            mutation = MUTATIONS[_some(len(MUTATIONS), random)]
            individual = mutate(parent, root, mutation, images.images[:1], random)
            individual.owned.requires_grad_(requires_grad=True)
            child = scored(individual, generation)
            born.append(child)
            yield child
        parents = select([*parents, *born], children)


def select(children: Sequence[Child], count: int) -> list[Child]:
    """The next parents: half of ``count``, with the highest scores; the elder of equals first."""
    return sorted(children, key=lambda child: -child.score)[: max(1, count // 2)]


def _estimate(model: Callable[[Tensor], Tensor], images: ImageSet) -> Estimate:
    with torch.inference_mode():
        answers = model(images.images).argmax(1)
    return Estimate(int((answers == images.labels).sum()), len(images))


def _run(passes: Iterator[float]) -> None:
    for _ in passes:
        pass


def _free(module: nn.Module) -> nn.Module:
    return module.requires_grad_(requires_grad=True)


def _count(modules: Sequence[nn.Module] | nn.ModuleList) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def _some(count: int, random: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=random))
