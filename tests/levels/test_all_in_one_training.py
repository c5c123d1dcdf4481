"""The training of all-in-one roots: what it trains, how it goes on, what its command tells."""

import copy
import json
import math
from dataclasses import replace
from importlib.resources import files
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from insitu_widgets import Recipe, derive, load_data, load_root
from insitu_widgets.cards import NESTED_ROOTS
from insitu_widgets.checkpoint import Checkpoint
from insitu_widgets.data import HELD_OUT, ImageSet, hold_out
from insitu_widgets.levels import all_in_one
from insitu_widgets.levels.all_in_one import PLANS, AllInOne, compared, train
from insitu_widgets.levels.all_in_one_training import Training, fingerprint
from insitu_widgets.levels.arriving import arriving
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.retrain import lesson, soft_answers
from insitu_widgets.model_card import exit_accuracies

QUICK = AllInOne(steps=5, batch=10)
CROPPED = replace(QUICK, augmentation="crop", crop_px=1, erase_px=2, bfloat16=True, submodels=1)
BEARING = replace(QUICK, bit_error_rate=0.01)
STAGED = replace(QUICK, steps=2, then=replace(QUICK, steps=3, whole=2.0))


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """No test leaves a checkpoint in the user's cache."""
    monkeypatch.setattr(all_in_one, "CHECKPOINT_EVERY_S", 0.0)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def images():
    return load_data("digits", "train", limit=40)


@pytest.fixture(scope="module")
def three(images):
    """Digits by their rest over three: for the tiny root."""
    return ImageSet(images.images, images.labels % 3, ("0", "1", "2"))


def tensors(root):
    return {name: tensor.clone() for name, tensor in root.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What is trained


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
@pytest.mark.parametrize(("exit_", "keep"), [(3, 0.2), (6, 0.05), (6, 1.0)])
def test_a_sub_model_is_trained_as_it_is_derived(exit_, keep, bits):
    root = copy.deepcopy(load_root("vgg-digits-nested")).requires_grad_(requires_grad=True)
    derived = derive(root, Recipe(root.name, exit_, keep, bits))
    network = cut(root, exit_)
    arrived = arriving(network, keep, bits, {})
    if (keep, bits) == (1.0, 32):
        assert arrived == {}  # the network's own
        return
    sum(weight.sum() for weight in arrived.values()).backward()
    parameters = dict(network.named_parameters())
    assert [layer.name for layer in derived.layers] == list(arrived)
    for layer in derived.layers:
        assert torch.allclose(arrived[layer.name], layer.dense(), rtol=1e-6, atol=1e-7)
        assert not arrived[layer.name][~layer.mask].any()
        assert torch.equal(parameters[layer.name].grad, layer.mask.float())


def test_sub_models_of_one_step_share_their_grids():
    root = load_root("vgg-digits-nested")
    grids = {}
    arriving(cut(root, 2), 0.5, 2, grids)
    known = {weight: grid.codes for weight, grid in grids.items()}
    arriving(cut(root, 6), 0.1, 8, grids)
    assert (len(known), len(grids)) == (2 + 1, 6 + 2)  # convolutions and heads
    assert all(grids[weight].codes is codes for weight, codes in known.items())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("rate", [0.003, 0.05])
def test_so_many_bits_of_the_codes_arrive_wrong(bits, rate):
    root = load_root("resnet-digits-nested")
    derived = derive(root, Recipe(root.name, keep=0.5, bits=bits))
    random = torch.Generator().manual_seed(0)
    wrong = total = 0
    for _ in range(5):
        arrived = arriving(cut(root, 6), 0.5, bits, {}, bit_error_rate=rate, random=random)
        for layer in derived.layers:
            steps = layer.scales.repeat_interleave(layer.mask.flatten(1).sum(1))
            whole = arrived[layer.name][layer.mask] / steps + (2**bits - 1) / 2
            codes = whole.round().to(torch.uint8)
            assert not arrived[layer.name][~layer.mask].any()
            differ = codes ^ layer.values
            wrong += sum(int((differ >> place & 1).sum()) for place in range(bits))
            total += bits * codes.numel()
    # Five standard deviations, and the positions that are drawn twice.
    allowed = 5 * (rate * (1 - rate) / total) ** 0.5 + rate**2 / 2
    assert wrong / total == pytest.approx(rate, abs=allowed)


def test_floats_arrive_as_they_were():
    root = load_root("vgg-digits-nested")
    network, random = cut(root, 6), torch.Generator()
    sent = arriving(network, 0.2, 32, {}, bit_error_rate=0.1, random=random)
    assert same(sent, arriving(network, 0.2, 32, {}))


def test_errors_reach_every_second_sub_model_of_codes(tiny, three):
    plan = replace(QUICK, bit_error_rate=0.01, submodels=1)
    training = Training(tiny, three, plan, seed=0)
    rates = [training._error_rate() for _ in range(400)]
    reached = [rate for rate in rates if rate]
    assert len(reached) == pytest.approx(200, abs=50)
    assert 0.0003 <= min(reached) < 0.0005
    assert 0.007 < max(reached) <= 0.01
    assert replace(plan, bit_error_rate=0.0).record() == replace(QUICK, submodels=1).record()
    assert plan.record()["bit_error_rate"] == 0.01


def test_photographs_plan_trains_every_weight_in_float32_and_no_statistics(noise):
    root = load_root("resnet18-cifar100")
    plan = replace(PLANS["resnet18-cifar100"], steps=1, batch=4)
    training = Training(root, noise, plan, seed=0)
    assert math.isfinite(training.step())
    after = training.average.to("cpu")
    moved = {n: not torch.equal(p, dict(root.named_parameters())[n])
             for n, p in after.named_parameters()}  # fmt: skip
    assert all(moved.values())
    assert {tensor.dtype for tensor in after.state_dict().values()} == {torch.float32}
    buffers = dict(root.named_buffers())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in after.named_buffers())


