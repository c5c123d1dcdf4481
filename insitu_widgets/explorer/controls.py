"""Controls made from the situation's fields."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from html import escape
from math import log10
from textwrap import shorten
from threading import get_ident
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.cards import ROOTS
from insitu_widgets.levels.recipe import BITS, Recipe
from insitu_widgets.network.situation import AS_IF, MOST_SEED, NUMBERS, PRESETS, Situation
from insitu_widgets.units import error_rate, percent, quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from insitu_widgets.explorer.runner import Post
    from insitu_widgets.explorer.state import Explorer

#: Ten steps a decade, rounded as engineers round them (ISO 3, R10).
_R10 = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
#: The sliders' spans, where narrower than what the situation allows.
_SPANS = {"bandwidth_hz": (1e4, 1e9), "spectral_efficiency_bps_hz": (0.1, 100.0)}
_ERROR_RATES = (0.0, *(m * 10.0**e for e in range(-7, -1) for m in (1, 2, 5)), 0.1)
_WIDE = {"width": "362px"}
_STYLE = {"description_width": "118px"}
CUSTOM = "(your own)"
OWN_SIZE = "its own size"
#: Control -> what it means, for a reader who has not met the word.
HELP = {
    "preset": "A documented situation to start from.",
    "root": "The large network from which the sub-model is cut.",
    "as_if": "Sizes and times as if the root had as many parameters as this model; accuracies stay "
    "the root's own.",
    "bandwidth_hz": "Your share of the air, in hertz.",
    "spectral_efficiency_bps_hz": "Bits a second that each hertz carries; rate = bandwidth × this.",
    "latency_s": "The sub-model must have arrived within this time, the delay included.",
    "delay_s": "Time before the first bit arrives.",
    "memory_bytes": "What the device can hold; the packet is kept as it was sent.",
    "bit_error_rate": "Probability that a bit of the packet's body arrives turned over. The header "
    "(topology, masks, scales, norms) travels on a reliable channel.",
    "guard": "What the receiver does with values that cannot have been sent. none: keeps them; "
    "clamp: moves them to their layer's range; zero: sets them to 0.",
    "mode": "The network chooses the best sub-model that fits, or you choose by hand.",
    "exit": "Depth level: keep the blocks up to this exit and its small classifier.",
    "keep": "Parameter level: keep this share of the weights, the largest in magnitude.",
    "bits": "Bit level: bits for each weight; 1 to 8 are codes with a scale for each channel, "
    "16 and 32 are floats.",
    "recalibrated": "Batch norms hold the statistics of the whole root's features. Measure them "
    "anew on the sub-model's own: some images, no labels, not a bit more on the air.",
}


def stops(name: str) -> list[float]:
    """Values that the slider of a numeric field stops at."""
    if name == "bit_error_rate":
        return [float(f"{value:.3g}") for value in _ERROR_RATES]
    if name == "delay_s":
        return [0.0, *(float(f"{m * 10.0**e:.3g}") for e in (-3, -2, -1) for m in (1, 2, 5)), 1.0]
    limits = NUMBERS[name].metadata
    low, high = _SPANS.get(name, (limits["low"], limits["high"]))
    decades = range(round(log10(low)), round(log10(high)))
    grid = [float(f"{step * 10.0**decade:.3g}") for decade in decades for step in _R10]
    return [*grid, high]


def say(name: str, value: float) -> str:
    """A field's value with its unit, as its slider says it."""
    if name == "bit_error_rate":
        return error_rate(value)
    if name == "spectral_efficiency_bps_hz":
        return f"{value:g} bit/s/Hz"
    return quantity(value, NUMBERS[name].metadata["unit"])


