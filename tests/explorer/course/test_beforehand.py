"""Points measured before: the tables are whole, and serve in place of the images."""

import json
import os
from functools import partial
from pathlib import Path

import plotly.graph_objects as go
import pytest
import torch

from insitu_widgets import Recipe, cifar100
from insitu_widgets.cards import NESTED_ROOTS
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import (
    beforehand,
    bits_live,
    bits_panels,
    increment_panels,
    large_quantiser,
    loaded,
    mixed_panels,
    parameter_live,
    parameter_panels,
    point_tables,
)
from insitu_widgets.explorer.course.beforehand import key_of, load_points, read_points
from insitu_widgets.levels.quantisers import PER_CHANNEL, QUANTISERS
from insitu_widgets.network.catalogue import shipped

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
ROOT = "resnet18-cifar100"
SHIPPED = shipped(beforehand.SUFFIX)
MEASUREMENTS = (
    *(bits_live.quantised_accuracy, bits_live.mixed_accuracy, bits_live.prefix_accuracy),
    *(bits_live.coded_accuracy, bits_live.protected_accuracy, parameter_live.pruned_accuracy),
    *(parameter_live.layer_loss_at, parameter_live.arrived_accuracy),
    *(parameter_live.recalibrated_accuracy, bits_live.mixed_agreement, bits_live.mixed_answers),
)


@pytest.fixture(autouse=True)
def nothing_kept():
    """What one test has read or measured is not what the next one gets."""
    for measurement in MEASUREMENTS:
        measurement.cache_clear()
    yield
    for measurement in MEASUREMENTS:
        measurement.cache_clear()


