"""The figures of ``docs/performance.md`` are those of the measurements beside it."""

from __future__ import annotations

import json
import re
from statistics import median
from typing import Any

import pytest
from fences import ROOT

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
COLUMNS = (
    "all computed",
    "skipping",
    "all computed, blocks compiled",
    "skipping, blocks compiled",
    "mlx-teacache",
)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and "(measurements/" in line
]


def measured(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "docs" / "measurements" / f"{name}.json").read_text())
    return content


def ratios(name: str) -> dict[str, list[float]]:
    return {entry["variant"]: entry["ratios"] for entry in measured(name)["summary"][1:]}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_of_the_table(row: list[str]) -> None:
    _, counts, floor, *cells, link = row
    [name] = re.findall(r"measurements/(.+)\.json", link)
    steps, skipped = map(int, counts.split(", "))
    assert float(floor) == (steps - skipped) / steps
    of = ratios(name)
    for variant, cell in zip(COLUMNS, cells, strict=True):
        assert (f"{median(of[variant]):.3f}" if variant in of else "") == cell.replace("mflux compiles it", "")
    settings = measured(name)["settings"]
    assert (settings["steps"], settings["pattern"].count("S")) == (steps, skipped)


def test_the_demo_on_a_processor() -> None:
    computed, skipping = (f"{median(values):.3f}" for values in ratios("demo-cpu").values())
    assert f"{computed} with all computed, {skipping} skipping" in PAGE


def test_what_tracing_makes_of_the_floor() -> None:
    def share(name: str) -> str:
        shares = [
            sum(run["step_seconds"][:8]) / sum(run["step_seconds"])
            for run in measured(name)["runs"]
            if run["variant"] == "plain"
        ]
        return f"{median(shares):.3f}"

    said = re.search(
        r"of its loop: (\S+) for FLUX.2 at 512.*?, (\S+)\s+at 1024x1024, and (\S+) for Z-Image", PAGE, re.S
    )
    assert said is not None
    assert said.groups() == tuple(map(share, ("klein-4b-512", "klein-4b-1024", "z-image-1024")))


def test_how_far_repetitions_are_apart() -> None:
    def spread(values: list[float]) -> float:
        return (max(values) - min(values)) / median(values)

    names = {re.findall(r"measurements/(.+)\.json", row[-1])[0] for row in ROWS}
    large = {name: of for name in names if name.endswith("1024") for of in [ratios(name)]}
    odd = sorted(large["qwen-1024"].pop("skipping"))
    assert (odd[0], odd[-2], odd[-1]) == pytest.approx((0.387, 0.419, 0.519), abs=5e-4)
    assert max(spread(values) for of in large.values() for values in of.values()) <= 0.07
    assert max(spread(values) for name in names - set(large) for values in ratios(name).values()) <= 0.20
    assert "(0.519, the other six 0.387 to 0.419), and up to\n20% at 512x512" in PAGE
    assert "up to\n7% of the median above the smallest at 1024x1024" in PAGE
