"""A root of the user's own on the dashboard: a MobileNet on images of 64×64 pixels."""

import pytest
import torch
from torchvision.models import mobilenet_v3_small

from insitu_widgets import (
    Explorer,
    ImageSet,
    Link,
    Recipe,
    Root,
    accuracy,
    dashboard,
    derive,
    pack,
    sweep,
    transmit,
    unpack,
)
from insitu_widgets.explorer import words
from insitu_widgets.explorer.controls import Controls
from insitu_widgets.explorer.dashboard import own_panel
from insitu_widgets.network.permalink import from_query
from insitu_widgets.network.situation import Situation


@pytest.fixture(scope="module")
def mobilenet():
    """torchvision's, divided in three, with an exit after each part."""
    torch.manual_seed(0)
    layers = list(mobilenet_v3_small(num_classes=5).features)
    parts = [torch.nn.Sequential(*layers[a:b]) for a, b in ((1, 4), (4, 9), (9, 13))]
    heads = [
        torch.nn.Sequential(
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, 5)
        )
        for width in (24, 48, 576)
    ]
    return Root.wrap("mobilenet", layers[0], parts, heads)


@pytest.fixture(scope="module")
def images():
    random = torch.Generator().manual_seed(0)
    names = ("ant", "bee", "cat", "dog", "eel")
    return ImageSet(torch.randn(60, 3, 64, 64, generator=random), torch.arange(60) % 5, names)


@pytest.fixture(scope="module")
def catalogue(mobilenet, images):
    recipes = [Recipe("mobilenet", exit_, 1.0, bits) for exit_ in (1, 2, None) for bits in (4, 32)]
    return sweep(
        recipes, images, root=mobilenet, bit_error_rates=(0.0, 1e-2), seeds=(0,), progress=False
    )


@pytest.mark.parametrize("cut", [(None, 1.0, 32), (2, 0.3, 4), (1, 0.5, 16)])
def test_the_way_of_a_packet(mobilenet, images, cut):
    sent = derive(mobilenet, Recipe("mobilenet", *cut))
    packet = pack(sent)
    arrived, report = unpack(packet, "clamp", mobilenet)
    assert arrived == sent
    assert report.intact
    some = images.take(torch.arange(8))
    assert torch.equal(arrived(some.images), sent(some.images))
    damaged, _ = unpack(transmit(packet, Link(1e6, bit_error_rate=1e-2), 0), "zero", mobilenet)
    *_, last = accuracy(damaged, some, batch=4)
    assert last.seen == 8


def test_all_that_was_measured_is_of_all_images(catalogue):
    assert len(catalogue.rows) == 3 * (1 + 1) + 3 * (1 + 3)
    assert {(row.images, row.seeds) for row in catalogue.rows} == {(60, 1)}


def test_the_explorer_chooses_sends_and_measures(mobilenet, images, catalogue):
    situation = {"bandwidth_hz": 1e8, "memory_bytes": 1e8, "bit_error_rate": 1e-2}
    explorer = Explorer(root=mobilenet, images=images, catalogue=catalogue, measuring=False)
    explorer.change(**situation)
    explorer.measure()
    assert explorer.decision.recipe.root == "mobilenet"
    assert explorer.estimate.seen == 60
    assert explorer.delivery.flipped > 0
    assert {answer.label for answer in explorer.answers} <= set(images.classes)
    assert "mobilenet" in words.sentence(explorer)
    board = dashboard(explorer)
    assert board.children[1].children[1].errors == {}
    explorer.by_hand(exit=3, bits=8)
    assert explorer.situation.recipe == Recipe("mobilenet", bits=8)
    assert explorer.estimate.seen == 60
    assert len(explorer.points) == 3 * 8
    assert explorer.results()["measured"]["seen"] == 60


def test_its_norms_are_recalibrated_on_its_own_images(mobilenet, images):
    explorer = Explorer(root=mobilenet, images=images)
    explorer.change(bit_error_rate=0.0)
    assert explorer.can_recalibrate(explorer.own.name)
    assert explorer.can_recalibrate("vgg-digits")
    explorer.by_hand(exit=1, keep=0.5, bits=8, recalibrated=True)
    assert explorer.problems == {}
    assert explorer.measured.recipe.recalibrated
    recipe = explorer.situation.recipe
    sent = pack(derive(mobilenet, recipe, images=images))
    assert explorer.delivery.num_bits == sent.num_bits
    *_, expected = accuracy(unpack(sent, root=mobilenet)[0], images)
    assert explorer.estimate == expected


def test_its_panel_is_the_dashboard(mobilenet, images, catalogue):
    shown = own_panel(mobilenet, images, catalogue)
    head = "".join(each.value for each in shown.children[1].children[0].children)
    assert "Even the smallest sub-model (mobilenet · exit 1" in head


def test_without_a_catalogue_one_chooses_by_hand(mobilenet, images):
    explorer = Explorer(root=mobilenet, images=images)
    assert "Nothing is known." in words.sentence(explorer)
    explorer.by_hand(exit=1, bits=32)
    assert explorer.estimate.seen == 60


def test_the_shipped_roots_are_a_choice_away(mobilenet, images, catalogue):
    explorer = Explorer(root=mobilenet, images=images, catalogue=catalogue, measuring=False)
    controls = Controls(explorer, lambda call: call())
    assert controls.root.value == "mobilenet"
    assert controls.cuts["exit"].options[-1] == ("3 of 3", 3)
    controls.mode.value = "hand"
    controls.cuts["exit"].value = 2
    controls.root.value = "vgg-digits"
    assert explorer.situation.recipe.root == "vgg-digits"
    assert explorer.situation.own is None
    controls.root.value = "mobilenet"
    assert explorer.situation.own.name == "mobilenet"
    controls.preset.value = "5G phone"
    assert explorer.situation.root == "mobilenet"
    assert controls.preset.value == "5G phone"
    assert from_query(explorer.permalink(), explorer.own)[0] == explorer.situation
    controls.reset.click()
    assert explorer.situation == Situation(root="mobilenet", own=explorer.own)


@pytest.mark.parametrize("given", ["root", "images", "catalogue"])
def test_a_part_without_the_others_is_refused(mobilenet, images, catalogue, given):
    part = {"root": mobilenet, "images": images, "catalogue": catalogue}[given]
    with pytest.raises(ValueError, match=r"must come together .+ got only some\. Give"):
        Explorer(**{given: part})
