"""The self-check finds what is wrong; the sweep's picture shows its table."""

from dataclasses import replace

import plotly.graph_objects as go

from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.course import self_check
from insitu_widgets.explorer.course.self_check import CHECKS, self_check_panel
from insitu_widgets.explorer.course.sweep_panels import table_panel
from insitu_widgets.network.catalogue import Catalogue, load_catalogue


def test_here_everything_is_in_order():
    panel = self_check_panel()
    assert f"{len(CHECKS)} of {len(CHECKS)} checks passed." in panel.words.value
    assert "✗" not in panel.words.value
    go.Figure(panel.charts.charts["accuracy"]["spec"])


def test_what_is_wrong_is_named_with_its_remedy(monkeypatch):
    card = ROOTS["vgg-digits"]
    other = replace(card, accuracy=(*card.accuracy[:-1], 0.5))
    monkeypatch.setattr(self_check, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(self_check, "ROOTS", {**ROOTS, "vgg-digits": other})
    words = self_check_panel().words.value
    assert f"{len(CHECKS) - 2} of {len(CHECKS)} checks passed, 2 did not" in words
    assert "✗ no-such-package: install it: make lab" in words
    assert "✗ its card says 50.0 %" in words


def test_a_table_becomes_a_picture():
    rows = load_catalogue("vgg-digits").rows
    whole = (r for r in rows if r.recipe.root == "vgg-digits" and r.recipe.keep == 1.0)
    panel = table_panel(Catalogue(whole))
    for rate in (0.0, 1e-3):
        panel.controls["rate"].value = rate
        for by, groups in (("exit", 6), ("bits", 10 + 3), ("keep", 1)):
            panel.controls["by"].value = by
            assert panel.charts.errors == {}
            chart = panel.charts.charts["table"]
            go.Figure(chart["spec"])
            assert len(chart["spec"]["data"]) == 1 + groups
            front = chart["spec"]["data"][0]
            assert front["x"] == sorted(front["x"])
            assert front["y"] == sorted(set(front["y"]))
            every = [y for line in chart["spec"]["data"][1:] for y in line["y"]]
            assert front["y"][-1] == max(every)
