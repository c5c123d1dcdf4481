import json
from dataclasses import replace
from importlib.resources import files

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from insitu_widgets import ROOTS, load_data, train
from insitu_widgets.augment import crop, cutmix, warp
from insitu_widgets.cards import NESTED_ROOTS, read_card
from insitu_widgets.checkpoint import Checkpoint
from insitu_widgets.data import DIGITS_TRAIN, ImageSet, hold_out
from insitu_widgets.model_card import exit_accuracies, half_precision, write_model_card
from insitu_widgets.plans import PLANS, Plan
from insitu_widgets.roots import ARCHITECTURES, assign, is_weight
from insitu_widgets.train import exits_loss

QUICK = Plan(epochs=1, peak_rate=1e-3, batch=20)
WEIGHTS = files("insitu_widgets") / "weights"


@pytest.fixture(scope="module")
def images():
    return load_data("digits", "train", limit=40)


@pytest.fixture(scope="module")
def photographs():
    """Not photographs: noise of their size."""
    random = torch.Generator().manual_seed(0)
    names = tuple(f"class {i}" for i in range(100))
    return ImageSet(torch.randn(40, 3, 32, 32, generator=random), torch.arange(40), names)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """No test leaves a checkpoint in the user's cache."""
    monkeypatch.setattr(train, "CHECKPOINT_EVERY_S", 0.0)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path_factory.mktemp("cache")))


