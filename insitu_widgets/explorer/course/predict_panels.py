"""Panels on prediction and feedback: a user's day, and what devices report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.course import predict_figures
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, number, slider
from insitu_widgets.network import predict
from insitu_widgets.network.predict import Device, Outcome
from insitu_widgets.units import percent, quantity

_DAYS = 100
_DAYS_A_STEP = 20
_THRESHOLDS = (0.0, 0.15, 0.25, 0.4, 0.55, 0.65, 1.0)


def day_panel() -> Panel:
    """A user's day: models on demand, fetched ahead by prediction, and by an oracle."""
    return Panel(
        "A day of models",
        "Simulated: the user's ways, the stays and the time. Sizes are measured packets; the "
        "receiver's power (1 W) is an assumption, and so are the rates.",
        {
            "spread": slider(
                "Spread of the stays", (0.0, 0.1, 0.2, 0.3, 0.5, 0.8), 0.3, lambda s: percent(s, 0)
            ),
            "storage_bytes": slider(
                "Storage for models",
                (6e5, 8e5, 1e6, 1.25e6, 1.5e6, 2e6, 3e6),
                1.5e6,
                lambda size: quantity(size, "B"),
            ),
            "least_probability": slider(
                "Least likelihood", _THRESHOLDS, 0.25, lambda p: percent(p, 0)
            ),
            "seed": number("Seed of the days", 0, 999, 0),
        },
        _day,
    )


def _day(
    spread: float, storage_bytes: float, least_probability: float, seed: int
) -> Iterator[Picture]:
    device = Device(storage_bytes=storage_bytes, least_probability=least_probability)
    sizes = predict.catalogue_bits()
    random = np.random.default_rng(seed)
    first = predict.draw_day(random, spread)
    lived = {
        policy: predict.live(first, policy, device, sizes, spread=spread)
        for policy in predict.POLICIES
    }
    said = ", ".join(
        f"{policy} {outcome.hits} of {outcome.arrivals}" for policy, outcome in lived.items()
    )
    walk = " → ".join(visit.place for visit in first)
    day = Chart(
        "One day: was the model there on arrival?",
        f"One day: {walk}. Models already there on arrival: {said}.",
        predict_figures.timeline(first, lived),
    )
    sums = dict.fromkeys(predict.POLICIES, Outcome())
    trade = dict.fromkeys(_THRESHOLDS, Outcome())
    for done in range(1, _DAYS + 1):
        walked = first if done == 1 else predict.draw_day(random, spread)
        for policy in predict.POLICIES:
            sums[policy] += predict.live(walked, policy, device, sizes, spread=spread)
        for least in _THRESHOLDS:
            other = replace(device, least_probability=least)
            trade[least] += predict.live(walked, "predictive", other, sizes, spread=spread)
        if done == 1 or done % _DAYS_A_STEP == 0:
            compared = Chart(
                "Waiting against bytes received, a day",
                f"Mean of {done} days. {_sums_said(sums, done)}",
                predict_figures.trade_off(sums, trade, least_probability, done),
            )
            charts = {"trade": compared} if done > 1 else {"day": day, "trade": compared}
            yield Picture(charts, _table(sums, done), done / _DAYS)


def _sums_said(sums: Mapping[str, Outcome], days: int) -> str:
    return "; ".join(
        f"{policy}: {percent(outcome.hit_rate, 0)} hits, "
        f"{quantity(outcome.stall_s / days, 's')} waiting, "
        f"{quantity(outcome.downloaded_bytes / days, 'B')} received, of which "
        f"{quantity(outcome.wasted_bytes / days, 'B')} in vain"
        for policy, outcome in sums.items()
    )


def _table(sums: Mapping[str, Outcome], days: int) -> str:
    rows = "".join(
        f"<tr><th>{policy}</th><td>{percent(outcome.hit_rate, 0)}</td>"
        f"<td>{quantity(outcome.stall_s / days, 's')}</td>"
        f"<td>{quantity(outcome.downloaded_bytes / days, 'B')}</td>"
        f"<td>{quantity(outcome.wasted_bytes / days, 'B')}</td>"
        f"<td>{quantity(outcome.energy_j / days, 'J')}</td></tr>"
        for policy, outcome in sums.items()
    )
    return (
        f"<table><caption>Mean of {days} days</caption><tr><th>Policy</th><th>Hits</th>"
        f"<th>Waiting</th><th>Received</th><th>In vain</th><th>Receiver's energy</th></tr>"
        f"{rows}</table>"
    )


