"""Fig. 3 from a catalogue: which points, how large, and what the sentences are held against."""

from dataclasses import replace

import pytest

from insitu_widgets import Catalogue, Measurement, Recipe
from insitu_widgets.levels.recipe import BITS
from insitu_widgets.network import fig3
from insitu_widgets.network.catalogue import load_finest
from insitu_widgets.network.claims import FAILS, HOLDS, OPEN, PARTLY
from insitu_widgets.network.grids import KEEPS
from tests.conftest import DIGITS_ROOTS

NAME = "vgg-digits"


@pytest.fixture(scope="module", params=DIGITS_ROOTS)
def shipped(request):
    return request.param, load_finest(request.param)


def row(recipe, accuracy, error_rate=0.0, guard="none", *, size=1000, count=100, images=797):
    return Measurement(recipe, error_rate, guard, size, count, accuracy, 0.0, 1.0, images, 1)


def claim(rows, start):
    return next(c for c in fig3.claims(Catalogue(rows), NAME) if c.sentence.startswith(start))


def test_each_level_changes_one_thing(shipped):
    name, catalogue = shipped
    depth = [Recipe(name, exit_) for exit_ in range(1, 7)]
    assert fig3.ladder(catalogue, name, "depth") == tuple(depth)
    parameter = [Recipe(name, keep=keep) for keep in sorted(KEEPS)]
    assert fig3.ladder(catalogue, name, "parameter") == tuple(parameter)
    bit = [Recipe(name, bits=bits) for bits in BITS if bits <= 8]
    assert fig3.ladder(catalogue, name, "bit") == tuple(bit)
    mixed = [Recipe(name, bits=bits, mixed=True) for bits in (2, 3, 4)]
    assert fig3.ladder(catalogue, name, fig3.MIXED) == tuple(mixed)


@pytest.mark.parametrize("level", fig3.LEVELS)
@pytest.mark.parametrize("count", fig3.COUNTS)
@pytest.mark.parametrize("against", [4, 32])
def test_the_largest_is_the_reference_and_sizes_ascend(shipped, level, count, against):
    name, catalogue = shipped
    found = fig3.spots(catalogue, name, level, count=count, against=against)
    sizes = [spot.size for spot in found]
    assert sizes == sorted(sizes)
    assert 0 < sizes[0] <= sizes[-1] <= 1
    if level != "bit" or against == 4:
        assert found[-1].row.recipe == fig3.reference(name, level)
        assert sizes[-1] == 1.0


def test_the_papers_count_is_parameters_times_bits():
    whole, half = Recipe(NAME, bits=4), Recipe(NAME, bits=2)
    rows = [row(whole, 0.9, size=1000, count=100), row(half, 0.8, size=700, count=100)]
    mine, paper = (fig3.spots(Catalogue(rows), NAME, "bit", count=c) for c in fig3.COUNTS)
    assert [spot.size for spot in mine] == [0.7, 1.0]
    assert [spot.size for spot in paper] == [0.5, 1.0]


def test_nothing_is_interpolated(shipped):
    name, catalogue = shipped
    assert fig3.measured(catalogue, Recipe(name), 5e-4, "zero") is None
    assert fig3.spots(catalogue, name, "depth", (5e-4, "zero")) == ()
    for spot in fig3.spots(catalogue, name, "depth", (1e-3, "zero")):
        assert (spot.row.bit_error_rate, spot.row.guard) == (1e-3, "zero")


def test_a_loss_is_the_mean_over_what_is_any_good():
    exits = Recipe(NAME, 1), Recipe(NAME, 2), Recipe(NAME)
    clean, noisy = (0.1, 0.8, 0.9), (0.1, 0.7, 0.6)
    rows = [row(recipe, share) for recipe, share in zip(exits, clean, strict=True)]
    rows += [row(recipe, share, 1e-3, "zero") for recipe, share in zip(exits, noisy, strict=True)]
    loss = fig3.loss_at(Catalogue(rows), NAME, "depth", (1e-3, "zero"))
    assert loss == pytest.approx((0.1 + 0.3) / 2)
    assert fig3.loss_at(Catalogue(rows), NAME, "depth", (1e-2, "zero")) is None


def test_every_sentence_has_a_number_and_a_verdict(shipped):
    name, catalogue = shipped
    found = fig3.claims(catalogue, name)
    assert len(found) == 5
    for each in found:
        assert each.verdict in {HOLDS, PARTLY, FAILS}
        assert any(sign.isdigit() for sign in each.number)
        assert each.why.endswith(".")


def test_without_measurements_nothing_is_claimed():
    verdicts = [each.verdict for each in fig3.claims(Catalogue(()), NAME)]
    assert verdicts[1:] == [OPEN] * 4


