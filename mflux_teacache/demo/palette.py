"""How computed, partly reused and skipped steps look: told apart by lightness and hatching as well as by hue."""

from __future__ import annotations

from typing import Any

# Okabe and Ito's blue and orange, as arguments of matplotlib's patches.
COMPUTED: dict[str, Any] = {"facecolor": "#0072B2", "edgecolor": "#00456B"}
SKIPPED: dict[str, Any] = {"facecolor": "#F7C65C", "edgecolor": "#8A5A00", "hatch": "////"}
PARTIAL: dict[str, Any] = {"facecolor": "#8FC1E3", "edgecolor": "#00456B", "hatch": "...."}
LIMIT = "#B3003B"
