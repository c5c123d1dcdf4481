"""The charts of a page or a panel, as one widget; and the thread that owns the widgets."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anywidget
import ipywidgets as widgets
from traitlets import Bool, Dict, Instance, Unicode

if TYPE_CHECKING:
    from collections.abc import Callable

    from insitu_widgets.explorer.runner import Post

_HERE = Path(__file__).parent


@lru_cache(maxsize=1)
def plotly_source() -> str:
    """Plotly's script, from the plotly package (whose import would cost half a second)."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        msg = "plotly is not installed: pip install plotly"
        raise ModuleNotFoundError(msg)
    path = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return path.read_text(encoding="utf-8")


class Script(widgets.Widget):
    """Plotly's script: five megabytes that go to a page once, however many panels it has."""

    source = Unicode().tag(sync=True)
    _shared: ClassVar[Script | None] = None

    @classmethod
    def shared(cls) -> Script:
        """The kernel's one, made when the first charts are; a new one if it was closed."""
        if cls._shared is None or cls._shared.comm is None:
            cls._shared = cls(source=plotly_source())
        return cls._shared


class Charts(anywidget.AnyWidget):
    """All charts of a panel or page as one widget, each chart its own PNG.

    Unlike a ``FigureWidget``, which pushes edits as messages, it keeps the figures in a trait:
    whatever is set before a page connects is part of the state that the page loads.
    """

    _esm = _HERE / "charts.js"
    _css = _HERE / "page.css"
    plotly = Instance(Script).tag(sync=True, **widgets.widget_serialization)
    charts = Dict(help="name -> {title, text, spec}, and html if that is to be shown").tag(
        sync=True
    )
    stale = Dict(help="chart -> why it is out of date").tag(sync=True)
    errors = Dict().tag(sync=True)
    caption = Unicode(help="what a saved picture belongs to, in one line").tag(sync=True)
    theme = Unicode("auto").tag(sync=True)
    permalink = Unicode().tag(sync=True)
    answered = Bool(default_value=False, help="the page's address has been read").tag(sync=True)

    def __init__(self) -> None:
        super().__init__(plotly=Script.shared())
        self.on_msg(self._pong)

    def _pong(self, _widget: object, message: dict[str, Any], _buffers: object) -> None:
        if message.get("type") == "ping":  # the page asks whether its kernel is alive
            self.send({"type": "pong"})


def widget_thread() -> tuple[Post, Callable[..., object] | None]:
    """How to reach the thread that owns the widgets, and how to wait there.

    Without a kernel (a script or a test) everything happens at once, and there is no waiting.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return lambda call: call(), None
    return loop.call_soon_threadsafe, loop.call_later
