"""The sentences on Fig. 4, recomputed from the paper's counts without the package's arithmetic."""

import re
from itertools import product

import pytest

from insitu_widgets.network import fig4
from insitu_widgets.network.claims import FAILS, HOLDS, OPEN, PARTLY, verdict

#: Section 4: millions of parameters, 32 bit each.
MBIT = {"ResNet-50": 23 * 32, "VGG-16": 135 * 32, "ViT-Large": 307 * 32}


def claim(start, counting="paper"):
    (found,) = (c for c in fig4.claims(counting) if c.sentence.startswith(start))
    return found


def numbers(text):
    return [float(number) for number in re.findall(r"(?<![-\d.])\d+(?:\.\d+)?(?= )", text)]


def test_a_verdict_needs_all_its_parts():
    assert verdict([]) == OPEN
    assert verdict([True, True]) == HOLDS
    assert verdict([True, False]) == PARTLY
    assert verdict([False]) == FAILS


@pytest.mark.parametrize("counting", ["paper", "exact"])
def test_every_sentence_has_a_number_a_verdict_and_a_reason(counting):
    found = fig4.claims(counting)
    assert len({each.sentence for each in found}) == len(found) == 10
    for each in found:
        assert each.verdict in {HOLDS, PARTLY, FAILS, OPEN}
        assert numbers(each.number)
        assert each.number.endswith(".")
        assert each.why.endswith(".")
    with pytest.raises(ValueError, match="counting must be one of paper, exact"):
        fig4.claims("rounded")


def test_what_the_paper_takes_from_elsewhere_is_not_measured():
    assert claim("Image recognition, video call").verdict == OPEN
    assert claim("The user experienced rate is projected").verdict == OPEN
    assert numbers(claim("The user experienced").number) == [10, 100]


def test_one_of_the_three_counts_is_not_torchvisions():
    said = claim("ResNet-50, VGG-16 and ViT-Large")
    exact = (25_557_032, 138_357_544, 304_326_632)
    off = [
        millions * 1e6 / count - 1 for millions, count in zip((23, 135, 307), exact, strict=True)
    ]
    for count, share in zip(exact, off, strict=True):
        signed = f"{100 * share:+.0f} %".replace("-", "\N{MINUS SIGN}")
        assert f"{count / 1e6:.1f} million ({signed})" in said.number
    assert [abs(share) < 0.05 for share in off] == [False, True, True]
    assert said.verdict == PARTLY
    assert f"{(exact[0] - 2_049_000) / 1e6:.1f} million" in said.why


def test_images_within_a_second():
    resnet, vgg = claim("Image recognition: ResNet-50"), claim("VGG-16 needs 80 %")
    whole, fifth = claim("For ViT the user rate"), claim("Even 20 % of ViT")
    assert resnet.number == f"The whole needs {MBIT['ResNet-50']} Mbit/s of 1 Gbit/s."
    most = 1000 / MBIT["VGG-16"]
    assert numbers(vgg.number) == [20, MBIT["VGG-16"] / 5, round(100 * most, 1), 1]
    assert f"{100 * (1 - most):.1f} % must go" in vgg.why
    assert numbers(whole.number)[0] == round(MBIT["ViT-Large"] / 1000, 2)
    assert numbers(fifth.number)[:2] == [20, round(MBIT["ViT-Large"] / 5000, 3)]
    assert {each.verdict for each in (resnet, vgg, whole, fifth)} == {HOLDS}


def test_with_exact_counts_two_stated_rates_are_others():
    """138.4 and 304.3 million give 0.885 and 1.948 Gb/s; the paper writes 0.86 and 1.96."""
    before = {each.sentence: each.verdict for each in fig4.claims()}
    after = {each.sentence: each.verdict for each in fig4.claims("exact")}
    changed = [sentence for sentence in before if before[sentence] != after[sentence]]
    assert [sentence[:6] for sentence in changed] == ["VGG-16", "Even 2"]
    assert {after[sentence] for sentence in changed} == {PARTLY}


def test_a_call_takes_less_of_a_resnet_than_the_paper_says():
    said = claim("Video call")
    shares = [round(100 * 0.2 * 1000 / mbit, 1) for mbit in MBIT.values()]
    needed = 0.3 * MBIT["ResNet-50"] / 0.2 / 1000
    assert needed > 1
    assert numbers(said.number) == [30, round(needed, 3), *shares, 1]
    assert said.verdict == PARTLY
    assert "ResNet-50 does not fit" in said.why


def test_within_a_millisecond_a_fifth_of_vgg_fits_the_peak_too():
    said = claim("Tactile")
    gbit = [share * mbit for share, mbit in product((1, 0.2), MBIT.values())]  # Mbit in 1 ms
    assert [rate <= 1000 for rate in gbit] == [True, False, False, True, True, False]
    for name, rate in zip([*MBIT, *MBIT], gbit, strict=True):
        unit = f"{rate:.0f} Gbit/s" if rate < 1000 else f"{float(f'{rate:.3g}') / 1000:g} Tbit/s"
        assert f"{name} {unit}" in said.number
    assert said.verdict == PARTLY
    assert "whole models: ResNet-50; " in said.why
    assert "for images: ResNet-50, VGG-16." in said.why


def test_with_5g_not_a_fifth_of_any_model_comes_in_time():
    said = claim("The 5G user rate")
    shares = [100 * s / mbit for mbit, s in product(MBIT.values(), (1, 0.2, 0.001))]
    assert sum(share >= 0.2 for share in shares) == 0
    assert said.number.startswith("9 of 9 cases")
    assert f"{100 * max(shares):.1f} % of ResNet-50 within 1 s" in said.number
    assert said.verdict == HOLDS


def test_the_verdicts_follow_the_reference_rates(monkeypatch):
    faster = {**fig4._RATE, "6G user": 2e9, "6G peak": 1e10, "5G user": 1e9}
    monkeypatch.setattr(fig4, "_RATE", faster)
    assert claim("Video call").verdict == HOLDS
    assert claim("Even 20 %").verdict == PARTLY
    assert claim("Tactile").verdict == FAILS
    assert claim("The 5G user rate").verdict == FAILS
