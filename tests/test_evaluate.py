import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import Estimate, ImageSet, accuracy, load_data

# An estimate


@pytest.mark.parametrize(
    ("correct", "seen", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(correct, seen, low, high):
    estimate = Estimate(correct, seen)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


counts = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_the_interval_is_where_the_score_test_does_not_reject(case):
    """Wilson's definition: at either end p, |share - p| = z sqrt(p (1 - p) / n)."""
    correct, seen = case
    estimate = Estimate(correct, seen)
    for end in (estimate.low, estimate.high):
        if 0 < end < 1:
            distance = 1.959964 * math.sqrt(end * (1 - end) / seen)
            assert abs(estimate.accuracy - end) == pytest.approx(distance, rel=1e-6, abs=1e-9)
    assert estimate.accuracy == correct / seen


@given(counts)
def test_the_interval_holds_the_share_and_lies_in_0_to_1(case):
    estimate = Estimate(*case)
    assert 0 <= estimate.low <= estimate.accuracy <= estimate.high <= 1
    assert estimate.low < estimate.high


@given(counts)
def test_wrong_is_the_mirror_of_right(case):
    correct, seen = case
    estimate, mirror = Estimate(correct, seen), Estimate(seen - correct, seen)
    assert estimate.low == pytest.approx(1 - mirror.high, abs=1e-12)


def test_before_the_first_image_everything_is_possible():
    nothing = Estimate(0, 0)
    assert (nothing.accuracy, nothing.low, nothing.high) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("correct", "seen"), [(-1, 5), (6, 5), (1, 0), (0, -1), (1.0, 2), (True, 2)]
)
def test_counts_that_cannot_be_are_refused(correct, seen):
    with pytest.raises(
        ValueError, match=r"^(correct|seen) must be a whole number from 0 to .+; got"
    ):
        Estimate(correct, seen)


@pytest.mark.parametrize("truth", [0.1, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("seen", [100, 400, 797])
def test_the_interval_covers_the_truth_in_about_95_per_cent_of_streams(truth, seen):
    correct = np.random.default_rng(0).binomial(seen, truth, 4000)
    intervals = {int(c): Estimate(int(c), seen) for c in np.unique(correct)}
    covered = np.mean([intervals[int(c)].low <= truth <= intervals[int(c)].high for c in correct])
    assert 0.925 < covered < 0.98


# A stream


def said(answers, classes=10):
    """A model that says these answers, in the order of the images' one pixel."""

    def model(images):
        return torch.nn.functional.one_hot(answers[images.flatten().long()], classes).float()

    return model


def numbered(labels):
    images = torch.arange(len(labels)).float().view(-1, 1, 1, 1)
    return ImageSet(images, labels, tuple("0123456789"))


@pytest.fixture
def half_right():
    labels = torch.arange(400) % 10
    return numbered(labels), said(torch.where(torch.arange(400) % 4 < 2, labels, (labels + 1) % 10))


def test_the_last_estimate_is_the_full_accuracy(root, digits):
    logits = torch.cat([root(part) for part in digits.images.split(200)])
    right = int((logits.argmax(1) == digits.labels).sum())
    *_, last = accuracy(root, digits)
    assert last == Estimate(right, len(digits))


@pytest.mark.parametrize("batch", [1, 7, 100, 400, 401, 100_000])
def test_every_image_is_seen_once_batch_by_batch(half_right, batch):
    images, model = half_right
    seen = []

    def watching(part):
        seen.extend(part.flatten().int().tolist())
        return model(part)

    estimates = list(accuracy(watching, images, batch))
    assert sorted(seen) == list(range(400))
    assert [e.seen for e in estimates] == [*range(batch, 400, batch), 400]
    assert estimates[-1].correct == 200
    steps = np.diff([0, *(e.correct for e in estimates)])
    sizes = np.diff([0, *(e.seen for e in estimates)])
    assert ((steps >= 0) & (steps <= sizes)).all()


def order_of(images, batch=50):
    order = []

    def watching(part):
        order.extend(part.flatten().int().tolist())
        return torch.zeros(len(part), 10)

    list(accuracy(watching, images, batch))
    return order


def test_the_order_is_fixed_and_not_the_files(half_right):
    images, _ = half_right
    torch.manual_seed(1)
    first = order_of(images)
    torch.manual_seed(2)
    assert order_of(images, batch=33) == first
    assert first != sorted(first)


def test_it_leaves_the_global_dice_alone(half_right):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(accuracy(half_right[1], half_right[0]))
    assert torch.equal(torch.rand(3), expected)


def test_every_prefix_is_a_fair_sample():
    """Sorted by class, a stream in the file's order would see one class after the other."""
    labels = torch.arange(10).repeat_interleave(100)
    place = torch.tensor(order_of(numbered(labels), batch=100))
    for end in (100, 300, 500):
        counts = torch.bincount(labels[place[:end]], minlength=10).double()
        statistic = float(((counts - end / 10) ** 2 / (end / 10)).sum())
        assert statistic < 33.7  # chi-square with 9 degrees of freedom, 99.99 %


def test_its_own_intervals_cover_the_whole_sets_accuracy():
    """Models right on some share of the images, each seen up to a quarter of them."""
    images = numbered(torch.zeros(797, dtype=torch.int64))
    covered, streams = 0, 400
    for seed in range(streams):
        random = torch.Generator().manual_seed(seed)
        answers = (torch.rand(797, generator=random) > 0.8).long()
        early = next(accuracy(said(answers), images, batch=200))
        covered += early.low <= float((answers == 0).double().mean()) <= early.high
    assert covered / streams > 0.93


def test_to_cancel_is_not_to_ask(half_right):
    images, model = half_right
    asked = []

    def watching(part):
        asked.append(len(part))
        return model(part)

    stream = accuracy(watching, images, batch=10)
    assert asked == []
    next(stream)
    next(stream)
    stream.close()
    assert asked == [10, 10]


def test_a_model_of_nan_and_inf_is_evaluated_like_any_other(few):
    """What argmax answers counts: the first NaN, the first infinity."""
    for value, answer in [(math.nan, 3), (math.inf, 3), (-math.inf, 0)]:

        def model(images, value=value):
            logits = torch.zeros(len(images), 10)
            logits[:, 3:] = value
            return logits

        *_, last = accuracy(model, few)
        assert last.correct == int((few.labels == answer).sum()) == 4


def test_no_gradient_is_kept(few):
    root = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    answers = []

    def watching(images):
        answers.append(root(images))
        return answers[-1]

    list(accuracy(watching, few))
    assert not any(answer.requires_grad for answer in answers)


@pytest.mark.parametrize("batch", [0, -1, 2.5, 10.0, True, None])
def test_a_batch_that_cannot_be_is_refused(few, batch):
    with pytest.raises(ValueError, match=r"^batch must be a whole number from 1 to 100000 images"):
        next(accuracy(torch.nn.Identity(), few, batch))


def test_it_is_measured_on_what_load_data_gives():
    few = load_data("digits", limit=20)
    *_, last = accuracy(lambda images: torch.zeros(len(images), 10), few)
    assert last == Estimate(2, 20)
