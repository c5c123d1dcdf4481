"""The dashboard: controls, five pictures, one sentence."""

from __future__ import annotations

import math
import time
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import ipywidgets as widgets

from insitu_widgets.errors import of_type
from insitu_widgets.explorer import bars, controls, figures, words
from insitu_widgets.explorer.charts import Charts, widget_thread
from insitu_widgets.explorer.runner import Inline, Latest
from insitu_widgets.explorer.state import Explorer
from insitu_widgets.network.permalink import from_query
from insitu_widgets.network.situation import Situation, candidates

if TYPE_CHECKING:
    from collections.abc import Callable

    from insitu_widgets.data import ImageSet
    from insitu_widgets.network.catalogue import Catalogue
    from insitu_widgets.roots import Root

#: Seconds after which measuring starts even if no page has said hello (a pre-heated kernel).
PATIENCE_S = 4.0
TITLES = {
    "accuracy": "Accuracy against sub-model size",
    "rates": "Rate that large models would need",
    "errors": "Accuracy against bit-error rate",
    "bits": "Where the bits went, and when they arrive",
}
#: What was measured is drawn when the sliders have rested so long, and all that comes within some
#: 20 ms at once: a slider that moves on would have to wait behind each of these drawings.
REST_S, GATHER_S = 0.25, 0.02
#: Where an address belongs to the application (JupyterLab), a state is told as code.
_IMPORT = "from insitu_widgets.network.permalink import from_query"
#: Charts that show the measurement, and so are stale while it is.
_LIVE = ("accuracy", "errors", "bits")
_CHEAP = ["situation", "decision", "notice"]
_MEASURED = ["delivery", "answers", "estimate", "points", "stale", "done", "problems"]


class Board(widgets.HBox):
    """The page as one widget, with the state that it shows and the charts that it draws."""

    def __init__(self, explorer: Explorer, charts: Charts, children: list[widgets.Widget]) -> None:
        self.explorer, self.charts = explorer, charts
        super().__init__(children)
        self.add_class("insitu")


def dashboard(explorer: Explorer | Situation | None = None) -> Board:
    """The whole dashboard. In a notebook, a cell that ends with it shows it.

    Parameters
    ----------
    explorer
        A state to show and to drive, or a situation to start from; a new one where none is given.

    Returns
    -------
    Board
        The page: controls on the left, answers on the right.

    Raises
    ------
    TypeError
        For anything else.
    """
    return _Page(explorer).view


def own_panel(root: Root, images: ImageSet, catalogue: Catalogue | None = None) -> widgets.HBox:
    """The dashboard on a root of your own, with its images and what was measured of it.

    Raises
    ------
    ValueError
        As :class:`Explorer` does.
    """
    return _Page(None, root=root, images=images, catalogue=catalogue).view


