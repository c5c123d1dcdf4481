"""The panels of the parameter level, of increments and of all levels together."""

from dataclasses import replace
from statistics import median

import pytest
import torch

from insitu_widgets import Recipe, cifar100
from insitu_widgets.explorer.course import (
    beforehand,
    bits_live,
    increment_panels,
    loaded,
    parameter_live,
    parameter_panels,
    together_panels,
)
from insitu_widgets.network import envelope
from insitu_widgets.network.candidates import without_errors
from insitu_widgets.network.healed import load_healed
from insitu_widgets.units import percent
from tests.explorer.course.test_bits_panels import check, move

CACHES = (
    *(parameter_live.pruned_accuracy, parameter_live.arrived_accuracy, parameter_live.scores),
    *(parameter_live.recalibrated, parameter_live.recalibrated_accuracy),
    *(together_panels._candidate, together_panels._trained),
)


@pytest.fixture(autouse=True)
def few_images(monkeypatch, few):
    """Forty test images and a few candidates: here it is tested that they are shown."""
    monkeypatch.setattr(loaded, "images_of", lambda *_: few)
    monkeypatch.setattr(bits_live, "HELD", slice(0, 10))
    monkeypatch.setattr(parameter_live, "KEEPS", (1.0, 0.2, 0.1))
    monkeypatch.setattr(envelope, "KEEPS", (1.0, 0.2))
    monkeypatch.setattr(envelope, "WIDTHS", (2, 4))
    monkeypatch.setattr(together_panels, "_EXITS", (3, 6))
    monkeypatch.setattr(together_panels, "_BITS", (4,))
    for cache in (*CACHES, bits_live.answers_of, parameter_live.layer_loss_at):
        cache.cache_clear()
    yield
    for cache in (*CACHES, bits_live.answers_of, parameter_live.layer_loss_at):
        cache.cache_clear()


def test_importance():
    panel = parameter_panels.importance_panel()
    check(panel, {"importance", "sensitivity"})
    assert len(panel.charts.charts["importance"]["spec"]["data"]) == 5
    before = panel.words.value
    move(panel, {"importance", "sensitivity"}, keep=0.1)
    assert "10 % of the weights kept" in panel.words.value != before


@pytest.fixture
def photographs(monkeypatch, noise):
    """Images of no meaning for the photographs, wherever they are asked for."""
    some = noise.take(torch.arange(10))
    monkeypatch.setattr(loaded, "images_of", lambda *_: some)
    monkeypatch.setattr(parameter_live.recalibrate, "calibration_images", lambda _: some)
    monkeypatch.setattr(cifar100, "find", lambda: "here")


def test_importance_of_a_large_root(photographs):
    *_, last = parameter_panels._importance("vgg16-cifar100", keep=0.2, seed=0)
    (shares,) = last.charts["sensitivity"].spec["data"]
    assert shares["name"] == "keep 10 %"
    assert last.charts["sensitivity"].spec["layout"]["showlegend"]
    assert len(shares["x"]) == len(bits_live.weights_of("vgg16-cifar100"))
    options = parameter_panels.importance_panel().controls["root"].options
    assert "vgg16-cifar100" in options


def test_importance_tells_how_far_it_is_and_on_how_many_images():
    pictures = list(parameter_panels._importance("vgg-digits", keep=0.2, seed=0))
    shares = [picture.progress for picture in pictures]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert "(of 40 test digits)" in "".join(picture.words for picture in pictures)


@pytest.mark.parametrize("root", ["resnet18-cifar100", "vit-cifar100"])
def test_one_shot_pruning_of_a_large_root_beside_what_there_is_of_it(photographs, root):
    *_, last = parameter_panels._nested(root, exit=0, bits=4)
    names = [trace["name"] for trace in last.charts["keep"].spec["data"]]
    assert names == (
        ["one shot", "all-in-one", "one shot, recalibrated"]
        if root.startswith("resnet18")
        else ["one shot"]
    )
    assert ("none of vit-cifar100 are shipped" in last.words) == (root == "vit-cifar100")
    assert "Of 10 test photographs" in last.words


def test_a_large_all_in_one_root_grows(photographs):
    panel = increment_panels.increments_panel()
    assert panel.controls["root"].options == (*bits_live.DIGITS_ROOTS, "resnet18-cifar100")
    move(panel, {"bytes", "accuracy"}, root="resnet18-cifar100")
    assert "Of 10 test images" in panel.words.value
    assert "the very same" in panel.words.value


def test_what_cannot_be_offered_for_want_of_images_is_told(monkeypatch):
    monkeypatch.setattr(cifar100, "find", lambda: None)
    monkeypatch.setattr(beforehand, "shipped", lambda _: ())
    monkeypatch.setattr(increment_panels, "_increments", lambda **_: iter(()))
    panel = increment_panels.increments_panel()
    assert panel.controls["root"].options == bits_live.DIGITS_ROOTS
    assert "Not offered: resnet18-cifar100. The images" in panel.children[0].value


def test_retraining():
    panel = parameter_panels.retraining_panel()
    charts = {"loss", "after"}
    check(panel, charts)
    assert len(panel.charts.charts["loss"]["spec"]["data"][0]["x"]) == 40
    move(panel, charts, steps=5, bits=4, keep=0.2, seed=3)
    assert "keep 20 % · 4 bit" in panel.words.value
    names = [trace["name"] for trace in panel.charts.charts["after"]["spec"]["data"]]
    assert names[:2] == ["pruned in one shot", "recalibrated"]
    assert names[2:] == ["re-trained", "all-in-one, not re-trained"]
    assert "ms of recalibration" in panel.words.value
    move(panel, charts, root="vit-digits")  # layer norms: nothing to recalibrate
    assert len(panel.charts.charts["after"]["spec"]["data"]) == 3
    assert "recalibration" not in panel.words.value


