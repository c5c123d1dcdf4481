"""In-situ Explorer: cut a sub-model, send it over a link with bit errors, measure what arrives.

The names below are all that a notebook needs. They load on first use: importing the package
imports neither torch nor ipywidgets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from insitu_widgets.air.channel import Link, transmit
    from insitu_widgets.air.envelope import PayloadError
    from insitu_widgets.air.payload import Packet, Report, pack, unpack
    from insitu_widgets.air.rates import LARGE_MODELS, REFERENCE_RATES, required_rate_bps
    from insitu_widgets.cards import ROOTS
    from insitu_widgets.data import ImageSet, load_data
    from insitu_widgets.estimate import Estimate
    from insitu_widgets.evaluate import accuracy
    from insitu_widgets.explorer.dashboard import dashboard
    from insitu_widgets.explorer.panels import rates_panel
    from insitu_widgets.explorer.state import Explorer
    from insitu_widgets.levels.derive import derive
    from insitu_widgets.levels.recipe import Recipe
    from insitu_widgets.levels.submodel import SubModel
    from insitu_widgets.network.catalogue import Catalogue, Measurement, load_catalogue
    from insitu_widgets.network.library import Library
    from insitu_widgets.network.situation import PRESETS, Decision, Situation, choose
    from insitu_widgets.network.sweep import sweep
    from insitu_widgets.roots import Root, load_root

_PLACES = {
    "air.channel": ("Link", "transmit"),
    "air.envelope": ("PayloadError",),
    "air.payload": ("Packet", "Report", "pack", "unpack"),
    "air.rates": ("LARGE_MODELS", "REFERENCE_RATES", "required_rate_bps"),
    "cards": ("ROOTS",),
    "data": ("ImageSet", "load_data"),
    "estimate": ("Estimate",),
    "evaluate": ("accuracy",),
    "explorer.dashboard": ("dashboard",),
    "explorer.panels": ("rates_panel",),
    "explorer.state": ("Explorer",),
    "levels.derive": ("derive",),
    "levels.submodel": ("SubModel",),
    "levels.recipe": ("Recipe",),
    "network.catalogue": ("Catalogue", "Measurement", "load_catalogue"),
    "network.library": ("Library",),
    "network.situation": ("PRESETS", "Decision", "Situation", "choose"),
    "network.sweep": ("sweep",),
    "roots": ("Root", "load_root"),
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "LARGE_MODELS",
    "PRESETS",
    "REFERENCE_RATES",
    "ROOTS",
    "Catalogue",
    "Decision",
    "Estimate",
    "Explorer",
    "ImageSet",
    "Library",
    "Link",
    "Measurement",
    "Packet",
    "PayloadError",
    "Recipe",
    "Report",
    "Root",
    "Situation",
    "SubModel",
    "accuracy",
    "choose",
    "dashboard",
    "derive",
    "load_catalogue",
    "load_data",
    "load_root",
    "pack",
    "rates_panel",
    "required_rate_bps",
    "sweep",
    "transmit",
    "unpack",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACE:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_PLACE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
