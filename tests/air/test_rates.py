import math

import pytest

from insitu_widgets import LARGE_MODELS, REFERENCE_RATES, required_rate_bps
from insitu_widgets.air.rates import (
    SUGGESTED,
    largest_fraction,
    parameter_counts,
    torchvision_parameters,
)

PAPER = {model.name: model.paper_parameters for model in LARGE_MODELS}


# The paper's section 4 and Fig. 4, to three digits


def test_vgg_at_a_fifth_within_a_second():
    assert f"{required_rate_bps(PAPER['VGG-16'], 0.2, 1.0) / 1e9:.3f}" == "0.864"


def test_vit_at_a_fifth_within_a_second():
    assert f"{required_rate_bps(PAPER['ViT-Large'], 0.2, 1.0) / 1e9:.3f}" == "1.965"


def test_the_whole_vit_within_a_second():
    assert f"{required_rate_bps(PAPER['ViT-Large'], 1.0, 1.0) / 1e9:.2f}" == "9.82"


def test_resnet_within_a_video_call_fits_the_6g_user_rate_up_to_27_per_cent():
    user = next(line.rate_bps for line in REFERENCE_RATES if line.name == "6G user")
    largest = user / required_rate_bps(PAPER["ResNet-50"], 1.0, 0.2)
    assert f"{largest:.3f}" == "0.272"
    assert required_rate_bps(PAPER["ResNet-50"], 0.271, 0.2) < user
    assert required_rate_bps(PAPER["ResNet-50"], 0.273, 0.2) > user


def test_to_the_bit():
    assert required_rate_bps(1000, 0.5, 0.25, bits=8) == 16_000.0
    assert required_rate_bps(1000, 0.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("num_parameters", v) for v in (0, -5, math.nan, math.inf, "23M")),
        *(("fraction", v) for v in (-0.1, 1.1, math.nan, None)),
        *(("latency_s", v) for v in (0, -1, math.nan, math.inf)),
        *(("bits", v) for v in (0, 65, 4.5, True, math.nan)),
    ],
)
def test_a_value_out_of_its_range_is_refused(field, value):
    usual = {"num_parameters": 1e6, "fraction": 0.5, "latency_s": 1.0, "bits": 32}
    with pytest.raises(
        ValueError, match=rf"^{field} must be .+ from .+ to .+; got .+ Give a value"
    ):
        required_rate_bps(**(usual | {field: value}))


# What it is held against


@pytest.mark.parametrize("model", LARGE_MODELS, ids=lambda model: model.name)
def test_the_exact_counts_are_torchvisions(model):
    assert torchvision_parameters(model.torchvision_name) == model.exact_parameters


@pytest.mark.parametrize("model", LARGE_MODELS, ids=lambda model: model.name)
def test_the_paper_rounds_what_torchvision_counts(model):
    assert model.paper_parameters == pytest.approx(model.exact_parameters, rel=0.11)


def test_the_counts_by_name():
    assert parameter_counts() == parameter_counts("paper") == PAPER
    assert PAPER == {"ResNet-50": 23e6, "VGG-16": 135e6, "ViT-Large": 307e6}
    assert parameter_counts("exact")["VGG-16"] == 138_357_544
    with pytest.raises(ValueError, match="counting must be one of paper, exact; got 'rounded'"):
        parameter_counts("rounded")


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet51", "resnet50"), ("ViT-B-16", "vit_b_16"), ("", "mobilenet_v3_small"),
     ("fcn_resnet50", "resnet50")],
)  # fmt: skip
def test_a_classifier_that_torchvision_lacks_is_refused_with_those_that_come_near(name, near):
    with pytest.raises(ValueError, match=rf"^name must be one of .+; got '{name}'\. Try .*{near}"):
        torchvision_parameters(name)


@pytest.mark.parametrize(
    ("name", "count"), [("mobilenet_v3_small", 2_542_856), ("swin_b", 87_768_224)]
)
def test_a_classifier_by_its_name(name, count):
    """The counts of torchvision's own documentation."""
    assert torchvision_parameters(name) == count


def test_every_suggestion_is_one():
    for name in SUGGESTED:
        assert torchvision_parameters(name) > 1e6


def test_the_largest_share_needs_the_whole_rate_or_is_everything():
    assert largest_fraction(PAPER["ResNet-50"], 1e9, 0.2) == pytest.approx(0.2717, abs=1e-4)
    assert largest_fraction(PAPER["ResNet-50"], 1e12, 0.2) == 1.0
    share = largest_fraction(PAPER["VGG-16"], 1e9, 1.0)
    assert required_rate_bps(PAPER["VGG-16"], share, 1.0) == pytest.approx(1e9)
    with pytest.raises(ValueError, match="rate_bps must be a number from 0 to"):
        largest_fraction(1e6, -1.0, 1.0)


def test_every_reference_line_says_where_it_is_written():
    rates = {line.name: line.rate_bps for line in REFERENCE_RATES}
    assert rates == {
        "5G user": 100e6,
        "6G user": 1e9,
        "3GPP download": 1.1e9,
        "5G peak": 20e9,
        "6G peak": 1e12,
    }
    for line in REFERENCE_RATES:
        assert any(word in line.source for word in ("ITU-R M.", "3GPP TS", "paper"))
