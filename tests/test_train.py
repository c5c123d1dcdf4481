import json
from dataclasses import asdict, replace
from importlib.resources import files

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from insitu_widgets import ROOTS, load_data, train
from insitu_widgets.cards import read_card
from insitu_widgets.data import DIGITS_TRAIN
from insitu_widgets.roots import ARCHITECTURES, assign
from insitu_widgets.train import (
    PLANS,
    Plan,
    exit_accuracies,
    exits_loss,
    warp,
    write_model_card,
)

QUICK = Plan(epochs=1, peak_rate=1e-3, batch=20)
WEIGHTS = files("insitu_widgets") / "weights"


@pytest.fixture(scope="module")
def images():
    return load_data("digits", "train", limit=40)


def tensors(root):
    return {name: tensor.clone() for name, tensor in root.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Training


@pytest.mark.parametrize("name", PLANS)
def test_one_epoch_trains_every_part_from_a_seed(name, images):
    first, again, other = (train.train(name, images, QUICK, seed) for seed in (5, 5, 6))
    assert same(tensors(first), tensors(again))
    assert not same(tensors(first), tensors(other))
    torch.manual_seed(5)
    fresh = tensors(ARCHITECTURES[name]())
    unmoved = [n for n, t in tensors(first).items() if torch.equal(t, fresh[n])]
    assert unmoved == []
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_it_learns(images):
    plan = replace(QUICK, epochs=30, peak_rate=4e-3, average=0.9)
    assert max(exit_accuracies(train.train("vgg-digits", images, plan), images)) > 0.8


def test_it_leaves_the_global_dice_alone(images):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train.train("vgg-digits", images, QUICK)
    assert torch.equal(torch.rand(3), expected)


def test_it_shows_its_progress(images, capsys):
    train.train("vgg-digits", images, QUICK)
    shown = capsys.readouterr().err
    assert "vgg-digits: 100%" in shown
    assert "loss=" in shown


def test_fewer_images_than_a_batch_are_refused(images):
    with pytest.raises(
        ValueError, match=r"^plan.batch must be a whole number from 1 to 40 images; got"
    ):
        train.train("vgg-digits", images, replace(QUICK, batch=41))


def test_a_warp_without_a_limit_changes_nothing(images):
    still = replace(QUICK, rotation_deg=0, zoom=0, shear=0, shift_px=0)
    warped = warp(images.images, still, torch.Generator().manual_seed(0))
    assert torch.allclose(warped, images.images, atol=1e-5)
    moved = warp(images.images, QUICK, torch.Generator().manual_seed(0))
    assert moved.shape == images.images.shape
    assert not torch.allclose(moved, images.images, atol=0.1)


def test_a_warp_by_a_pixel_moves_the_image_by_a_pixel_at_most(images):
    plan = replace(QUICK, rotation_deg=0, zoom=0, shear=0, shift_px=1.0)
    dot = torch.zeros(500, 1, 8, 8)
    dot[:, :, 4, 4] = 1
    warped = warp(dot, plan, torch.Generator().manual_seed(0))
    assert torch.allclose(warped.sum((1, 2, 3)), torch.ones(500), atol=1e-4)
    away = warped.clone()
    away[:, :, 3:6, 3:6] = 0
    assert away.abs().max() < 1e-5
    assert (warped[:, 0, 4, 4] < 0.2).any()


def test_the_loss_is_its_definition():
    """The oracle: written out for three exits with torch's own losses."""
    random = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, 4, generator=random) for _ in range(3)]
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    plan = replace(QUICK, first_exit=0.2, distillation=0.5, temperature=3.0, label_smoothing=0.1)
    weights, total = (0.2, 0.6, 1.0), 0.0
    teacher = (logits[2] / 3).softmax(1)
    for weight, each in zip(weights, logits, strict=True):
        total += weight * functional.cross_entropy(each, labels, label_smoothing=0.1)
        if each is not logits[2]:
            ratio = teacher.log() - (each / 3).log_softmax(1)
            total += weight * 0.5 * 9 * (teacher * ratio).sum(1).mean()
    assert torch.allclose(exits_loss(logits, labels, plan), total / sum(weights), atol=1e-6)


