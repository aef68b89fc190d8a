"""Step skipping for mflux as plugins. Public names load on first use; importing the package costs nothing."""

from __future__ import annotations

TYPE_CHECKING = False  # imported at the start of every mflux command, where typing alone would cost milliseconds
if TYPE_CHECKING:
    from typing import Any

    from mflux_teacache.about import About as About
    from mflux_teacache.attachment import apply_teacache as apply_teacache
    from mflux_teacache.attachment import attach as attach
    from mflux_teacache.errors import PluginError as PluginError
    from mflux_teacache.errors import PluginWarning as PluginWarning
    from mflux_teacache.errors import Refused as Refused
    from mflux_teacache.family import Dual as Dual
    from mflux_teacache.family import Family as Family
    from mflux_teacache.family import Joint as Joint
    from mflux_teacache.family import TokenGrid as TokenGrid
    from mflux_teacache.handle import Handle as Handle
    from mflux_teacache.handle import attached as attached
    from mflux_teacache.hookspecs import hookimpl as hookimpl
    from mflux_teacache.pieces.cache import OutputCache as OutputCache
    from mflux_teacache.pieces.cache import ResidualCache as ResidualCache
    from mflux_teacache.pieces.limits import Limits as Limits
    from mflux_teacache.pieces.strategy import Strategy as Strategy
    from mflux_teacache.pieces.verdict import Verdict as Verdict
    from mflux_teacache.records import Generation as Generation
    from mflux_teacache.records import GenerationStats as GenerationStats
    from mflux_teacache.records import StepRecord as StepRecord
    from mflux_teacache.records import Target as Target
    from mflux_teacache.step import Body as Body
    from mflux_teacache.step import Decision as Decision
    from mflux_teacache.step import Step as Step

_HOME = {
    "About": "about",
    "apply_teacache": "attachment",
    "attach": "attachment",
    "attached": "handle",
    "Body": "step",
    "Decision": "step",
    "Dual": "family",
    "Family": "family",
    "Generation": "records",
    "GenerationStats": "records",
    "Handle": "handle",
    "hookimpl": "hookspecs",
    "Joint": "family",
    "Limits": "pieces.limits",
    "PluginError": "errors",
    "PluginWarning": "errors",
    "Refused": "errors",
    "OutputCache": "pieces.cache",
    "ResidualCache": "pieces.cache",
    "Step": "step",
    "StepRecord": "records",
    "Strategy": "pieces.strategy",
    "Target": "records",
    "TokenGrid": "family",
    "Verdict": "pieces.verdict",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
