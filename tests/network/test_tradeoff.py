"""The downlink–uplink trade-off: the best split moves with the images, the rates and the device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import Link
from insitu_widgets.levels.split import Costs
from insitu_widgets.network.tradeoff import (
    SplitTime,
    Terms,
    best_split,
    best_splits,
    changes,
    exit_times_s,
    split_times,
)

COSTS = Costs(10, (100, 200, 300), (1, 2, 3), (64, 128, 32, 16))
TERMS = Terms(100.0, 1000.0, Link(10.0, 0.5), Link(5.0, 0.25))
DOWN, UP = (0, 100, 200, 400), (640, 1280, 320, 0)
seconds = st.floats(0, 1e3, allow_subnormal=False)


def test_the_time_is_the_sum_that_the_formula_says():
    times = split_times(TERMS, COSTS, DOWN, UP)
    assert times[0] == SplitTime(0, 0.0, 0.0, 0.25 + 128, 0.613)
    assert times[1] == SplitTime(1, 0.5 + 10, 1.1, 0.25 + 256, 0.503)
    assert times[3] == SplitTime(3, 0.5 + 40, 6.13, 0.0, 0.0)
    assert times[1].total_s(7) == pytest.approx(10.5 + 7 * (1.1 + 256.25 + 0.503))


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=6))
def test_the_changes_are_those_that_asking_finds(pairs):
    times = [SplitTime(i, down, each, 0.0, 0.0) for i, (down, each) in enumerate(pairs)]
    steps = changes(times, 10**6)
    assert steps[0][0] == 1
    assert [start for start, _ in steps] == sorted({start for start, _ in steps})
    each = [times[point].image_s for _, point in steps]
    assert each == sorted(each, reverse=True)
    for index, (start, point) in enumerate(steps):
        end = steps[index + 1][0] - 1 if index + 1 < len(steps) else 10**6
        for images in {start, (start + end) // 2, end}:
            least = best_split(times, images).total_s(images)
            assert times[point].total_s(images) == pytest.approx(least, rel=1e-6, abs=1e-6)


def test_splits_within_a_per_cent_are_as_good_as_equal():
    times = [SplitTime(i, down, 0.0, 0.0, 0.0) for i, down in enumerate((1.02, 1.0, 1.009, 1.011))]
    assert [time.point for time in best_splits(times, 3)] == [1, 2]
    assert [time.point for time in best_splits(times[:1], 3)] == [0]


def test_more_images_a_faster_downlink_and_a_faster_device_all_move_it_deeper():
    def best(images=1, down=10.0, up=5.0, device=100.0):
        terms = Terms(device, 1000.0, Link(down), Link(up))
        return best_split(split_times(terms, COSTS, DOWN, UP)[1:], images).point

    assert best(images=1, down=0.01) < best(images=10**6, down=0.01)
    assert best(down=0.01) < best(down=1e6)
    assert best(up=1e9, device=1.0, down=1e9) < best(up=1.0, device=1e9, down=1e9)


def test_exits_on_the_server_wait_for_the_uplink():
    times = exit_times_s(TERMS, COSTS, 1, 1280)
    assert times[0] == pytest.approx(111 / 100)
    assert times[1] == pytest.approx(111 / 100 + 256.25 + 202 / 1000)
    assert times[2] == pytest.approx(times[1] + 303 / 1000)
    assert exit_times_s(TERMS, COSTS, 3, 0)[2] == pytest.approx(616 / 100)
    assert exit_times_s(TERMS, COSTS, 0, 640)[0] == pytest.approx(128.25 + 111 / 1000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_times(TERMS, COSTS, DOWN, UP)[0].total_s(0), "images must be .* got 0"),
        (lambda: split_times(TERMS, COSTS, DOWN, UP)[0].total_s(1.5), "a whole number"),
        (lambda: Terms(-1.0, 1.0, Link(1.0), Link(1.0)), r"device_flops_per_s .*got -1\.0. Give"),
        (lambda: Terms(1.0, 0.0, Link(1.0), Link(1.0)), "server_flops_per_s"),
        (lambda: Link(-5.0), r"rate_bps must be .*got -5\.0. Give"),
        (lambda: split_times(TERMS, COSTS, DOWN[:3], UP), r"download_bits .*0 to 3; got 3. Give 4"),
        (lambda: split_times(TERMS, COSTS, DOWN, ()), "upload_bits"),
        (lambda: exit_times_s(TERMS, COSTS, 4, 0), "split point must be .* 0 to 3; got 4"),
        (lambda: changes(split_times(TERMS, COSTS, DOWN, UP), 0), "images"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_rate_is_no_link():
    with pytest.raises(
        TypeError, match=r"^downlink must be of type Link; got 1000000\.0\. Make one"
    ):
        Terms(1e9, 1e12, 1e6, Link(1e6))
    with pytest.raises(TypeError, match=r"^uplink must be .+ Make one: uplink=Link\(rate_bps\)\.$"):
        Terms(1e9, 1e12, Link(1e6), 2e6)
