"""What every strategy says of few steps: distilled models are refused, and short runs get advice. No mlx."""

from __future__ import annotations

import argparse
import warnings

from mflux_teacache.errors import PluginWarning, Refused
from mflux_teacache.records import Target

# With fewer active steps it is better to run fewer of them; "Few-step models" in docs/strategies.md has what is known.
ENOUGH = 10


def add_option(group: argparse._ArgumentGroup, plugin: str) -> None:
    """Declare ``--<plugin>-force``, with which ``refuse_distilled`` is not asked."""
    group.add_argument(f"--{plugin}-force", action="store_true", help="run on a model that is distilled to a few steps")


def refuse_distilled(target: Target, plugin: str) -> None:
    """Raises ``Refused``, for a target whose model is distilled to a few steps."""
    raise Refused(
        f"{target.model} is distilled to a few steps, which differ too much to be skipped: there is little "
        f"to gain and much to lose. Use the base model that it was distilled from, with more steps; "
        f"or --{plugin}-force to try it all the same."
    )


def is_short(target: Target) -> bool:
    """Whether a run of a known model, which may be a distilled one, has fewer active steps than ``ENOUGH``."""
    return target.model is not None and target.active_steps is not None and target.active_steps < ENOUGH


def advise_fewer(target: Target) -> None:
    """Warn that a run which ``is_short`` had better have fewer steps than skip some."""
    active = target.active_steps
    warnings.warn(
        f"this run has {active} active steps, and below {ENOUGH} fewer steps are usually the better way to save time: "
        f"run it with less than --steps {target.steps or active}, without plugins. To skip steps, have {ENOUGH} active "
        f"ones or more.",
        PluginWarning,
        stacklevel=2,
    )
