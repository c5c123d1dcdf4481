"""Increments: put together they are the sub-models themselves; sent, they follow the channel."""

import numpy as np
import pytest

from insitu_widgets.air.payload import Packet, pack, unpack
from insitu_widgets.air.trace import Trace, jakes
from insitu_widgets.levels.derive import derive
from insitu_widgets.network.follow import (
    Air,
    arrivals,
    by_bit,
    by_exit,
    fix,
    follow,
    whole_packets,
)

STEADY = Air(Trace(0.1, (60.0,) * 100), 1e6, 1e-3)  # 8 bit/s/Hz, no errors


@pytest.fixture(scope="module", params=["exit", "bit"])
def increments(request, roots):
    root = roots["vgg-digits"]
    return by_exit(root) if request.param == "exit" else by_bit(root, 2)


def test_increments_make_the_sub_models_to_the_bit(increments):
    body = b""
    for increment in increments:
        body = increment.merge(body, increment.packet.body)
        whole = pack(increment.whole)
        assert body == whole.body
        assert unpack(Packet(whole.header, body))[0] == increment.whole


def test_exits_are_the_recipes_own(roots):
    root = roots["vgg-digits"]
    for increment in by_exit(root, 8):
        assert increment.whole == derive(root, increment.whole.recipe)


def test_all_bits_are_the_eight_bit_recipe(roots):
    last = by_bit(roots["vgg-digits"], 2)[-1].whole
    assert last == derive(roots["vgg-digits"], last.recipe)


def test_in_pieces_costs_little_more_than_whole(increments):
    pieces = sum(increment.packet.num_bits for increment in increments)
    whole = pack(increments[-1].whole).num_bits
    assert whole <= pieces < 1.1 * whole


def test_arrivals_on_a_steady_channel_are_arithmetic():
    packets = [Packet(bytes(1000), bytes(99_000)), Packet(b"", bytes(1_000_000))]
    first, second = arrivals(packets, STEADY)
    assert first.time_s == pytest.approx(0.1)
    assert second.time_s == pytest.approx(1.1)
    assert first.bit_error_rate < 1e-9


def test_an_outage_is_waited_for_and_the_end_is_the_end():
    air = Air(Trace(0.1, (-30.0, -30.0, 60.0)), 1e6, 1e-3)
    assert [a.time_s for a in arrivals([Packet(b"", bytes(1000))], air)] == [pytest.approx(0.201)]
    assert list(arrivals([Packet(b"", bytes(1_000_000))], air)) == []


def test_no_bit_is_sent_faster_than_the_channel():
    trace = jakes(15.0, 3.0, 3.0, np.random.default_rng(0))
    air = Air(trace, 1e5, 1e-3)
    packets = [Packet(b"", bytes(2000))] * 30
    for count, arrival in enumerate(arrivals(packets, air), 1):
        slots = int(arrival.time_s / trace.slot_s) + 1
        could = sum(air.rates_bps(slot)[1] * trace.slot_s for slot in range(slots))
        assert count * 16_000 <= could * (1 + 1e-9)
        assert arrival.bit_error_rate <= 1e-3


def test_without_errors_what_is_held_is_what_was_cut(roots, increments):
    held = list(follow(increments, STEADY, roots["vgg-digits"], np.random.default_rng(0)))
    assert [h.model for h in held] == [increment.whole for increment in increments]
    times = [h.time_s for h in held]
    assert times == sorted(times)


def test_errors_are_real(roots, increments):
    air = Air(Trace(0.1, (15.5,) * 300), 1e6, 1e-2)
    *_, last = follow(increments, air, roots["vgg-digits"], np.random.default_rng(0))
    assert 1e-6 < last.bit_error_rate <= 1e-2
    assert last.model != increments[-1].whole


def test_the_fixed_sender_chooses_by_the_first_slot(roots, increments):
    root = roots["vgg-digits"]
    packets = whole_packets(increments, root)
    budget_s = packets[1].num_bits / 8e6 * 1.01
    (held,) = fix(packets, STEADY, budget_s, root, np.random.default_rng(0))
    assert held.model.recipe == increments[1].whole.recipe
    assert held.time_s <= budget_s
    drops = Air(Trace(0.01, (60.0,) + (3.0,) * 5000), 1e6, 1e-3)
    (late,) = fix(packets, drops, 10.0, root, np.random.default_rng(0))
    first = next(follow(increments, drops, root, np.random.default_rng(0)))
    assert first.time_s < late.time_s


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="most_ber must be a number"):
        Air(Trace(0.1, (1.0,)), 1e6, 0.5)
    with pytest.raises(ValueError, match="bandwidth_hz must be a number"):
        Air(Trace(0.1, (1.0,)), 0.0, 1e-3)
