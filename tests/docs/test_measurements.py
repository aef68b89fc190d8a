"""The figures of ``docs/performance.md`` are those of the measurements beside it."""

from __future__ import annotations

import json
import re
from statistics import fmean, median
from typing import Any

import pytest
from fences import ROOT

from mflux_teacache import attach
from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS_HELP
from mflux_teacache.image_quality import psnr

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())  # however its lines are broken
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


def test_what_the_readme_says_of_it() -> None:
    skipping = sorted(row[4] for row in ROWS)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert {row[2] for row in ROWS} == {"0.400"}
    took = f"the five models that we timed took {skipping[0]} to {skipping[-1]} of it"
    assert f"where that limit is 0.400 of plain mflux's time, {took}" in readme


def test_the_demo_on_a_processor() -> None:
    computed, skipping = (f"{median(values):.3f}" for values in ratios("demo-cpu").values())
    assert f"{computed} with all computed, {skipping} skipping" in TEXT


def test_what_tracing_makes_of_the_floor() -> None:
    def share(name: str) -> str:
        shares = [
            sum(run["step_seconds"][:8]) / sum(run["step_seconds"])
            for run in measured(name)["runs"]
            if run["variant"] == "plain"
        ]
        return f"{median(shares):.3f}"

    said = re.search(r"of its loop: (\S+) for FLUX.2 at 512.*?, (\S+) at 1024x1024, and (\S+) for Z-Image", TEXT)
    assert said is not None
    assert said.groups() == tuple(map(share, ("klein-4b-512", "klein-4b-1024", "z-image-1024")))


def test_how_far_repetitions_are_apart() -> None:
    def spread(values: list[float]) -> float:
        return (max(values) - min(values)) / median(values)

    def largest(*names: str) -> float:
        return max(spread(values) for name in names for values in ratios(name).values())

    names = {re.findall(r"measurements/(.+)\.json", row[-1])[0] for row in ROWS}
    qwen = {name for name in names if name.startswith("qwen")}
    small = {name for name in names if "512" in name}
    assert largest(*names - qwen - small) <= 0.065
    assert largest(*qwen) <= 0.105
    assert largest(*small) <= 0.165
    assert (
        "is up to 6% of the median above the smallest at 1024x1024, for Qwen-Image up to 10%, and up to 16% at 512x512"
        in TEXT
    )


def test_how_often_it_was_repeated() -> None:
    names = ("klein-4b-512", "klein-4b-1024", "flux1-512", "flux1-1024", "z-image-1024", "qwen-1024", "fibo-1024")
    assert [len(ratios(name)["skipping"]) for name in names] == [15, 8, 8, 4, 5, 4, 3]
    assert len(ratios("qwen-1024-compiled")["skipping"]) == 2
    assert (
        "Medians of 15 repetitions for FLUX.2 at 512x512, 8 at 1024x1024, 8 and 4 for FLUX.1, 5 for Z-Image, "
        "4 for Qwen-Image and 3 for FIBO" in TEXT
    )


def test_all_computed_measured_once_more() -> None:
    names = ("flux1-1024-computed", "z-image-1024-computed", "flux1-512-computed")
    large, image, small = (ratios(name)["all computed"] for name in names)
    said = [f"{median(values):.3f}" for values in (large, image, small)]
    assert "{} and {} at 1024x1024, {} at 512x512".format(*said) in TEXT
    assert f"the {len(small)} ratios are {min(small):.3f} to {max(small):.3f}" in TEXT


def test_memory() -> None:
    families = {"klein-4b": "FLUX.2", "flux1": "FLUX.1", "z-image": "Z-Image", "qwen": "Qwen-Image", "fibo": "FIBO"}
    for name, said in families.items():
        peak = {
            variant: max(
                run["loop"]["peak_bytes"] for run in measured(f"{name}-1024")["runs"] if run["variant"] == variant
            )
            for variant in ("plain", "skipping")
        }
        plain, skipping = (f"{peak[variant] / 2**30:.2f}" for variant in ("plain", "skipping"))
        assert re.search(rf"{said} {plain} and {skipping} GiB", TEXT), said


def test_what_compiled_blocks_gave_is_said_alike_everywhere() -> None:
    """Also in the help of each of mflux's commands, and in the docstring of ``attach``."""

    def off(*names: str) -> list[str]:
        compiled = "all computed, blocks compiled"
        return sorted({f"{100 * (1 - median(ratios(name)[compiled])):.0f}" for name in names}, key=int)

    flux, qwen, fibo = off("flux1-512", "flux1-1024"), off("qwen-1024-compiled"), off("fibo-1024")
    assert (len(flux), len(qwen), len(fibo)) == (2, 1, 1)
    said = (
        f"it took {flux[0]} to {flux[1]}% off the time of FLUX.1 and {qwen[0]}% off that of Qwen-Image, "
        f"and added {-int(fibo[0])}% to that of FIBO"
    )
    for text in (PAGE, COMPILE_BLOCKS_HELP.replace(" percent", "%"), attach.__doc__):
        assert said in " ".join((text or "").split())


STRATEGIES = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
FORECASTS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in STRATEGIES.splitlines()
    if re.match(r"\| \d+ of (28|10) \|", line)
]


def patterns(steps: int) -> dict[tuple[int, str], dict[tuple[str, int], float]]:
    """By skipped steps and forecast, PSNR of each prompt and seed."""
    found: dict[tuple[int, str], dict[tuple[str, int], float]] = {}
    for run in measured("patterns-demo" if steps == 28 else f"patterns-demo-{steps}")["runs"]:
        forecast = run["setting"].rpartition("forecast=")[2]
        case = (run["case"]["prompt"], run["case"]["seed"])
        found.setdefault((run["pattern"].count("S"), forecast), {})[case] = psnr(run["squared_error"])
    return found


@pytest.mark.parametrize("row", FORECASTS, ids=lambda row: row[0])
def test_a_row_of_the_forecasts(row: list[str]) -> None:
    skipped, *cells, better = row
    count, steps = map(int, skipped.split(" of "))
    by_order = [patterns(steps)[count, forecast] for forecast in ("0", "1", "2")]
    assert [f"{fmean(levels.values()):.1f}, {min(levels.values()):.1f}" for levels in by_order] == cells
    held, linear, _ = by_order
    assert better == f"{sum(linear[case] > level for case, level in held.items())} of {len(held)}"


def test_where_a_forecast_gains_and_where_it_does_not() -> None:
    assert [row[0] for row in FORECASTS] == [f"{n} of 28" for n in (9, 14, 19)] + [f"{n} of 10" for n in (3, 5, 7)]
    better = {
        steps: sum(int(row[-1].split()[0]) for row in FORECASTS if row[0].endswith(steps)) for steps in ("28", "10")
    }
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"in each of {better['28']} comparisons at 28 steps; at 10 steps it is in {better['10']} of 96" in readme
    held, linear = (fmean(patterns(10)[7, forecast].values()) for forecast in "01")
    assert f"loses {held - linear:.1f} dB where most steps are skipped" in " ".join(STRATEGIES.split())
