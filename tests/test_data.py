from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from insitu_widgets import ImageSet, data, load_data
from insitu_widgets.data import balanced


def same(a, b):
    return (
        a.images.numpy().tobytes() == b.images.numpy().tobytes()
        and a.labels.tolist() == b.labels.tolist()
        and a.classes == b.classes
    )


# The digits


@pytest.mark.parametrize(("split", "part"), [("train", slice(1000)), ("test", slice(1000, None))])
def test_the_digits_are_scikit_learns_in_its_order(split, part):
    theirs = load_digits()
    ours = load_data("digits", split)
    assert ours.classes == tuple(str(name) for name in theirs.target_names)
    assert ours.labels.tolist() == theirs.target[part].tolist()
    pixels = ours.images.double() * data.DIGITS_STD + data.DIGITS_MEAN
    restored = (pixels * 16).numpy().reshape(-1, 64)
    assert np.abs(restored - theirs.data[part]).max() < 1e-4
    assert ours.images.shape[1:] == (1, 8, 8)


def test_the_splits_are_fixed_and_the_test_is_the_default():
    assert len(load_data("digits", "train")) == 1000
    assert len(load_data("digits", "test")) == 797
    assert same(load_data("digits"), load_data("digits", "test"))


def test_they_are_normalised_by_the_training_images():
    images = load_data("digits", "train").images.double()
    assert abs(float(images.mean())) < 1e-3
    assert abs(float(images.std()) - 1) < 1e-3


def test_the_shape_is_known_without_the_images(digits):
    assert data.shape_of("digits") == tuple(digits.images.shape[1:])
    with pytest.raises(ValueError, match="name must be one of digits, cifar100; got 'mnist'"):
        data.shape_of("mnist")


def test_they_are_the_same_every_time():
    assert same(load_data("digits", limit=100), load_data("digits", limit=100))


@pytest.mark.parametrize("limit", [1, 7, 10, 40, 55, 500, 796, 797])
def test_a_limit_keeps_the_classes_balanced_and_the_order(digits, limit):
    limited = load_data("digits", limit=limit)
    counts = Counter(limited.labels.tolist())
    assert len(limited) == limit
    most = Counter(digits.labels.tolist())
    level = max(counts.values())
    assert all(counts[c] >= min(level - 1, most[c]) for c in range(10))
    whole = [image.numpy().tobytes() for image in digits.images]
    places = [whole.index(image.numpy().tobytes()) for image in limited.images]
    assert places == sorted(places)


def test_more_images_are_the_fewer_and_some():
    few, more = (load_data("digits", limit=n).images.flatten(1) for n in (50, 120))
    assert {tuple(row) for row in few.tolist()} <= {tuple(row) for row in more.tolist()}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_balanced_takes_the_first_of_each_class(labels, draw):
    """The oracle: deal out one of each class a round, in the order of the list."""
    limit = draw.draw(st.integers(1, len(labels)))
    rounds = {}
    for place, label in enumerate(labels):
        nth = sum(other == label for other in labels[:place])
        rounds.setdefault(nth, []).append(place)
    dealt = [place for nth in sorted(rounds) for place in rounds[nth]][:limit]
    assert balanced(torch.tensor(labels), limit).tolist() == sorted(dealt)


def test_what_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match=r"^name must be one of digits, cifar100; got 'mnist'. Choose"
    ):
        load_data("mnist")
    with pytest.raises(ValueError, match=r"^split must be one of train, test; got 'valid'. Choose"):
        load_data("digits", "valid")


@pytest.mark.parametrize("limit", [0, -1, 798, 10.0, True, "10"])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(
        ValueError, match=r"^limit must be a whole number from 1 to 797 images; got"
    ):
        load_data("digits", limit=limit)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        load_data("digits")


# A user's own

IMAGES, LABELS = torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 0])


def test_own_arrays_make_an_image_set():
    mine = ImageSet(IMAGES, LABELS, ("a", "b"))
    assert len(mine) == 3
    taken = mine.take(torch.tensor([1, 0]))
    assert taken.labels.tolist() == [1, 0]
    assert taken.classes == ("a", "b")
    assert len(ImageSet(IMAGES[:0], LABELS[:0], ())) == 0


