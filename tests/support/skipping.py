"""Settings with which every built-in strategy skips some of a few steps of a model with random weights."""

from __future__ import annotations

from typing import Any

STEPS = 5

# By the strategy's name, keywords of ``attach``.
OPTIONS: dict[str, dict[str, Any]] = {
    "teacache": {"coefficients": (1.0, 0.0), "thresh": 9.0, "skip_first": 2, "force": True, "forecast": 1},
    "first-block-cache": {"thresh": 9.0, "skip_first": 2, "skip_last": 1, "forecast": 1, "force": True},
    "easycache": {"thresh": 1e9, "skip_first": 2, "skip_last": 1, "forecast": 1, "force": True},
    "magcache": {"table": "flux1-dev", "thresh": 9.0, "skip_first": 2, "skip_last": 1, "forecast": 1, "force": True},
    "sea": {"thresh": 1e9, "skip_first": 2, "forecast": 1, "force": True},
    "taylorseer": {"skip_first": 2, "force": True},
    "schedule": {"ratio": 0.25, "skip_first": 2, "forecast": 1, "force": True},
}
