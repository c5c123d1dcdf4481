"""Panels of one call each: a few controls over a stream of pictures.

A panel is a generator of :class:`Picture` objects with controls in front of it. Whenever a control
changes, the generator is called anew with the controls' values; what it yields is shown as it
comes, the newest request wins, a button stops it, and what it raises stands beside the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import log10
from typing import Any

import ipywidgets as widgets

from insitu_widgets.air.rates import (
    REFERENCE_RATES,
    SUGGESTED,
    largest_fraction,
    parameter_counts,
    required_rate_bps,
    torchvision_parameters,
)
from insitu_widgets.explorer import figures
from insitu_widgets.explorer.charts import Charts, widget_thread
from insitu_widgets.explorer.controls import say, stops
from insitu_widgets.explorer.runner import Inline, Latest
from insitu_widgets.explorer.words import html_table
from insitu_widgets.units import percent, quantity

_STYLE = {"description_width": "150px"}
_WIDE = {"width": "440px"}
#: What :attr:`Picture.complete` calls the words above the figures.
WORDS = "words"


@dataclass(frozen=True)
class Chart:
    """One figure: its title, what it says in words with the current numbers, and the figure.

    ``spec`` is a plain dictionary in Plotly's schema, as :mod:`insitu_widgets.explorer.figures`
    makes them.
    """

    title: str
    text: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """What a panel shows from now on.

    Parameters
    ----------
    charts
        Name -> figure; one that is not named stays as it was, until the run ends: what no picture
        of it has named goes then.
    words
        A sentence or a table (HTML) above the figures.
    progress
        The share of the work that is done, in [0, 1].
    complete
        Names of figures, and :data:`WORDS`, that no later picture changes: they stay as they are
        when what still runs is stopped, or fails.
    """

    charts: Mapping[str, Chart] = field(default_factory=dict)
    words: str = ""
    progress: float = 1.0
    complete: Collection[str] = ()


class Panel(widgets.VBox):
    """Controls over a stream of pictures. In a notebook, a cell that ends with it shows it.

    Parameters
    ----------
    title
        What is to be seen.
    provenance
        What is measured and what is simulated, in one line; it is always on the screen.
    controls
        Name -> widget with a ``value``; :func:`slider`, :func:`choice` and :func:`number` make
        them.
    steps
        Called with the controls' values by name; yields pictures, the first one soon.
    runner
        :class:`~insitu_widgets.explorer.runner.Latest` beside a kernel's event loop, else
        :class:`~insitu_widgets.explorer.runner.Inline`, if none is given.
    note
        What is not to be had on this machine, and the remedy; always on the screen, if there is
        anything.
    """

    def __init__(
        self,
        title: str,
        provenance: str,
        controls: Mapping[str, Any],
        steps: Callable[..., Iterator[Picture]],
        runner: Inline | Latest | None = None,
        *,
        note: str = "",
    ) -> None:
        self._post, later = widget_thread()
        self._runner = runner or (Latest(self._post) if later else Inline())
        self.controls, self._steps = dict(controls), steps
        self._complete: set[str] = set()
        self._shown: set[str] = set()
        self._earlier: set[str] = set()
        self.charts = Charts()
        self.words = widgets.HTML().add_class("insitu-words")
        self.bar = widgets.FloatProgress(min=0.0, max=1.0, layout={"width": "220px"})
        self.stop = widgets.Button(
            description="Stop", tooltip="Stop what is running", layout={"width": "80px"}
        )
        self.again = widgets.Button(
            description="Run again", tooltip="Run with these settings", layout={"width": "110px"}
        )
        self.stop.on_click(lambda _: self._post(self._halt))
        self.again.on_click(lambda _: self._post(self.run))
        for control in self.controls.values():
            control.observe(lambda _: self._post(self.run), "value")
        head = widgets.HTML(
            f'<h2 class="insitu-name">{escape(title)}</h2>'
            + "".join(
                f'<p class="insitu-provenance">{escape(line)}</p>'
                for line in (provenance, note)
                if line
            )
        )
        buttons = widgets.HBox([self.stop, self.again, self.bar]).add_class("insitu-running")
        knobs = widgets.Box([*self.controls.values(), buttons]).add_class("insitu-knobs")
        super().__init__([head, knobs, self.words, self.charts])
        self.add_class("insitu").add_class("insitu-panel")
        self.run()

    @property
    def values(self) -> dict[str, Any]:
        """The controls' values by name."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def running(self) -> bool:
        """Whether what is shown is not complete: it is being computed, or was stopped."""
        return not self.stop.disabled or self.bar.value < 1.0

    def run(self) -> None:
        """Compute anew with the controls' values; what was running is dropped."""
        values = self.values
        self._earlier |= self._shown
        self._complete, self._shown = set(), set()
        self._cue("out of date: computing …")
        self.stop.disabled, self.bar.value, self.charts.errors = False, 0.0, {}
        self.bar.layout.visibility = "visible"
        self._runner.request(lambda: self._steps(**values), self._show, self._end)

    def _show(self, picture: Picture) -> None:
        fresh = {
            name: {"title": chart.title, "text": chart.text, "spec": chart.spec}
            for name, chart in picture.charts.items()
        }
        with self.charts.hold_sync():
            self.charts.charts = {**self.charts.charts, **fresh}
            self.charts.stale = {
                name: cue for name, cue in self.charts.stale.items() if name not in fresh
            }
        self._shown.update(fresh)
        if picture.words:
            self._shown.add(WORDS)
            self.words.value = picture.words
            self.words.remove_class("insitu-faded")
        self._complete.update(picture.complete)
        self.bar.value = picture.progress

    def _halt(self) -> None:
        self._runner.cancel()
        self.stop.disabled = True
        self._cue("stopped before it was complete")

    def _end(self, failure: Exception | None) -> None:
        if failure is None:
            self._forget()
        self._cue("" if failure is None else "out of date: it failed")
        if failure is not None:
            message = str(failure) or type(failure).__name__
            self.charts.errors = dict.fromkeys(self._unfinished(), message)
            self.words.value = f'<p class="insitu-notice" role="alert">{escape(message)}</p>'
            self.words.remove_class("insitu-faded")
            self._shown.add(WORDS)
        self.stop.disabled = True
        self.bar.value, self.bar.layout.visibility = 1.0, "hidden"  # a full bar looks like a button

    def _forget(self) -> None:
        """Take away what an earlier run has shown and this one has not."""
        gone = self._earlier - self._shown
        self.charts.charts = {n: c for n, c in self.charts.charts.items() if n not in gone}
        if WORDS in gone:
            self.words.value = ""
        self._earlier = set()

    def _unfinished(self) -> list[str]:
        """The figures that later pictures may still change."""
        return [name for name in self.charts.charts if name not in self._complete]

    def _cue(self, text: str) -> None:
        self.charts.stale = dict.fromkeys(self._unfinished(), text) if text else {}
        fades = text and WORDS not in self._complete
        (self.words.add_class if fades else self.words.remove_class)("insitu-faded")