def tensors(root):
    return {name: tensor.clone() for name, tensor in root.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Training


@pytest.mark.parametrize("name", PLANS)
def test_one_epoch_trains_every_part_from_a_seed(name, images, photographs):
    digits = name.endswith("-digits")
    images, plan = (images, QUICK) if digits else (photographs, replace(QUICK, batch=10))
    first, again, other = (train.train(name, images, plan, seed) for seed in (5, 5, 6))
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


# Photographs


def test_a_crop_that_moves_nothing_flips_at_most(photographs):
    plan = Plan(epochs=1, peak_rate=1.0, augmentation="crop", crop_px=0)
    images = photographs.images
    cropped = crop(images, plan, torch.Generator().manual_seed(0))
    same_way = (cropped == images).flatten(1).all(1)
    flipped = (cropped == images.flip(3)).flatten(1).all(1)
    assert (same_way ^ flipped).all()
    assert 10 < int(flipped.sum()) < 30


def test_a_crop_moves_by_so_many_pixels_and_erases_a_square():
    plan = Plan(epochs=1, peak_rate=1.0, augmentation="crop", crop_px=2, erase_px=3)
    ramp = torch.arange(8.0)[:, None].expand(8, 8).expand(300, 1, 8, 8) + 100
    cropped = crop(ramp, plan, torch.Generator().manual_seed(0))
    erased = (cropped == 0).sum((1, 2, 3))
    assert set(erased.tolist()) == {4, 6, 9}  # 2×2 in a corner, 2×3 at an edge
    whole = crop(ramp, replace(plan, erase_px=0), torch.Generator().manual_seed(0))
    assert set((whole[:, 0, 4, 0] - 104).tolist()) == {-2, -1, 0, 1, 2}


def test_cutmix_mixes_the_targets_by_area(photographs):
    targets = functional.one_hot(photographs.labels, 100).float()
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        mixed, shares = cutmix(photographs.images, targets, random)
        changed = (mixed != photographs.images).any(1).float().mean((1, 2))
        assert torch.allclose(shares.sum(1), torch.ones(40))
        own = shares[torch.arange(40), photographs.labels]
        assert torch.allclose(own, 1 - changed, atol=1e-6)


def test_a_plan_shrinks_the_images_of_its_first_epochs():
    plan = replace(PLANS["resnet18-cifar100"], epochs=10, smaller=((0.5, 16), (0.3, 24)))
    assert [plan.side_px(epoch) for epoch in range(10)] == [16] * 5 + [24] * 3 + [None] * 2
    assert replace(plan, smaller=()).side_px(0) is None


def test_a_photographs_plan_trains_in_mixed_precision_at_two_sizes(photographs):
    plan = replace(
        PLANS["resnet18-cifar100"],
        epochs=2,
        batch=20,
        mixed=0.5,
        peak_rate=0.05,
        smaller=((0.5, 16),),
    )
    root = train.train("resnet18-cifar100", photographs, plan)
    assert all(tensor.isfinite().all() for tensor in root.state_dict().values())
    assert {tensor.dtype for tensor in root.state_dict().values()} == {torch.float32}


def test_held_out_images_are_balanced_and_others():
    count = 200
    labels = torch.arange(100).repeat_interleave(count)
    pictures = torch.arange(100.0 * count).reshape(-1, 1, 1, 1)
    images = ImageSet(pictures, labels, tuple(map(str, range(100))))
    kept, held = hold_out(images, "cifar100")
    assert len(held) == 5_000
    assert set(held.labels.bincount().tolist()) == {50}
    both = torch.cat([kept.images, held.images]).flatten()
    assert torch.equal(both.sort().values, pictures.flatten())


def test_half_precision_rounds_the_weights_only():
    torch.manual_seed(0)
    root = ARCHITECTURES["vgg16-cifar100"]()
    rounded = dict(half_precision(root).named_parameters())
    for name, parameter in root.named_parameters():
        expected = parameter.half().float() if is_weight(name, parameter) else parameter
        assert torch.equal(rounded[name], expected), name


# Killed and gone on


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", ["vgg-digits", "vit-cifar100"])
def test_a_killed_training_ends_as_if_it_had_not_been(
    name, images, photographs, tmp_path, monkeypatch
):
    images = images if name.endswith("-digits") else photographs
    plan = replace(PLANS[name], epochs=3, batch=20)
    whole = tensors(train.train(name, images, plan, 4))
    step, steps = train._Training._step, []

    def mortal(self, *arguments, **options):
        steps.append(1)
        if len(steps) == 4:  # in the middle of the second epoch
            raise KilledError
        return step(self, *arguments, **options)

    monkeypatch.setattr(train._Training, "_step", mortal)
    checkpoint = Checkpoint(tmp_path / "new" / "root.pt", "these")
    with pytest.raises(KilledError):
        train.train(name, images, plan, 4, checkpoint)
    assert {path.name for path in checkpoint.path.parent.iterdir()} == {"root.log", "root.pt"}
    again = Checkpoint(checkpoint.path, "these")
    assert same(tensors(train.train(name, images, plan, 4, again)), whole)
    assert len(steps) == 4 + 4  # the second epoch anew, and the third
    assert again.seconds > checkpoint.seconds > 0
    log = checkpoint.path.with_suffix(".log").read_text().splitlines()
    assert [line.split()[3] for line in log] == ["1/3", "2/3", "3/3"]
    # A finished one is not trained again: only its results are to be written.
    assert same(tensors(train.train(name, images, plan, 4, again)), whole)
    assert len(steps) == 8


def test_a_checkpoint_of_other_settings_is_refused(images, tmp_path):
    train.train("vgg-digits", images, QUICK, 0, Checkpoint(tmp_path / "root.pt", "these"))
    with pytest.raises(ValueError, match=r"root.pt is of a training with other settings .+ Delete"):
        train.train("vgg-digits", images, QUICK, 0, Checkpoint(tmp_path / "root.pt", "those"))


@pytest.mark.parametrize("damage", ["empty", "text", "pointer", "half", "flipped", "list"])
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path, damage):
    checkpoint = Checkpoint(tmp_path / "root.pt", "these")
    checkpoint.save(1, {}, torch.Generator(), 1.0)
    good = checkpoint.path.read_bytes()
    damages = {
        "empty": b"",
        "text": b"hello world",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "half": good[: len(good) // 2],
        "flipped": good[:200] + bytes([good[200] ^ 255]) + good[201:],
    }
    if damage == "list":
        torch.save([1, 2], checkpoint.path)
    else:
        checkpoint.path.write_bytes(damages[damage])
    before = checkpoint.path.read_bytes()
    sentence = (
        r"root\.pt must be a training's checkpoint; it is damaged \(.+\)\. Delete it and start"
    )
    with pytest.raises(ValueError, match=sentence):
        checkpoint.restore({}, torch.Generator())
    assert checkpoint.path.read_bytes() == before


def test_a_kill_while_saving_leaves_the_old_checkpoint(images, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "root.pt", "these")
    train.train("vgg-digits", images, QUICK, 0, checkpoint)
    before = checkpoint.path.read_bytes()

    def half(_, file):
        file.write(before[: len(before) // 2])
        raise KilledError

    monkeypatch.setattr(torch, "save", half)
    random = torch.Generator()
    with pytest.raises(KilledError):
        checkpoint.save(2, {}, random, 1.0)
    assert checkpoint.path.read_bytes() == before


# Cards


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What the command writes, after one epoch."""
    folder = tmp_path_factory.mktemp("weights") / "new"
    train.main(
        [
            *("vgg-digits", "--epochs", "1", "--seed", "3", "--out", str(folder)),
            *("--checkpoints", str(folder.parent / "checkpoints")),
        ]
    )
    assert not list(folder.parent.glob("checkpoints/*.pt"))  # done, and forgotten
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
    assert card["plan"] == replace(PLANS["vgg-digits"], epochs=1).record()
    text = (trained / "MODEL_CARD.md").read_text()
    assert "Training: 1 epochs, seed 3" in text
    assert f"| 6 | {card['exit_parameters'][5]:,} | {card['accuracy'][5]:.2%} |" in text


def test_a_new_card_has_the_fields_of_the_shipped_ones(trained):
    new = json.loads((trained / "vgg-digits.json").read_text())
    shipped = json.loads((WEIGHTS / "vgg-digits.json").read_text())
    assert new.keys() == shipped.keys() - {"alone"}  # which another training adds
    for field in ("name", "family", "data", "classes", "parameters", "exit_parameters"):
        assert new[field] == shipped[field]
    assert new["data_sha256"] == shipped["data_sha256"]
    assert shipped["plan"] == PLANS["vgg-digits"].record()


def test_the_shipped_model_card_is_what_the_shipped_cards_say(tmp_path):
    for name in [*ROOTS, *NESTED_ROOTS]:
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


def test_the_last_exit_alone_learns_alone(images):
    plan = replace(PLANS["vgg-digits"], epochs=1, batch=20, alone=True)
    before = train._Training("vgg-digits", images, plan, 0).root
    after = train.train("vgg-digits", images, plan)
    for mine, fresh in zip(after.heads[:-1], before.heads[:-1], strict=True):
        assert all(map(torch.equal, mine.parameters(), fresh.parameters()))
    assert not torch.equal(after.heads[-1][-1].weight, before.heads[-1][-1].weight)
    assert not torch.equal(after.blocks[0][0].weight, before.blocks[0][0].weight)


def test_what_the_last_exit_reaches_alone_goes_into_the_card(tmp_path, capsys):
    def run(*more):
        train.main(["vgg-digits", "--epochs", "1", "--checkpoints", str(tmp_path / "c"),
                    "--out", str(tmp_path / "w"), *more])  # fmt: skip
        return capsys.readouterr().out.splitlines()

    said, refused = run("--alone")
    assert said.startswith("vgg-digits: last exit alone ")
    assert (
        refused
        == f"not written: {tmp_path / 'w'} has no card of vgg-digits with this plan and seed"
    )
    assert not (tmp_path / "w").exists()

    run()
    card = tmp_path / "w" / "vgg-digits.json"
    before = json.loads(card.read_text())
    assert run("--alone", "--seed", "1")[1] == refused
    assert len(run("--alone", "--holdout")) == 1
    assert json.loads(card.read_text()) == before
    weights = (tmp_path / "w" / "vgg-digits.safetensors").read_bytes()

    assert run("--alone") == [said]
    after = json.loads(card.read_text())
    alone = after.pop("alone")
    assert after == before
    assert said == f"vgg-digits: last exit alone {alone['accuracy']:.2%}"
    gain = 100 * (before["accuracy"][-1] - alone["accuracy"])
    text = (tmp_path / "w" / "MODEL_CARD.md").read_text()
    assert f"change the last one by {gain:+.2f} points" in text
    assert (tmp_path / "w" / "vgg-digits.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["alexnet"], "invalid choice: 'alexnet'"),
        ([], "required: root"),
        (["vgg-digits", "--epochs", "many"], "invalid int value: 'many'"),
        (["vgg-digits", "--epochs", "0"], "--epochs must be a whole number from 1 to 10000; got 0"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments, reason, capsys):
    with pytest.raises(SystemExit):
        train.main(arguments)
    told = capsys.readouterr().err
    assert "usage: python -m insitu_widgets.train" in told
    assert reason in told
