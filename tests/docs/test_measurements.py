"""The figures of ``docs/performance.md`` are those of the measurements beside it."""

from __future__ import annotations

import json
import re
from itertools import product
from statistics import median
from typing import Any

import pytest
from fences import ROOT

from mflux_teacache import attach
from mflux_teacache.bench.patterns import spread
from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS_HELP

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())  # however its lines are broken
COLUMNS = (
    "all computed",
    "skipping",
    "all computed, blocks compiled",
    "skipping, blocks compiled",
    "mlx-teacache",
)
_MEASURED = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and "(measurements/" in line
]
ROWS = [row for row in _MEASURED if "-output.json" not in row[-1]]
ROWS_OF_OUTPUTS = [row for row in _MEASURED if row not in ROWS]


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


@pytest.mark.parametrize("row", ROWS_OF_OUTPUTS, ids=lambda row: row[0])
def test_a_row_with_outputs_reused(row: list[str]) -> None:
    _, counts, floor, skipping, skipped_step, link = row
    steps, skipped = map(int, counts.split(", "))
    content = measured(*re.findall(r"measurements/(.+)\.json", link))
    plain, _, schedule = content["summary"]
    assert (schedule["pattern"].count("S"), len(schedule["pattern"])) == (skipped, steps)
    assert content["settings"]["plugin_options"]["reuse"] == "output"
    assert [floor, skipping] == [f"{schedule['floor']:.3f}", f"{median(schedule['ratios']):.3f}"]
    share = schedule["skipped_step"]["median"] / schedule["computed_step"]["median"]
    assert skipped_step == f"{100 * share:.1f}%"
    assert share < 0.01
    assert plain["variant"] == "plain"
    assert max(schedule["ratios"]) <= 1.04 * min(schedule["ratios"])


def test_what_the_readme_says_of_it() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    skipping = sorted(row[3] for row in ROWS_OF_OUTPUTS if row[2] == "0.400")
    took = f"the models that we timed with outputs reused took {skipping[0]} to {skipping[-1]} of it"
    assert f"0.400 of mflux's time is the least that is possible, and {took}" in readme
    auto, tuned = (summaries(name) for name in ("auto-demo", "auto-tuned-3-demo"))
    said = [auto["auto speedup=2"], tuned["auto speedup=2"], auto["fewer steps: 14"]]
    without, with_preset, fewer = (f"{entry['psnr']:.1f}" for entry in said)
    assert (
        f"14 computed steps of 28 come to {without} dB, to {with_preset} once `mflux-teacache tune` has found which "
        f"ones, and a run of 14 steps to {fewer}" in readme
    )


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


def test_memory_with_outputs_reused() -> None:
    for name, said in {"z-image": "Z-Image", "qwen": "Qwen-Image"}.items():
        plain, _, skipping = (
            entry["peak_bytes"]["loop"] / 2**30 for entry in measured(f"{name}-1024-output")["summary"]
        )
        assert re.search(rf"With outputs reused: .*{said} {plain:.2f} and {skipping:.2f} GiB", TEXT), said


STRATEGIES = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")


def summaries(name: str) -> dict[str, dict[str, Any]]:
    """By setting, of settings and of fewer steps."""
    content = measured(name)
    return {entry["setting"]: entry for entry in [*content["summary"], *content["fewer_steps"]["summary"]]}


def psnr_of(entry: dict[str, Any]) -> str:
    return f"{entry['psnr']:.1f}, {entry['worst_psnr']:.1f}"


def rows_of(pattern: str) -> list[list[str]]:
    """The rows of tables whose first cells are like this, cell by cell."""
    lines = [line for line in STRATEGIES.splitlines() if re.match(pattern, line)]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


QUALITY = rows_of(r"\| `?[a-z].* \| [\d.]+/28 \|")
REUSE = rows_of(r"\| \d+ \| [\d.]+, [\d.]+ \| .* \|.*\|.*\|.*\|.*\|")
BUDGETS = rows_of(r"\| `[a-z-]+` \| \d+ \|[^|]*\|[^|]*\|[^|]*\|$")
FEW = rows_of(r"\| \d of [68] \|")


def test_the_tables_are_there() -> None:
    assert (len(QUALITY), len(REUSE), len(BUDGETS), len(FEW)) == (35, 6, 15, 3)


