"""Nested bits: every prefix is a model, and all bits together are the direct one."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from insitu_widgets.air.codebooks import pack_quantised, unpack_quantised
from insitu_widgets.levels.nested_bits import nest, refine
from insitu_widgets.levels.quantised import quantise_network


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_whole_is_the_direct_quantiser_to_the_bit(tiny, bits):
    assert nest(tiny, bits).prefix(bits) == quantise_network(tiny, bits=bits)


@pytest.mark.parametrize("best_at", [1, 2, 3])
def test_the_prefix_that_it_is_best_at_is_the_direct_one(roots, best_at):
    root = roots["vgg-digits"]
    found, direct = nest(root, 4, best_at).prefix(best_at), quantise_network(root, bits=best_at)
    for name, layer in direct.layers.items():
        assert torch.equal(found.layers[name].table, layer.table)
        differ = int((found.layers[name].codes != layer.codes).sum())
        assert differ <= 1e-4 * layer.codes.numel()  # a weight on the edge of two cells


@pytest.mark.parametrize(("bits", "cuts"), [(4, (2, 4)), (8, (1, 3, 8)), (6, (2, 3, 4, 5, 6))])
def test_packed_packets_grow_into_the_whole(roots, bits, cuts):
    root = roots["vgg-digits"]
    nested = nest(root, bits)
    have, _ = unpack_quantised(pack_quantised(nested.prefix(cuts[0])))
    for old, new in pairwise(cuts):
        delta, _ = unpack_quantised(pack_quantised(nested.refinement(old, new)))
        have = refine(have, delta)
        assert have == nested.prefix(new)
    assert have == quantise_network(root, bits=bits)


def test_a_refinement_holds_no_more_than_the_bits_between_and_the_steps(roots):
    root = roots["vgg-digits"]
    nested = nest(root, 4)
    both = [pack_quantised(nested.prefix(2)), pack_quantised(nested.refinement(2, 4))]
    direct = pack_quantised(quantise_network(root, bits=4))
    assert sum(len(p.body) for p in both) == pytest.approx(len(direct.body), abs=10)
    extra = sum(p.num_bits for p in both) - direct.num_bits
    assert 0 < extra < 0.02 * direct.num_bits


def test_coarse_levels_lie_in_the_middle_of_their_cells(tiny):
    nested = nest(tiny, 5)
    for name, codes in nested.codes.items():
        fine = codes.float() - 15.5
        coarse = 4 * ((codes >> 2).float() - 3.5)
        assert float((fine - coarse).abs().max()) <= 1.5, name


def test_wrong_input_says_the_range(tiny):
    nested = nest(tiny, 4)
    wider = replace(nest(tiny, 8).refinement(3, 8), behind=4)
    for call, words in (
        (lambda: nest(tiny, 1), "bits must be a whole number from 2 to 8"),
        (lambda: nest(tiny, 4, 5), "best_at must be a whole number from 1 to 4"),
        (lambda: nested.prefix(5), "width must be a whole number from 1 to 4"),
        (lambda: nested.refinement(2, 2), "width must be a whole number from 3 to 4"),
        (lambda: refine(nested.prefix(4), wider), "from 2 to 8"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_packets_of_two_roots_do_not_mix(tiny, roots):
    with pytest.raises(ValueError, match="Make both from one nested network"):
        refine(nest(tiny, 4).prefix(2), nest(roots["vgg-digits"], 4).refinement(2, 4))


@pytest.mark.parametrize("have", [1, 3, 4])
def test_a_refinement_that_starts_elsewhere_is_refused_sent_or_not(roots, have):
    """Of a complete model too: its codes would be six bits wide, and wrong."""
    nested = nest(roots["vgg-digits"], 4)
    delta = nested.refinement(2, 4)
    sent, _ = unpack_quantised(pack_quantised(delta))
    assert sent == delta
    for each in (delta, sent):
        with pytest.raises(
            ValueError, match=rf"behind the {have} bits .+ got one .+ behind 2\. Take"
        ):
            refine(nested.prefix(have), each)


def test_a_network_of_its_own_refines_nothing(tiny):
    nested = nest(tiny, 4)
    with pytest.raises(ValueError, match=r"behind the 2 bits .+ got a network of its own\. Take"):
        refine(nested.prefix(2), nested.prefix(2))
    with pytest.raises(ValueError, match=r"behind the 2 bits"):
        refine(nested.refinement(2, 4), nested.refinement(2, 4))
