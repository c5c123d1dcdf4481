"""The envelope of a large root, drawn from its shipped candidates."""

from dataclasses import replace

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
from insitu_widgets.network.candidates import BIT_ERROR_RATES, load_candidates, plan
from insitu_widgets.network.envelope import FAMILIES, Channel, best
from insitu_widgets.network.healed import load_healed

ROOT = "resnet18-cifar100"
NESTED = f"{ROOT}-nested"


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
    assert names == list(FAMILIES)
    pool, budget = clean(load_candidates(ROOT)), panel.controls["budget"].value
    for name, candidates in pool.items():
        if min(c.num_bits for c in candidates) <= 8 * budget:
            share = best(candidates, 8 * budget).estimate.accuracy
            assert f"{name} {100 * share:.1f} %" in chart(panel)["text"]


def test_together_is_nowhere_worse_than_its_parts_on_the_half_that_chooses():
    pool = clean(load_candidates(ROOT))
    together, nested = pool.pop("together"), pool.pop("together, all-in-one")
    again = pool.pop("together, recalibrated")
    assert all(set(part) <= set(together) for part in pool.values())
    assert all(c.what.startswith(f"{NESTED} · ") for c in nested)
    assert all(c.what.endswith(" · recalibrated") for c in again)
    assert not any("recalibrated" in c.what for c in together)


def test_an_unfinished_table_is_told(panel):
    planned = sum(len(list(plan(name))) for name in (ROOT, NESTED))
    assert f"{len(load_candidates(ROOT))} of {planned} candidates" in panel.words.value


def test_with_errors_it_draws_each_protection(panel):
    panel.controls["ber"].value = 1e-2
    names = {trace["name"] for trace in chart(panel)["spec"]["data"]}
    assert names == set(received(load_candidates(ROOT), 1e-2))
    assert {"codes, first 1 protected", "all-in-one, any protection"} <= names
    assert "recalibrated, any protection" in names


def test_the_table_of_small_shares_counts_every_bit(panel):
    rows = load_candidates(ROOT)
    whole = max(r.candidate.num_bits for r in rows if r.recipe.root == ROOT)
    for part in SHARES:
        for rate in BIT_ERROR_RATES:
            found = small_share(rows, rate, part * whole)
            assert all(c.num_bits <= part * whole for c in found.chosen)
            assert all(("all-in-one" in c.what) == ("-nested" in c.what) for c in found.chosen)
            assert f"{100 * found.estimate.accuracy:.1f} %" in panel.words.value
    bought = len(clean(rows))
    assert panel.words.value.count("<tr>") == 1 + bought + 1 + len(SHARES) * len(BIT_ERROR_RATES)


def test_re_training_is_drawn_as_it_was_measured():
    panel = healed_panel()
    assert panel.charts.errors == {}
    chart = panel.charts.charts["healed"]
    go.Figure(chart["spec"])
    rows = load_healed(ROOT)
    before, after, again, nested = chart["spec"]["data"]
    assert before["y"] == [round(100 * row.before.accuracy, 2) for row in rows]
    assert after["y"] == [round(100 * row.after.accuracy, 2) for row in rows]
    clean_rows = [row for row in load_candidates(ROOT) if row.channel == Channel()]
    known = {row.recipe: row.candidate for row in clean_rows if not row.recalibrated}
    found = [known[replace(row.recipe, root=NESTED)] for row in rows]
    shares = [100 * sum(candidate.right) / sum(candidate.seen) for candidate in found]
    assert nested["y"] == pytest.approx(shares, abs=0.03)
    known = {row.recipe: row.candidate for row in clean_rows if row.recalibrated}
    shares = [100 * sum(known[row.recipe].right) / sum(known[row.recipe].seen) for row in rows]
    assert again["y"] == pytest.approx(shares, abs=0.03)
    assert f"images: {rows[0].after.seen} test images of cifar100" in panel.words.value
