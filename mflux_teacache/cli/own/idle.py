"""What ``demo`` and ``bench`` say of an image in which nothing was skipped: what mflux's commands say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mflux_teacache.cli.mflux.summary import summary
from mflux_teacache.plugins import Loaded, PluginSet
from mflux_teacache.records import GenerationStats


def why_idle(stats: GenerationStats, plugin: Loaded, keywords: Mapping[str, Any]) -> str | None:
    """The line after an image that the plugin has computed whole: why, and what to try; ``None`` if it skipped steps.

    Args:
        keywords: the plugin's options, as for ``attach``.
    """
    if stats.skipped_count:
        return None
    threshold = plugin.about.threshold
    threshold_option = None if threshold is None else f"--{plugin.name}-{threshold.replace('_', '-')}"
    return summary(stats, [plugin.name], PluginSet([plugin]).decider, threshold_option)
