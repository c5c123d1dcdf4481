"""The paper's sentences beside our numbers, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insitu_widgets.explorer.words import html_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from insitu_widgets.network.claims import Claim


def claims_table(claims: Iterable[Claim], numbers: str) -> str:
    """Sentence, number, verdict and reason, one row a claim (HTML); ``numbers`` says whose."""
    rows = [(claim.sentence, claim.number, claim.verdict, claim.why) for claim in claims]
    table = html_table(("the paper's section 4", numbers, "verdict", "why"), rows)
    return table.replace("<table>", '<table class="insitu-sentences">', 1)
