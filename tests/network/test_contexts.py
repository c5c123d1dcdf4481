"""Contexts: images move and labels stay; a tuned model fits where the root does not."""

import pytest
import torch

from insitu_widgets.air.payload import unpack
from insitu_widgets.data import load_data
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.analytics import answers
from insitu_widgets.network.contexts import CONTEXTS, fitting, moved, offers

RECIPE = Recipe("vgg-digits", bits=8)


@pytest.fixture(scope="module")
def offered(roots):
    training = load_data("digits", "train")
    return list(offers(roots["vgg-digits"], RECIPE, training, ("as trained", "inverted")))


def right(packet, images):
    model, report = unpack(packet)
    assert report.intact
    with torch.inference_mode():
        return float((model(images.images).argmax(1) == images.labels).float().mean())


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_context_moves_the_images_and_nothing_else(few, context):
    other = moved(few, context)
    assert torch.equal(other.labels, few.labels)
    assert torch.equal(other.images, few.images) == (context == CONTEXTS[0])
    assert torch.equal(other.images, moved(few, context).images)


def test_inverting_twice_changes_nothing(few):
    twice = moved(moved(few, "inverted"), "inverted")
    assert torch.allclose(twice.images, few.images, atol=1e-6)


def test_each_model_fits_its_own_context(digits, offered):
    own, other = offered
    inverted = moved(digits, "inverted")
    assert right(own.packet, digits) == pytest.approx(answers(RECIPE, digits).mean())
    assert right(own.packet, inverted) < 0.4
    assert right(other.packet, inverted) > 0.9
    assert own.packet.num_bits == other.packet.num_bits
    assert other.seconds > own.seconds > 0


def test_the_root_is_not_changed(roots, offered):
    assert offered
    assert not any(p.requires_grad for p in roots["vgg-digits"].parameters())
    digits = load_data("digits")
    with torch.inference_mode():
        found = roots["vgg-digits"](digits.images).argmax(1)
    assert float((found == digits.labels).float().mean()) > 0.95


def test_three_frames_say_which_fits(digits, offered):
    for offer in offered:
        frames = moved(digits, offer.context).images
        chosen = [fitting(frames[i : i + 3], offered).context for i in range(0, 300, 3)]
        assert chosen.count(offer.context) >= 98


def test_wrong_input_is_named(few, roots, offered):
    with pytest.raises(ValueError, match="context must be one of as trained, inverted"):
        moved(few, "foggy")
    with pytest.raises(ValueError, match="must not be empty; got 0 and 2"):
        fitting(few.images[:0], offered)
    with pytest.raises(ValueError, match="must not be empty; got 40 and 0"):
        fitting(few.images, [])
    with pytest.raises(ValueError, match=r"recipe\.root must be 'vgg-digits'"):
        next(offers(roots["vgg-digits"], Recipe("vit-digits"), few))
