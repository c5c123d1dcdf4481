"""The best of every budget: chosen on one half, measured on the other; all bits counted."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import Recipe, derive, load_data, pack
from insitu_widgets.levels.retrain import Hardening
from insitu_widgets.network.envelope import (
    FAMILIES,
    KEEPS,
    Candidate,
    Channel,
    best,
    halves,
    hardened,
    measure,
    recipes,
)


def candidate(num_bits, first, second, what="x"):
    return Candidate(what, num_bits, (first, second), (50, 50))


candidates = st.lists(
    st.builds(candidate, st.integers(1, 1000), st.integers(0, 50), st.integers(0, 50)), min_size=1
)


def test_no_half_judges_its_own_choice():
    lucky, unlucky = candidate(10, 50, 20, "lucky"), candidate(10, 30, 40, "unlucky")
    found = best([lucky, unlucky], 10)
    assert [c.what for c in found.chosen] == ["lucky", "unlucky"]
    assert (found.estimate.correct, found.estimate.seen) == (20 + 30, 100)


@given(candidates, st.integers(1, 1000))
def test_what_is_chosen_fits_and_is_best_on_its_half(pool, budget):
    inside = [c for c in pool if c.num_bits <= budget]
    if not inside:
        with pytest.raises(ValueError, match=r"budget_bits must be at least .* the smallest"):
            best(pool, budget)
        return
    found = best(pool, budget)
    for half, chosen in enumerate(found.chosen):
        assert chosen in inside
        assert chosen.right[half] == max(c.right[half] for c in inside)
        assert not any(
            c.right[half] == chosen.right[half] and c.num_bits < chosen.num_bits for c in inside
        )


def test_a_budget_below_the_smallest_packet_says_which_and_what_to_do():
    pool = [candidate(800, 1, 1, "the small one"), candidate(1600, 2, 2)]
    with pytest.raises(ValueError, match=r"at least 800 \(100 B\).*the small one; got 799\. Give"):
        best(pool, 799)
    with pytest.raises(ValueError, match="at least one; got none"):
        best([], 1)


def test_each_family_uses_its_level_only():
    exits = 6
    whole = Recipe("vgg-digits")
    assert {(r.keep, r.bits) for r in recipes("vgg-digits", FAMILIES[0], exits)} == {(1.0, 32)}
    assert {(r.exit, r.bits) for r in recipes("vgg-digits", FAMILIES[1], exits)} == {(None, 32)}
    assert {(r.exit, r.keep) for r in recipes("vgg-digits", FAMILIES[2], exits)} == {(None, 1.0)}
    assert all(whole in recipes("vgg-digits", family, exits) for family in FAMILIES[:3])
    together = recipes("vgg-digits", FAMILIES[3], exits)
    again = [replace(recipe, recalibrated=True) for recipe in together]
    assert recipes("vgg-digits", FAMILIES[4], exits) == again
    assert recipes("vit-digits", FAMILIES[4], exits) == []
    assert {r.root for r in recipes("vgg-digits", FAMILIES[5], exits)} == {"vgg-digits-nested"}
    mixed = {f: [r for r in recipes("vgg-digits", f, exits) if r.mixed] for f in FAMILIES}
    assert [bool(found) for found in mixed.values()] == [False, False, True, True, True, False]
    assert {r.keep for r in mixed["together"]} == set(KEEPS)
    with pytest.raises(ValueError, match="family must be one of depth alone"):
        recipes("vgg-digits", "luck", exits)


def test_the_halves_are_all_images(roots, few):
    root = roots["vgg-digits"]
    right = int((root(few.images).argmax(1) == few.labels).sum())
    assert sum(halves(root, few)) == right


def test_what_is_received_is_counted_and_protection_costs(roots, few):
    root, recipe = roots["vgg-digits"], Recipe("vgg-digits", 3, 0.5, 4)
    bare, *safe = (measure(root, recipe, few, Channel(0.0, protected=m)) for m in (0, 1, 4))
    packet = pack(derive(root, recipe))
    assert bare.num_bits == packet.num_bits
    assert bare.right == safe[0].right == safe[1].right
    kept = derive(root, recipe).num_weights
    assert safe[0].num_bits == pytest.approx(packet.num_bits + kept, abs=100)  # rate 1/2: once more
    assert safe[1].num_bits == pytest.approx(packet.num_bits + 4 * kept, abs=100)


def test_protected_whole_it_arrives_whole_whatever_the_errors(roots, few):
    root, recipe = roots["vgg-digits"], Recipe("vgg-digits", 3, 1.0, 2)
    clean = measure(root, recipe, few, Channel())
    noisy = Channel(0.5, protected=2, seeds=(0, 1))
    assert measure(root, recipe, few, noisy).right == clean.right
    assert measure(root, recipe, few, Channel(0.5)).right != clean.right


def test_floats_have_no_first_bits(roots, few):
    with pytest.raises(ValueError, match=r"codes of at most 8 bits; got floats of 16\. Guard"):
        measure(roots["vgg-digits"], Recipe("vgg-digits", 1, 1.0, 16), few, Channel(protected=1))


def test_a_trained_root_bears_errors_better_at_the_same_bits(roots, digits):
    root, recipe = roots["vgg-digits"], Recipe("vgg-digits", 3, 1.0, 4)
    before = {name: tensor.clone() for name, tensor in root.state_dict().items()}
    plan = Hardening(4, 25, 1e-2, 1.5)
    *_, last = hardened(root, 3, load_data("digits", "train"), plan)
    trained, noisy = last.as_root(root), Channel(1e-2, seeds=(0, 1))
    bare, safe = (measure(each, recipe, digits, noisy) for each in (root, trained))
    assert safe.num_bits == bare.num_bits
    assert sum(safe.right) > sum(bare.right) + 0.05 * len(digits)
    assert all(torch.equal(before[name], tensor) for name, tensor in root.state_dict().items())


def test_an_exit_that_is_not_there_is_named(roots, few):
    with pytest.raises(ValueError, match="exit must be a whole number from 1"):
        next(hardened(roots["vgg-digits"], 9, few, Hardening()))


def test_a_mixed_candidate_is_counted_and_measured_as_any(roots, few):
    """At 2 bits a weight it is no larger than 2 bits for every layer, and far better."""
    root, recipe = roots["vgg-digits"], Recipe("vgg-digits", 4, 0.5, 2)
    even = measure(root, recipe, few, Channel())
    mixed = measure(root, replace(recipe, mixed=True), few, Channel())
    assert mixed.what == f"{recipe} mixed"
    assert mixed.num_bits <= even.num_bits + 8 * 2 * len(derive(root, recipe).layers)
    assert sum(mixed.right) > sum(even.right)


def test_a_recalibrated_candidate_says_so_and_costs_no_bit(roots, few, digits):
    """At 2 bits most of what one shot loses is lost to norms that no longer fit."""
    root, recipe = roots["vgg-digits"], Recipe("vgg-digits", 3, 1.0, 2)
    plain = measure(root, recipe, digits, Channel())
    again = measure(root, replace(recipe, recalibrated=True), digits, Channel())
    assert (plain.what, again.what) == (str(recipe), f"{recipe} · recalibrated")
    assert again.num_bits == plain.num_bits
    assert sum(again.right) > sum(plain.right) + 0.1 * len(digits)
