"""Controls made from the situation's fields, and the words beside them."""

from __future__ import annotations

from functools import partial
from html import escape
from math import log10
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.units import error_rate, percent, quantity
from insitu_widgets.levels.recipe import BITS
from insitu_widgets.network.situation import NUMBERS, PRESETS, Situation, broken_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from insitu_widgets.explorer.runner import Post
    from insitu_widgets.explorer.state import Explorer

#: Ten steps a decade, rounded as engineers round them (ISO 3, R10).
_R10 = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
#: The sliders' spans, where narrower than what the situation allows.
_SPANS = {"bandwidth_hz": (1e4, 1e9), "spectral_efficiency_bps_hz": (0.1, 100.0)}
_ERROR_RATES = (0.0, *(m * 10.0**e for e in range(-7, -1) for m in (1, 2, 5)), 0.1)
_WIDE = widgets.Layout(width="292px")
_STYLE = {"description_width": "120px"}
CUSTOM = "(your own)"


def stops(name: str) -> list[float]:
    """Values that the slider of a numeric field stops at."""
    if name == "bit_error_rate":
        return [float(f"{value:.3g}") for value in _ERROR_RATES]
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
        self._showing = False
        self.notice = ""
        self.preset = self._choice("Preset", [CUSTOM, *PRESETS], self._take_preset, "preset")
        self.root = self._choice("Root model", list(ROOTS), self._take_root, "root")
        self.numbers = {
            name: self._slider(NUMBERS[name].metadata["label"], name)
            for name in NUMBERS
            if name != "delay_s"
        }
        self.rate = widgets.HTML()
        self.guard = self._buttons("Guard", GUARDS, lambda g: explorer.change(guard=g), "guard")
        self.mode = self._buttons("Chosen by", ("network", "hand"), self._take_mode, "mode")
        self.cuts = {
            "exit": self._cut("Exit", "exit"),
            "keep": self._cut("Keep", "keep"),
            "bits": self._cut("Bits", "bits"),
        }
        self.reset = widgets.Button(
            description="Reset", tooltip="Back to the first situation", layout={"width": "90px"}
        ).add_class("insitu-reset")
        self.reset.on_click(lambda _: self._set(self._take_reset))
        self.show()

    @property
    def column(self) -> list[Any]:
        """The controls in their order on the page."""
        return [
            self.preset,
            self.root,
            self.numbers["bandwidth_hz"],
            self.numbers["spectral_efficiency_bps_hz"],
            self.rate,
            self.numbers["latency_s"],
            self.numbers["memory_bytes"],
            self.numbers["bit_error_rate"],
            self.guard,
            self.mode,
            *self.cuts.values(),
        ]

    def show(self) -> None:
        """Make every control say what the situation is."""
        situation, decision = self._explorer.situation, self._explorer.decision
        self._showing = True  # what we show now is not a wish of the reader
        try:
            self.preset.value = next(
                (name for name, preset in PRESETS.items() if preset == situation), CUSTOM
            )
            self.root.value = situation.root
            for name, slider in self.numbers.items():
                _show_value(slider, getattr(situation, name), partial(say, name))
            self.rate.value = (
                f'<div class="insitu-rate">= <b>{quantity(situation.rate_bps, "bit/s")}</b>, after '
                f"a delay of {quantity(situation.delay_s, 's')}</div>"
            )
            self.guard.value = situation.guard
            self.mode.value = "network" if situation.recipe is None else "hand"
            exits = ROOTS[situation.root].num_exits
            self.cuts["exit"].options = [(f"{e} of {exits}", e) for e in range(1, exits + 1)]
            recipe = decision.recipe
            if recipe is not None:
                self.cuts["exit"].value = recipe.exit or exits
                _show_value(self.cuts["keep"], recipe.keep, lambda v: percent(v, 0))
                self.cuts["bits"].value = recipe.bits
            for cut in self.cuts.values():
                cut.disabled = situation.recipe is None
        finally:
            self._showing = False

    def _set(self, change: Callable[[], None]) -> None:
        """Carry out a reader's wish in the thread that owns the widgets; a bad one is told."""

        def carry_out() -> None:
            try:
                change()
                self.notice = ""
            except ValueError as error:
                self.notice = str(error)
            self._explorer.notice = self.notice
            self.show()

        self._post(carry_out)

    def _watch(self, widget: Any, take: Callable[[Any], None], name: str) -> Any:
        def changed(change: dict[str, Any]) -> None:
            if not self._showing:
                self._set(lambda: take(change["new"]))

        widget.observe(changed, "value")
        widget.add_class(f"insitu-{name}")
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

    def _slider(self, label: str, name: str) -> Any:
        widget = widgets.SelectionSlider(
            description=label,
            options=[(say(name, value), value) for value in stops(name)],
            layout=_WIDE,
            style=_STYLE,
        )
        return self._watch(widget, lambda value: self._explorer.change(**{name: value}), name)

    def _cut(self, label: str, name: str) -> Any:
        options: dict[str, list[tuple[str, Any]]] = {
            "exit": [("1", 1)],
            "keep": [
                (percent(keep, 0), keep)
                for keep in sorted({row.recipe.keep for row in self._explorer.catalogue.rows})
            ],
            "bits": [(f"{bits} bit", bits) for bits in BITS],
        }
        widget = widgets.SelectionSlider(
            description=label, options=options[name], layout=_WIDE, style=_STYLE
        )
        return self._watch(widget, lambda value: self._explorer.by_hand(**{name: value}), name)

    def _take_preset(self, name: str) -> None:
        if name != CUSTOM:
            self._explorer.situation = PRESETS[name]

    def _take_root(self, name: str) -> None:
        self._explorer.change(root=name, recipe=None)

    def _take_mode(self, mode: str) -> None:
        if mode == "network":
            self._explorer.change(recipe=None)
        else:
            self._explorer.by_hand()

    def _take_reset(self) -> None:
        self._explorer.situation = Situation()