def test_the_first_exit_weighs_what_its_plan_says(tiny, three):
    """The oracle: two plans' losses differ in the mean over the exits alone."""
    losses = []
    for first_exit in (1.0, 0.25):
        training = Training(tiny, three, replace(QUICK, first_exit=first_exit), seed=0)
        losses.append(float(training._loss(three.images, three.labels).detach()))
    soft = soft_answers(tiny, three.images)
    first, last = (float(lesson(x, three.labels, soft)) for x in tiny.exits(three.images))
    expected = (0.25 * first + last) / 1.25 - (first + last) / 2
    assert 3 * (losses[1] - losses[0]) == pytest.approx(expected, rel=1e-3)


def test_mixed_precision_stays_near_the_whole_one(tiny, three):
    losses = [
        Training(tiny, three, replace(CROPPED, bfloat16=bfloat16), seed=0).step()
        for bfloat16 in (True, False)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("first_exit", 0.0, "first_exit must be a number from 0.0001 to 1"),
        ("augmentation", "blur", "augmentation must be one of warp, crop"),
        ("crop_px", -1, "crop_px must be a whole number from 0 to 100 pixels"),
        ("erase_px", 0.5, "erase_px must be a whole number from 0 to 1000 pixels"),
        ("whole", 0.0, "whole must be a number from 0.0001 to 10000"),
        ("bit_error_rate", 0.2, "bit_error_rate must be a number from 0 to 0.1"),
    ],
)
def test_a_plan_out_of_range_says_what_is_allowed(field, value, reason):
    with pytest.raises(ValueError, match=reason):
        AllInOne(**{field: value})


@pytest.mark.parametrize("name", list(NESTED_ROOTS))
def test_a_shipped_card_tells_its_plan(name):
    path = files("insitu_widgets") / "weights" / f"{name}.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    assert card["plan"] == PLANS[name.removesuffix("-nested")].record()


# Killed and gone on


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "plan",
    [QUICK, CROPPED, BEARING, STAGED],
    ids=["warped", "cropped", "with bit errors", "in two stages"],
)
def test_a_killed_training_ends_as_if_it_had_not_been(plan, images, tmp_path, monkeypatch):
    root = load_root("vgg-digits")
    whole = train(root, images, plan, 4)
    step, steps = Training.step, []

    def mortal(self):
        steps.append(1)
        if len(steps) == 3:
            step(self)  # the dice are thrown, the weights moved, and nothing of it is saved
            raise KilledError
        return step(self)

    monkeypatch.setattr(Training, "step", mortal)
    checkpoint = Checkpoint(tmp_path / "new" / "root.pt", "these")
    with pytest.raises(KilledError):
        train(root, images, plan, 4, checkpoint)
    files = {path.name for path in checkpoint.path.parent.iterdir()}
    assert files == {"root.log", "root.pt"}  # of the first stage, or of the only one
    again = Checkpoint(checkpoint.path, "these")
    trained = train(root, images, plan, 4, again)
    assert same(tensors(trained), tensors(whole))
    assert not same(tensors(trained), tensors(root))
    assert trained.name == "vgg-digits-nested"
    assert len(steps) == 3 + 3
    assert again.seconds > checkpoint.seconds > 0
    logs = sorted(checkpoint.path.parent.glob("*.log"), key=lambda path: -len(path.name))
    log = [line.split()[3] for path in logs[::-1] for line in path.read_text().splitlines()]
    counts = [stage.steps for stage in plan.stages]
    assert log == [f"{step}/{count}" for count in counts for step in range(1, count + 1)]
    # A finished one is not trained again: only its results are to be written.
    assert same(tensors(train(root, images, plan, 4, again)), tensors(whole))
    assert len(steps) == 6
    again.remove()
    assert {path.suffix for path in checkpoint.path.parent.iterdir()} == {".log"}


