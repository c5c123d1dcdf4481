import math
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from insitu_widgets import ROOTS, Recipe
from insitu_widgets.levels.recipe import BITS, MIXED_BITS
from tests.conftest import DIGITS_ROOTS

cuts = (
    st.sampled_from(["my own root", *DIGITS_ROOTS, "vgg-digits-nested"]),
    st.none() | st.integers(1, 6),
    st.floats(0, 1, exclude_min=True),
)
recipes = st.builds(Recipe, *cuts, st.sampled_from(BITS)) | st.builds(
    Recipe, *cuts, st.sampled_from(MIXED_BITS), st.just(True)
)
norms = st.sampled_from(["my own root", "resnet-digits", "vgg-digits", "vgg-digits-nested"])
recipes |= st.builds(
    Recipe, norms, *cuts[1:], st.sampled_from(MIXED_BITS), st.booleans(), st.just(True)
)


def test_the_name_alone_is_the_whole_root():
    assert Recipe("resnet-digits") == Recipe("resnet-digits", exit=None, keep=1.0, bits=32)


def test_its_text_is_the_legend():
    assert str(Recipe("resnet-digits", 3, 0.2, 4)) == "resnet-digits · exit 3 · keep 20 % · 4 bit"
    assert str(Recipe("x", keep=0.055)) == "x · last exit · keep 5.5 % · 32 bit"
    assert str(Recipe("x", 1, bits=3, mixed=True)) == "x · exit 1 · keep 100 % · 3 bit mixed"
    again = Recipe("x", 1, bits=3, mixed=True, recalibrated=True)
    assert str(again) == "x · exit 1 · keep 100 % · 3 bit mixed · recalibrated"
    assert again.cut == "exit 1 · keep 100 % · 3 bit mixed · recalibrated"


def test_without_its_root_it_tells_all_in_one_weights():
    assert Recipe("vgg-digits", 3, 0.2, 4).cut == "exit 3 · keep 20 % · 4 bit"
    nested = Recipe("vgg-digits-nested", 3, 0.2, 4, mixed=True)
    assert nested.cut == "all-in-one · exit 3 · keep 20 % · 4 bit mixed"


@given(recipes)
@example(Recipe("x", keep=1 / 3))
@example(Recipe("x", keep=1e-7))
def test_its_text_reads_back_to_the_last_digit(recipe):
    assert Recipe.parse(str(recipe)) == recipe


@given(recipes, recipes)
def test_two_recipes_never_share_a_text(a, b):
    assert (str(a) == str(b)) == (a == b)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resnet-digits",
        "resnet-digits · exit 3 · keep 20 · 4 bit",
        "resnet-digits · exit x · keep 20 % · 4 bit",
        "resnet-digits · exit 3 · keep e % · 4 bit",
        "resnet-digits · exit 3 · keep 2.0.0 % · 4 bit",
        "resnet-digits · exit 3 · keep 20 % · 4 bit ",
        "resnet-digits · exit 3 · keep 20 % · 4 bit mix",
        "resnet-digits · exit 3 · keep 20 % · 4 mixed",
        "resnet-digits · exit 3 · keep 20 % · 4 bit recalibrated",
    ],
)
def test_a_text_that_is_no_recipe_says_how_one_reads(text):
    with pytest.raises(ValueError, match=r"recipe must read like .+ got .+ Copy one from str"):
        Recipe.parse(text)


def test_one_sub_model_has_one_key():
    for name, card in ROOTS.items():
        last = Recipe(name, exit=card.num_exits)
        assert last == Recipe(name)
        assert hash(last) == hash(Recipe(name))
    assert Recipe("x", keep=1) == Recipe("x", keep=1.0)
    assert str(Recipe("x", keep=1)) == str(Recipe("x", keep=1.0))


def test_it_is_ordered_by_what_it_keeps():
    ladder = [
        Recipe("a", 1),
        Recipe("a", 2, 0.1),
        Recipe("a", 2, 0.5, 4),
        Recipe("a", 2, 0.5, 4, recalibrated=True),
        Recipe("a", 2, 0.5, 4, mixed=True),
        Recipe("a", 2, 0.5, 8),
        Recipe("a"),
        Recipe("b", 1, 0.1, 1),
    ]
    assert sorted([*ladder[4:], *ladder[:4]]) == ladder
    assert ladder[0] < ladder[-1]
    assert ladder[-1] >= ladder[0]
    with pytest.raises(TypeError):
        assert ladder[0] < "a"


@given(recipes)
def test_it_is_a_value(recipe):
    again = pickle.loads(pickle.dumps(recipe))  # noqa: S301  (our own bytes)
    assert again == recipe
    assert hash(again) == hash(recipe)
    with pytest.raises(AttributeError):
        recipe.bits = 4


@pytest.mark.parametrize("bits", [0, 9, 64, -1, 4.0, True, "4", None, math.nan, [4]])
def test_bits_are_one_of_a_list(bits):
    with pytest.raises(ValueError, match=r"^bits must be one of 1, 2, .+, 32; got .+ Choose one"):
        Recipe("x", bits=bits)


@pytest.mark.parametrize("bits", [1, 16, 32])
def test_mixed_bits_are_an_average_of_codes(bits):
    with pytest.raises(
        ValueError, match=rf"^bits of a mixed recipe must be one of 2, 3, .+; got {bits}\. .*=False"
    ):
        Recipe("x", bits=bits, mixed=True)
    assert Recipe("x", bits=bits).widths == (bits,)
    assert Recipe("x", bits=2, mixed=True).widths == (1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("field", ["mixed", "recalibrated"])
@pytest.mark.parametrize("value", [1, 0, None, "mixed"])
def test_a_flag_is_yes_or_no(field, value):
    with pytest.raises(ValueError, match=rf"^{field} must be True or False; got .+\. Give one"):
        Recipe("x", bits=4, **{field: value})


@pytest.mark.parametrize("name", ["vit-digits", "vit-cifar100", "vit-digits-nested"])
def test_what_has_layer_norms_has_nothing_to_recalibrate(name):
    with pytest.raises(ValueError, match=rf"^recalibrated must be False for {name}; got True\."):
        Recipe(name, recalibrated=True)


def test_a_text_that_is_mixed_and_cannot_be_says_why():
    with pytest.raises(ValueError, match="bits of a mixed recipe must be one of"):
        Recipe.parse("resnet-digits · exit 3 · keep 20 % · 16 bit mixed")


@pytest.mark.parametrize("keep", [0, 0.0, -0.1, 1.0001, math.inf, math.nan, "0.5", None, True])
def test_keep_is_a_fraction_above_zero(keep):
    with pytest.raises(ValueError, match=r"^keep must be .+; got .+\. \w+"):
        Recipe("x", keep=keep)


@pytest.mark.parametrize("exit_", [0, -1, 7, 2.0, 1.5, True, "2", math.nan, 10**400])
def test_exit_is_one_of_the_roots(exit_):
    with pytest.raises(
        ValueError, match=r"^exit of resnet-digits must be a whole number from 1 to 6"
    ):
        Recipe("resnet-digits", exit=exit_)


def test_a_users_own_root_may_have_more_exits():
    assert Recipe("mine", exit=500).exit == 500
    with pytest.raises(ValueError, match="from 1 to 1000"):
        Recipe("mine", exit=1001)


@pytest.mark.parametrize("name", ["", None, 3])
def test_the_root_is_named(name):
    with pytest.raises(ValueError, match=r"^root must be a root's name; got .+ Try one of resnet"):
        Recipe(name)
