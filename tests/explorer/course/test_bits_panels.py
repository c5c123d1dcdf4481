"""The panels of the bit level: each control moves, each figure holds the schema.

Where a large root is tried, images of no meaning stand for its photographs.
"""

import json

import plotly.graph_objects as go
import pytest

from insitu_widgets import cifar100
from insitu_widgets.cards import ROOTS
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import (
    beforehand,
    bits_live,
    bits_panels,
    loaded,
    mixed_panels,
)
from insitu_widgets.levels.allocation import shipped_sensitivity
from insitu_widgets.levels.quantisers import PER_CHANNEL, QUANTISERS

LARGE = "vgg16-cifar100"


@pytest.fixture(autouse=True)
def few_images(monkeypatch, few, noise):
    """Forty test images: what is shown is tested elsewhere, here that it is shown."""
    whole = loaded.images_of

    def chosen(root, part="test"):
        if ROOTS[root].data != "digits":
            return noise
        return few if part == "test" else whole(root, part)

    monkeypatch.setattr(loaded, "images_of", chosen)
    monkeypatch.setattr(cifar100, "find", lambda: "here")
    monkeypatch.setattr(bits_live, "POINT_IMAGES", 10)
    forget()
    yield
    forget()


def forget():
    for name in ("quantised", "mixed", "prefix", "coded", "protected"):
        getattr(bits_live, f"{name}_accuracy").cache_clear()
    for measurement in ("mixed_answers", "mixed_agreement", "root_answers"):
        getattr(bits_live, measurement).cache_clear()


def check(panel, charts):
    assert panel.charts.errors == {}
    assert panel.charts.stale == {}
    assert set(panel.charts.charts) == charts
    for chart in panel.charts.charts.values():
        go.Figure(chart["spec"])
        json.dumps(chart["spec"], allow_nan=False)
        assert any(letter.isdigit() for letter in chart["text"])
        layout = chart["spec"]["layout"]
        assert layout["xaxis"]["title"]["text"]


def move(panel, charts, **values):
    for name, value in values.items():
        before = panel.charts.charts
        panel.controls[name].value = value
        assert panel.charts.charts is not before
        check(panel, charts)


def test_quantisers():
    panel = bits_panels.quantisers_panel()
    check(panel, {"levels", "size"})
    assert len(panel.charts.charts["size"]["spec"]["data"]) == 6
    weights, levels = panel.charts.charts["levels"]["spec"]["data"]
    assert sum(levels["y"]) == sum(weights["y"])  # each weight in one bin, and at one level
    assert levels["yaxis"] == "y2"
    move(panel, {"levels", "size"}, bits=4, quantiser="product")
    assert "product at 4 bit" in panel.words.value


def test_quantisers_of_a_large_root(monkeypatch):
    kinds = {name: QUANTISERS[name] for name in (PER_CHANNEL, "symmetric, per tensor")}
    monkeypatch.setattr(bits_panels, "QUANTISERS", kinds)
    panel = bits_panels.quantisers_panel()
    move(panel, {"levels", "size"}, root=LARGE)
    assert "of 10 test photographs with 1.16 MB" in panel.words.value  # 4.7 million weights, 2 bit


@pytest.mark.parametrize("name", ["quantisers", "nested_bits", "protection"])
def test_a_root_without_images_and_table_is_not_offered_and_the_panel_says_so(monkeypatch, name):
    monkeypatch.setattr(cifar100, "find", lambda: None)
    monkeypatch.setattr(beforehand, "shipped", lambda _: ())
    monkeypatch.setattr(bits_panels, f"_{name.removesuffix('_bits')}", lambda **_: iter(()))
    panel = getattr(bits_panels, f"{name}_panel")()
    assert panel.controls["root"].options == bits_live.DIGITS_ROOTS
    head = panel.children[0].value
    assert "Not offered: resnet18-cifar100, vgg16-cifar100, vit-cifar100." in head
    assert "python -m insitu_widgets.data cifar100" in head


def test_mixed():
    panel = mixed_panels.mixed_panel()
    charts = {"sensitivity", "layers", "accuracy", "agreement"}
    check(panel, charts)
    two = panel.charts.charts["layers"]["spec"]["data"][0]["y"]
    move(panel, charts, average=3.0)
    assert sum(panel.charts.charts["layers"]["spec"]["data"][0]["y"]) > sum(two) - 1
    assert "3.00" in panel.words.value
    assert "of 40 answered as the root does" in panel.words.value
    mixed, uniform = panel.charts.charts["agreement"]["spec"]["data"]
    assert mixed["y"][0] > uniform["y"][0]
    assert panel.charts.charts["agreement"]["spec"]["layout"]["yaxis"]["title"]["text"]