@pytest.mark.parametrize("row", QUALITY, ids=lambda row: row[0])
def test_a_row_of_the_settings(row: list[str]) -> None:
    setting, *cells = row
    entry = summaries("quality-demo")[setting]
    figures = ("computed", "speed_up", "psnr", "worst_psnr", "ssim", "worst_ssim")
    forms = ("{:.1f}/28", "{:.2f}", "{:.1f}", "{:.1f}", "{:.4f}", "{:.4f}")
    assert cells == [form.format(entry[figure]) for form, figure in zip(forms, figures, strict=True)]


@pytest.mark.parametrize("row", REUSE, ids=lambda row: row[0])
def test_a_row_of_what_is_reused(row: list[str]) -> None:
    computed, fewer, *cells = row
    by_setting = summaries("reuse-demo")
    pattern = spread(28, 28 - int(computed))
    kinds = product(("body", "output"), (0, 1, 2))
    settings = [f"schedule pattern={pattern} reuse={reuse} forecast={order}" for reuse, order in kinds]
    assert cells == [psnr_of(by_setting[setting]) for setting in settings]
    assert fewer == psnr_of(by_setting[f"fewer steps: {computed}"])


@pytest.mark.parametrize("row", BUDGETS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_a_row_of_the_budgets(row: list[str]) -> None:
    strategy, computed, *cells = row
    kinds = (("body", 0), ("output", 1), ("output", 2))
    names = [f"{strategy} max_computed={computed} reuse={reuse} forecast={order}" for reuse, order in kinds]
    by_setting = summaries("budgets-demo")
    assert cells == [psnr_of(by_setting[name]) if name in by_setting else "" for name in names]


@pytest.mark.parametrize("row", FEW, ids=lambda row: row[0])
def test_a_row_of_few_steps(row: list[str]) -> None:
    counts, fewer, *cells = row
    computed, steps = map(int, counts.split(" of "))
    by_setting = summaries(f"reuse-demo-{steps}")
    kinds = (("body", 0), ("output", 0), ("output", 1))
    pattern = spread(steps, steps - computed)
    settings = [f"schedule pattern={pattern} reuse={reuse} forecast={order}" for reuse, order in kinds]
    assert cells == [psnr_of(by_setting[setting]) for setting in settings]
    assert fewer == psnr_of(by_setting[f"fewer steps: {computed}"])


def test_what_is_said_of_what_is_reused() -> None:
    """Held there is nothing to gain, and from 9 computed steps up outputs with the quadratic forecast are the best."""
    for row in REUSE:
        computed, fewer, held, linear, quadratic, outputs_held, outputs_linear, outputs_quadratic = (
            float(cell.split(",")[0]) for cell in row
        )
        assert max(held, outputs_held) <= fewer
        best = outputs_linear if computed == 7 else outputs_quadratic
        assert best == max(linear, quadratic, outputs_linear, outputs_quadratic, fewer)


TUNING = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
ROWS_OF_AUTO = re.findall(r"(?m)^\| ([\d.]+) \| (\d+) \| (.+, .+) \|$", TUNING)


def test_the_rows_of_auto_are_there() -> None:
    assert [float(row[0]) for row in ROWS_OF_AUTO] == [1.5, 2, 2.5, 3]


@pytest.mark.parametrize("row", ROWS_OF_AUTO, ids=lambda row: str(row[0]))
def test_a_row_of_auto(row: tuple[str, str, str]) -> None:
    speedup, computed, cells = row
    fewer, *auto = cells.split(" | ")
    assert fewer == psnr_of(summaries("auto-demo")[f"fewer steps: {computed}"])
    for name, cell in zip(("auto-demo", "auto-tuned-3-demo", "auto-tuned-24-demo"), auto, strict=True):
        entry = summaries(name)[f"auto speedup={speedup}"]
        assert (entry["images"], round(entry["computed"])) == (32, int(computed))
        assert psnr_of(entry) == cell


def test_what_auto_computes_without_a_preset_is_the_best_measured() -> None:
    auto = summaries("auto-demo")
    for speedup, computed in ((2, 14), (3, 9)):
        others = [
            entry["psnr"]
            for name in ("quality-demo", "reuse-demo", "budgets-demo")
            for entry in summaries(name).values()
            if entry["computed"] <= computed
        ]
        assert auto[f"auto speedup={speedup}"]["psnr"] >= max(others) - 0.005
