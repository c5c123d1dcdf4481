"""Challenges: each can be met in more than one way, and what counts is measured."""

from dataclasses import replace

import pytest

from insitu_widgets import Link, Recipe, accuracy, derive, load_data, load_root, pack
from insitu_widgets.air.channel import transmit
from insitu_widgets.air.payload import unpack
from insitu_widgets.network.challenges import CHALLENGES, DRAWS, check, known_solutions

every_challenge = pytest.mark.parametrize("challenge", CHALLENGES.values(), ids=CHALLENGES)


@every_challenge
def test_it_is_met_in_more_than_one_way_and_by_more_than_one_root(challenge):
    found = known_solutions(challenge)
    assert [row.num_bits for row in found] == sorted(row.num_bits for row in found)
    assert len({row.recipe.root for row in found}) >= 2
    other = next(row for row in found if row.recipe.root != found[0].recipe.root)
    for row in (found[0], other):
        verdict = check(challenge, row.recipe, row.guard)
        assert verdict.met, verdict.faults
        assert verdict.row.num_bits == row.num_bits


@every_challenge
def test_whatever_breaks_a_limit_does_not_meet_it(challenge):
    row = known_solutions(challenge)[0]
    late = replace(challenge.situation, latency_s=challenge.situation.latency_s / 10)
    small = replace(challenge.situation, memory_bytes=1e3)
    assert (
        "arrives after" in check(replace(challenge, situation=late), row.recipe, "clamp").faults[0]
    )
    assert (
        "the device has"
        in check(replace(challenge, situation=small), row.recipe, "clamp").faults[0]
    )
    strict = check(replace(challenge, least_accuracy=1.0), row.recipe, row.guard)
    assert "asked for is 100 %" in strict.faults[0]


def test_a_check_is_what_one_measures_by_hand():
    challenge, recipe = CHALLENGES["floats"], Recipe("vgg-digits", 3, 1.0, 16)
    packet = pack(derive(load_root("vgg-digits"), recipe))
    shares = []
    for seed in range(DRAWS):
        arrived = transmit(packet, Link(1.0, bit_error_rate=1e-3), seed)
        *_, last = accuracy(unpack(arrived, "zero")[0], load_data("digits"))
        shares.append(last.accuracy)
    verdict = check(challenge, recipe, "zero")
    assert verdict.row.num_bits == packet.num_bits
    assert verdict.row.accuracy == pytest.approx(sum(shares) / DRAWS)
    assert not check(challenge, recipe, "none").met  # naked floats


def test_codes_do_not_count_where_floats_are_asked_for():
    verdict = check(CHALLENGES["floats"], Recipe("vgg-digits", 3, 1.0, 5), "none")
    assert verdict.faults == ("bits must be 16 or 32 here; it has 5",)


def test_most_bits_is_the_limit():
    for challenge in CHALLENGES.values():
        arrival = challenge.situation.link.time_s(challenge.most_bits)
        assert arrival <= challenge.situation.latency_s * (1 + 1e-9)
        assert challenge.most_bits <= 8 * challenge.situation.memory_bytes


def test_another_root_is_refused():
    with pytest.raises(ValueError, match="root must be one of"):
        check(CHALLENGES["car"], Recipe("mine", 1), "none")