class _Page:
    """Draws an explorer and keeps it drawn."""

    def __init__(self, explorer: Explorer | Situation | None, **own: Any) -> None:
        self._post, self._later = widget_thread()
        runner = Latest(self._post) if self._later else Inline()
        if isinstance(explorer, Situation | None):
            explorer = Explorer(explorer, runner, measuring=not self._later, **own)
        of_type("explorer", explorer, Explorer, "Give Explorer(…) or Situation(…), or nothing.")
        self.explorer = explorer
        self._drawing = self._gathering = self._fresh = False
        self._moved_s = -math.inf
        self._controls = controls.Controls(self.explorer, self._post)
        self._charts = Charts()
        self._charts.on_msg(self._hear)
        # Apart, so that none is made anew, and read out again, because another changes.
        self._notice, self._sentence, self._tiles = widgets.HTML(), widgets.HTML(), widgets.HTML()
        title = widgets.HTML("<h1>In-situ model downloading</h1>")
        head = [title, self._notice, self._sentence.add_class("insitu-told"), self._tiles]
        self._strip = widgets.HTML().add_class("insitu-images")
        self._links = widgets.HTML().add_class("insitu-links")
        theme = widgets.Dropdown(
            description="Theme",
            options=["auto", "light", "dark"],
            layout={"width": "136px"},
            style={"description_width": "44px"},
            tooltip="Theme",
        ).add_class("insitu-theme")
        theme.observe(lambda change: self._charts.set_trait("theme", change["new"]), "value")
        buttons = widgets.HBox([self._controls.again, self._controls.reset, theme])
        left = widgets.VBox([*self._controls.column, buttons, self._links])
        top = widgets.VBox(head).add_class("insitu-head")
        right = widgets.VBox([top, self._charts, self._strip])
        sides = [left.add_class("insitu-controls"), right.add_class("insitu-answers")]
        self.view = Board(self.explorer, self._charts, sides)
        self._draw()
        self.explorer.observe(lambda _: self._draw_soon(), _CHEAP)
        self.explorer.observe(lambda _: self._gather(), _MEASURED)
        if self._later:
            self._later(PATIENCE_S, self.explorer.measure)

    def _draw_soon(self) -> None:
        self._moved_s = time.monotonic()
        if not self._drawing:  # many traits change in one go; the page is drawn once for them all
            self._drawing = True
            self._post(self._draw)

    def _gather(self) -> None:
        self._fresh = False
        self._draw_later()

    def _draw_later(self) -> None:
        if self._later is None:
            self._draw_gathered()
        elif not self._gathering:
            self._gathering = True
            self._later(GATHER_S, self._draw_gathered)

    def _draw_gathered(self) -> None:
        wait_s = self._moved_s + REST_S - time.monotonic()
        if self._later and wait_s > 0:
            self._later(wait_s, self._draw_gathered)
            return
        self._gathering = False
        if self._fresh:
            self._links.value = _links(self.explorer)  # half as long as all charts: after them
            self._links.remove_class("insitu-faded")
        else:
            self._draw()

    def _draw(self) -> None:
        self._drawing, self._fresh = False, True
        explorer = self.explorer
        errors = dict.fromkeys(_LIVE, explorer.problems["live"]) if explorer.problems else {}
        charts = dict(self._charts.charts)
        for name, build in self._builders().items():
            try:
                charts[name] = build()
            except Exception as error:  # noqa: BLE001  (shown beside the figure; the page goes on)
                errors[name] = f"This figure could not be drawn: {error}"
        outdated = explorer.stale and explorer.decision.recipe is not None
        # First: a browser that draws charts reads nothing.
        self._notice.value = words.notice(explorer.notice)
        self._sentence.value = f'<p class="insitu-sentence">{words.sentence(explorer)}</p>'
        self._tiles.value = words.tiles(explorer)
        with self._charts.hold_sync():
            self._charts.charts = charts
            self._charts.errors = errors
            self._charts.stale = dict.fromkeys(_LIVE, words.cue(explorer)) if outdated else {}
            self._charts.permalink = explorer.permalink()
            self._charts.caption = words.caption(explorer)
        self._strip.value = words.strip(explorer)
        self._links.add_class("insitu-faded")  # they are of the state before, for a moment
        self._controls.show()
        self._draw_later()

    def _builders(self) -> dict[str, Callable[[], dict[str, Any]]]:
        explorer = self.explorer
        situation, decision = explorer.situation, explorer.decision
        # What was measured last stays in the figures, under their cue, until the new one is there.
        last = explorer.measured
        shown = last is not None and decision.recipe and last.recipe.root in situation.roots
        estimate = explorer.estimate if shown else None
        delivery = explorer.delivery if shown else None
        texts = figures.describe(situation, decision, None if explorer.stale else estimate)
        size = words.size_bits(explorer)
        here = (size / situation.root_bits, situation.rate_bps) if size else None
        specs: dict[str, Callable[[], figures.Spec]] = {
            "accuracy": lambda: figures.accuracy_against_size(
                situation,
                decision,
                candidates(situation, explorer.catalogue),
                (round(situation.scale * delivery.num_bits), estimate)
                if delivery and estimate
                else None,
            ),
            "rates": lambda: figures.required_rates(situation.latency_s, here),
            "errors": lambda: figures.accuracy_against_errors(
                situation,
                decision,
                explorer.catalogue,
                explorer.points,
                (last.bit_error_rate, estimate) if last and estimate else None,
            ),
            "bits": lambda: bars.picture(situation, delivery, size),
        }
        nothing = decision.recipe is None
        html = {
            "bits": lambda: bars.bits_and_time(situation, delivery, size, nothing=nothing),
        }
        return {
            name: lambda name=name, spec=spec: {  # type: ignore[misc]
                "title": TITLES[name] + self._as_if(name), "text": texts[name], "spec": spec(),
                "html": html[name]() if name in html else "",
            }
            for name, spec in specs.items()
        }  # fmt: skip

    def _as_if(self, name: str) -> str:
        large = self.explorer.situation.as_if
        notes = {
            "accuracy": f": sizes as if {large}, accuracy {self.explorer.situation.root}'s",
            "bits": f": real bits; times as if {large}",
        }
        return notes.get(name, "") if large else ""

    def _hear(self, _widget: object, message: dict[str, Any], _buffers: object) -> None:
        if message.get("type") == "hello":
            self._post(lambda: self._welcome(message.get("query", "")))

    def _welcome(self, query: str) -> None:
        """A page is here: read its address, send it what it may have missed, and measure."""
        if query and not self._charts.answered:
            situation, problems = from_query(query, self.explorer.own)
            self.explorer.situation = situation
            self.explorer.notice = "\n".join(problems)
        self._draw()
        self._charts.answered = True
        self._charts.send_state(["charts", "stale", "errors", "permalink", "caption", "answered"])
        told = (self._notice, self._sentence, self._tiles)
        for widget in (*told, self._strip, self._links, *self._controls.column):
            widget.send_state()
        self.explorer.measure()


def _links(explorer: Explorer) -> str:
    """Links to this state and to its results; what they hold is what is on the page."""
    complete = explorer.decision.recipe is None or (explorer.done and not explorer.stale)
    state = "" if complete else " (not complete yet)"
    link = explorer.permalink()
    code = f"{_IMPORT}\ndashboard(from_query({link[1:]!r})[0])" if link else "dashboard()"
    return (
        f'<a class="insitu-permalink" href="{link or "?"}">Link to this state</a>'
        f'<details class="insitu-call"><summary>This state as code</summary><pre>{escape(code)}'
        f"</pre></details>"
        f"<br>Download{state}: "
        f'<a download="insitu.json" href="data:application/json;charset=utf-8,'
        f'{quote(explorer.to_json())}">JSON</a>'
        f'<a download="insitu.csv" href="data:text/csv;charset=utf-8,{quote(explorer.to_csv())}">'
        f"CSV</a>"
    )