def _show_value(slider: Any, value: float, label: Callable[[float], str]) -> None:
    """Set a slider, giving it one more stop where the value lies between its own."""
    if value not in [option for _, option in slider.options]:
        values = sorted({*(option for _, option in slider.options), value})
        slider.options = [(label(option), option) for option in values]
    slider.value = value


def size_bits(explorer: Explorer) -> int | None:
    """Bits of the chosen packet: from the catalogue, else from the one that was sent."""
    if explorer.decision.expected:
        return explorer.decision.expected.num_bits
    return explorer.delivery.num_bits if explorer.delivery and not explorer.stale else None


def sentence(explorer: Explorer) -> str:
    """What was chosen and why, in one sentence (HTML)."""
    situation, decision = explorer.situation, explorer.decision
    if decision.recipe is None:
        return f"<b>Nothing fits.</b> {escape(decision.remedy)}"
    expected = decision.expected
    what = f"<b>{escape(str(decision.recipe))}</b>"
    num_bits = size_bits(explorer)
    if num_bits is None:
        return f"You ask for {what}; the catalogue has not measured it, so it is measured now."
    arrival = (
        f"{quantity(num_bits / 8, 'B')} arriving in "
        f"{quantity(situation.link.time_s(num_bits), 's')} of {quantity(situation.latency_s, 's')}"
    )
    broken = broken_limit(situation, num_bits)
    if broken:
        limit = "latency budget" if broken == "latency" else "device's memory"
        return f"You ask for {what}: {arrival}; it <b>breaks the {limit}</b>."
    if expected is None:
        return f"You ask for {what}: {arrival}; the catalogue has not measured it."
    who = "The network sends" if situation.recipe is None else "You send"
    if decision.next_better is None:
        return f"{who} {what}: {arrival}; no limit binds, nothing measured is more accurate."
    better = escape(str(decision.next_better).partition(" · ")[2])
    row = explorer.catalogue.find(decision.next_better, situation.bit_error_rate, situation.guard)
    gain = f"{100 * (row.accuracy - expected.accuracy):.1f} points better" if row else "better"
    return (
        f"{who} {what}: {arrival}. The <b>{decision.binding}</b> binds: {better} is expected to be "
        f"{gain} but {escape(decision.reasons[decision.next_better])}."
    )