@pytest.mark.parametrize(
    ("raw", "guarded", "verdict"),
    [(0.1, 0.89, PARTLY), (0.885, 0.89, HOLDS), (0.1, 0.8, FAILS)],
)
def test_the_verdict_on_the_papers_rate_follows_the_numbers(raw, guarded, verdict):
    whole = Recipe(NAME)
    rows = [row(whole, 0.9), row(whole, raw, 1e-3), row(whole, guarded, 1e-3, "zero")]
    said = claim(rows, "A bit-error rate of 10⁻³")
    assert said.verdict == verdict
    assert (
        f"float32 without guard {100 * (raw - 0.9):+.1f} points".replace("-", "\N{MINUS SIGN}")
        in said.number
    )


def test_it_says_which_receiver_makes_the_papers_rate_true_of_what():
    """The whole root with zero and as 8-bit codes; a weak exit spoils the mean, not the root."""
    whole, exit_, codes = Recipe(NAME), Recipe(NAME, 1), Recipe(NAME, bits=8)
    rows = [row(whole, 0.9), row(exit_, 0.6), row(codes, 0.9), row(codes, 0.899, 1e-3)]
    rows += [row(whole, 0.885, 1e-3, "zero"), row(exit_, 0.5, 1e-3, "zero")]
    rows += [row(whole, 0.1, 1e-3), row(exit_, 0.1, 1e-3)]
    half = Recipe(NAME, keep=0.5)
    rows += [row(half, 0.8), row(half, 0.6, 1e-3, "zero")]
    said = claim(rows, "A bit-error rate of 10⁻³")
    assert said.verdict == PARTLY
    minus = "\N{MINUS SIGN}"
    assert f"float32 with zero {minus}1.5 points, 8 bit {minus}0.1 points." in said.number
    assert f"depth with zero {minus}5.8 points" in said.number
    assert "the whole root: float32 with zero, 8 bit; useful sub-models (mean): none." in said.why
    others = [replace(each, images=100) for each in rows if each.bit_error_rate]
    clean = [each for each in rows if not each.bit_error_rate]
    assert claim(clean + others, "A bit-error rate of 10⁻³").verdict == OPEN


def test_robust_against_compression_is_asked_of_the_best_small_one():
    whole = row(Recipe(NAME), 0.9)
    half = row(Recipe(NAME, keep=0.5), 0.89, size=550)
    tenth = row(Recipe(NAME, keep=0.1), 0.3, size=100)
    assert claim([whole, half, tenth], "All techniques").verdict == HOLDS
    worse = replace(half, accuracy=0.8)
    assert claim([whole, worse, tenth], "All techniques").verdict == FAILS
    assert (
        "parameter \N{MINUS SIGN}10.0 points at 55 %"
        in claim([whole, worse], "All techniques").number
    )


def test_the_bit_level_is_the_better_of_one_width_and_mixed_ones_on_the_same_images():
    codes = [row(Recipe(NAME, bits=4), 0.9), row(Recipe(NAME, bits=2), 0.3, size=510)]
    mixed = row(Recipe(NAME, bits=2, mixed=True), 0.89, size=500)
    said = claim([*codes, mixed], "All techniques")
    assert said.number == "bit, mixed \N{MINUS SIGN}1.0 points at 50 %."
    assert said.verdict == HOLDS
    assert "Left out" not in said.why
    fewer = claim([*codes, replace(mixed, images=100)], "All techniques")
    assert fewer.number == "bit \N{MINUS SIGN}60.0 points at 51 %."
    assert fewer.verdict == FAILS
    assert fewer.why.endswith(f"{mixed.recipe.cut} (100 images).")


def test_mixed_codes_stand_against_the_papers_four_bit_model():
    whole, mixed = Recipe(NAME, bits=4), Recipe(NAME, bits=3, mixed=True)
    rows = [row(whole, 0.9), row(mixed, 0.9, size=760), row(mixed, 0.7, 1e-3, size=760)]
    (spot,) = fig3.spots(Catalogue(rows), NAME, fig3.MIXED)
    assert (spot.size, spot.row.recipe) == (0.76, mixed)
    loss = fig3.loss_at(Catalogue(rows), NAME, fig3.MIXED, (1e-3, "none"))
    assert loss == pytest.approx(0.2)
    assert fig3.loss_at(Catalogue(rows), NAME, "bit", (1e-3, "none")) is None


def test_the_harmless_rate_is_the_highest_measured_one():
    whole = Recipe(NAME)
    rows = [row(whole, 0.9), *(row(whole, 0.9, rate, "zero") for rate in (1e-5, 1e-4))]
    rows += [row(whole, 0.5, 1e-3, "zero"), row(whole, 0.1, 1e-5), row(whole, 0.1, 1e-4)]
    said = claim(rows, "Ultra-reliable")
    assert "float32 without guard below 10⁻⁵; float32 with zero 10⁻⁴" in said.number
    assert said.verdict == PARTLY
