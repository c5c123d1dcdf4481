"""The sentences on the paper's Fig. 4 as a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insitu_widgets.explorer.course.claims_table import claims_table
from insitu_widgets.explorer.panels import Panel, Picture, choice
from insitu_widgets.network.fig4 import claims

if TYPE_CHECKING:
    from collections.abc import Iterator


def fig4_panel() -> Panel:
    """Section 4's sentences on required rates, each beside a number and a verdict."""
    counts = [("the paper's counts", "paper"), ("exact counts", "exact")]
    return Panel(
        "Rates: the paper's sentences on its Fig. 4",
        "Computed: parameters × 32 bit × share ÷ latency, without masks, scales, headers and "
        "delay. Nothing here is measured; shares and latencies are the paper's.",
        {"counting": choice("Parameters", counts)},
        _steps,
    )


def _steps(counting: str) -> Iterator[Picture]:
    yield Picture(words=claims_table(claims(counting), f"computed: {counting} counts"))
