"""Stores give the very bytes back; the library's tiers hold, move and refuse by rule."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu_widgets import (
    Library,
    Link,
    Packet,
    Recipe,
    derive,
    load_root,
    pack,
    transmit,
)
from insitu_widgets.network.library import TIERS, Tier, from_root
from insitu_widgets.network.making import making_s, usual_making_ms
from insitu_widgets.network.store import Apart, Nested, NotNestedError, Pieces, pieces, root_bytes
from insitu_widgets.network.tiers import home, in_order, kind_of, way_s

ROOT = "vgg-digits"
SOME = [Recipe(ROOT, exit=e, keep=k, bits=b) for e in (1, 2) for k in (0.2, 1.0) for b in (4, 32)]
A, B, C = (Recipe(ROOT, exit=1, bits=bits) for bits in (2, 4, 8))


def packet(size):
    return Packet(b"", bytes(size))


@pytest.mark.parametrize("make", [Apart, Pieces, Nested])
def test_what_is_stored_comes_back_to_the_bit_and_leaves_nothing_behind(make):
    store = make()
    for recipe in SOME * 2:  # storing again replaces
        store.add(recipe, from_root(recipe))
    for recipe in SOME:
        assert store.get(recipe) == pack(derive(load_root(ROOT), recipe))
    for recipe in SOME:
        store.remove(recipe)
        store.remove(recipe)
    assert store.num_bytes == 0


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(SOME))
def test_pieces_are_slices_of_the_packet(recipe):
    whole = from_root(recipe)
    assert b"".join(pieces(whole)) == whole.header + whole.body


def test_shared_layers_are_kept_once():
    apart, shared = Apart(), Pieces()
    for exit_ in range(1, 7):
        recipe = Recipe(ROOT, exit=exit_)
        for store in (apart, shared):
            store.add(recipe, from_root(recipe))
    assert shared.num_bytes < 0.75 * apart.num_bytes
    assert shared.num_bytes < 1.05 * root_bytes(load_root(ROOT))


def test_a_variant_that_is_not_nested_is_refused():
    damaged = transmit(from_root(A), Link(1.0, bit_error_rate=1e-2), 0)
    with pytest.raises(NotNestedError, match="packet must be nested in the root 'vgg-digits'"):
        Nested().add(A, damaged)
    Pieces().add(A, damaged)
    library = Library([replace(TIERS[0], capacity_bytes=1e8, keeping="nested")])
    with pytest.raises(NotNestedError, match="Keep it apart"):
        library.store(A, damaged, "edge")


def test_a_root_that_changed_is_noticed():
    roots = [load_root(ROOT)]
    store = Nested(lambda _: roots[-1])
    store.add(A, from_root(A))
    other = load_root(ROOT)
    with torch.no_grad():
        next(other.blocks[0].parameters()).mul_(2.0)
    roots.append(other)
    with pytest.raises(NotNestedError):
        store.get(A)


def test_a_nested_tier_counts_its_root_once_and_the_work_of_making():
    library = Library([replace(TIERS[0], capacity_bytes=1.4e6, keeping="nested")])
    for recipe in SOME:
        assert library.store(recipe, from_root(recipe), "edge")
    assert library.num_bytes("edge") < 1.01 * root_bytes(load_root(ROOT))
    found = library.fetch(SOME[0])
    assert (found.made, found.packet) == (False, from_root(SOME[0]))
    assert found.time_s == found.working_s > 0


def test_a_model_lives_where_its_latency_wants_it_and_moves_when_that_changes():
    library = Library()
    homes = [library.place(A, packet(100), latency) for latency in (0.01, 1.0, 60.0)]
    assert homes == ["edge", "local", "central"]
    assert [library.held(tier.name) for tier in TIERS] == [(), (), (A,)]
    kinds = [kind_of(latency).name for latency in (0.01, 0.9, 9.0, 10.0)]
    assert kinds == ["real-time", "real-time", "non-real-time", "generic"]
    assert home(TIERS[:1], 60.0) == TIERS[0]


def test_what_is_pinned_stays_and_what_leaves_goes_outwards():
    tiers = (Tier("edge", 0.0, 1e12, 250), Tier("far", 0.5, 8000.0, 1e6))
    library = Library(tiers, make=lambda _: packet(100), outwards=True)
    library.place(A, packet(100), 0.01)
    library.fetch(B)
    library.fetch(C)
    assert library.held("edge") == (A, C)
    assert library.held("far") == (B,)
    with pytest.raises(ValueError, match="edge must have room for 200 bytes more"):
        library.place(B, packet(200), 0.01)
    assert library.held("edge") == (A, C)


def test_what_is_asked_for_often_enough_moves_inwards():
    library = Library(inwards_after=2)
    library.store(A, packet(100), "central")
    assert [library.fetch(A).tier for _ in range(3)] == ["central", "central", "edge"]


def test_tiers_find_their_order_and_a_loop_is_refused():
    edge, local, central = TIERS
    linked = [central, replace(edge, beyond="local"), replace(local, beyond="central")]
    assert [tier.name for tier in in_order(linked)] == ["edge", "local", "central"]
    assert way_s(TIERS, 2, 1e6) == pytest.approx(0.055 + 1e6 / 10e9 + 1e6 / 1e9)
    for loop in (
        [replace(edge, beyond="local"), replace(local, beyond="edge")],
        [replace(edge, beyond="local"), replace(local, beyond="central"),
         replace(central, beyond="local")],
        [replace(edge, beyond="edge")],
    ):  # fmt: skip
        with pytest.raises(ValueError, match="in one line without a loop"):
            Library(loop)
    with pytest.raises(ValueError, match="beyond of edge must be one of edge, local; got 'moon'"):
        Library([replace(edge, beyond="moon"), local])


def test_wrong_input():
    with pytest.raises(LookupError, match="recipe must be one that the library holds"):
        Library(make=None).fetch(A)
    with pytest.raises(ValueError, match="delay_s must be a number"):
        Tier("slow", -1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="keeping must be one of apart, pieces, nested"):
        Tier("odd", 0.0, 1.0, 1.0, keeping="heap")
    with pytest.raises(ValueError, match="inwards_after must be a whole number"):
        Library(inwards_after=0)
    with pytest.raises(ValueError, match="recipes must hold at least one recipe"):
        making_s([])


def test_making_takes_time():
    assert 0 < making_s([A, B]) < 10
    assert usual_making_ms() == usual_making_ms() > 0  # measured once: one seed, one result
