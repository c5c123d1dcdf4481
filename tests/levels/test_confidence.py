"""Early exit by confidence: one pass, then only sorting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets.data import ImageSet
from insitu_widgets.levels.confidence import (
    MEASURES,
    Answers,
    answer,
    cheapest,
    confidence,
)


@pytest.fixture(scope="module")
def answers(roots, digits):
    return answer(roots["vgg-digits"].exits, digits)


@pytest.mark.parametrize("measure", MEASURES)
def test_confidence_is_between_a_guess_and_certainty(measure):
    logits = torch.tensor([[0.0] * 10, [100.0] + [0.0] * 9])
    guess, sure = confidence(logits, measure).tolist()
    assert guess == pytest.approx(0.1 if measure == "probability" else 0.0, abs=1e-6)
    assert sure == pytest.approx(1.0)


@given(st.integers(0, 10_000))
def test_confidence_stays_in_its_range(seed):
    logits = 50 * torch.randn(20, 7, generator=torch.Generator().manual_seed(seed))
    for measure in MEASURES:
        found = confidence(logits, measure)
        assert bool(((found >= 0) & (found <= 1)).all())


def test_every_image_leaves_where_the_rule_says(answers):
    routing = answers.route(0.6)
    left, right = [0] * 6, 0
    for sure, correct in zip(answers.confidence.T.tolist(), answers.right.T.tolist(), strict=True):
        exit_ = next((i for i, value in enumerate(sure[:-1]) if value >= 0.6), 5)
        left[exit_] += 1
        right += correct[exit_]
    assert routing.left == tuple(left)
    assert (routing.estimate.correct, routing.estimate.seen) == (right, 797)


def test_the_halves_share_no_image(answers):
    aside, reported = answers.halves()
    assert (len(aside), len(reported)) == (399, 398)
    assert torch.equal(aside.confidence[:, 1], answers.confidence[:, 2])
    assert torch.equal(reported.right[:, 1], answers.right[:, 3])


def test_the_ends_of_the_scale(answers):
    first, everyone = answers.route(0.0), answers.everyone()
    assert first.left == (797, 0, 0, 0, 0, 0)
    assert first.estimate == everyone[0]
    assert sum(answers.route(1.0).left) == 797


def test_a_higher_threshold_never_costs_less(answers):
    costs = range(1, 7)
    means = [answers.route(threshold).mean(costs) for threshold in answers.thresholds()]
    assert means == sorted(means)


def test_one_pass_gives_what_each_exit_gives_alone(roots, digits, answers):
    root = roots["vgg-digits"]
    for exit_, estimate in enumerate(answers.everyone(), 1):
        right = root(digits.images, exit=exit_).argmax(1) == digits.labels
        assert int(right.sum()) == estimate.correct


def test_the_cheapest_threshold_meets_its_target(answers):
    found = cheapest(answers, 0.98)
    assert found is not None
    assert found.estimate.accuracy >= 0.98
    lower = [value for value in answers.thresholds(400) if value < found.threshold]
    assert all(answers.route(value).estimate.accuracy < 0.98 for value in lower)


def test_a_target_out_of_reach_is_not_met(answers):
    assert cheapest(answers, 1.0) is None


def test_a_single_exit_has_nothing_to_decide():
    one = Answers(torch.rand(1, 4), torch.ones(1, 4, dtype=torch.bool))
    assert one.thresholds() == [0.0, 1.0]
    assert one.route(0.5).left == (4,)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5"])
def test_a_threshold_out_of_range_says_the_range(answers, threshold):
    with pytest.raises(ValueError, match=r"threshold must be a number from 0 to 1; got .*Give"):
        answers.route(threshold)


def test_other_wrong_input_is_named(answers, roots, digits):
    with pytest.raises(ValueError, match="target accuracy must be a number from 0 to 1; got 98"):
        cheapest(answers, 98)
    with pytest.raises(ValueError, match="measure must be one of probability, entropy"):
        confidence(torch.zeros(1, 2), "margin")
    nobody = ImageSet(digits.images[:0], digits.labels[:0], digits.classes)
    with pytest.raises(ValueError, match=r"at least one image; got 0\. Take"):
        answer(roots["vgg-digits"].exits, nobody)
