"""Evolution: a mutation does what it says, and the best are selected."""

import pytest
import torch

from insitu_widgets import ImageSet
from insitu_widgets.network.customise import Handwriting
from insitu_widgets.network.evolve import (
    MUTATIONS,
    Adapter,
    Gene,
    Individual,
    evolve,
    mutate,
    select,
)
from insitu_widgets.network.tuning import Tuning


def start(root):
    genes = tuple(Gene(block) for block in root.blocks)
    return Individual(root.stem, genes, root.heads[-1], "the root")


def test_the_first_individual_is_the_root(root, few):
    first = start(root)
    assert torch.equal(first(few.images), root(few.images))
    shared = root.num_parameters - sum(
        p.numel() for head in root.heads[:-1] for p in head.parameters()
    )
    assert first.num_parameters == shared
    assert first.num_owned == sum(p.numel() for p in root.heads[-1].parameters())


@pytest.mark.parametrize("shape", [(2, 5, 3, 3), (2, 7, 5)])
def test_an_adapter_begins_as_the_identity(shape):
    feature = torch.randn(shape)
    assert torch.equal(Adapter(5, torch.Generator())(feature), feature)


def test_what_is_inserted_or_cloned_changes_no_answer_yet(root, few):
    first = start(root)
    random = torch.Generator().manual_seed(0)
    for mutation in ("insert", "clone"):
        child = mutate(first, root, mutation, few.images[:1], random)
        assert torch.allclose(child(few.images), root(few.images), atol=1e-5)
        assert child.num_owned > first.num_owned
        assert (len(child.genes) > len(first.genes)) == (mutation == "insert")


def test_to_remove_the_top_block_is_the_exit_below(root, few):
    child = mutate(start(root), root, "remove", few.images[:1], torch.Generator())
    below = root(few.images, exit=root.num_exits - 1)
    assert torch.allclose(child(few.images), below, atol=1e-5)
    assert child.num_parameters < start(root).num_parameters


def test_any_number_of_mutations_makes_a_network(root, few):
    random = torch.Generator().manual_seed(2)
    individual = start(root)
    for step in range(40):
        individual = mutate(individual, root, MUTATIONS[step % 3], few.images[:1], random)
        assert individual.depth >= 1
    assert individual(few.images).shape == (40, 10)


def test_evolution_leaves_the_root_alone_and_selects(roots, digits):
    root = roots["vgg-digits"]
    before = {name: tensor.clone() for name, tensor in root.state_dict().items()}
    mine = ImageSet(Handwriting.draw(3).write(digits.images), digits.labels, digits.classes)
    images, selection = mine.take(torch.arange(40)), mine.take(torch.arange(40, 80))
    plan = {"generations": 2, "children": 3, "tuning": Tuning(2, 3e-3), "seed": 1}
    born = list(evolve(root, images, selection, **plan))
    assert [child.generation for child in born] == [0, 1, 1, 1, 2, 2, 2]
    for name, tensor in root.state_dict().items():
        assert torch.equal(tensor, before[name])
    best = select(born, 3)
    assert len(best) == 1
    assert best[0].score == max(child.score for child in born)
    assert best[0].estimate.seen == 40
    again = list(evolve(root, images, selection, **plan))
    assert [c.individual.origin for c in again] == [c.individual.origin for c in born]
    assert [c.score for c in again] == [c.score for c in born]


def test_a_high_price_keeps_the_user_small(roots, few):
    root = roots["vgg-digits"]
    plan = {"generations": 1, "children": 4, "tuning": Tuning(1, 1e-4), "seed": 0}
    for child in evolve(root, few, few, price=1.0, **plan):
        owned = child.individual.num_owned / root.num_parameters
        assert child.score == pytest.approx(child.estimate.accuracy - owned)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"generations": -1}, "generations must be a whole number from 0"),
        ({"children": 0}, "children must be a whole number from 1"),
        ({"price": 2.0}, "price must be a number from 0 to 1"),
    ],
)
def test_wrong_input(tiny, few, wrong, message):
    right = {"generations": 1, "children": 1, "tuning": Tuning()}
    with pytest.raises(ValueError, match=message):
        next(evolve(tiny, few, few, **{**right, **wrong}))