@pytest.fixture
def no_images(monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(cifar100, "find", lambda: None)
    monkeypatch.setattr(loaded, "images_of", refuse)


@pytest.fixture
def noisy(monkeypatch, noise):
    """Ten images of no meaning for the photographs."""
    some = noise.take(torch.arange(10))
    monkeypatch.setattr(cifar100, "find", lambda: "here")
    monkeypatch.setattr(loaded, "images_of", lambda *_: some)
    return some


def test_a_table_holds_all_that_the_panels_ask_of_its_root_and_no_more():
    assert ROOT in SHIPPED
    for root in SHIPPED:
        asked = [key_of(measure, *given) for measure, given in point_tables.work_of(root)]
        assert {of for of, _ in asked} == {root}
        assert {key for _, key in asked} == set(load_points(root))
        for (kind, _), found in load_points(root).items():
            if kind == "layer_loss_at":
                assert found >= 0
            else:
                assert found.seen == (1000 if kind == "grown_accuracy" else 500)


def test_what_is_better_is_better_in_the_tables():
    for root in SHIPPED:
        table = load_points(root)
        width = {
            bits: table["quantised_accuracy", (f"quantiser={PER_CHANNEL}", f"bits={bits}")].accuracy
            for bits in (2, 4, 8)
        }
        assert width[2] < width[4] <= width[8] + 0.01
        kept = {
            kind: table["pruned_accuracy", ("keep=0.5", f"kind={kind}", "seed=0")].accuracy
            for kind in ("magnitude", "random")
        }
        assert kept["magnitude"] > kept["random"] + 0.2


def test_notebook_03_says_which_importance_is_best_of_which_root():
    course = (NOTEBOOKS / "03_parameter_pruning_and_nesting.ipynb").read_text(encoding="utf-8")

    def right(root, keep):
        table = load_points(f"{root}-cifar100")
        return [
            round(
                100 * table["pruned_accuracy", (f"keep={keep}", f"kind={kind}", "seed=0")].accuracy
            )
            for kind in ("magnitude", "magnitude, layer-adaptive", "first-order Taylor")
        ]

    said = "{} % by magnitude, {} % layer-adaptive and {} % by Taylor".format
    assert (
        f"ResNet-18 with 10 % of its weights is right for {said(*right('resnet18', 0.1))}" in course
    )
    some = "{}, {} and {} %".format
    assert f"VGG-16 with 20 % for {some(*right('vgg16', 0.2))}" in course
    assert f"the ViT with 30 % for {some(*right('vit', 0.3))}" in course


@pytest.mark.skipif(not os.environ.get("INSITU_DATA"), reason="INSITU_DATA names no folder")
@pytest.mark.parametrize(
    ("measure", "given"),
    [
        (bits_live.quantised_accuracy, (ROOT, PER_CHANNEL, 4)),
        (bits_live.mixed_agreement, (ROOT, (4,) * 21)),
        (parameter_live.arrived_accuracy, (Recipe(f"{ROOT}-nested", 5, 0.2, 3),)),
        (parameter_live.layer_loss_at, (ROOT, "blocks.4.conv1.weight", 0.1)),
    ],
)
def test_a_table_holds_what_is_measured_where_the_images_are(measure, given):
    (_, key), found = key_of(measure, *given), measure(*given)
    before = load_points(ROOT)[key]
    if isinstance(found, Estimate):
        assert found.seen == before.seen
        assert abs(found.correct - before.correct) <= 2  # another processor rounds otherwise
    else:
        assert found == pytest.approx(before, rel=0.02)


def test_images_that_are_there_are_measured(noisy):
    assert bits_live.quantised_accuracy(ROOT, PER_CHANNEL, 4).seen == len(noisy)
    assert beforehand.told(ROOT) == ""
    assert bits_live.measured_on(ROOT) == "10 test photographs"


def test_without_images_it_is_read_and_said(no_images):
    found = bits_live.quantised_accuracy(ROOT, PER_CHANNEL, 4)
    assert found == load_points(ROOT)["quantised_accuracy", (f"quantiser={PER_CHANNEL}", "bits=4")]
    assert bits_live.measured_on(ROOT) == "500 test photographs, measured before"
    said = beforehand.told(ROOT)
    assert said.startswith("<p>Shipped measurement, on 500 test images of cifar100")
    assert "python -m insitu_widgets.data cifar100" in said
    assert beforehand.told("vgg-digits") == ""


def test_what_was_not_measured_is_refused_by_the_argument_that_must_be_another(no_images):
    with pytest.raises(ValueError, match=r"^seed must be .* not here: 0\. Got 5\. Choose one"):
        parameter_live.pruned_accuracy(ROOT, 0.2, "random", 5)
    with pytest.raises(ValueError, match=r"^bits must be .*: 1, 2, 3, 4, 5, 6, 7, 8\. Got 9\."):
        bits_live.quantised_accuracy(ROOT, PER_CHANNEL, 9)
    with pytest.raises(ValueError, match=r"^coded_accuracy must be .* measured of .*, ber=0\.5, "):
        bits_live.coded_accuracy(ROOT, 5, "huffman", 0.5, 0)


def test_roots_without_images_and_table_are_not_offered_and_named(monkeypatch):
    monkeypatch.setattr(cifar100, "find", lambda: None)
    assert set(SHIPPED) <= set(beforehand.offered())
    monkeypatch.setattr(beforehand, "shipped", lambda _: (ROOT,))
    assert beforehand.offered() == [*bits_live.DIGITS_ROOTS, ROOT]
    said = beforehand.not_offered()
    assert said.startswith("Not offered: vgg16-cifar100, vit-cifar100. The images")
    assert beforehand.offered(["vit-cifar100"]) == []


def last_of(pictures):
    """All charts of a panel's pictures, the last of each, and all its words."""
    charts, words, progress = {}, "", 0.0
    for picture in pictures:
        assert picture.progress >= progress
        charts |= picture.charts
        words, progress = picture.words or words, picture.progress
    assert progress == pytest.approx(1.0)
    for chart in charts.values():
        go.Figure(chart.spec)
        json.dumps(chart.spec, allow_nan=False)
    return charts, words


@pytest.mark.parametrize(
    "draw",
    [
        partial(bits_panels._quantisers, quantiser=PER_CHANNEL, bits=2),
        partial(bits_panels._nested, bits=6, best_at=2),
        partial(bits_panels._protection, bits=3, code_rate=0.5),
        partial(mixed_panels._mixed, average=3.0),
        partial(parameter_panels._importance, keep=0.02, seed=0),
        partial(parameter_panels._nested, exit=4, bits=3),
        partial(large_quantiser._steps, quantiser=PER_CHANNEL, bits=3),
        *(
            partial(increment_panels._increments, ladder=ladder, rate_bps=1e6, fate=fate)
            for ladder, fate in zip(
                parameter_live.LADDERS, [*increment_panels.FATES] * 2, strict=False
            )
        ),
    ],
)
def test_each_panel_draws_without_images(no_images, monkeypatch, draw):
    kinds = {name: QUANTISERS[name] for name in (PER_CHANNEL, "symmetric, per tensor")}
    monkeypatch.setattr(bits_panels, "QUANTISERS", kinds)  # the others take seconds each
    charts, words = last_of(draw(ROOT))
    assert charts
    assert "Shipped measurement, on 500 test images of cifar100" in words


def test_a_page_without_images_offers_the_photographs_and_survives_another_seed(monkeypatch):
    monkeypatch.setattr(cifar100, "find", lambda: None)
    panel = parameter_panels.importance_panel()
    panel.controls["root"].value = ROOT
    assert "measured before" in panel.words.value
    panel.controls["seed"].value = 7
    assert "seed must be one that was measured" in panel.words.value + str(panel.charts.errors)
    panel.controls["seed"].value = 0
    assert "Shipped measurement" in panel.words.value


def test_the_command_measures_goes_on_and_refuses_other_images(noisy, monkeypatch, tmp_path):
    root = "vgg16-cifar100"
    first = next(iter(bits_live.weights_of(root)))
    work = [
        (bits_live.quantised_accuracy, (root, PER_CHANNEL, 4)),
        (parameter_live.layer_loss_at, (root, first, 0.1)),
    ]
    path = tmp_path / f"{root}-points.csv"
    for count in (1, 2):
        monkeypatch.setattr(point_tables, "work_of", lambda _, count=count: iter(work[:count]))
        point_tables.main([root, "--out", str(tmp_path)])
        held = read_points(path.read_text(encoding="utf-8").splitlines())
        assert list(held) == [key_of(measure, *given)[1] for measure, given in work[:count]]
    assert held[key_of(work[0][0], *work[0][1])[1]] == bits_live.quantised_accuracy(*work[0][1])
    assert "# images: 10 test images of cifar100, or 10 while" in path.read_text(encoding="utf-8")
    monkeypatch.setattr(loaded, "images_of", lambda *_: noisy.take(torch.arange(9)))
    with pytest.raises(SystemExit, match="other weights or images"):
        point_tables.main([root, "--out", str(tmp_path)])


def test_only_roots_of_photographs_need_a_table(capsys):
    with pytest.raises(SystemExit):
        point_tables.main(["vgg-digits"])
    assert "vgg16-cifar100" in capsys.readouterr().err
    assert f"{ROOT}-nested" in NESTED_ROOTS
