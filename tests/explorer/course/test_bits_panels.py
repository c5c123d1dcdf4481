"""The panels of the bit level: each control moves, each figure holds the schema."""

import json

import plotly.graph_objects as go
import pytest

from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import bits_live, bits_panels


@pytest.fixture(autouse=True)
def few_images(monkeypatch, few):
    """Forty test images: what is shown is tested elsewhere, here that it is shown."""
    whole = bits_live.images_of
    chosen = lambda split: few if split == "test" else whole(split)  # noqa: E731
    monkeypatch.setattr(bits_live, "images_of", chosen)
    for name in ("quantised", "mixed", "prefix", "coded", "protected"):
        getattr(bits_live, f"{name}_accuracy").cache_clear()
    yield
    for name in ("quantised", "mixed", "prefix", "coded", "protected"):
        getattr(bits_live, f"{name}_accuracy").cache_clear()


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
    move(panel, {"levels", "size"}, bits=4, quantiser="product")
    assert "product at 4 bit" in panel.words.value


def test_mixed():
    panel = bits_panels.mixed_panel()
    charts = {"sensitivity", "layers", "accuracy"}
    check(panel, charts)
    two = panel.charts.charts["layers"]["spec"]["data"][0]["y"]
    move(panel, charts, average=3.0)
    assert sum(panel.charts.charts["layers"]["spec"]["data"][0]["y"]) > sum(two) - 1
    assert "3.00" in panel.words.value


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
