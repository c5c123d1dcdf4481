"""Explorer: situation -> decision -> estimate. Handlers set ``situation``; the rest follows."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, HasTraits, Instance, Tuple, Unicode, observe

import insitu_widgets
from insitu_widgets.air.channel import GUARDS
from insitu_widgets.errors import of_type
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer import words
from insitu_widgets.explorer.live import Delivery, Laboratory, Point, Request, missing_images
from insitu_widgets.explorer.runner import Inline, Latest
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.network.catalogue import Catalogue, load_catalogue, shipped
from insitu_widgets.network.permalink import to_query
from insitu_widgets.network.situation import (
    Decision,
    Situation,
    candidates,
    choose,
    not_known,
)

if TYPE_CHECKING:
    from insitu_widgets.cards import Card
    from insitu_widgets.data import ImageSet
    from insitu_widgets.network.catalogue import Measurement
    from insitu_widgets.roots import Root


def _check(situation: object, runner: object, *, measuring: object) -> None:
    """Check what an explorer starts with."""
    if situation is not None:
        of_type("situation", situation, Situation, "Make one with Situation(…), or leave it out.")
    if not isinstance(runner, Inline | None):
        of_type("runner", runner, Latest, "Give Inline() or Latest(post), or leave it out.")
    of_type("measuring", measuring, bool, "Give True or False.")


class Explorer(HasTraits):
    """The state of the explorer, without a widget.

    Set :attr:`situation`; :attr:`decision` follows at once (the cheap tier), and the measurement
    is requested: :attr:`delivery`, :attr:`answers`, :attr:`estimate` and :attr:`points` then
    follow step by step (the measured tier). While they belong to an older request,
    :attr:`stale` is true.

    Parameters
    ----------
    situation
        Where to start.
    runner
        :class:`~insitu_widgets.explorer.runner.Inline` (the default: measure at once), or
        :class:`~insitu_widgets.explorer.runner.Latest` for a page.
    measuring
        Whether to measure from the start; otherwise :meth:`measure` starts it.
    root, images, catalogue
        A root of your own (:meth:`Root.wrap <insitu_widgets.Root.wrap>`), its images, and what
        :func:`~insitu_widgets.sweep` has measured of it, if it has. It is offered beside the
        shipped ones, and is where the explorer starts.

    Raises
    ------
    ValueError
        If a root comes without its images, or images or a catalogue without their root.
    TypeError
        For a situation, a runner or a ``measuring`` that is none.
    """

    situation = Instance(Situation)
    decision = Instance(Decision)
    delivery = Instance(Delivery, allow_none=True)
    answers = Tuple()
    estimate = Instance(Estimate, allow_none=True)
    points = Tuple()
    measured = Instance(Request, allow_none=True, help="what the measured traits belong to")
    stale = Bool(default_value=True, help="the measured traits are not yet the situation's")
    done = Bool(default_value=False, help="the measurement is complete")
    problems = Dict(help="figure or control -> what went wrong there")
    notice = Unicode(help="a sentence for the reader, such as a bad value in a link")

    def __init__(
        self,
        situation: Situation | None = None,
        runner: Inline | Latest | None = None,
        *,
        measuring: bool = True,
        root: Root | None = None,
        images: ImageSet | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        super().__init__()
        _check(situation, runner, measuring=measuring)
        self._runner = runner or Inline()
        if (root is None) != (images is None) or (catalogue is not None and root is None):
            msg = (
                "root, images and catalogue must come together (the catalogue may be missing); "
                "got only some. Give the root and its images, too."
            )
            raise ValueError(msg)
        self._laboratory = Laboratory(root, images)
        self._own_catalogue = catalogue or Catalogue(())
        self._measuring = measuring
        self._requested: Request | None = None
        self._begun = False
        self.situation = self.start if situation is None else situation

    @property
    def own(self) -> Card | None:
        """The card of the user's own root, if there is one."""
        return self._laboratory.card

    @property
    def start(self) -> Situation:
        """Where the explorer starts, and what a reset goes back to."""
        return Situation(root=self.own.name, own=self.own) if self.own else Situation()

    @property
    def catalogue(self) -> Catalogue:
        """What was measured of the situation's root; empty where nothing was yet."""
        root = self.situation.root
        if self.situation.own:
            return self._own_catalogue
        return load_catalogue(root) if root in shipped() else Catalogue(())

    @property
    def unmeasured(self) -> str:
        """Why nothing is measured live, in one line with the remedy; empty where it is."""
        return "" if self.situation.own else missing_images(self.situation.root)

    @property
    def num_images(self) -> int:
        """Images that the situation's root is measured on."""
        return self._laboratory.num_images(self.situation.root)

    def can_recalibrate(self, root: str) -> bool:
        """Whether sub-models of a root may have their norms measured anew here.

        It must have batch norms, and its images must be on this machine.
        """
        mine = self.own is not None and self.own.name == root
        missing = "" if mine else missing_images(root)
        return not missing and self._laboratory.has_batch_norms(root)

    @property
    def request(self) -> Request | None:
        """What the situation asks to be measured; ``None`` where nothing is sent."""
        situation, recipe = self.situation, self.decision.recipe
        if recipe is None:
            return None
        known = bool(self.catalogue.curve(recipe, situation.guard))
        return Request(
            recipe, situation.bit_error_rate, situation.guard, situation.seed, sweep=not known
        )

    def change(self, **values: Any) -> None:
        """Set fields of the situation; a bad value raises ``ValueError`` and changes nothing."""
        self.situation = replace(self.situation, **values)

    def by_hand(self, **cut: Any) -> None:
        """Choose exit, keep, bits or recalibrated by hand, starting from what is chosen now.

        What is changed by hand is cut from the root itself, with one width for all layers, even
        where the choice so far was mixed or of the all-in-one root.
        """
        current = self.decision.recipe or Recipe(self.situation.root)
        if cut:
            current = replace(current, root=self.situation.root, mixed=False)
        if cut.get("exit") == self.situation.card.num_exits:
            cut["exit"] = None  # one sub-model has one key
        self.change(recipe=replace(current, **cut))

    def measure(self) -> None:
        """Start measuring, if that has not begun; from then on every change is measured."""
        if not self._measuring:
            self._measuring = True
            self._ask()

    @observe("situation")
    def _decide(self, _change: object) -> None:
        situation, catalogue = self.situation, self.catalogue
        known = candidates(situation, catalogue)
        self.decision = choose(situation, catalogue) if known else not_known(situation)
        self._ask()

    def _ask(self) -> None:
        request = self.request
        self.stale = request != self.measured
        if not self._measuring or request == self._requested:
            return
        self._requested = request
        self.done = self._begun = False
        self.problems = {}
        if request is None:
            self._runner.cancel()
            return
        self._runner.request(
            lambda: self._laboratory.steps(request),
            lambda step: self._take(request, step),
            self._end,
        )

    def _take(self, request: Request, step: object) -> None:
        with self.hold_trait_notifications():
            if not self._begun:  # also where the same was measured before something else
                self._begun = True
                self.measured, self.estimate, self.points = request, None, ()
                self.answers, self.stale, self.problems = (), False, {}
            if isinstance(step, Delivery):
                self.delivery = step
            elif isinstance(step, Estimate):
                self.estimate = step
            elif isinstance(step, Point):
                self.points = (*self.points, step)
            elif isinstance(step, tuple):
                self.answers = step

    def _end(self, failure: Exception | None) -> None:
        if failure is None:
            self.done = True
            return
        self._requested = None  # the same situation may be tried again
        self.problems = {"live": f"The measurement failed: {failure}"}

    def permalink(self) -> str:
        """The state as a query string, ``"?…"``; empty for the default state."""
        query = to_query(self.situation)
        return f"?{query}" if query else ""

    def results(self) -> dict[str, Any]:
        """State and measured results as plain values, for JSON."""
        situation = {
            item.name: getattr(self.situation, item.name)
            for item in fields(Situation)
            if item.name != "own"
        } | {"recipe": None if self.situation.recipe is None else str(self.situation.recipe)}
        expected, size = self.decision.expected, words.size_bits(self)
        record: dict[str, Any] = {
            "situation": situation,
            "rate_bps": self.situation.rate_bps,
            "decision": {
                "recipe": None if self.decision.recipe is None else str(self.decision.recipe),
                "fits": self.decision.fits,
                "binding": self.decision.binding,
                "remedy": self.decision.remedy,
            },
            "sentence": words.plain(words.sentence(self)),
            "arrival_s": None if size is None else self.situation.link.time_s(size),
            "expected": None if expected is None else _plain(expected, self.situation.guard),
            "measured": None,
            "accuracy_against_bit_error_rate": self._curve(),
            "versions": self._versions(),
        }
        if self.estimate and self.delivery and not self.stale:
            record["measured"] = {
                **asdict(self.estimate),
                "accuracy": self.estimate.accuracy,
                "low": self.estimate.low,
                "high": self.estimate.high,
                "complete": self.done,
                "num_bits": self.delivery.num_bits,
                "bits": self.delivery.bits,
                "flipped_bits": self.delivery.flipped,
                "report": asdict(self.delivery.report),
            }
        return record

    def _curve(self) -> list[dict[str, Any]]:
        """What the chosen recipe achieves at each bit-error rate and guard, as far as is known."""
        recipe = self.decision.recipe
        if recipe is None:
            return []
        coded = recipe.bits <= WIDEST_CODE  # no guard acts on codes
        known = [
            {
                "guard": "every" if coded else guard, "bit_error_rate": row.bit_error_rate,
                "accuracy": row.accuracy, "lowest": row.lowest, "highest": row.highest,
                "images": row.images, "draws": row.seeds, "source": "catalogue",
            }
            for guard in (("none",) if coded else GUARDS)
            for row in self.catalogue.curve(recipe, guard)
        ]  # fmt: skip
        if known or self.stale:
            return known
        return [
            {
                "guard": point.guard, "bit_error_rate": point.bit_error_rate,
                "accuracy": point.estimate.accuracy, "lowest": point.estimate.low,
                "highest": point.estimate.high, "images": point.estimate.seen, "draws": 1,
                "source": "measured now",
            }
            for point in self.points
        ]  # fmt: skip

    def _versions(self) -> dict[str, str]:
        """What made these results; torch where it has been loaded (the cheap tier needs none)."""
        torch = sys.modules.get("torch")
        return {
            "insitu_widgets": insitu_widgets.__version__,
            "torch": str(getattr(torch, "__version__", "not loaded")),
            "catalogue": "; ".join(self.catalogue.notes),
        }

    def to_json(self) -> str:
        """:meth:`results` as JSON text."""
        return json.dumps(self.results(), indent=2, ensure_ascii=False)

    def to_csv(self) -> str:
        """:meth:`results` as CSV text: one line a value, with its dotted name."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "value"])
        writer.writerows(_flat("", self.results()))
        return file.getvalue()


def _plain(measurement: Measurement, guard: str) -> dict[str, Any]:
    record = {**asdict(measurement), "recipe": str(measurement.recipe)}
    if measurement.guard != guard:
        record["remark"] = (
            f"Guard {guard} was asked for. No guard acts on codes, nor without bit errors: "
            f"measured once, for every guard."
        )
    return record


def _flat(prefix: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        return [row for key, item in value.items() for row in _flat(f"{prefix}.{key}", item)]
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@")):
        value = f"'{value}"  # a spreadsheet would carry it out
    return [(prefix.removeprefix("."), "" if value is None else value)]