class Controls:
    """All controls of an explorer. Each only sets the situation, and shows what it has become."""

    def __init__(self, explorer: Explorer, post: Post) -> None:
        self._explorer, self._post = explorer, post
        self._showing = 0  # the thread that shows a situation just now
        self._wished: Counter[Any] = Counter()
        self.notice = ""
        self.preset = self._choice("Preset", [CUSTOM, *PRESETS], self._take_preset, "preset")
        roots = [*([explorer.own.name] if explorer.own else []), *ROOTS]
        self.root = self._choice("Root model", roots, self._take_root, "root")
        sizes = [OWN_SIZE, *AS_IF]
        self.as_if = self._choice("Sized as", sizes, self._take_as_if, "as_if")
        self.numbers = {
            name: self._slider(NUMBERS[name].metadata["label"], name) for name in NUMBERS
        }
        self.rate = widgets.HTML()
        self.application = widgets.HTML(layout=_WIDE).add_class("insitu-application")
        self.guard = self._buttons("Guard", GUARDS, lambda g: explorer.change(guard=g), "guard")
        self.mode = self._buttons("Chosen by", ("network", "hand"), self._take_mode, "mode")
        self.cuts = {
            "exit": self._cut("Exit", "exit"),
            "keep": self._cut("Keep", "keep"),
            "bits": self._cut("Bits", "bits"),
            "recalibrated": self._recalibrated(),
        }
        self.again = self._button(
            "Send again", "Another draw of the channel's noise", "again", "112px"
        )
        self.again.on_click(lambda _: self._set(self._take_again))
        self.reset = self._button("Reset", "Back to the first situation", "reset", "70px")
        self.reset.on_click(lambda _: self._set(self._take_reset))
        self.show()

    @property
    def column(self) -> list[Any]:
        """The controls in their order on the page."""
        return [
            self.preset,
            self.application,
            self.root,
            self.as_if,
            self.numbers["bandwidth_hz"],
            self.numbers["spectral_efficiency_bps_hz"],
            self.rate,
            self.numbers["latency_s"],
            self.numbers["delay_s"],
            self.numbers["memory_bytes"],
            self.numbers["bit_error_rate"],
            self.guard,
            self.mode,
            *self.cuts.values(),
        ]

    def show(self) -> None:
        """Make every control say what the situation is."""
        situation, recipe = self._explorer.situation, self._explorer.decision.recipe
        self._showing = get_ident()  # what this thread shows now is not a wish of the reader
        try:
            self._put(self.preset, _preset(situation))
            self.application.value = escape(shorten(situation.application, 160))
            self._put(self.root, situation.root)
            self._put(self.as_if, situation.as_if or OWN_SIZE)
            for name, slider in self.numbers.items():
                self._put(slider, getattr(situation, name), partial(say, name))
            rate = quantity(situation.rate_bps, "bit/s")
            self.rate.value = (
                f'<div class="insitu-rate">= <b>{rate}</b>, the rate of the link</div>'
            )
            self._put(self.guard, situation.guard)
            self._put(self.mode, "network" if situation.recipe is None else "hand")
            exits = situation.card.num_exits
            self.cuts["exit"].options = [(f"{e} of {exits}", e) for e in range(1, exits + 1)]
            if recipe is not None:
                self._put(self.cuts["exit"], recipe.exit or exits)
                self._put(self.cuts["keep"], recipe.keep, lambda v: percent(v, 0))
                self._put(self.cuts["bits"], recipe.bits)
                self._put(self.cuts["recalibrated"], recipe.recalibrated)
            self.again.disabled = recipe is None  # nothing is sent
            for cut in self.cuts.values():
                cut.disabled = situation.recipe is None
            able = self._explorer.can_recalibrate(situation.root)
            if not able and not (recipe and recipe.recalibrated):
                self.cuts["recalibrated"].disabled = True
            for cut in self.cuts.values():
                cut.layout.visibility = "hidden" if recipe is None else "visible"
        finally:
            self._showing = 0

    def _put(self, widget: Any, value: Any, label: Callable[[Any], str] = str) -> None:
        """Set a control, giving a slider one more stop where the value lies between its own."""
        if self._wished[widget]:
            return  # the reader has moved it on; an older value would take that back
        if isinstance(widget, widgets.SelectionSlider) and value not in _values(widget):
            widget.options = [(label(stop), stop) for stop in sorted({*_values(widget), value})]
        widget.value = value

    def _set(self, change: Callable[[], None], widget: Any = None) -> None:
        """Carry out a reader's wish in the thread that owns the widgets; a bad one is told."""
        self._wished[widget] += 1

        def carry_out() -> None:
            self._wished[widget] -= 1
            try:
                change()
                self._keep_application()
                self.notice = ""
            except ValueError as error:
                self.notice = str(error)
            self._explorer.notice = self.notice
            self.show()

        self._post(carry_out)

    def _keep_application(self) -> None:
        """A preset's description belongs to the preset; a reader's own is left alone."""
        situation = self._explorer.situation
        name = _preset(situation)
        wanted = PRESETS[name].application if name != CUSTOM else ""
        of_presets = {preset.application for preset in PRESETS.values()}
        if situation.application != wanted and situation.application in {"", *of_presets}:
            self._explorer.change(application=wanted)

    def _watch(self, widget: Any, take: Callable[[Any], None], name: str) -> Any:
        def changed(change: dict[str, Any]) -> None:
            if self._showing != get_ident():  # JupyterLab tells of wishes in another thread
                self._set(lambda: take(change["new"]), widget)

        widget.observe(changed, "value")
        widget.add_class(f"insitu-{name}")
        widget.tooltip = HELP[name]
        return widget

    def _choice(
        self, label: str, options: Iterable[str], take: Callable[[str], None], name: str
    ) -> Any:
        widget = widgets.Dropdown(
            description=label, options=list(options), layout=_WIDE, style=_STYLE
        )
        return self._watch(widget, take, name)

    def _buttons(
        self, label: str, options: Iterable[str], take: Callable[[str], None], name: str
    ) -> Any:
        widget = widgets.ToggleButtons(
            description=label,
            options=list(options),
            style={**_STYLE, "button_width": "60px" if len(list(options)) > 2 else "84px"},
            layout=_WIDE,
        )
        return self._watch(widget, take, name)

    def _button(self, label: str, tooltip: str, name: str, width: str) -> Any:
        button = widgets.Button(description=label, tooltip=tooltip, layout={"width": width})
        return button.add_class(f"insitu-{name}")

    def _slider(self, label: str, name: str) -> Any:
        widget = widgets.SelectionSlider(
            description=label,
            options=[(say(name, value), value) for value in stops(name)],
            layout=_WIDE,
            style=_STYLE,
        )
        return self._watch(widget, lambda value: self._explorer.change(**{name: value}), name)

    def _cut(self, label: str, name: str) -> Any:
        keeps = (row.recipe.keep for row in self._explorer.catalogue.rows)
        options: dict[str, list[tuple[str, Any]]] = {
            "exit": [("1", 1)],
            "keep": [(percent(keep, 0), keep) for keep in sorted({1.0, *keeps})],
            "bits": [(f"{bits} bit", bits) for bits in BITS],
        }
        widget = widgets.SelectionSlider(
            description=label, options=options[name], layout=_WIDE, style=_STYLE
        )
        return self._watch(widget, lambda value: self._explorer.by_hand(**{name: value}), name)

    def _recalibrated(self) -> Any:
        box = widgets.Checkbox(description="norms recalibrated", layout=_WIDE, style=_STYLE)
        return self._watch(
            box, lambda value: self._explorer.by_hand(recalibrated=value), "recalibrated"
        )

    def _take_preset(self, name: str) -> None:
        if name != CUSTOM:
            start = self._explorer.start
            self._explorer.situation = replace(PRESETS[name], root=start.root, own=start.own)

    def _take_root(self, name: str) -> None:
        """Another root; a recipe chosen by hand goes along, as far as the new root has exits.

        It is then of the root itself, with one width for all layers: what the controls offer; and
        recalibrated only if it was and the new root can be.
        """
        old, own = self._explorer.situation.recipe, self._explorer.own
        own = own if own and own.name == name else None
        last = (own or ROOTS[name]).num_exits
        exit_ = min((old and old.exit) or last, last)
        place = None if exit_ == last else exit_
        anew = bool(old and old.recalibrated and self._explorer.can_recalibrate(name))
        recipe = old and Recipe(name, place, old.keep, old.bits, recalibrated=anew)
        self._explorer.change(root=name, recipe=recipe, own=own)

    def _take_as_if(self, name: str) -> None:
        self._explorer.change(as_if="" if name == OWN_SIZE else name)

    def _take_mode(self, mode: str) -> None:
        if mode == "network":
            self._explorer.change(recipe=None)
        else:
            self._explorer.by_hand()

    def _take_again(self) -> None:
        self._explorer.change(seed=(self._explorer.situation.seed + 1) % (MOST_SEED + 1))

    def _take_reset(self) -> None:
        self._explorer.situation = self._explorer.start


def _values(slider: Any) -> list[Any]:
    return [value for _, value in slider.options]


def _preset(situation: Situation) -> str:
    """The preset that a situation is, whichever draw of the channel it asks for.

    A description of the reader's own makes it another one; none does not.
    """
    first = replace(situation, seed=0)
    if situation.own and situation.recipe is None:
        first = replace(first, root=Situation.root, own=None)
    own = bool(first.application)
    presets = {
        name: preset if own else replace(preset, application="") for name, preset in PRESETS.items()
    }
    return next((name for name, preset in presets.items() if preset == first), CUSTOM)
