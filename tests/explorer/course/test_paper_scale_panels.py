"""The envelope of a large root, drawn from its shipped candidates."""

from dataclasses import replace

import plotly.graph_objects as go
import pytest

from insitu_widgets.explorer.course import paper_scale_panels
from insitu_widgets.explorer.course.paper_scale_panels import (
    _chosen,
    clean,
    hardened_panel,
    healed_panel,
    paper_scale_panel,
    received,
)
from insitu_widgets.network import hardened
from insitu_widgets.network.candidates import load_candidates, plan
from insitu_widgets.network.envelope import FAMILIES, Channel, best
from insitu_widgets.network.hardened import load_hardened
from insitu_widgets.network.healed import load_healed
from insitu_widgets.network.judged import load_judged
from insitu_widgets.units import percent

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


def test_the_table_of_small_shares_is_what_was_judged(panel):
    rows = load_judged(ROOT)
    for row in rows:
        told = (
            f"<td>{_chosen(row.job)}</td><td>{100 * row.accuracy:.1f} %</td>"
            f"<td>{100 * row.loss[0]:.1f} ("
        )
        assert told in panel.words.value
        assert ("all-in-one" in _chosen(row.job)) == (row.job.recipe.root == NESTED)
        assert ("recalibrated" in _chosen(row.job)) == row.job.recipe.recalibrated
    bought = len(clean(load_candidates(ROOT)))
    assert panel.words.value.count("<tr>") == 1 + bought + 1 + len(rows)


@pytest.fixture
def unjudged(monkeypatch):
    monkeypatch.setattr(paper_scale_panels.judged, "SUFFIX", "-unmeasured.csv")
    paper_scale_panels._small_shares.cache_clear()
    yield
    paper_scale_panels._small_shares.cache_clear()


def test_without_a_table_of_small_shares_there_is_the_rest(unjudged):
    panel = paper_scale_panel()
    assert panel.charts.errors == {}
    assert "points lost" not in panel.words.value


def test_re_training_is_drawn_as_it_was_measured():
    panel = healed_panel()
    assert panel.charts.errors == {}
    chart = panel.charts.charts["healed"]
    go.Figure(chart["spec"])
    rows = load_healed(ROOT)
    before, after, again, nested = chart["spec"]["data"]
    assert before["y"] == [round(100 * row.before.accuracy, 2) for row in rows]
    assert after["y"] == [round(100 * row.after.accuracy, 2) for row in rows]
    clean_rows = [row for row in load_candidates(ROOT) if row.job.channel == Channel()]
    known = {row.job.recipe: row.candidate for row in clean_rows}
    found = [known[replace(row.recipe, root=NESTED)] for row in rows]
    shares = [100 * sum(candidate.right) / sum(candidate.seen) for candidate in found]
    assert nested["y"] == pytest.approx(shares, abs=0.03)
    found = [known[replace(row.recipe, recalibrated=True)] for row in rows]
    shares = [100 * sum(candidate.right) / sum(candidate.seen) for candidate in found]
    assert again["y"] == pytest.approx(shares, abs=0.03)
    assert f"images: {rows[0].after.seen} test images of cifar100" in panel.words.value


def test_training_against_bit_errors_is_drawn_as_it_was_measured():
    panel = hardened_panel()
    assert panel.charts.errors == {}
    chart = panel.charts.charts["hardened"]
    go.Figure(chart["spec"])
    rows = load_hardened(ROOT)
    assert [line["name"] for line in chart["spec"]["data"]] == list(hardened.WAYS)
    for line in chart["spec"]["data"]:
        for place, rate in enumerate(hardened.BIT_ERROR_RATES):
            draws = [
                row.right / row.seen
                for row in rows
                if (row.network, row.bit_error_rate) == (line["name"], rate)
            ]
            assert line["y"][place] == pytest.approx(100 * sum(draws) / len(draws), abs=0.03)
            if rate:
                spread = f"({percent(min(draws))} to {percent(max(draws))})"
                assert spread in panel.words.value
    assert f"images: {rows[0].seen} test images of cifar100" in panel.words.value