def test_a_stage_begins_where_the_one_before_ended_with_the_root_for_teacher(images):
    root = load_root("vgg-digits")
    plan = replace(STAGED, then=replace(QUICK, steps=1, peak_rate=1e-8))
    *_, (_, _, first), (number, _, second) = all_in_one.all_in_one(root, images, plan, 0)
    assert (number, first is second) == (3, False)
    for name, tensor in first.state_dict().items():
        assert torch.allclose(tensor, second.state_dict()[name], atol=1e-6), name
    assert not same(tensors(second), tensors(root))
    assert plan.record()["then"] == {**QUICK.record(), "steps": 1, "peak_rate": 1e-8}


def test_the_whole_root_weighs_what_its_plan_says(tiny, three):
    """The oracle: with twice the weight the loss is (2 whole + sub-models) / 4 instead of / 3."""
    losses = []
    for whole in (1.0, 2.0):
        training = Training(tiny, three, replace(QUICK, whole=whole), seed=0)
        losses.append(float(training._loss(three.images, three.labels).detach()))
    soft = soft_answers(tiny, three.images)
    exits = [float(lesson(x, three.labels, soft)) for x in tiny.exits(three.images)]
    assert 4 * losses[1] - 3 * losses[0] == pytest.approx(sum(exits) / len(exits), rel=1e-3)


def test_a_root_is_known_by_its_tensors(tiny):
    other = copy.deepcopy(tiny)
    assert fingerprint(other) == fingerprint(tiny)
    other.heads[0][1].bias[0] += 1e-3
    assert fingerprint(other) != fingerprint(tiny)


# The command


def test_the_table_compares_sub_models_by_share_bits_and_exit(tiny, three):
    nested = copy.deepcopy(tiny)
    nested.name = "tiny-nested"
    rows = list(compared(tiny, nested, three))
    assert len({recipe for recipe, _, _ in rows}) == 3 * 4 + 2
    by_recipe = {recipe: shares for recipe, *shares in rows}
    first, last = exit_accuracies(tiny, three)
    assert by_recipe[Recipe("tiny", 2, 1.0, 32)] == pytest.approx([last, last], abs=1e-6)
    assert by_recipe[Recipe("tiny", 1, 1.0, 32)] == pytest.approx([first, first], abs=1e-6)


def test_a_holdout_compares_on_images_kept_back_and_writes_nothing(tmp_path, monkeypatch, capsys):
    asked, trained_on = [], []

    def watching(name, split="test", limit=None):
        asked.append(split)
        return load_data(name, split, limit)

    def watched(root, images, *arguments):
        trained_on.append(images)
        return train(root, images, *arguments)

    monkeypatch.setattr(all_in_one, "load_data", watching)
    monkeypatch.setattr(all_in_one, "train", watched)
    out, checkpoints = tmp_path / "none", tmp_path / "checkpoints"
    all_in_one.main(
        [
            *("vgg-digits", "--steps", "2", "--holdout"),
            *("--out", str(out), "--checkpoints", str(checkpoints)),
        ]
    )
    assert asked == ["train"]
    kept, held = hold_out(load_data("digits", "train"), "digits")
    assert len(held) == HELD_OUT["digits"]
    assert torch.equal(trained_on[0].images, kept.images)
    assert not out.exists()
    assert [path.name for path in checkpoints.iterdir()] == ["vgg-digits-nested-holdout.log"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("On 200 training images kept back")
    assert len(lines) == 1 + 12 + 2 * 5
    assert lines[1].startswith("vgg-digits · last exit · keep 100 % · 32 bit: ")


def test_the_command_writes_weights_card_and_model_card(tmp_path, monkeypatch):
    ticks = count()  # a step may take less than the tenth of a second that a card tells
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr(all_in_one, "time", clock)
    all_in_one.main(["vgg-digits", "--steps", "1", "--seed", "3", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "vgg-digits-nested.json",
        "vgg-digits-nested.safetensors",
        "MODEL_CARD.md",
    }
    card = json.loads((tmp_path / "vgg-digits-nested.json").read_text(encoding="utf-8"))
    assert card["plan"] == replace(PLANS["vgg-digits"], steps=1).record()
    assert card["seed"] == 3
    assert card["seconds"] == 1.0
    text = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Training: 1 steps from vgg-digits, seed 3" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["alexnet"], "invalid choice: 'alexnet'"),
        (["vgg-digits", "--steps", "0"], "steps must be a whole number from 1 to 100000; got 0"),
        (["vgg-digits", "--peak-rate", "2"], "peak_rate must be a number from 1e-08 to 1; got 2.0"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments, reason, capsys):
    with pytest.raises(SystemExit):
        all_in_one.main(arguments)
    assert reason in capsys.readouterr().err
