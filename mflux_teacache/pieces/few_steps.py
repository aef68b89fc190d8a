"""What every strategy says of few steps: distilled models are refused, and short runs get advice. No mlx.

When it is said, the base decides (``Strategy.mflux_check`` in ``pieces/strategy.py``); which of mflux's models are
distilled is in ``adapters/pipelines.py``.
"""

from __future__ import annotations

import warnings

from mflux_teacache.errors import PluginWarning, Refused
from mflux_teacache.records import Target

# With fewer active steps it is better to run fewer of them; "Few steps" in docs/strategies.md has what is known.
ENOUGH = 10


def refuse_distilled(target: Target, plugin: str) -> None:
    """Raise ``Refused`` in words: the model of the target is known to be distilled to a few steps."""
    raise Refused(
        f"{target.model} is distilled to a few steps, which differ too much to be skipped: there is little "
        f"to gain and much to lose. Use the base model that it was distilled from, with more steps; "
        f"or --{plugin}-force to try it all the same."
    )


def advise_fewer(active: int) -> None:
    """Warn that a run of so few active steps had better have fewer than skip some."""
    warnings.warn(
        f"this run has {active} active steps; below {ENOUGH}, fewer steps are usually the better way to save time: use "
        f"a lower --steps without plugins.",
        PluginWarning,
        stacklevel=2,
    )
