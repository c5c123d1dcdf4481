"""Panels on the air: bit-error rate and rate, the task-oriented choice, a channel that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.air.modem import count_errors
from insitu_widgets.air.radio import CODES, FADINGS, MODULATIONS, Mode, Radio
from insitu_widgets.air.trace import Trace, jakes
from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.course import radio_figures
from insitu_widgets.explorer.course.radio_figures import NETWORKS, SNRS_DB, Point, Step
from insitu_widgets.explorer.live import left_out, measurable
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, number, slider
from insitu_widgets.network.catalogue import Catalogue, load_catalogue, shipped
from insitu_widgets.network.situation import Situation
from insitu_widgets.network.task_oriented import (
    RELAXED_BER,
    Plan,
    deliver,
    rate_centric,
    relaxed,
    task_oriented,
)
from insitu_widgets.units import error_rate, percent, quantity

if TYPE_CHECKING:
    from insitu_widgets.evaluate import Classifier
    from insitu_widgets.network.follow import Air, Held

_PLANNERS: dict[str, Callable[[Situation, Radio, Catalogue], Plan | None]] = {
    NETWORKS[0]: rate_centric,
    NETWORKS[1]: relaxed,
    NETWORKS[2]: task_oriented,
}
_TASK_SNRS_DB = tuple(range(-4, 39, 2))
_ANTENNAS = (1, 2, 4, 8, 16)
_BANDWIDTHS_HZ = (5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6)
_COUNTED = (0.2, 1e-3)  # where so few bits still show errors
_BITS_COUNTED = 20_000
_MEASURABLE_POINTS = 1.0  # what is less than so many points is called nil


def _antennas() -> object:
    return slider("Antennas", _ANTENNAS, 1, lambda n: f"{n:.0f}")


def _bandwidth(value: float) -> object:
    return slider("Bandwidth", _BANDWIDTHS_HZ, value, lambda hz: quantity(hz, "Hz"))


def radio_panel() -> Panel:
    """What the air gives: bit-error rate of each modulation, and the rate of the fastest mode."""
    return Panel(
        "Bit-error rate and rate",
        "Lines are closed forms (with a code, the union bound, which lies above the truth); "
        "markers are counted now from simulated symbols, noise, fading and Viterbi's decoder.",
        {
            "fading": choice("Fading", FADINGS),
            "antennas": _antennas(),
            "code": choice(
                "Protection", [("none" if c == "uncoded" else f"rate {c}", c) for c in CODES], "1/2"
            ),
        },
        _radio,
    )


def _radio(fading: str, antennas: int, code: str) -> Iterator[Picture]:
    radio = Radio(0.0, antennas, fading)
    counted: dict[str, list[tuple[float, float]]] = {}
    rates = radio_figures.rates(radio)
    places = list(_countable(radio, code))
    protection = "no code" if code == "uncoded" else f"code of rate {code}"
    said = f"{fading}, antennas: {antennas}, {protection}"
    random = np.random.default_rng(0)
    for done in range(len(places) + 1):
        if done:
            mode, at = places[done - 1]
            wrong = count_errors(mode, at, _BITS_COUNTED, random)
            if wrong:
                points = counted.setdefault(mode.modulation, [])
                points.append((at.snr_db, wrong / _BITS_COUNTED))
        reach = _least_snr_db(radio, code, RELAXED_BER)
        text = (
            f"Bit-error rate against SNR: {said}. {reach} {done} of {len(places)} points counted."
        )
        charts = {
            "ber": Chart(
                "Bit-error rate after decoding",
                text,
                radio_figures.bit_error_rates(radio, code, counted),
            )
        }
        if not done:
            at_20 = {line["name"]: line["y"][SNRS_DB.index(20)] for line in rates["data"]}
            figures = ", ".join(f"{name} {value:.2f}" for name, value in at_20.items())
            words = f"Efficiency at 20 dB in bit/s/Hz: {figures}."
            charts["rate"] = Chart("Rate of the fastest mode", words, rates)
        yield Picture(charts, f"<p>{text}</p>", done / len(places) if places else 1.0)


def _countable(radio: Radio, code: str) -> Iterator[tuple[Mode, Radio]]:
    """Where a few thousand bits show errors: three SNRs a modulation."""
    high, low = _COUNTED
    for modulation in MODULATIONS:
        mode = Mode(modulation, code)
        air = [Radio(snr_db, radio.antennas, radio.fading) for snr_db in SNRS_DB]
        fit = [at for at in air if low <= mode.bit_error_rate(at) <= high]
        yield from ((mode, at) for at in dict.fromkeys(fit[:: max(1, (len(fit) - 1) // 2)]))


def _least_snr_db(radio: Radio, code: str, most_ber: float) -> str:
    reached = {}
    for modulation in MODULATIONS:
        mode = Mode(modulation, code)
        air = (Radio(snr_db, radio.antennas, radio.fading) for snr_db in SNRS_DB)
        reached[modulation] = next(
            (f"{at.snr_db:.0f} dB" for at in air if mode.bit_error_rate(at) <= most_ber), "never"
        )
    listed = ", ".join(f"{name} {snr}" for name, snr in reached.items())
    return f"At most {error_rate(most_ber)} from: {listed}."


def _known() -> list[str]:
    """Roots that were measured before and can be measured now."""
    return [name for name in measurable() if name in shipped()]


def task_oriented_panel() -> Panel:
    """Rate-centric against task-oriented: accuracy over SNR, expected and measured."""
    return Panel(
        "Rate-centric and task-oriented",
        "Lines: the catalogue's measurements and closed forms of the air. Markers: real packets, "
        "their bits turned over at the simulated link's bit-error rate, measured now on all test "
        "images (of photographs: 1,000); bars span the draws.",
        {
            "root": choice("Root model", _known(), "resnet-digits"),
            "fading": choice("Fading", FADINGS, "Rayleigh"),
            "antennas": _antennas(),
            "bandwidth_hz": _bandwidth(5e5),
            "latency_s": slider(
                "Latency budget",
                (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
                0.1,
                lambda s: quantity(s, "s"),
            ),
            "guard": choice("Guard", GUARDS, "clamp"),
            "draws": slider("Draws of the channel", (1, 2, 3, 5), 2, lambda n: f"{n:.0f}"),
        },
        _task_oriented,
        note=left_out(),
    )


def _task_oriented(  # noqa: PLR0917  (a control each)
    root: str,
    fading: str,
    antennas: int,
    bandwidth_hz: float,
    latency_s: float,
    guard: str,
    draws: int,
) -> Iterator[Picture]:
    situation = Situation(root=root, bandwidth_hz=bandwidth_hz, latency_s=latency_s, guard=guard)
    catalogue = load_catalogue(root)
    plans: dict[str, list[Plan | None]] = {name: [] for name in NETWORKS}
    for snr_db in _TASK_SNRS_DB:
        radio = Radio(snr_db, antennas, fading)
        for name, planner in _PLANNERS.items():
            plans[name].append(planner(situation, radio, catalogue))
    guess = 1 / ROOTS[root].classes
    measured: dict[str, list[Point]] = {name: [] for name in NETWORKS}
    yield _compared(plans, measured, guess, 0.0)
    meter = _Meter(root, guard, draws)
    order = [*range(0, len(_TASK_SNRS_DB), 2), *range(1, len(_TASK_SNRS_DB), 2)]
    for done, place in enumerate(order, 1):
        for name in NETWORKS:
            plan = plans[name][place]
            shares = meter.measure(plan) if plan else [guess]
            mean = sum(shares) / len(shares)
            point = Point(_TASK_SNRS_DB[place], mean, min(shares), max(shares))
            measured[name].append(point)
        yield _compared(plans, measured, guess, done / len(order))


class _Meter:
    """Measures plans; a packet that no bit of is turned over is measured once."""

    def __init__(self, root: str, guard: str, draws: int) -> None:
        from insitu_widgets.explorer.course.loaded import images_of  # noqa: PLC0415  (torch, now)

        self._guard, self._draws = guard, draws
        self._images = images_of(root)
        self._known: dict[object, float] = {}

    def measure(self, plan: Plan) -> list[float]:
        """Accuracy at each draw of the channel."""
        from insitu_widgets.network.library import from_root  # noqa: PLC0415

        packet = from_root(plan.recipe)
        shares = []
        for seed in range(self._draws):
            arrived = deliver(plan, self._guard, seed, packet)
            key = (plan.recipe, arrived.flips and (plan.bit_error_rate, seed))
            if key not in self._known:
                self._known[key] = self.accuracy(arrived.model)
            shares.append(self._known[key])
        return shares

    def accuracy(self, model: Classifier) -> float:
        """Share of all images."""
        from insitu_widgets.evaluate import accuracy  # noqa: PLC0415

        *_, last = accuracy(model, self._images, batch=400)
        return last.accuracy


def _compared(
    plans: Mapping[str, Sequence[Plan | None]],
    measured: Mapping[str, Sequence[Point]],
    guess: float,
    progress: float,
) -> Picture:
    expected = {
        name: [plan.expected.accuracy if plan else None for plan in row]
        for name, row in plans.items()
    }
    known = {name: [guess if e is None else e for e in row] for name, row in expected.items()}
    base = known[NETWORKS[0]]
    gains = {
        name: [mine - theirs for mine, theirs in zip(known[name], base, strict=True)]
        for name in NETWORKS[1:]
    }
    real = {
        name: [
            (mine.snr_db, mine.mean - theirs.mean)
            for mine, theirs in zip(measured[name], measured[NETWORKS[0]], strict=True)
        ]
        for name in NETWORKS[1:]
    }
    points = {name: sorted(row, key=lambda p: p.snr_db) for name, row in measured.items()}
    words = _gained(plans, real)
    return Picture(
        {
            "accuracy": Chart(
                "Accuracy of what is delivered",
                f"Accuracy against SNR. {words}",
                radio_figures.accuracy_against_snr(_TASK_SNRS_DB, expected, points),
            ),
            "gain": Chart(
                "Gain over the rate-centric network",
                f"Gain in accuracy points; no model counts as guessing ({percent(guess, 0)}). "
                f"{words}",
                radio_figures.gain_against_snr(_TASK_SNRS_DB, gains, real),
            ),
        },
        f"<p>{words}</p>",
        progress,
    )


def _gained(
    plans: Mapping[str, Sequence[Plan | None]], real: Mapping[str, Sequence[tuple[float, float]]]
) -> str:
    """What was measured of the task-oriented network, in words."""
    *_, halfway, task = NETWORKS
    gains = real[task]
    if not gains:
        return "Not measured yet."
    snr_db, most = max(gains, key=lambda pair: pair[1])
    place = _TASK_SNRS_DB.index(int(snr_db))
    gained = sum(100 * gain >= _MEASURABLE_POINTS for _, gain in gains)
    lost = sum(100 * gain <= -_MEASURABLE_POINTS for _, gain in gains)
    together = [
        (mine - theirs, at) for (at, mine), (_, theirs) in zip(gains, real[halfway], strict=True)
    ]
    (best, best_at), (worst, worst_at) = max(together), min(together)
    named = "; ".join(f"{name}: {_said(plans[name][place])}" for name in NETWORKS)
    return (
        f"Measured at {len(gains)} of {len(_TASK_SNRS_DB)} SNRs. The task-oriented network beats "
        f"the rate-centric one by {_MEASURABLE_POINTS:g} point or more at {gained} of these SNRs, "
        f"falls behind by as much at {lost}, and is as good at {len(gains) - gained - lost}. "
        f"Its greatest gain is {100 * most:+.1f} points, at {snr_db:.0f} dB; there the networks "
        f"send: {named}. Against a link that is only relaxed, its gain lies between "
        f"{100 * worst:+.1f} points (at {worst_at:.0f} dB) and {100 * best:+.1f} points "
        f"(at {best_at:.0f} dB)."
    )


def _said(plan: Plan | None) -> str:
    if plan is None:
        return "nothing arrives"
    cut = plan.recipe.cut
    return f"{cut} at {plan.body_mode} (BER {error_rate(plan.bit_error_rate)})"


_TRACE_S, _FIXED_WITHIN_S = 3.0, 1.0
_BITWISE_EXIT = 3


def trace_panel() -> Panel:
    """A channel that changes: increments that follow it, against a choice fixed at the start."""
    return Panel(
        "Following a changing channel",
        "The fading is simulated (Clarke's model), time too. Bytes are real, their bits are turned "
        "over at each slot's bit-error rate, and what is held is measured on all test images "
        "(of photographs: 1,000).",
        {
            "root": choice("Root model", measurable(), "vgg-digits"),
            "way": choice("Increments", ["exit by exit", f"bit by bit, exit {_BITWISE_EXIT}"]),
            "snr_db": slider("Mean SNR", (5, 10, 15, 20, 25), 15, lambda db: f"{db:.0f} dB"),
            "doppler_hz": slider(
                "Doppler shift", (0.2, 0.5, 1, 2, 5, 10, 20), 2, lambda f: f"{f:g} Hz"
            ),
            "bandwidth_hz": _bandwidth(1e5),
            "most_ber": slider(
                "Body's BER up to", (1e-9, 1e-6, 1e-4, 1e-3, 1e-2), 1e-3, error_rate
            ),
            "seed": number("Seed of the channel", 0, 999, 0),
        },
        _trace,
        note=left_out(),
    )


def _trace(  # noqa: PLR0917  (a control each)
    root: str,
    way: str,
    snr_db: float,
    doppler_hz: float,
    bandwidth_hz: float,
    most_ber: float,
    seed: int,
) -> Iterator[Picture]:
    from insitu_widgets.network import follow  # noqa: PLC0415  (torch, only now)
    from insitu_widgets.roots import load_root  # noqa: PLC0415

    trace = jakes(snr_db, doppler_hz, _TRACE_S, np.random.default_rng(seed))
    air = follow.Air(trace, bandwidth_hz, most_ber)
    rate = Chart("Rate of the link", _rates_said(trace, air), radio_figures.channel(trace, air))
    guess = 1 / ROOTS[root].classes
    yield Picture({"rate": rate, "held": _held(guess, [], [])}, "", 0.0)
    model = load_root(root)
    increments = (
        follow.by_exit(model) if way == "exit by exit" else follow.by_bit(model, _BITWISE_EXIT)
    )
    wholes = follow.whole_packets(increments, model)
    random = np.random.default_rng(seed)
    meter = _Meter(root, "zero", 1)

    def step(held: Held) -> Step:
        name = held.model.recipe.cut
        return Step(held.time_s, name, meter.accuracy(held.model))

    fixed = [step(h) for h in follow.fix(wholes, air, _FIXED_WITHIN_S, model, random)]
    followed: list[Step] = []
    for held in follow.follow(increments, air, model, random):
        followed.append(step(held))
        chart = _held(guess, followed, fixed)
        yield Picture({"held": chart}, f"<p>{chart.text}</p>", len(followed) / len(increments))
    chart = _held(guess, followed, fixed)
    yield Picture({"held": chart}, f"<p>{chart.text}</p>")


def _rates_said(trace: Trace, air: Air) -> str:
    bodies = [air.rates_bps(slot)[1] for slot in range(len(trace.snr_db))]
    outage = sum(rate == 0.0 for rate in bodies) / len(bodies)
    return (
        f"Rate against time: the body's is {quantity(sum(bodies) / len(bodies), 'bit/s')} on "
        f"average, at most {quantity(max(bodies), 'bit/s')}, and nothing passes in "
        f"{percent(outage)} of the time."
    )


def _held(guess: float, followed: Sequence[Step], fixed: Sequence[Step]) -> Chart:
    said = []
    for name, steps in (("Increments", followed), ("Fixed at the start", fixed)):
        if not steps:
            said.append(f"{name}: nothing has arrived within {_TRACE_S:g} s.")
            continue
        last = steps[-1]
        said.append(
            f"{name}: first model after {quantity(steps[0].time_s, 's')}; in the end {last.name}, "
            f"{percent(last.accuracy)}; {percent(_mean(guess, steps))} on average over "
            f"{_TRACE_S:g} s (guessing while there is none)."
        )
    spec = radio_figures.held(_TRACE_S, guess, followed, fixed)
    return Chart("What the device holds", " ".join(said), spec)


def _mean(guess: float, steps: Sequence[Step]) -> float:
    """Accuracy averaged over the time of the trace."""
    times = [0.0, *(step.time_s for step in steps), _TRACE_S]
    values = [guess, *(step.accuracy for step in steps)]
    spans = (b - a for a, b in pairwise(times))
    return sum(span * value for span, value in zip(spans, values, strict=True)) / _TRACE_S