def test_the_last_exit_teaches_and_does_not_follow():
    random = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, 4, generator=random, requires_grad=True) for _ in range(2)]
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    plan = replace(QUICK, first_exit=0.5, label_smoothing=0.0)
    exits_loss(logits, labels, plan).backward()
    alone = logits[1].detach().clone().requires_grad_()
    (functional.cross_entropy(alone, labels) / 1.5).backward()
    assert torch.allclose(logits[1].grad, alone.grad)


def test_every_exit_is_scored(root, few):
    expected = [float((x.argmax(1) == few.labels).float().mean()) for x in root.exits(few.images)]
    assert exit_accuracies(root, few, batch=7) == pytest.approx(expected, abs=1e-6)


# Cards


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What the command writes, after one epoch."""
    folder = tmp_path_factory.mktemp("weights") / "new"
    train.main(["vgg-digits", "--epochs", "1", "--seed", "3", "--out", str(folder)])
    return folder


def test_the_command_writes_weights_card_and_model_card(trained, digits):
    assert {path.name for path in trained.iterdir()} == {
        "vgg-digits.json",
        "vgg-digits.safetensors",
        "MODEL_CARD.md",
    }
    card = json.loads((trained / "vgg-digits.json").read_text())
    root = ARCHITECTURES["vgg-digits"]().eval()
    assign(root, load_file(str(trained / "vgg-digits.safetensors")))
    assert card["accuracy"] == exit_accuracies(root, digits)
    assert card["parameters"] == root.num_parameters
    assert (card["seed"], card["images"]) == (3, {"train": DIGITS_TRAIN, "test": 797})
    assert card["plan"] == asdict(replace(PLANS["vgg-digits"], epochs=1))
    text = (trained / "MODEL_CARD.md").read_text()
    assert "Training: 1 epochs, seed 3" in text
    assert f"| 6 | {card['exit_parameters'][5]:,} | {card['accuracy'][5]:.2%} |" in text


def test_a_new_card_has_the_fields_of_the_shipped_ones(trained):
    new = json.loads((trained / "vgg-digits.json").read_text())
    shipped = json.loads((WEIGHTS / "vgg-digits.json").read_text())
    assert new.keys() == shipped.keys()
    for field in ("name", "family", "data", "classes", "parameters", "exit_parameters"):
        assert new[field] == shipped[field]
    assert new["data_sha256"] == shipped["data_sha256"]
    assert shipped["plan"] == asdict(PLANS["vgg-digits"])


def test_the_shipped_model_card_is_what_the_shipped_cards_say(tmp_path):
    for name in ROOTS:
        text = (WEIGHTS / f"{name}.json").read_text(encoding="utf-8")
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    write_model_card(tmp_path)
    written = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert written == (WEIGHTS / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_a_root_that_was_never_trained_has_no_card():
    assert read_card("resnet-cifar") is None


def test_a_holdout_writes_nothing_and_tests_nothing(tmp_path, monkeypatch, capsys):
    """It reports on training images only; the test images are looked at once, at the end."""
    asked = []
    load = train.load_data

    def watching(name, split="test", limit=None):
        asked.append(split)
        return load(name, split, limit)

    monkeypatch.setattr(train, "load_data", watching)
    train.main(["vgg-digits", "--epochs", "1", "--holdout", "--out", str(tmp_path / "none")])
    assert asked == ["train"]
    assert not (tmp_path / "none").exists()
    assert capsys.readouterr().out.count("%") == 6


@pytest.mark.parametrize("arguments", [["alexnet"], [], ["vgg-digits", "--epochs", "many"]])
def test_the_command_refuses_what_it_does_not_know(arguments, capsys):
    with pytest.raises(SystemExit):
        train.main(arguments)
    assert "usage: python -m insitu_widgets.train" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--epochs must be a whole number from 1 to 10000; got 0"):
        train.main(["vgg-digits", "--epochs", "0"])