@pytest.mark.parametrize(
    ("images", "labels", "classes", "sentence"),
    [
        (IMAGES.double(), LABELS, "ab", r"^images must be float32 .+ got torch.float64 .+ Convert"),
        (IMAGES[0], LABELS, "ab", r"^images must be float32 \[N, C, H, W\]; got .+ \[1, 2, 2\]"),
        (IMAGES, LABELS[:2], "ab", r"^labels must be int64 \[N\] with N = 3.+ got .+ \[2\]"),
        (IMAGES, LABELS.int(), "ab", r"^labels must be int64 .+ got torch.int32 .+ Convert"),
        (IMAGES, LABELS[:, None], "ab", r"^labels must be int64 .+ \[3, 1\]"),
        (IMAGES, LABELS, "a", r"^labels must be from 0 to 0, .+ got 0 to 1. Name every class"),
        (IMAGES, LABELS - 1, "ab", r"^labels must be from 0 to 1, .+ got -1 to 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, classes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImageSet(images, labels, tuple(classes))


def test_numpys_arrays_become_tensors_of_the_same_memory():
    images, labels = np.zeros((3, 1, 2, 2), np.float32), np.array([0, 1, 0])
    mine = ImageSet(images, labels, ("a", "b"))
    images[1], labels[2] = 7.0, 1
    assert float(mine.images[1].min()) == 7.0
    assert mine.labels.tolist() == [0, 1, 1]
    assert mine.take(torch.tensor([1])).images.dtype == torch.float32


@pytest.mark.parametrize("kind", ["uint8", "int32", ">i4", "uint64"])
def test_labels_may_be_any_whole_numbers(kind):
    mine = ImageSet(IMAGES.numpy(), LABELS.numpy().astype(kind), ("a", "b"))
    assert mine.labels.dtype == torch.int64
    assert mine.labels.tolist() == [0, 1, 0]


def test_a_label_beyond_int64_is_named_as_it_came():
    labels = np.array([0, 2**63 + 7, 1], np.uint64)
    with pytest.raises(ValueError, match=f"must be from 0 to 1, .+ got 0 to {2**63 + 7}. Name"):
        ImageSet(IMAGES, labels, ("a", "b"))


@pytest.mark.filterwarnings("error")
def test_arrays_that_torch_cannot_use_are_copied():
    images = np.arange(12, dtype=np.float32).reshape(3, 1, 2, 2)
    expected = images[:, :, ::-1].copy()
    images.flags.writeable = False
    for array in (images[:, :, ::-1], expected.astype(">f4")):
        assert np.array_equal(ImageSet(array, LABELS, ("a", "b")).images, expected)
    assert np.array_equal(ImageSet(images, LABELS, ("a", "b")).images, images)


@pytest.mark.parametrize(
    ("images", "labels", "error", "sentence"),
    [
        (np.zeros((3, 1, 2, 2)), LABELS, ValueError, r"^images in an array must be float32; got f"),
        (np.zeros((3, 1, 2, 2), "uint8"), LABELS, ValueError, r"uint8 .+astype\(np.float32\)\.$"),
        (np.zeros((3, 2, 2), "f4"), LABELS, ValueError, r"^images must be .+\[3, 2, 2\]\. Reshape"),
        (
            IMAGES,
            np.zeros(3),
            ValueError,
            r"^labels .+ must be integer; got float64 .+\(np.int64\)",
        ),
        (IMAGES, np.array(["a", "b", "a"]), ValueError, r"^labels .+ must be integer; got <U1"),
        (IMAGES, np.zeros(2, int), ValueError, r"^labels must be .+ N = 3.+\[2\]\. Give each"),
        (IMAGES, [0, 1, 0], TypeError, r"^labels must be of type Tensor; got list\. Give a tensor"),
        ([[0.0]], LABELS, TypeError, r"^images must be of type Tensor; got list\. Give a tensor"),
    ],
)
def test_arrays_of_other_kinds_are_refused(images, labels, error, sentence):
    with pytest.raises(error, match=sentence):
        ImageSet(images, labels, ("a", "b"))
