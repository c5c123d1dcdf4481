"""Tuning: what is meant to learn learns, and what is not stays as it is."""

import pytest
import torch

from insitu_widgets import ImageSet, Recipe, derive
from insitu_widgets.network.customise import PARTS, Handwriting, User, customise
from insitu_widgets.network.tuning import Tuning, tune
from insitu_widgets.roots import is_weight


def right(network, images):
    with torch.inference_mode():
        return float((network(images.images).argmax(1) == images.labels).float().mean())


def test_writing_as_everybody_changes_nothing(few):
    assert torch.allclose(Handwriting().write(few.images), few.images, atol=1e-5)


def test_a_handwriting_does_what_it_says(few):
    thick, thin = (Handwriting(thickness=t).write(few.images) for t in (1.0, -1.0))
    assert (thick >= few.images - 1e-5).all()
    assert (thin <= few.images + 1e-5).all()
    ink = few.images - few.images.min()
    small = Handwriting(scale=0.7).write(few.images) - few.images.min()
    assert small.sum() < 0.75 * ink.sum()
    slanted = Handwriting(slant=0.5).write(few.images)
    assert not torch.allclose(slanted, few.images, atol=0.1)


def test_a_seed_is_a_user():
    assert Handwriting.draw(3) == Handwriting.draw(3) != Handwriting.draw(4)
    assert Handwriting.draw(3, 0.0) == Handwriting()


def test_no_image_is_shared(digits):
    numbered = ImageSet(
        torch.arange(len(digits)).float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2),
        digits.labels,
        digits.classes,
    )
    user = User.share(numbered, Handwriting(), seed=1)
    parts = [part.images[:, 0, 0, 0] for part in (user.tuning, user.test, user.general)]
    assert torch.cat(parts).round().unique().numel() == len(digits)
    assert [len(part) for part in parts] == [60, 300, 437]


@pytest.mark.parametrize("part", PARTS)
def test_only_the_part_is_tuned_and_the_sub_model_stays(roots, digits, part):
    submodel = derive(roots["vgg-digits"], Recipe("vgg-digits", keep=0.3, bits=4))
    with torch.inference_mode():
        submodel(digits.images[:2])  # its network was made where nothing can be trained
    before = {name: tensor.clone() for name, tensor in submodel.module.state_dict().items()}
    images = digits.take(torch.arange(30))
    first, last = customise(submodel, images, part, Tuning(1, 1e-2), seed=0)
    assert (first.epoch, last.epoch) == (0, 1)
    assert last.seconds > 0
    for name, tensor in submodel.module.state_dict().items():
        assert torch.equal(tensor, before[name])
    changed = {n for n, p in last.network.named_parameters() if not torch.equal(p, before[n])}
    parameters = dict(last.network.named_parameters())
    assert changed
    if part == "head":
        assert all(name.startswith("head.") for name in changed)
    elif part == "norms and biases":
        assert not any(is_weight(name, parameters[name]) for name in changed)
    assert last.num_tuned >= sum(parameters[name].numel() for name in changed)
    for layer in submodel.layers:
        assert not parameters[layer.name][~layer.mask].any(), "pruned weights stay zero"


def test_a_user_is_served_better_after_a_few_passes(roots, digits):
    handwriting = Handwriting.draw(3)
    user = User.share(digits, handwriting, seed=3)
    submodel = derive(roots["vgg-digits"], Recipe("vgg-digits", bits=4))
    steps = customise(submodel, user.tuning, "norms and biases", Tuning(8, 2e-3))
    accuracies = [right(step.network, user.test) for step in steps]
    assert accuracies[-1] > accuracies[0] + 0.1


def test_the_same_seed_tunes_the_same(tiny):
    random = torch.Generator().manual_seed(5)
    images = ImageSet(torch.randn(9, 1, 8, 8, generator=random), torch.arange(9) % 3, tuple("abc"))
    submodel = derive(tiny, Recipe("tiny"))
    ends = [list(customise(submodel, images, "everything", Tuning(2)))[-1] for _ in range(2)]
    assert ends[0].loss == ends[1].loss


def test_wrong_input(tiny, few):
    submodel = derive(tiny, Recipe("tiny"))
    with pytest.raises(ValueError, match="part must be one of everything, norms and biases, head"):
        next(customise(submodel, few, "tail", Tuning()))
    none = ImageSet(few.images[:0], few.labels[:0], few.classes)
    with pytest.raises(ValueError, match="images to tune with must be a whole number from 1"):
        list(customise(submodel, none, "head", Tuning()))
    with pytest.raises(ValueError, match="none of its parameters requires a gradient"):
        next(tune(tiny, tiny.exits, few, Tuning(), torch.Generator()))
    for wrong in ({"epochs": 0}, {"rate": 0.0}, {"batch": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            Tuning(**wrong)
    for wrong in ({"slant": 2.0}, {"thickness": -1.5}, {"scale": 0.1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            Handwriting(**wrong)
    with pytest.raises(ValueError, match="user_images must be"):
        User.share(few, Handwriting(), 0, tune_images=10, user_images=30)