def tiles(explorer: Explorer) -> str:
    """The four numbers at the top (HTML): rate, packet, expected, measured."""
    situation, expected = explorer.situation, explorer.decision.expected
    estimate = None if explorer.stale else explorer.estimate
    size = size_bits(explorer)
    root_bits = 32 * ROOTS[situation.root].parameters
    share = f"{percent(size / root_bits)} of the float32 root" if size else "not known yet"
    believed = "–"
    note = "not in the catalogue"
    if expected:
        believed = percent(expected.accuracy)
        at = error_rate(expected.bit_error_rate)
        draws = "one run" if expected.bit_error_rate == 0 else f"{expected.seeds} channel draws"
        note = f"at BER {at}, {draws}"
    cells = [
        ("rate", quantity(situation.rate_bps, "bit/s"), "rate of your link"),
        ("size", quantity(size / 8, "B") if size else "–", share),
        ("expected", believed, f"expected: catalogue {note}"),
    ]
    blocks = [
        f'<div class="insitu-tile insitu-tile-{name}"><b>{value}</b><span>{text}</span></div>'
        for name, value, text in cells
    ]
    return f'<div class="insitu-tiles">{"".join(blocks)}{_measured_tile(explorer, estimate)}</div>'


def _measured_tile(explorer: Explorer, estimate: Any) -> str:
    if "live" in explorer.problems:
        value, text = "–", escape(explorer.problems["live"])
    elif explorer.decision.recipe is None:
        value, text = "–", "nothing is sent"
    elif estimate is None:
        value, text = "…", "measuring now"
    else:
        value = percent(estimate.accuracy)
        span = f"{percent(estimate.low)} to {percent(estimate.high)}"
        text = f"measured on {estimate.seen} images, 95 % in {span}"
    bar = ""
    measuring = explorer.decision.recipe is not None and "live" not in explorer.problems
    if measuring and (estimate is None or not explorer.done):
        bar = '<progress aria-label="measuring"></progress>'
    return (
        f'<div class="insitu-tile insitu-tile-measured"><b>{value}</b>'
        f"<span>{text}</span>{bar}</div>"
    )


def cue(explorer: Explorer) -> str:
    """What a part of the page says that shows an older measurement."""
    failed = "live" in explorer.problems
    return "out of date: the measurement failed" if failed else "out of date: measuring …"


def strip(explorer: Explorer) -> str:
    """Test images with the sub-model's answers (HTML); right and wrong differ in form too."""
    if explorer.decision.recipe is None:
        return "<b>Nothing is sent, so nothing answers.</b>"
    faded = " insitu-faded" if explorer.stale else ""
    images = []
    for answer in explorer.answers:
        right = answer.label == answer.answer
        mark, word = ("✓", "right") if right else ("✗", "wrong")
        text = f"a {escape(answer.label)}, taken for {escape(answer.answer)}: {word}"
        images.append(
            f'<div class="insitu-image insitu-{word}" role="img" aria-label="{text}" '
            f'title="{text}">'
            f'<img src="{answer.picture}" alt=""><i>{mark}</i> {escape(answer.answer)}</div>'
        )
    heading = (
        "Test images and the received sub-model's answers: ✓ right, solid frame; "
        "✗ wrong, dashed frame"
    )
    if explorer.stale:
        heading += f" – {cue(explorer)}"
    return f'<b>{heading}</b><div class="insitu-strip{faded}">{"".join(images)}</div>'
