"""The section of what ``--plugin shadow`` has written, as JSON or into an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.option_types import is_drawn, is_text
from mflux_teacache.report.page import Details, Section, Table, chart
from mflux_teacache.shadow import picture
from mflux_teacache.shadow.report import HEADING, PATH, TITLES, Report, Row, as_text, figures

_MOST_ROWS = 200
_EVEN = 0.5  # the share of its branches that a partly reused step computed, where an earlier version did not say


def is_of_shadow(content: Mapping[str, Any]) -> bool:
    """Whether this is the result of a shadow run."""
    return content.get("path") == PATH and isinstance(content.get("runs"), list)


def of_shadow(content: Mapping[str, Any], where: str, facts: list[tuple[str, str]]) -> Section:
    """What each strategy would have skipped, and at what error.

    Raises:
        OptionError: it is not such a result.
    """
    rows = [_row(entry, f"{where}: runs[{place}]") for place, entry in enumerate(content["runs"][:_MOST_ROWS])]
    steps = {len(row.errors) for row in rows}
    if len(steps) != 1:
        raise OptionError(f"{where} has {len(rows)} runs with {len(steps)} numbers of steps. Make the file anew.")
    left_out = content.get("left_out", {})
    named = {str(name): str(why) for name, why in left_out.items()} if isinstance(left_out, dict) else {}
    report = Report(rows, named)
    said = f"What {len({row.strategy for row in rows})} strategies would have skipped of a run of {report.steps} steps."
    return Section(
        title=f"Shadow run: {where}",
        summary=said,
        charts=[chart(partial(picture.drawn, report), said, "Error over computed steps, and step by step.")],
        table=Table([title.capitalize() for title in TITLES], list(map(figures, rows))),
        notes=["Mean and worst error in %, relative L1 of what would have been reused.", *HEADING[2:]],
        facts=facts,
        details=[Details("Step by step", as_text(report))],
    )


def _row(entry: Any, where: str) -> Row:
    entry = entry if isinstance(entry, dict) else {}
    pattern = entry.get("pattern")
    if not (isinstance(pattern, str) and pattern and set(pattern) <= set("CSP") and is_text(entry.get("strategy"))):
        raise OptionError(f"{where} has no strategy with a pattern of C, S and P. Make the file anew.")
    errors, threshold = entry.get("errors"), entry.get("threshold")
    reused = [step for step, letter in enumerate(pattern) if letter != "C"]
    known = isinstance(errors, list) and all(error is None or is_drawn(error) for error in errors)
    if not (known and len(errors) == len(reused) and (threshold is None or is_drawn(threshold))):
        raise OptionError(f"{where} must have an error for each of its {len(reused)} reused steps. Make the file anew.")
    shares = entry.get("partly", {})
    of = dict(zip(reused, (math.nan if error is None else float(error) for error in errors), strict=True))
    partial = {step: _share(shares, step) for step in reused if pattern[step] == "P"}
    return Row(entry["strategy"], threshold, tuple(of.get(step) for step in range(len(pattern))), partial)


def _share(shares: Any, step: int) -> float:
    share = shares.get(str(step)) if isinstance(shares, dict) else None
    return float(share) if share is not None and is_drawn(share) and 0 < share < 1 else _EVEN
