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


def test_of_a_class_without_training_images_the_mean_of_all_is_told(few):
    train = load_data("digits", "train").take(torch.tensor([0, 1, 2]))
    missing = next(i for i, label in enumerate(few.labels) if label not in train.labels)
    told = class_guess(train, few).guesses[missing]
    assert torch.allclose(told, train.images.mean(0))


def primal(features, images):
    """The oracle: the same regression, with the map from feature to image written out."""
    cut, target = len(features) * 4 // 5, images.mean(0)

    def fitted(some, wanted, strength):
        gram = some @ some.T
        gram += strength * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        return some.T @ torch.linalg.solve(gram, wanted - target)

    def missed(strength):
        guess = features[cut:] @ fitted(features[:cut], images[:cut], strength) + target
        return float((guess - images[cut:]).square().mean())

    best = min(privacy.RIDGES, key=missed)
    weights = fitted(features, images, best)
    return lambda heard: heard @ weights + target


@pytest.mark.parametrize("width", [20, 400])
def test_the_ridge_is_the_map_that_is_never_made(width):
    """With fewer values than images, and with more."""
    random = torch.Generator().manual_seed(2)
    images = torch.randn(60, 12, generator=random)
    mixing = torch.randn(12, width, generator=random)
    noise = torch.randn(90, width, generator=random)
    features, others = (images @ mixing + noise[:60]) / 4, noise[60:]
    found = privacy._ridge(features, images)(others)
    expected = primal(features.double(), images.double())(others.double())
    assert torch.allclose(found.double(), expected, atol=1e-3)


def test_wide_features_are_held_once(roots, train, few, monkeypatch):
    """Nothing as wide as a feature has more rows than the training images; test images go by."""
    rows, heard = [], privacy._heard

    def watched(device, images, bits):
        for part in heard(device, images, bits):
            rows.append(len(part))
            yield part

    monkeypatch.setattr(privacy, "_heard", watched)
    monkeypatch.setattr(privacy, "TOGETHER", 30)
    found = attack(roots["vgg-digits"], 1, train, few, bits=4)
    assert (max(rows), sum(rows)) == (30, len(train) + len(few))
    monkeypatch.setattr(privacy, "TOGETHER", 1000)
    whole = attack(roots["vgg-digits"], 1, train, few, bits=4)
    assert torch.allclose(found.guesses, whole.guesses, atol=1e-3)


@pytest.mark.parametrize("attacker", privacy.ATTACKERS)
def test_few_training_images_are_enough_or_refused(roots, train, few, attacker, monkeypatch):
    monkeypatch.setattr(privacy, "STEPS", 5)
    root = roots["vgg-digits"]
    sentence = r"^number of training images must be a whole number from 2 to .+; got 1\. Give"
    with pytest.raises(ValueError, match=sentence):
        attack(root, 1, train.take(torch.tensor([0])), few, bits=4, attacker=attacker)
    for index in ([0, 1], [3, 3]):  # two, and twice the same one
        found = attack(root, 1, train.take(torch.tensor(index)), few, bits=4, attacker=attacker)
        assert bool(found.guesses.isfinite().all())


def test_wrong_input_is_named(roots, train, few):
    root = roots["vgg-digits"]
    with pytest.raises(ValueError, match=r"0 to 5; got 6.*choose an earlier one"):
        attack(root, 6, train, few, bits=4)
    with pytest.raises(ValueError, match="attacker must be one of ridge, network"):
        attack(root, 1, train, few, bits=4, attacker="oracle")
    with pytest.raises(ValueError, match="feature bits"):
        attack(root, 1, train, few, bits=12)