def test_retraining_tells_how_far_it_is():
    steps = parameter_panels._retraining("vgg-digits", keep=0.1, bits=32, steps=20, seed=0)
    shares = [picture.progress for picture in steps]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_nested():
    panel = parameter_panels.nested_panel()
    check(panel, {"keep", "size"})
    move(panel, {"keep", "size"}, exit=4, bits=2)
    assert "10 % kept" in panel.words.value
    shot, _, again = panel.charts.charts["size"]["spec"]["data"]
    assert again["name"] == "one shot, recalibrated"
    assert again["x"] == shot["x"]  # not a bit more
    assert max(again["y"]) > max(shot["y"]) + 5  # at 2 bits
    move(panel, {"keep", "size"}, root="vit-digits")
    assert len(panel.charts.charts["keep"]["spec"]["data"]) == 2


def test_increments_arrive_and_what_does_not_fit_is_refused():
    panel = increment_panels.increments_panel()
    charts = {"bytes", "accuracy"}
    check(panel, charts)
    assert "the very same" in panel.words.value
    for ladder in list(parameter_live.LADDERS)[1:]:
        move(panel, charts, ladder=ladder)
        assert "the very same" in panel.words.value
    move(panel, charts, fate="the second is lost")
    assert panel.words.value.count("refused") == 2
    assert "stays at" in panel.words.value
    drawn = panel.charts.charts["accuracy"]["spec"]["data"]
    assert [(line["name"], len(line["x"])) for line in drawn] == [
        ("increments", 1),
        ("refused, all as before", 2),
        ("one direct download", 1),
    ]
    move(panel, charts, fate="the last two are swapped", rate_bps=1e5)
    assert panel.words.value.count("refused") == 1


def test_on_demand():
    panel = increment_panels.on_demand_panel()
    check(panel, {"times"})
    times = panel.charts.charts["times"]["spec"]["data"][0]
    rows = dict(zip(times["y"], times["x"], strict=True))
    assert rows["pre-generated"] < rows["made on demand, all-in-one"]
    assert rows["made on demand, all-in-one"] < rows["made on demand, re-trained"]


def test_on_demand_at_the_papers_scale_needs_no_image(monkeypatch):
    monkeypatch.setattr(parameter_live, "KEEPS", (1.0, 0.3, 0.2, 0.1))
    panel = increment_panels.on_demand_panel()

    def none(*_):
        pytest.fail("no image is needed")

    monkeypatch.setattr(loaded, "images_of", none)
    large = "resnet18-cifar100"
    monkeypatch.setattr(increment_panels, "_VARIANTS", [(0.1, 4), (1.0, 8)])
    monkeypatch.setattr(increment_panels, "_REPEATS", 1)
    move(panel, {"times"}, root=large, keep=0.1)
    times = panel.charts.charts["times"]["spec"]["data"][0]
    rows = dict(zip(times["y"], times["x"], strict=True))
    assert rows["pre-generated"] < rows["made on demand, all-in-one"]
    table = load_healed(large)
    assert rows["made on demand, re-trained (timed before)"] == median(row.seconds for row in table)
    cut = Recipe(large, keep=0.1, bits=4)
    (after,) = [row.after for row in table if row.recipe == cut]
    known = without_errors(large)
    assert (
        f"10 % kept at 4 bit: re-trained {percent(after.accuracy)}, not re-trained "
        f"{percent(known[cut].accuracy)}, all-in-one "
        f"{percent(known[replace(cut, root=large + '-nested')].accuracy)}"
    ) in panel.words.value
    move(panel, {"times"}, keep=0.3)  # was not among the candidates
    assert "kept at 4 bit: not measured before." in panel.words.value


def test_the_envelope():
    panel = together_panels.envelope_panel()
    check(panel, {"envelope"})
    lines = [line["name"] for line in panel.charts.charts["envelope"]["spec"]["data"]]
    assert lines == list(envelope.FAMILIES)
    assert "nothing fits below" in panel.words.value
    move(panel, {"envelope"}, budget=together_panels.BUDGETS[-1])
    assert "nothing fits" not in panel.words.value


def test_protection():
    panel = together_panels.protection_panel()
    check(panel, {"errors"})
    lines = [line["name"] for line in panel.charts.charts["errors"]["spec"]["data"]]
    assert "all-in-one codes, first 1 protected" in lines
    assert lines[-2:] == ["codes, trained", "codes, trained, first 1 protected"]
    move(panel, {"errors"}, protected=2, ber=1e-3, code_rate=0.75, steps=5)
    assert "10⁻³" in panel.words.value


def test_protection_tells_how_far_it_is_and_trains_once(monkeypatch):
    trained = []
    real = envelope.hardened

    def counted(root, exit_, images, plan):
        trained.append(exit_)
        return real(root, exit_, images, plan)

    monkeypatch.setattr(envelope, "hardened", counted)
    for rate in (0.5, 0.75):
        pictures = list(
            together_panels._protection(
                "vgg-digits", ber=1e-2, protected=1, code_rate=rate, steps=5
            )
        )
        shares = [picture.progress for picture in pictures]
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1.0)
        assert len(pictures[-1].charts["errors"].spec["data"]) == 8
    assert trained == [3, 6]
