"""mflux's progress bar shows how many steps were skipped so far."""

from __future__ import annotations

from typing import Any

from mflux_teacache.runtime import Runtime


def show_skipped(runtime: Runtime | None, context: Any, time_steps: Any = None, *_: Any, **__: Any) -> None:
    """Put it behind the bar of one image; the bar itself shows it with its next update.

    Args:
        context: mflux's of the loop.
        time_steps: as mflux hands it to the context; ``None`` where its configuration has it.
    """
    bar = getattr(getattr(context, "_config", None), "time_steps", None) if time_steps is None else time_steps
    show = getattr(bar, "set_postfix_str", None)  # a third party's loop may have another kind of bar, or none
    if show is None or runtime is None or runtime.plugins.decider is None:
        return
    skipped = sum(record.decision == "skipped" for record in runtime.generation.records)
    show(f"skipped {skipped}", refresh=False)
