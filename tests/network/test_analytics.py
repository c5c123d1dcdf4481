"""Feedback: real answers, beliefs that sharpen, regret that is honest about its price."""

import numpy as np
import pytest
import torch

from insitu_widgets.evaluate import accuracy
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.analytics import POLICIES, SHIFTS, answers, candidates, serve, shifted


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_changes_the_images_and_nothing_else(few, shift):
    other = shifted(few, shift, 0.5)
    assert other.images.shape == few.images.shape
    assert torch.equal(other.labels, few.labels)
    assert torch.equal(other.images, few.images) == (shift == "none")
    assert torch.equal(shifted(few, shift, 0.0).images, few.images)
    assert torch.equal(shifted(few, shift, 0.5).images, other.images)


def test_the_more_shifted_the_less_accurate(digits):
    recipe = Recipe("resnet-digits", 2, bits=6)
    shares = [answers(recipe, shifted(digits, "noisy", s)).mean() for s in (0.0, 0.5, 1.0)]
    assert shares[0] > shares[1] > shares[2]


def test_answers_are_those_of_the_sub_model(roots, digits):
    recipe = Recipe("resnet-digits", 1, bits=4)
    *_, last = accuracy(derive(roots["resnet-digits"], recipe), digits)
    assert answers(recipe, digits).sum() == last.correct


def test_candidates_fit_and_are_the_best_of_their_exit():
    rows = candidates(["resnet-digits", "vgg-digits"], 2e4)
    assert all(row.num_bits <= 8 * 2e4 for row in rows)
    exits = [(row.recipe.root, row.recipe.exit) for row in rows]
    assert len(set(exits)) == len(exits)
    assert len({root for root, _ in exits}) == 2


SEEN = np.random.default_rng(0).random((4, 500)) < np.array([[0.5], [0.9], [0.7], [0.2]])
WRONG = [0.99, 0.9, 0.6, 0.1]  # a catalogue that prefers the wrong one
RIGHT = [0.5, 0.9, 0.7, 0.2]


def ends(believed, **more):
    return {
        policy: serve(policy, believed, SEEN, np.random.default_rng(1), **more).regret[:, -1].mean()
        for policy in POLICIES
    }


def test_feedback_pays_where_the_catalogue_is_wrong():
    end = ends(WRONG)
    assert end["greedy"] < end["no feedback"]
    assert end["Thompson"] < end["no feedback"]


def test_feedback_costs_where_the_catalogue_is_right():
    end = ends(RIGHT)
    assert end["no feedback"] == 0.0
    assert end["Thompson"] > 0.0


def test_a_catalogue_that_is_trusted_too_much_is_unlearnt_slowly():
    quick, slow = (ends(WRONG, trust=trust)["Thompson"] for trust in (5.0, 2000.0))
    assert quick < slow


def test_estimates_sharpen():
    truth = SEEN.mean(axis=1)
    early, late = (
        serve("Thompson", WRONG, SEEN, np.random.default_rng(0), rounds=rounds)
        for rounds in (5, 400)
    )
    assert abs(late.estimate[1] - truth[1]) < 0.03
    assert late.chosen[:, -50:].tolist().count([1] * 50) > 5, "it settles on the best"
    assert np.var(late.right) > np.var(early.right)


@pytest.mark.parametrize("policy", POLICIES)
def test_regret_never_falls_and_the_seed_decides(policy):
    runs = [serve(policy, WRONG, SEEN, np.random.default_rng(s)) for s in (0, 0, 1)]
    assert (np.diff(runs[0].regret, axis=1) >= 0).all()
    assert (runs[0].chosen == runs[1].chosen).all()
    reported = (runs[0].right + runs[0].wrong).sum(axis=1) - 4 * 21
    assert np.allclose(reported, 0 if policy == "no feedback" else 3000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: serve("luck", RIGHT, SEEN, np.random.default_rng(0)), "policy must be one of"),
        (
            lambda: serve("greedy", RIGHT[:2], SEEN, np.random.default_rng(0)),
            "believed must hold one accuracy a candidate; got 2",
        ),
        (lambda: candidates(["vgg-digits"], 10.0), "most_bytes must let one recipe in"),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match="must") as caught:
        make()
    assert words in str(caught.value)


def test_a_wrong_shift_is_named(few):
    with pytest.raises(ValueError, match="shift must be one of none, rotated"):
        shifted(few, "foggy", 0.5)
    with pytest.raises(ValueError, match="strength must be a number from 0 to 1"):
        shifted(few, "noisy", 2.0)
