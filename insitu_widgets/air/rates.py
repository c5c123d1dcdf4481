"""Required rates (paper, section 4 and Fig. 4), and the lines they are held against."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from insitu_widgets.errors import in_range, one_of


def required_rate_bps(
    num_parameters: float, fraction: float, latency_s: float, bits: int = 32
) -> float:
    """Rate at which a fraction of a model arrives within the latency (paper, Fig. 4).

    ``num_parameters · bits · fraction / latency_s``: the paper's own count, parameters only, no
    mask, scale or header. A fraction of 0 needs no rate: 0 bit/s.

    Examples
    --------
    >>> required_rate_bps(135_000_000, 0.2, 1.0) / 1e9  # VGG-16 at 20 %, as the paper says
    0.864

    Raises
    ------
    ValueError
        For a value out of its range.
    """
    in_range("num_parameters", num_parameters, 1.0, 1e15)
    in_range("fraction", fraction, 0.0, 1.0)
    in_range("latency_s", latency_s, 1e-9, 1e9, "s")
    in_range("bits", bits, 1, 64)
    return num_parameters * bits * fraction / latency_s


@dataclass(frozen=True)
class LargeModel:
    """One of the paper's three models: its rounded count, and torchvision's exact one."""

    name: str
    torchvision_name: str
    paper_parameters: int
    exact_parameters: int


#: Paper, section 4; the exact counts are torchvision's (a test counts them on the meta device).
LARGE_MODELS = (
    LargeModel("ResNet-50", "resnet50", 23_000_000, 25_557_032),
    LargeModel("VGG-16", "vgg16", 135_000_000, 138_357_544),
    LargeModel("ViT-Large", "vit_l_16", 307_000_000, 304_326_632),
)


def parameter_counts(counting: str = "paper") -> dict[str, int]:
    """Parameters of the three large models, by the ``"paper"``'s count or the ``"exact"`` one."""
    one_of("counting", counting, ("paper", "exact"))
    return {
        model.name: model.paper_parameters if counting == "paper" else model.exact_parameters
        for model in LARGE_MODELS
    }


#: Classifiers of torchvision of several sizes, to begin with.
SUGGESTED = ("mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "swin_b", "vit_h_14")


def largest_fraction(
    num_parameters: float, rate_bps: float, latency_s: float, bits: int = 32
) -> float:
    """The largest share of a model that a link brings within the latency; at most 1."""
    in_range("rate_bps", rate_bps, 0.0, 1e18, "bit/s")
    return min(1.0, rate_bps / required_rate_bps(num_parameters, 1.0, latency_s, bits))


def torchvision_parameters(name: str) -> int:
    """Count the parameters of one of torchvision's classifiers, on the meta device (no memory).

    Raises
    ------
    ValueError
        If torchvision has no classifier of that name, with the names that come near.
    """
    import torch  # noqa: PLC0415  (this module belongs to the cheap tier)

    from insitu_widgets import vision  # noqa: F401, PLC0415  (makes torchvision importable)

    import torchvision.models  # isort: skip  # noqa: PLC0415
    from torchvision.models import get_model, list_models  # isort: skip  # noqa: PLC0415

    known = list_models(module=torchvision.models)
    if name not in known:
        near = get_close_matches(str(name).lower().replace("-", "_"), known, 4, 0.4)
        msg = (
            f"name must be one of torchvision's {len(known)} classifiers; got {name!r}. Try "
            f"{', '.join(near or SUGGESTED)}, or another of torchvision.models.list_models()."
        )
        raise ValueError(msg)
    with torch.device("meta"):
        model = get_model(name)
    return sum(parameter.numel() for parameter in model.parameters())


@dataclass(frozen=True)
class ReferenceRate:
    """A rate that a network promises or a service needs, with the place where it is written."""

    name: str
    rate_bps: float
    source: str


#: Lines of the rate figure.
REFERENCE_RATES = (
    ReferenceRate("5G user", 100e6, "IMT-2020 user experienced rate, downlink: ITU-R M.2410"),
    ReferenceRate("6G user", 1e9, "paper, section 4 (its reference [13])"),
    ReferenceRate("3GPP download", 1.1e9, "138 MByte within 1 s: 3GPP TS 22.261, table 7.10.1-2"),
    ReferenceRate("5G peak", 20e9, "IMT-2020 peak rate, downlink: ITU-R M.2410"),
    ReferenceRate("6G peak", 1e12, "implied by the paper, section 4 (its reference [13])"),
)
