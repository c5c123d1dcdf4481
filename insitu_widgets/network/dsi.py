"""Device situation information as messages: JSON in, :class:`Situation` out, or a refusal.

The messages' form is the JSON schema ``dsi.schema.json`` beside this module (paper, section 2:
capacities, hardware types, channel states, location, accuracy and latency). Needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from insitu_widgets.cards import ROOTS
from insitu_widgets.network.catalogue import Catalogue, load_catalogue
from insitu_widgets.network.situation import Decision, Situation, candidates, choose

if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonschema.exceptions import ValidationError

#: A longer message is refused unread.
MOST_BYTES = 65_536
_SHOWN = 60
_WHOLE, _ROOT, _BITS = "message", "application.root", "hardware.bits"
_RATE = "link.bit_error_rate"


class Refused(ValueError):  # noqa: N818  (it is an answer, and the paper's word for it)
    """Why a message is refused.

    Attributes
    ----------
    field, allowed, received, remedy : str
        Which part of the message, what it may be, what it is, and what to do.
    """

    def __init__(self, field: str, allowed: str, received: str, remedy: str) -> None:
        super().__init__(f"{field} must be {allowed}; got {received}. {remedy}")
        self.field, self.allowed, self.received, self.remedy = field, allowed, received, remedy


@dataclass(frozen=True)
class Request:
    """A message that has been understood.

    Attributes
    ----------
    device : str
        Who asks.
    situation : Situation
        What :func:`~insitu_widgets.choose` needs to know.
    accuracy : float
        What the model has to reach, in [0, 1]; 0 where the device does not say.
    bits : frozenset[int]
        Widths of number that the hardware takes; empty where it takes all.
    hardware, cell : str
        The kind of device and where it is; empty where it does not say.
    place_deg : tuple[float, float] | None
        Latitude and longitude.
    """

    device: str
    situation: Situation
    accuracy: float
    bits: frozenset[int]
    hardware: str
    cell: str
    place_deg: tuple[float, float] | None


@dataclass(frozen=True)
class Answer:
    """What a message gets back: a decision, or the reason why it is refused."""

    request: Request | None
    decision: Decision | None
    refusal: Refused | None = None

    @property
    def met(self) -> bool:
        """Whether something fits, and is expected to be as accurate as was asked for."""
        if self.request is None or self.decision is None or not self.decision.expected:
            return False
        return self.decision.expected.accuracy >= self.request.accuracy


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The messages' JSON schema (draft 2020-12)."""
    text = files("insitu_widgets.network").joinpath("dsi.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@lru_cache(maxsize=1)
def _validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def read(message: str | bytes | Mapping[str, Any]) -> Request:
    """Understand one message.

    Parameters
    ----------
    message
        JSON text, or what it stands for.

    Raises
    ------
    Refused
        Naming the first field that is wrong, what is allowed, what came and what to do.
    """
    content = _parse(message)
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise _refusal(error)
    application, link = content["application"], content["link"]
    hardware, location = content.get("hardware", {}), content.get("location", {})
    values = {**link, "root": application["root"], "application": application.get("name", "")}
    values["latency_s"] = content["needs"]["latency_s"]
    if "memory_bytes" in content:
        values["memory_bytes"] = content["memory_bytes"]
    if "guard" in hardware:
        values["guard"] = hardware["guard"]
    if application["root"] not in ROOTS:
        raise Refused(
            _ROOT, f"one of {', '.join(ROOTS)}", _short(application["root"]),
            "Ask for one of these.",
        )  # fmt: skip
    place = (location["latitude_deg"], location["longitude_deg"]) if len(location) > 1 else None
    return Request(
        device=content["device"],
        situation=Situation(**values),
        accuracy=float(content["needs"].get("accuracy", 0.0)),
        bits=frozenset(hardware.get("bits", ())),
        hardware=hardware.get("kind", ""),
        cell=location.get("cell", ""),
        place_deg=place,
    )


def situation_of(message: str | bytes | Mapping[str, Any]) -> Situation:
    """The situation that a message describes; :func:`read` gives the rest of it, too."""
    return read(message).situation


def write(situation: Situation, device: str, accuracy: float = 0.0) -> str:
    """The message of a device in that situation (JSON); :func:`read` gives the situation back.

    The seed and a recipe asked for by hand are no part of a message.
    """
    names = ("bandwidth_hz", "spectral_efficiency_bps_hz", "delay_s", "bit_error_rate")
    message = {
        "version": 1,
        "device": device,
        "application": {"root": situation.root, "name": situation.application},
        "hardware": {"guard": situation.guard},
        "memory_bytes": situation.memory_bytes,
        "link": {name: getattr(situation, name) for name in names},
        "needs": {"latency_s": situation.latency_s, "accuracy": accuracy},
    }
    return json.dumps(message)


def answers(
    messages: Iterable[str | bytes | Mapping[str, Any]],
    catalogue_of: Callable[[str], Catalogue] = load_catalogue,
) -> Iterator[Answer]:
    """Answer messages one by one; one that is refused harms no other.

    Parameters
    ----------
    messages
        As for :func:`read`.
    catalogue_of
        The measurements by root.
    """
    narrowed: dict[tuple[str, frozenset[int]], Catalogue] = {}
    for message in messages:
        try:
            request = read(message)
            key = (request.situation.root, request.bits)
            if key not in narrowed:
                narrowed[key] = _narrow(_catalogue(catalogue_of, key[0]), request)
            _check_rate(request.situation, narrowed[key])
            yield Answer(request, choose(request.situation, narrowed[key]))
        except Refused as refusal:
            yield Answer(None, None, refusal)


def _check_rate(situation: Situation, catalogue: Catalogue) -> None:
    """Refuse a bit-error rate above all that were measured, where anything was."""
    if candidates(situation, catalogue):
        return
    rates = sorted({row.bit_error_rate for row in catalogue.rows}, reverse=True)
    for rate in rates:
        if candidates(replace(situation, bit_error_rate=rate), catalogue):
            allowed = f"at most {rate:g}, the highest that was measured"
            remedy = "Protect the link, or ask for another root."
            raise Refused(_RATE, allowed, f"{situation.bit_error_rate:g}", remedy)
    raise Refused(_ROOT, "a root that was measured", _short(situation.root), "Ask for another.")


def _narrow(catalogue: Catalogue, request: Request) -> Catalogue:
    """What the hardware can compute with."""
    if not request.bits:
        return catalogue
    rows = [row for row in catalogue.rows if request.bits.issuperset(row.recipe.widths)]
    if not rows:
        known = {row.recipe.bits for row in catalogue.rows if not row.recipe.mixed}
        widths = ", ".join(map(str, sorted(known)))
        received = ", ".join(map(str, sorted(request.bits)))
        raise Refused(_BITS, f"among those measured: {widths}", received, "Allow one of these.")
    return Catalogue(rows)


def _catalogue(catalogue_of: Callable[[str], Catalogue], root: str) -> Catalogue:
    try:
        return catalogue_of(root)
    except ValueError as error:
        raise Refused(_ROOT, "a root that was measured", _short(root), str(error)) from error


def _parse(message: object) -> Any:
    try:
        text = json.dumps(message) if isinstance(message, Mapping) else message
        if isinstance(text, (str, bytes)) and len(text) <= MOST_BYTES:
            return json.loads(text, parse_constant=_no_number)
    except Refused:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        remedy = f"Send text that a JSON reader takes ({_short(error)})."
        raise Refused(_WHOLE, "JSON", _short(message), remedy) from error
    received = f"{len(text)}" if isinstance(text, (str, bytes)) else _short(message)
    raise Refused(_WHOLE, f"at most {MOST_BYTES} bytes of JSON", received, "Send text, and less.")


def _no_number(name: str) -> float:
    raise Refused(_WHOLE, "JSON, whose numbers are finite", name, "Send a finite number.")


def _refusal(error: ValidationError) -> Refused:
    """A schema's complaint in our words."""
    path = ".".join(map(str, error.absolute_path)) or "message"
    limits = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        field = f"{path}.{missing}".removeprefix("message.")
        return Refused(field, "given", "nothing", f"Add {missing!r} to {path}.")
    if error.validator == "additionalProperties":
        known = list(limits.get("properties", {}))
        extra = sorted(set(error.instance) - set(known))
        field = f"{path}.{extra[0]}".removeprefix("message.")
        allowed = f"left out, or one of {', '.join(known)}"
        return Refused(field, allowed, _short(error.instance[extra[0]]), "Leave it out.")
    if error.validator == "dependentRequired":
        both = " and ".join(sorted(error.validator_value))
        return Refused(path, f"given with both {both}", _short(error.instance), "Give the other.")
    remedy = "Send one of these." if "enum" in limits else "Send such a value."
    return Refused(path, _allowed(limits), _short(error.instance), remedy)


def _allowed(limits: Mapping[str, Any]) -> str:
    if "const" in limits:
        return f"{limits['const']}"
    if "enum" in limits:
        return f"one of {', '.join(map(str, limits['enum']))}"
    if "minimum" in limits:
        return f"a number from {limits['minimum']:g} to {limits['maximum']:g}"
    if "maxLength" in limits:
        return f"text of {limits.get('minLength', 0)} to {limits['maxLength']} characters"
    if "maxItems" in limits:
        return f"a list of {limits['minItems']} to {limits['maxItems']} entries"
    return {"object": "an object", "array": "a list"}.get(limits.get("type", ""), "as documented")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