def slider(
    label: str, values: Sequence[float], value: float, text: Callable[[float], str]
) -> widgets.SelectionSlider:
    """A slider that stops at ``values`` and says each with its unit."""
    return widgets.SelectionSlider(
        description=label,
        options=[(text(stop), stop) for stop in values],
        value=value,
        continuous_update=False,
        layout=_WIDE,
        style=_STYLE,
    )


def choice(label: str, options: Sequence[Any], value: Any = None) -> widgets.Dropdown:
    """A list to choose from; its entries are values, or pairs of text and value."""
    control = widgets.Dropdown(description=label, options=list(options), layout=_WIDE, style=_STYLE)
    if value is not None:
        control.value = value
    return control


def number(label: str, low: int, high: int, value: int) -> widgets.BoundedIntText:
    """A whole number, such as a seed."""
    return widgets.BoundedIntText(
        description=label, min=low, max=high, value=value, layout=_WIDE, style=_STYLE
    )


def rates_panel() -> Panel:
    """Fig. 4 with its sliders: latency, counting, reference lines, and a model of your own."""
    latency = slider("Latency", stops("latency_s"), 1.0, lambda value: say("latency_s", value))
    latency.continuous_update = True  # arithmetic keeps up with the hand
    counting = choice("Parameters", [("the paper's counts", "paper"), ("exact counts", "exact")])
    names = [line.name for line in REFERENCE_RATES]
    lines = widgets.SelectMultiple(
        description="Reference rates",
        options=names,
        value=names[:-1],  # the 6G peak is decades above what the models need within a second
        rows=len(names),
        layout=_WIDE,
        style=_STYLE,
    )
    mine = widgets.Combobox(
        description="Your own model",
        placeholder="a name of torchvision's",
        options=SUGGESTED,
        continuous_update=False,
        layout=_WIDE,
        style=_STYLE,
    )
    return Panel(
        "Rate that large models would need",
        "Computed: parameters × 32 bit × fraction ÷ latency. Nothing here is measured.",
        {"latency_s": latency, "counting": counting, "lines": lines, "mine": mine},
        _rates,
    )


def _rates(latency_s: float, counting: str, lines: Sequence[str], mine: str) -> Iterator[Picture]:
    name = mine.strip()
    own = {name: torchvision_parameters(name)} if name else {}
    counts = parameter_counts(counting) | own
    spec = figures.required_rates(latency_s, None, counts)
    spec["data"] = [line for line in spec["data"] if line["name"] in counts]  # no link of one's own
    hidden = {line.rate_bps for line in REFERENCE_RATES if line.name not in lines}
    layout = spec["layout"]
    layout["shapes"] = [shape for shape in layout["shapes"] if shape.get("y0") not in hidden]
    layout["annotations"] = [note for note in layout["annotations"] if note["text"] in lines]
    shown = [line for line in REFERENCE_RATES if line.name in lines]
    least, most = layout["yaxis"]["range"]
    highest = max((line.rate_bps for line in shown), default=1.0)
    layout["yaxis"]["range"] = [least, max(most, log10(2 * highest))]
    rows = [
        (
            f"{model} ({count / 1e6:,.1f} M)",
            quantity(required_rate_bps(count, 1.0, latency_s), "bit/s"),
            *(percent(largest_fraction(count, line.rate_bps, latency_s)) for line in shown),
        )
        for model, count in counts.items()
    ]
    heads = ["largest share that fits", "the whole needs", *(line.name for line in shown)]
    said = "; ".join(f"{row[0]}: {row[1]}" for row in rows)
    text = f"Rate required by the whole model within {say('latency_s', latency_s)}: {said}."
    chart = Chart("Required rate against sub-model size", text, spec)
    yield Picture({"rates": chart}, html_table(heads, rows))
