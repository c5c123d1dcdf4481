"""What the paper's section 4 says of required rates (its Fig. 4), beside our arithmetic.

Computed: parameters × 32 bit × share ÷ latency, as the paper counts. Shares, latencies and rates
in the sentences are the paper's; every number beside them is ours. Needs no torch.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from insitu_widgets.air.rates import (
    LARGE_MODELS,
    REFERENCE_RATES,
    largest_fraction,
    parameter_counts,
    required_rate_bps,
)
from insitu_widgets.network.claims import OPEN, Claim, verdict
from insitu_widgets.units import percent, quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Over-the-air latencies of section 4's applications (from the paper's reference [1]).
LATENCIES_S = IMAGE_S, CALL_S, TACTILE_S = 1.0, 0.2, 1e-3
#: The shares of which section 4 speaks: of VGG-16 and ViT-Large, and of ResNet for a call.
FIFTH, CALLS = 0.2, 0.3
#: Its small model, and the parameters of that one's classifier: 2,048 features, 1,000 classes.
SMALL, SMALL_HEAD = "ResNet-50", 2048 * 1000 + 1000
#: A count is the paper's if the paper is no further off than this.
CLOSE = 0.05
_RATE = {line.name: line.rate_bps for line in REFERENCE_RATES}


def claims(counting: str = "paper") -> tuple[Claim, ...]:
    """The sentences of section 4 that Fig. 4 stands for, each beside a number of ours.

    Parameters
    ----------
    counting
        Parameters by the ``"paper"``'s rounded counts, or torchvision's ``"exact"`` ones.

    Raises
    ------
    ValueError
        If ``counting`` is neither.
    """
    counts = parameter_counts(counting)
    return (
        _latencies(),
        _models(),
        _user_rate(),
        _resnet(counts[SMALL]),
        _vgg(counts["VGG-16"]),
        _whole_vit(counts["ViT-Large"]),
        _fifth_of_vit(counts["ViT-Large"]),
        _call(counts),
        _tactile(counts),
        _today(counts),
    )


def _latencies() -> Claim:
    asked = _RATE["3GPP download"]
    return Claim(
        "Image recognition, video call and tactile communications allow 1 s, 200 ms and 1 ms for "
        "downloading over the air.",
        f"3GPP for images: {quantity(asked * IMAGE_S / 8, 'B')} within {quantity(IMAGE_S, 's')}, "
        f"{_rate(asked)}.",
        OPEN,
        "From the paper's reference [1]: how late a model may come is not measured here.",
    )


def _models() -> Claim:
    off = {m: m.paper_parameters / m.exact_parameters - 1 for m in LARGE_MODELS}
    said = ", ".join(
        f"{model.name} {model.exact_parameters / 1e6:.1f} million ({_signed(share)})"
        for model, share in off.items()
    )
    headless = next(m.exact_parameters for m in LARGE_MODELS if m.name == SMALL) - SMALL_HEAD
    return Claim(
        "ResNet-50, VGG-16 and ViT-Large have 23, 135 and 307 million parameters.",
        f"Counted by torchvision (in brackets: how far the paper is off): {said}.",
        verdict([abs(share) <= CLOSE for share in off.values()]),
        f"The same is: within {percent(CLOSE, 0)}. Without its classifier {SMALL} has "
        f"{headless / 1e6:.1f} million.",
    )


def _user_rate() -> Claim:
    user, today = _RATE["6G user"], _RATE["5G user"]
    return Claim(
        "The user experienced rate is projected to reach 1 Gb/s in 6G.",
        f"{user / today:g} times the {_rate(today)} that ITU-R M.2410 asks of 5G.",
        OPEN,
        "A projection of the paper's reference [13]; the sentences below take it for granted.",
    )


def _resnet(count: int) -> Claim:
    needed, user = required_rate_bps(count, 1.0, IMAGE_S), _RATE["6G user"]
    return Claim(
        "Image recognition: ResNet-50 can be deployed with a link of the 6G user rate for any "
        "sub-model size.",
        f"The whole needs {_rate(needed)} of {_rate(user)}.",
        verdict([needed <= user]),
        "The rate is proportional to the size: where the whole fits, every smaller one does.",
    )


def _vgg(count: int) -> Claim:
    needed, user = required_rate_bps(count, FIFTH, IMAGE_S), _RATE["6G user"]
    most = largest_fraction(count, user, IMAGE_S)
    return Claim(
        "VGG-16 needs 80 % of its bits removed to cut the rate to 0.86 Gb/s.",
        f"{percent(FIFTH, 0)} need {_rate(needed)}; up to {percent(most)} fit {_rate(user)}.",
        verdict([_says(needed, "0.86"), needed <= user]),
        f"At least {percent(1 - most)} must go. Bits are not parameters: codes of "
        f"{int(32 * FIFTH)} bit keep every parameter and remove as much (scales not counted).",
    )


def _whole_vit(count: int) -> Claim:
    needed, user = required_rate_bps(count, 1.0, IMAGE_S), _RATE["6G user"]
    return Claim(
        "For ViT the user rate is insufficient: the full model requires up to 10 Gb/s.",
        f"The whole needs {_rate(needed)}, {needed / user:.1f} times the user rate.",
        verdict([_says(needed, "10"), needed > user]),
        "Rates are compared to the digits that the paper writes.",
    )


def _fifth_of_vit(count: int) -> Claim:
    needed, user = required_rate_bps(count, FIFTH, IMAGE_S), _RATE["6G user"]
    most = largest_fraction(count, user, IMAGE_S)
    return Claim(
        "Even 20 % of ViT requests 1.96 Gb/s, which exceeds the 6G user rate.",
        f"{percent(FIFTH, 0)} need {quantity(needed, 'bit/s', 4)}; up to {percent(most)} fit.",
        verdict([_says(needed, "1.96"), needed > user]),
        "Rates are compared to the digits that the paper writes; a smaller share does fit.",
    )


def _call(counts: Mapping[str, int]) -> Claim:
    user = _RATE["6G user"]
    small = required_rate_bps(counts[SMALL], CALLS, CALL_S)
    others = [name for name in _fit(counts, FIFTH, CALL_S, user) if name != SMALL]
    return Claim(
        "Video call: the user rate is too low except for ResNet compressed to about 30 %.",
        f"{percent(CALLS, 0)} of {SMALL} need {quantity(small, 'bit/s', 4)}; up to "
        f"{_most(counts, CALL_S, user)} fit {_rate(user)}.",
        verdict([small <= user, not others]),
        f"At {percent(CALLS, 0)} {SMALL} {'fits' if small <= user else 'does not fit'}. Too low "
        f"for the others is: not even {percent(FIFTH, 0)} of them fit.",
    )


def _tactile(counts: Mapping[str, int]) -> Claim:
    peak = _RATE["6G peak"]
    fit = {share: _fit(counts, share, TACTILE_S, peak) for share in (1.0, FIFTH)}
    return Claim(
        "Tactile communication: the peak rate is sufficient only for a small model like ResNet.",
        f"Whole: {_needs(counts, 1.0, TACTILE_S)}. At {percent(FIFTH, 0)}: "
        f"{_needs(counts, FIFTH, TACTILE_S)}. Of {_rate(peak)}.",
        verdict([names == [SMALL] for names in fit.values()]),
        f"What fits of whole models: {_names(fit[1.0])}; of models cut to {percent(FIFTH, 0)}, as "
        f"the paper cuts them for images: {_names(fit[FIFTH])}. A peak rate is a cell's, for one "
        "user alone.",
    )


def _today(counts: Mapping[str, int]) -> Claim:
    rate = _RATE["5G user"]
    most, name, latency_s = max(
        (largest_fraction(count, rate, latency_s), name, latency_s)
        for (name, count), latency_s in product(counts.items(), LATENCIES_S)
    )
    cases = len(counts) * len(LATENCIES_S)
    fitting = sum(len(_fit(counts, FIFTH, latency_s, rate)) for latency_s in LATENCIES_S)
    return Claim(
        "The 5G user rate (100 Mbps) fails in almost all cases.",
        f"{cases - fitting} of {cases} cases fail at {percent(FIFTH, 0)} of a model; the most that "
        f"fits is {percent(most)} of {name} within {quantity(latency_s, 's')}.",
        verdict([fitting <= 1]),
        f"A case is a model and an application, {percent(FIFTH, 0)} the smallest share of which "
        "the paper speaks; almost all is: all but one. Smaller sub-models do fit.",
    )


def _fit(counts: Mapping[str, int], share: float, latency_s: float, rate_bps: float) -> list[str]:
    """Which models fit a rate at a share of their size."""
    return [
        name
        for name, count in counts.items()
        if required_rate_bps(count, share, latency_s) <= rate_bps
    ]


def _needs(counts: Mapping[str, int], share: float, latency_s: float) -> str:
    rates = {name: required_rate_bps(count, share, latency_s) for name, count in counts.items()}
    return ", ".join(f"{name} {_rate(rate)}" for name, rate in rates.items())


def _most(counts: Mapping[str, int], latency_s: float, rate_bps: float) -> str:
    most = {name: largest_fraction(count, rate_bps, latency_s) for name, count in counts.items()}
    return ", ".join(f"{percent(share)} of {name}" for name, share in most.items())


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _says(rate_bps: float, stated: str) -> bool:
    """Whether a rate is what the paper states in Gb/s, to the digits that it writes."""
    digits = len(stated.partition(".")[2])
    return f"{rate_bps / 1e9:.{digits}f}" == stated


def _rate(rate_bps: float) -> str:
    return quantity(rate_bps, "bit/s")


def _signed(share: float) -> str:
    return f"{100 * share:+.0f} %".replace("-", "\N{MINUS SIGN}")