def analytics_panel() -> Panel:
    """What devices report under a shifted context, and what it does to the network's choice."""
    return Panel(
        "Learning from what devices report",
        "Measured now: which test images each real packet's model answers rightly after the "
        "shift. Simulated: which device meets which of these images when.",
        {
            "shift": choice(
                "Users' images are",
                [
                    ("like the catalogue's", "none"),
                    *((s, s) for s in ("noisy", "rotated", "blurred")),
                ],
                "noisy",
            ),
            "strength": slider(
                "Strength of the shift", (0.25, 0.5, 0.75, 1.0), 0.5, lambda s: percent(s, 0)
            ),
            "most_bytes": slider(
                "Packets up to",
                (5e3, 1e4, 2e4, 5e4, 1e5, 3e5),
                2e4,
                lambda size: quantity(size, "B"),
            ),
            "trust": slider(
                "Trust in catalogue",
                (1.0, 5.0, 20.0, 100.0, 500.0),
                20.0,
                lambda images: f"{images:.0f} images",
            ),
            "seed": number("Seed of the devices", 0, 999, 0),
        },
        _analytics,
    )


def _analytics(
    shift: str, strength: float, most_bytes: float, trust: float, seed: int
) -> Iterator[Picture]:
    yield Picture({}, "<p>Reading catalogues and roots …</p>", 0.0)
    from insitu_widgets.data import load_data  # noqa: PLC0415  (torch, only now)
    from insitu_widgets.network import analytics  # noqa: PLC0415

    names = [name for name, card in ROOTS.items() if card.data == "digits"]
    rows = analytics.candidates(names, most_bytes)
    labels = [predict_figures.short(row.recipe) for row in rows]
    believed = [row.accuracy for row in rows]
    images = analytics.shifted(load_data("digits"), shift, strength, seed)
    seen: list[np.ndarray] = []
    for row in rows:
        truth = [float(right.mean()) for right in seen]
        spec = predict_figures.beliefs(labels, believed, truth, None)
        text = f"The catalogue's accuracies; {len(seen)} of {len(rows)} measured after the shift."
        chart = Chart("What is believed, and what is true", text, spec)
        yield Picture({"beliefs": chart}, f"<p>{text}</p>", len(seen) / (len(rows) + 1))
        seen.append(analytics.answers(row.recipe, images))
    right = np.stack(seen)
    runs = [
        analytics.serve(policy, believed, right, np.random.default_rng(seed), trust=trust)
        for policy in analytics.POLICIES
    ]
    truth = [float(value) for value in right.mean(axis=1)]
    best, favourite = int(np.argmax(truth)), int(np.argmax(believed))
    ends = {run.policy: float(run.regret[:, -1].mean()) for run in runs}
    text = (
        f"The catalogue's favourite, {rows[favourite].recipe}, has {percent(truth[favourite])} "
        f"here; the best, {rows[best].recipe}, {percent(truth[best])}. Regret after "
        f"{runs[0].regret.shape[1]} devices, in accuracy points: "
        f"{_ends_said(ends)}. {_verdict(ends)}"
    )
    learnt = runs[-1].estimate.tolist()
    yield Picture(
        {
            "beliefs": Chart(
                "What is believed, and what is true",
                f"Accuracy of {len(rows)} recipes: the catalogue's, measured after the shift, and "
                f"as Thompson sampling estimates it in the end. {text}",
                predict_figures.beliefs(labels, believed, truth, learnt),
            ),
            "regret": Chart(
                "Regret: points lost for not knowing the best", text, predict_figures.regret(runs)
            ),
        },
        f"<p>{text}</p>",
    )


def _ends_said(ends: Mapping[str, float]) -> str:
    return ", ".join(f"{policy} {100 * end:.0f}" for policy, end in ends.items())


def _verdict(ends: Mapping[str, float]) -> str:
    without, *others = ends.values()
    helped: Sequence[str] = [
        policy for policy, end in list(ends.items())[1:] if end < without - 1e-12
    ]
    if len(helped) == len(others):
        return "Feedback pays here."
    if helped:
        return f"Feedback pays here for {helped[0]} only: exploring costs more than it finds."
    return "Feedback does not pay here: the catalogue's favourite is as good as what it finds."
