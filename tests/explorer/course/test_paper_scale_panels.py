"""The envelope of a large root, drawn from its shipped candidates."""

import plotly.graph_objects as go
import pytest

from insitu_widgets.explorer.course.paper_scale_panels import (
    SHARES,
    clean,
    healed_panel,
    paper_scale_panel,
    received,
    small_share,
)
from insitu_widgets.network.candidates import BIT_ERROR_RATES, load_candidates
from insitu_widgets.network.envelope import best
from insitu_widgets.network.healed import load_healed

ROOT = "resnet18-cifar100"


@pytest.fixture
def panel():
    return paper_scale_panel()


def chart(panel):
    assert panel.charts.errors == {}
    chart = panel.charts.charts["envelope"]
    go.Figure(chart["spec"])
    return chart


def test_without_errors_it_draws_each_level_and_all_together(panel):
    names = [trace["name"] for trace in chart(panel)["spec"]["data"]]
    assert names == ["depth alone", "parameters alone", "bits alone", "together"]
    pool, budget = clean(load_candidates(ROOT)), panel.controls["budget"].value
    for name, candidates in pool.items():
        if min(c.num_bits for c in candidates) <= 8 * budget:
            share = best(candidates, 8 * budget).estimate.accuracy
            assert f"{name} {100 * share:.1f} %" in chart(panel)["text"]


def test_together_is_nowhere_worse_than_its_parts_on_the_half_that_chooses():
    pool = clean(load_candidates(ROOT))
    together = pool.pop("together")
    assert all(set(part) <= set(together) for part in pool.values())


def test_with_errors_it_draws_each_protection(panel):
    panel.controls["ber"].value = 1e-2
    names = {trace["name"] for trace in chart(panel)["spec"]["data"]}
    assert names == set(received(load_candidates(ROOT), 1e-2))
    assert "codes, first 1 protected" in names


def test_the_table_of_small_shares_counts_every_bit(panel):
    rows = load_candidates(ROOT)
    whole = max(row.candidate.num_bits for row in rows)
    for part in SHARES:
        for rate in BIT_ERROR_RATES:
            found = small_share(rows, rate, part * whole)
            assert all(c.num_bits <= part * whole for c in found.chosen)
            assert f"{100 * found.estimate.accuracy:.1f} %" in panel.words.value
    assert panel.words.value.count("<tr>") == 1 + 4 + 1 + len(SHARES) * len(BIT_ERROR_RATES)


def test_re_training_is_drawn_as_it_was_measured():
    panel = healed_panel()
    assert panel.charts.errors == {}
    chart = panel.charts.charts["healed"]
    go.Figure(chart["spec"])
    rows = load_healed(ROOT)
    before, after = chart["spec"]["data"]
    assert before["y"] == [round(100 * row.before.accuracy, 2) for row in rows]
    assert after["y"] == [round(100 * row.after.accuracy, 2) for row in rows]
    assert f"images: {rows[0].after.seen} test images of cifar100" in panel.words.value
