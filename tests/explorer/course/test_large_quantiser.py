"""The quantisers' panel for large roots: layer by layer, kept once it is done, by real bytes."""

from itertools import islice

import plotly.graph_objects as go
import pytest

from insitu_widgets import cifar100
from insitu_widgets.air.codebooks import pack_quantised
from insitu_widgets.explorer.course import beforehand
from insitu_widgets.explorer.course import large_quantiser as module
from insitu_widgets.explorer.course.loaded import root_of
from insitu_widgets.levels.quantised import quantise_network, tensors_of
from insitu_widgets.units import quantity

ROOT = "vgg-digits"  # as a large one, in less time


@pytest.fixture(autouse=True)
def _nothing_is_known():
    module._known.clear()
    yield
    module._known.clear()


@pytest.mark.parametrize("quantiser", ["symmetric, per channel", "product"])
def test_the_layers_are_those_of_the_network_quantised_at_once(quantiser):
    whole = quantise_network(root_of(ROOT), quantiser, 2)
    seen = [len(found.layers) for found in module.quantising(ROOT, quantiser, 2)]
    assert seen == list(range(1, len(whole.layers) + 1))
    (found,) = module.quantising(ROOT, quantiser, 2)  # kept: all of it at once
    assert dict(found.layers) == dict(whole.layers)
    assert found.seconds > 0
    for name, weight in tensors_of(root_of(ROOT))[0].items():
        error = (whole.layers[name].dense() - weight).square().sum() / weight.square().sum()
        assert found.errors[name] == pytest.approx(float(error), rel=1e-5)


def test_what_was_broken_off_is_not_taken_for_done():
    list(islice(module.quantising(ROOT, "codebook", 3), 2))
    assert not module._known
    assert len(list(module.quantising(ROOT, "codebook", 3))) > 2


def test_only_the_last_ones_are_kept(monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    for bits in (1, 2, 3):
        list(module.quantising(ROOT, "symmetric, per tensor", bits))
    assert [key[2] for key in module._known] == [2, 3]


def test_the_panel_draws_every_layer_and_tells_bytes_and_accuracy(monkeypatch, few):
    monkeypatch.setattr(module, "load_data", lambda *_, **__: few)
    pictures = list(module._steps(ROOT, "product", 4))
    assert [p.progress for p in pictures] == sorted(p.progress for p in pictures)
    assert pictures[-1].progress == 1
    drawn = [p.charts["errors"] for p in pictures if p.charts]
    network = quantise_network(root_of(ROOT), "product", 4)
    assert [len(chart.spec["data"][0]["y"]) for chart in drawn] == list(
        range(1, len(network.layers) + 1)
    )
    go.Figure(drawn[-1].spec)
    assert quantity(pack_quantised(network).num_bits / 8, "B") in pictures[-1].words
    assert f"right of {len(few)} images" in pictures[-1].words


def test_without_images_and_table_it_tells_the_bytes_and_the_remedy(monkeypatch):
    monkeypatch.setattr(beforehand, "lacking", lambda _: "No images here. Fetch them.")
    last = list(module._steps(ROOT, "codebook", 4))[-1]
    assert "Fetch them." in last.words
    assert last.progress == 1


def test_the_panel_opens_on_a_large_root_and_keeps_its_controls(monkeypatch):
    monkeypatch.setattr(cifar100, "find", lambda: None)
    panel = module.large_quantiser_panel()
    assert panel.charts.errors == {}
    assert panel.controls["root"].value == "resnet18-cifar100"
    assert "4 bit" in panel.words.value
    assert "right of 500 images, measured before." in panel.words.value
