"""What an eavesdropper rebuilds: measured, by split point."""

from math import inf, log10

import pytest
import torch

from insitu_widgets import load_data
from insitu_widgets.network import privacy
from insitu_widgets.network.privacy import attack, blind_guess, class_guess, psnr_db


@pytest.fixture(scope="module")
def train():
    return load_data("digits", "train", 500)


def test_psnr_is_its_formula():
    images = torch.zeros(2, 1, 2, 2)
    assert psnr_db(images, images, 1.0) == inf
    assert psnr_db(images, images + 0.1, 1.0) == pytest.approx(20.0, abs=1e-5)
    assert psnr_db(images, images + 0.1, 2.0) == pytest.approx(20 + 20 * log10(2), abs=1e-5)


def test_depth_protects_the_image_of_a_shipped_root(roots, train, digits):
    """The paper's claim (section 2.1), for a linear attacker."""
    root = roots["resnet-digits"]
    found = [attack(root, point, train, digits, bits=4).psnr_db for point in (0, 1, 3, 5)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 35
    assert found[-1] > blind_guess(train, digits).psnr_db


def test_a_vit_gives_more_away_than_a_resnet(roots, train, digits):
    vit, resnet = (
        attack(roots[name], 5, train, digits, bits=4).psnr_db
        for name in ("vit-digits", "resnet-digits")
    )
    assert vit > resnet + 5


def test_fewer_bits_give_less_away(roots, train, digits):
    root = roots["vgg-digits"]
    coarse, fine = (attack(root, 1, train, digits, bits=bits).psnr_db for bits in (1, 8))
    assert coarse < fine


def test_the_network_learns_and_is_the_same_every_time(roots, train, few, monkeypatch):
    monkeypatch.setattr(privacy, "STEPS", 100)
    root = roots["vgg-digits"]
    first, again = (
        attack(root, 5, train, few, bits=4, attacker="network").guesses for _ in range(2)
    )
    assert torch.equal(first, again)
    assert psnr_db(few.images, first, 2.66) > class_guess(train, few).psnr_db
    assert bool(first.isfinite().all())


def test_who_knows_the_class_knows_more_than_nothing(train, digits):
    assert class_guess(train, digits).psnr_db > blind_guess(train, digits).psnr_db > 10


def test_wrong_input_is_named(roots, train, few):
    root = roots["vgg-digits"]
    with pytest.raises(ValueError, match=r"0 to 5; got 6.*choose an earlier one"):
        attack(root, 6, train, few, bits=4)
    with pytest.raises(ValueError, match="attacker must be one of ridge, network"):
        attack(root, 1, train, few, bits=4, attacker="oracle")
    with pytest.raises(ValueError, match="feature bits"):
        attack(root, 1, train, few, bits=12)
