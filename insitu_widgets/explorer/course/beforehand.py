"""What was measured before of the parameter and the bit level, where a root's images are missing.

``python -m insitu_widgets.explorer.course.point_tables ROOT`` measures the table of one root: each
accuracy that a panel of notebooks 03 and 04 asks for, at every stop of its sliders. Nothing is put
in between: what was not measured is refused, and the message says what was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, wraps
from html import escape
from inspect import signature
from typing import ParamSpec, TypeVar

from insitu_widgets.cards import NESTED_SUFFIX, ROOTS
from insitu_widgets.cifar100 import FETCH, misnamed
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.live import left_out, missing_images
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import condition, shipped, shipped_lines
from insitu_widgets.network.depth_rows import values_in

#: How the tables' names end, and their heading: an accuracy has ``right`` and ``seen``, a loss
#: ``nat``.
SUFFIX = "-points.csv"
COLUMNS = ("root", "measurement", "setting", "right", "seen", "nat")
#: What stands between two arguments of a setting.
SETTINGS = "; "

#: What is measured, and each argument in words.
Key = tuple[str, tuple[str, ...]]
Asked = ParamSpec("Asked")
Found = TypeVar("Found", Estimate, float)


def measured_before(measure: Callable[Asked, Found]) -> Callable[Asked, Found]:
    """Let a measurement of a root be read from its table where the root's images are missing.

    Its first argument is the root's name, or a recipe of it.

    Raises
    ------
    ValueError
        From the measurement, where it must be read, but was not measured so.
    """

    @wraps(measure)
    def found(*args: Asked.args, **kwargs: Asked.kwargs) -> Found:
        root, key = key_of(measure, *args, **kwargs)
        if not missing_images(root):
            return measure(*args, **kwargs)
        table = load_points(root)
        if key not in table:
            raise _refusal(root, key, table)
        return table[key]  # type: ignore[return-value]  # a measurement's rows are all of one kind

    return found


def key_of(measure: Callable[..., object], *args: object, **kwargs: object) -> tuple[str, Key]:
    """The plain root that a measurement is of, and its key in that root's table."""
    first, *others = signature(measure).bind(*args, **kwargs).arguments.items()
    _, subject = first
    root, told = (
        (subject.root, [first, *others]) if isinstance(subject, Recipe) else (str(subject), others)
    )
    setting = tuple(f"{field}={_said(given)}" for field, given in told)
    return root.removesuffix(NESTED_SUFFIX), (measure.__name__, setting)


def _said(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def offered(roots: Iterable[str] = ROOTS) -> list[str]:
    """Those of these roots (all) whose images are on this machine, or whose table is shipped."""
    return [name for name in roots if not lacking(name)]


def lacking(root: str) -> str:
    """Why nothing is known of a root, whose images and table are both missing; else empty."""
    return "" if root in shipped(SUFFIX) else missing_images(root)


def not_offered(roots: Iterable[str] = ROOTS) -> str:
    """Which of these roots (all) are not, and the remedy; empty if all are."""
    return left_out([name for name in roots if name not in shipped(SUFFIX)])


def told(root: str) -> str:
    """Say (HTML) that a root's accuracies are of its table, and why; empty where they are not."""
    return from_table(root, SUFFIX) if missing_images(root) else ""


def from_table(root: str, suffix: str, settings: str = "") -> str:
    """What a shipped table was measured on (HTML), and why nothing is measured now.

    ``settings`` names all that it holds, where not every setting is there.
    """
    what = condition(root, suffix).removeprefix("images: ")
    what += f". Measured: {settings}" if settings else ""
    where = f"The images of {ROOTS[root].data} are not on this machine"
    reason = f"{where}; to measure, get them: {FETCH} (170 MB, once). {misnamed()}".strip()
    return f"<p>{escape(f'Shipped measurement, on {what}. {reason}')}</p>"


@lru_cache(maxsize=8)
def load_points(root: str) -> Mapping[Key, Estimate | float]:
    """The shipped table of one root.

    Raises
    ------
    ValueError
        If none is shipped for that root, naming those that are.
    """
    return read_points(shipped_lines(root, SUFFIX))


def read_points(lines: Iterable[str]) -> dict[Key, Estimate | float]:
    """The measurements of a table by key."""
    return {
        (row["measurement"], tuple(row["setting"].split(SETTINGS))): (
            Estimate(int(row["right"]), int(row["seen"])) if row["seen"] else float(row["nat"])
        )
        for row in values_in(lines)
    }


def _refusal(root: str, key: Key, table: Mapping[Key, Estimate | float]) -> ValueError:
    """Say which argument must be another one, if it is one alone."""
    kind, asked = key
    for place, given in enumerate(asked):
        field, _, value = given.partition("=")
        measured = [
            setting[place].removeprefix(f"{field}=")
            for other, setting in table
            if other == kind and (*setting[:place], *setting[place + 1 :])
            == (*asked[:place], *asked[place + 1 :])
        ]  # fmt: skip
        if measured:
            return ValueError(
                f"{field} must be one that was measured of {root}, whose images are not here: "
                f"{', '.join(measured)}. Got {value}. Choose one of these, or get the images: "
                f"{FETCH}"
            )
    return ValueError(
        f"{kind} must be one that was measured of {root}, whose images are not here; got "
        f"{', '.join(asked)}. Choose another root, or get the images: {FETCH}"
    )
