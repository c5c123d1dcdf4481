"""Three tiers: the nearest answers, what is asked for moves to the edge, the unused leave."""

import pytest

from insitu_widgets import Library, Packet, Recipe, derive, load_root, pack
from insitu_widgets.network.library import TIERS, Tier
from insitu_widgets.network.tiers import KEEPING

A, B, C = (Recipe("vgg-digits", exit=1, bits=bits) for bits in (2, 4, 8))


def packet(size):
    return Packet(b"", bytes(size))


@pytest.fixture
def library():
    tiers = (Tier("edge", 0.0, 1e12, 250), Tier("far", 0.5, 8000.0, 1e6))
    return Library(tiers, make=lambda recipe: packet(100))


def test_what_no_tier_holds_is_made_on_demand_and_kept():
    library = Library()
    first, second = library.fetch(A), library.fetch(A)
    assert first.packet == pack(derive(load_root(A.root), A))
    assert (first.made, second.made) == (True, False)
    assert second.packet is first.packet
    assert second.time_s == 0.0


def test_the_way_takes_the_delays_and_the_back_haul(library):
    library.store(A, packet(200), "far")
    found = library.fetch(A)
    assert (found.tier, found.made) == ("far", False)
    assert found.time_s == 0.5 + 200 * 8 / 8000.0
    assert library.fetch(A).tier == "edge"


def test_the_longest_unused_leaves(library):
    library.fetch(A)
    library.fetch(B)
    library.fetch(A)
    library.fetch(C)
    assert library.held("edge") == (A, C)


def test_a_packet_larger_than_the_tier_is_served_but_not_kept(library):
    assert not library.store(A, packet(251), "edge")
    library.store(A, packet(251), "far")
    assert library.fetch(A).tier == "far"
    assert library.fetch(A).tier == "far"


def test_storing_again_replaces(library):
    library.store(A, packet(200), "edge")
    library.store(A, packet(240), "edge")
    assert library.fetch(A).packet == packet(240)


def test_what_cannot_be_placed_stays_where_it_was():
    tight = Library([Tier("edge", 0.0, 1e9, 100.0)], make=None)
    tight.place(A, packet(50), 0.01)
    tight.store(B, packet(40), "edge")
    for size in (150, 99):  # more than the tier; more than is left beside what is pinned
        with pytest.raises(ValueError, match="edge must have room for"):
            tight.place(A if size == 150 else C, packet(size), 0.01)
        assert tight.held("edge") == (A, B)
        assert tight.num_bytes("edge") == 90
    assert tight.fetch(A).packet == packet(50)


def test_a_users_own_root_is_kept_in_every_way(tiny):
    recipe = Recipe("tiny", 1, bits=4)
    mine = pack(derive(tiny, recipe))
    for keeping in KEEPING:
        tier = Tier("edge", 0.0, 1e9, 1e6, keeping=keeping)
        library = Library([tier], make=None, roots={"tiny": tiny}.__getitem__)
        assert library.store(recipe, mine, "edge")
        assert library.fetch(recipe).packet == mine


def test_wrong_input(library):
    with pytest.raises(ValueError, match="tier must be one of edge, far; got 'moon'"):
        library.store(A, packet(1), "moon")
    with pytest.raises(ValueError, match="each with its own name"):
        Library([TIERS[0], TIERS[0]])
    with pytest.raises(ValueError, match="at least one"):
        Library([])
    with pytest.raises(ValueError, match="backhaul_bps must be a number"):
        Tier("slow", 0.0, -1.0, 1.0)