def test_all_layers_alike_are_the_uniform_network_that_is_packed_and_restored(few):
    same = (3,) * len(bits_live.weights_of("vgg-digits"))
    alike = bits_live.mixed_accuracy("vgg-digits", same)
    assert alike == bits_live.quantised_accuracy("vgg-digits", PER_CHANNEL, 3)
    agreement = bits_live.mixed_agreement("vgg-digits", same)
    answered = bits_live.mixed_answers("vgg-digits", same)
    assert agreement.correct == int((answered == bits_live.root_answers("vgg-digits")).sum())
    assert agreement.seen == len(few)


def test_mixed_of_a_large_root_takes_what_was_measured_before(monkeypatch):
    monkeypatch.setattr(bits_live, "layer_loss", None)  # nothing is measured anew
    panel = mixed_panels.mixed_panel()
    panel.controls["root"].value = "vgg-digits"
    charts = {"sensitivity", "layers", "accuracy", "agreement"}
    move(panel, charts, root=LARGE)
    drawn = panel.charts.charts
    losses = shipped_sensitivity(LARGE)[ROOTS[LARGE].num_exits]
    assert drawn["sensitivity"]["spec"]["data"][1]["y"] == [m.losses[1] for m in losses]
    assert len(drawn["layers"]["spec"]["data"][0]["y"]) == len(losses)
    assert "of 10 test photographs" in panel.words.value
    assert drawn["accuracy"]["spec"]["data"][1]["x"] == [2, 3, 4]


def test_mixed_allocates_bits_without_images_and_leaves_no_accuracy_of_another_root(monkeypatch):
    panel = mixed_panels.mixed_panel()
    assert panel.charts.charts["accuracy"]["spec"]["data"][0]["x"]
    monkeypatch.setattr(cifar100, "find", lambda: None)
    monkeypatch.setattr(beforehand, "shipped", lambda _: ())
    assert list(panel.controls["root"].options) == list(ROOTS)
    panel.controls["root"].value = LARGE
    drawn = panel.charts.charts
    assert min(drawn["layers"]["spec"]["data"][0]["y"]) >= 1
    for view in ("accuracy", "agreement"):
        assert [line["x"] for line in drawn[view]["spec"]["data"]] == [[], []]
        assert drawn[view]["text"].startswith("The images of cifar100 are not on this machine")
    assert "bit by layer" in panel.words.value
    assert "python -m insitu_widgets.data cifar100" in panel.words.value


def test_nested():
    panel = bits_panels.nested_bits_panel()
    check(panel, {"bytes", "accuracy"})
    move(panel, {"bytes", "accuracy"}, best_at=2, bits=6, root="resnet-digits")
    assert "refined to 6 bit" in panel.words.value


def test_protection():
    panel = bits_panels.protection_panel()
    check(panel, {"coding", "protection"})
    cost = panel.charts.charts["protection"]["spec"]["layout"]["xaxis"]["ticktext"][2]
    move(panel, {"coding", "protection"}, code_rate=0.25)
    assert panel.charts.charts["protection"]["spec"]["layout"]["xaxis"]["ticktext"][2] != cost
    move(panel, {"coding", "protection"}, bits=2)


def test_nested_bits_and_protection_of_a_large_root(monkeypatch):
    monkeypatch.setattr(bits_panels, "_FLIPS", 2)
    panel = bits_panels.nested_bits_panel()
    move(panel, {"bytes", "accuracy"}, root=LARGE)
    assert "of 10 test photographs" in panel.words.value
    panel = bits_panels.protection_panel()
    move(panel, {"coding", "protection"}, bits=2, root=LARGE)
    assert "of 10 test photographs" in panel.charts.charts["protection"]["text"]
    points = panel.charts.charts["coding"]["spec"]["data"][0]
    assert {round(y) % 10 for y in points["y"]} == {0}  # of ten images, one draw


def test_points_are_measured_on_all_digits_or_on_as_many_of_each_class(monkeypatch, noise):
    monkeypatch.setattr(bits_live, "POINT_IMAGES", 100)
    assert bits_live.measured_on("vgg-digits") == "40 test digits"
    assert bits_live.measured_on(LARGE) == "100 test photographs"
    assert bits_live.point_images(LARGE).labels.bincount().tolist() == [1] * 100
    assert len(bits_live.draws_of("vgg-digits")) == 3
    assert len(bits_live.draws_of(LARGE)) == 1


def test_hardening():
    panel = bits_panels.hardening_panel()
    check(panel, {"loss", "errors"})
    assert len(panel.charts.charts["loss"]["spec"]["data"][0]["x"]) == 40
    for name, value in (("steps", 5), ("bits", 2), ("ber", 2e-2), ("clip", None), ("seed", 7)):
        move(panel, {"loss", "errors"}, **{name: value})
    assert len(panel.charts.charts["errors"]["spec"]["data"]) == 3


def test_hardening_tells_how_far_it_is():
    steps = bits_panels._hardening("vgg-digits", bits=2, ber=1e-2, clip=None, steps=5, seed=0)
    shares = [picture.progress for picture in steps]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_draws_are_averaged_without_more_certainty():
    one = bits_live.averaged([Estimate(10, 40), Estimate(20, 40)])
    assert (one.correct, one.seen) == (15, 40)
