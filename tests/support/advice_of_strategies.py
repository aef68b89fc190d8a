"""What strategies and plugins answer on a command line of mflux's, each followed as it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advised import Case
from advised_runs import line

from mflux_teacache.teacache.calibration import shipped

SCHNELL: dict[str, Any] = {"model": "black-forest-labs/FLUX.1-schnell", "distilled": True}
FIBO: dict[str, Any] = {"pipeline": "FIBO", "model": "briaai/FIBO"}


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for the files that they are about.
    """
    return {**_budgets_and_windows(), **_schedules(), **_calibrations(folder), **_sidecars(folder), **_lines(folder)}


def _budgets_and_windows() -> dict[str, Case]:
    windows = "--plugin first-block-cache --first-block-cache-skip-first 4 --first-block-cache-skip-last 4"
    longest = windows.replace("-first 4", "-first 0.99").replace("-last 4", "-last 0.99")
    budget = "--plugin first-block-cache --first-block-cache-max-computed {} --first-block-cache-max-skips {}"
    windowed = f"{budget.format(3, 30)} --first-block-cache-skip-first 4 --first-block-cache-skip-last 4"
    return {
        "a budget below the windows": Case(
            line(windowed),
            "Use --first-block-cache-max-computed 8 or more, or a --first-block-cache-speedup of at most 3.12; or "
            "lower --first-block-cache-skip-first and --first-block-cache-skip-last",
            [
                line(windowed.replace("computed 3", "computed 8")),
                line(windowed.replace("max-computed 3", "speedup 3.12")),
                line(windowed.replace("first 4", "first 1").replace("last 4", "last 1")),
            ],
        ),
        "a budget below the cap": Case(
            line(budget.format(3, 1)),
            "or raise --first-block-cache-max-skips.",
            [line(budget.format(3, 20)), line(budget.format(13, 1))],
        ),
        "windows that cover the run": Case(
            line(windows, steps=8),
            "It takes at least 9 (image-to-image runs fewer than --steps says), or a lower "
            "--first-block-cache-skip-first or --first-block-cache-skip-last.",
            [line(windows, steps=10), line(windows.replace("4", "1"), steps=10)],
        ),
        "windows that cover any run": Case(
            line(longest),
            "Lower --first-block-cache-skip-first or --first-block-cache-skip-last.",
            [line(longest.replace("-first 0.99", "-first 0.2").replace("-last 0.99", "-last 0.1"))],
        ),
        "a distilled model": Case(
            line("--plugin first-block-cache", steps=10, **SCHNELL),
            "Use the base model that it was distilled from, with more steps; or --first-block-cache-force to try it",
            [
                line("--plugin first-block-cache"),
                line("--plugin first-block-cache --first-block-cache-force", steps=10, **SCHNELL),
            ],
        ),
        "few steps": Case(
            line("--plugin first-block-cache", steps=8),
            "use a lower --steps without plugins.",
            [line("", steps=7), line("--plugin first-block-cache", steps=10)],
        ),
        "a model whose tokens lie nobody knows how": Case(
            line("--plugin sea", has_token_grid=False),
            "Use a plugin that need not know (",
            [line("--plugin easycache", has_token_grid=False), line("--plugin sea", has_token_grid=True)],
        ),
    }


def _schedules() -> dict[str, Case]:
    schedule = "--plugin schedule --schedule"
    ratio = f"{schedule}-ratio 0.9 --schedule-skip-first 4 --schedule-skip-last 4"
    return {
        "a pattern of another length": Case(
            line(f"{schedule}-pattern CSC"),
            "Give one letter per step, or use --schedule-every or --schedule-ratio.",
            [
                line(f"{schedule}-pattern {'CSC' * 8}C"),
                line(f"{schedule}-every 2"),
                line(f"{schedule}-ratio 0.5"),
            ],
        ),
        "a schedule without a skip": Case(
            line(f"{schedule}-ratio 0.01"),
            "Use more steps, or ask for more skips.",
            [line(f"{schedule}-ratio 0.01", steps=100), line(f"{schedule}-ratio 0.1")],
        ),
        "a ratio beyond the windows": Case(
            line(ratio),
            "lower --schedule-skip-first or --schedule-skip-last.",
            [line(ratio.replace("0.9", "0.5")), line(ratio.replace("first 4", "first 1").replace("last 4", "last 1"))],
        ),
        "a plan that computes too few": Case(
            line(f"{schedule}-speedup 25"),
            "Use --schedule-max-computed with such a number, or a --schedule-speedup above 1 and up to 12.5.",
            [line(f"{schedule}-max-computed 2"), line(f"{schedule}-speedup 12.5"), line(f"{schedule}-max-computed 24")],
        ),
        "a plan of two steps": Case(
            line(f"{schedule}-speedup 1.5", steps=2),
            "Use more steps, or run without plugins.",
            [line(f"{schedule}-speedup 1.5", steps=10), line("", steps=2)],
        ),
        "a plan with several lists": Case(
            line(f"{schedule}-plan flux1-dev"),
            "Say which with --schedule-max-computed or --schedule-speedup",
            [
                line(f"{schedule}-plan flux1-dev --schedule-max-computed 12"),
                line(f"{schedule}-plan flux1-dev --schedule-speedup 2"),
            ],
        ),
        "a plan and a way of one's own": Case(
            line(f"{schedule}-plan flux1-dev --schedule-every 2"),
            "Leave one of them out (--no-schedule-plan, if it is recorded), or use --schedule-speedup in place of the",
            [
                line(f"{schedule}-every 2"),
                line(f"{schedule}-plan flux1-dev --schedule-every 2 --no-schedule-plan"),
                line(f"{schedule}-plan flux1-dev --schedule-speedup 2"),
            ],
        ),
    }


def _calibrations(folder: Path) -> dict[str, Case]:
    good = json.loads(_calibration().read_text())
    for name, content in {"good": good, "untold": {**good, "threshold": None}}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))

    def own(name: str, more: str = " --teacache-thresh 0.3") -> Any:
        where = f"--plugin teacache --teacache-calibration {folder / name}.json"
        return line(f"{where}{more}", pipeline="DemoKlein", model=good["model"])

    return {**_choosing_a_calibration(folder, own), **_thresholds(own), **_calibration_files(folder, own, good)}


def _choosing_a_calibration(folder: Path, own: Callable[..., Any]) -> dict[str, Case]:
    return {
        "a model without a calibration": Case(
            line("--plugin teacache", **FIBO),
            "which --plugin teacache-record makes from a few images; or --teacache-coefficients and --teacache-thresh.",
            [
                line("--plugin easycache", **FIBO),
                line("--plugin first-block-cache", **FIBO),
                line("--plugin taylorseer", **FIBO),
                line(f"--plugin teacache-record --teacache-record-output {folder / 'new.json'}", **FIBO),
                line("--plugin teacache --teacache-coefficients=1,0 --teacache-thresh 0.2", **FIBO),
            ],
        ),
        "a calibration of another checkpoint": Case(
            line("--plugin teacache", model_path="me/mine"),
            "before you rely on it, or give --teacache-calibration a file of your own",
            [own("good")],
        ),
        "no such calibration": Case(
            line("--plugin teacache --teacache-calibration flux9"),
            "A file of your own is named by its path, such as ./flux9.json.",
            [line("--plugin teacache --teacache-calibration flux1-dev"), own("good")],
        ),
        "a calibration that is not there": Case(
            own("missing"), "Give the path of a UTF-8 JSON file, or one of the names", [own("good")]
        ),
    }


def _thresholds(own: Callable[..., Any]) -> dict[str, Case]:
    return {
        "a threshold that skips nothing": Case(
            line("--plugin teacache --teacache-coefficients=1,0.5 --teacache-thresh 0.1"),
            "Use a threshold above that",
            [line("--plugin teacache --teacache-coefficients=1,0.5 --teacache-thresh 0.51")],
        ),
        "a calibration without a threshold": Case(
            own("untold", ""),
            "the smallest change that it predicts; or a budget with --teacache-speedup.",
            [own("untold"), own("untold", " --teacache-speedup 2")],
        ),
        "coefficients too far apart": Case(
            line("--plugin teacache --teacache-coefficients=1e308,1e308,1e-300,0 --teacache-thresh 0.2"),
            "Set to 0 what is next to nothing.",
            [line("--plugin teacache --teacache-coefficients=1,0,0 --teacache-thresh 0.2")],
        ),
    }


def _calibration_files(folder: Path, own: Callable[..., Any], good: dict[str, Any]) -> dict[str, Case]:
    files = {
        "schema": {**good, "schema": 9},
        "upper": {**good, "range": None, "derived_upper": 7.0, "polynomial": [1.0, 0.0]},
        "negative": {**good, "range": None, "polynomial": [-1.0]},
        "poor": {**good, "r2": 0.1, "r2_held_out": 0.1},
        "retired": {**good, "model": "mflux-teacache/demo-tinyflux"},
        "computed": {**good, "range": None, "polynomial": [1.0, 0.0]},
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "broken.json").write_text("{")
    (folder / "twice.json").write_text('{"schema": 1, "schema": 1}')
    return {
        "a calibration of another schema": Case(
            own("schema"), "Write it anew, or upgrade mflux-teacache-plugin.", [own("good")]
        ),
        "a calibration that is no JSON": Case(own("broken"), "is not JSON: ", [own("good")]),
        "a calibration of a model that is gone": Case(
            own("retired"), "make it again with mflux-teacache/demo-emoji.", [own("good")]
        ),
        "a calibration with a field twice": Case(own("twice"), "Compare it with a shipped one.", [own("good")]),
        "a calibration with another bound": Case(
            own("upper"), "Leave the field out: it is computed.", [own("computed")]
        ),
        "a calibration that is negative": Case(
            own("negative"), "Record the range of changes that it was fitted on.", [own("good")]
        ),
        "a poor calibration": Case(
            own("poor"),
            "or use a plugin that needs no calibration, such as easycache or first-block-cache",
            [line("--plugin easycache"), line("--plugin first-block-cache"), own("good")],
        ),
    }


def _calibration() -> Path:
    from importlib.resources import files

    assert "demo-emoji" in shipped()
    return Path(str(files("mflux_teacache.teacache").joinpath("calibrations", "demo-emoji.json")))


def _sidecars(folder: Path) -> dict[str, Case]:
    plugin = {"package": "mflux-teacache-plugin", "version": "0.1.0"}
    skipped = {**plugin, "options": {"thresh": 0.3}, "values": {"forecast": 0}}
    entry = {"schema": 1, "pattern": "CS" * 12 + "C", "decider": "first-block-cache", "residual_after": 1}
    good = {"model": "dev", "mflux_plugins": {**entry, "plugins": {"first-block-cache": skipped}}}
    idle = {"mflux_plugins": {**entry, "decider": None, "plugins": {}}}
    later = {"mflux_plugins": {**good["mflux_plugins"], "schema": 2}}  # type: ignore[dict-item]
    other = {**good, "model": "another/model"}
    broken = {"mflux_plugins": {**good["mflux_plugins"], "pattern": "SSS"}}  # type: ignore[dict-item]
    for name, content in {"good": good, "idle": idle, "later": later, "other": other, "broken": broken}.items():
        (folder / f"{name}.metadata.json").write_text(json.dumps(content))

    def replay(name: str, **target: Any) -> Any:
        return line(f"--plugin replay --replay-from {folder / name}.metadata.json", **target)

    return {
        "nothing to repeat": Case(
            replay("idle"),
            "Name a plugin that decides itself, such as --plugin teacache.",
            [line("--plugin teacache --teacache-thresh 0.3"), replay("good", model="dev")],
        ),
        "a record of a later version": Case(
            replay("later"),
            "Use the version of mflux-teacache-plugin that wrote it, or a later one.",
            [replay("good", model="dev")],
        ),
        "a record with something else": Case(
            replay("broken"), "Correct it as --make-conf writes it.", [replay("good", model="dev")]
        ),
        "a record of another model": Case(
            replay("other"),
            "Compare with a full run, or let first-block-cache itself decide: --plugin first-block-cache.",
            [line("--plugin first-block-cache")],
        ),
        "a record of another number of steps": Case(
            replay("good", steps=20, model="dev"),
            "Run as many (image-to-image runs fewer than --steps says), or let first-block-cache itself decide: "
            "--plugin first-block-cache.",
            [replay("good", steps=25, model="dev"), line("--plugin first-block-cache", steps=20)],
        ),
    }


def _lines(folder: Path) -> dict[str, Case]:
    output = folder / "made.json"
    (folder / "folder.json").mkdir()
    record = "--plugin teacache-record --teacache-record-output"
    return {
        "an option of a plugin that is off": Case(
            line("--teacache-thresh 0.3"),
            "is for the plugin teacache, which is off. Add --plugin teacache, or leave it out.",
            [line("--teacache-thresh 0.3 --plugin teacache"), line("")],
        ),
        "none and another": Case(
            line("--plugin none --plugin teacache"),
            "Leave one of them out.",
            [line("--plugin none"), line("--plugin teacache")],
        ),
        "two that decide": Case(
            line("--plugin teacache --plugin easycache"),
            "Name one of them; plugins that only observe can be added freely.",
            [
                line("--plugin teacache"),
                line("--plugin easycache"),
                line(f"--plugin teacache --plugin magcache-record --magcache-record-output {output}"),
            ],
        ),
        "an unknown plugin": Case(
            line("--plugin teacash"), "Check the spelling, or pip install the package", [line("--plugin teacache")]
        ),
        "an output with another suffix": Case(
            line("--plugin shadow --shadow-plot a.jpg"),
            "Try --shadow-plot a.png.",
            [line("--plugin shadow --shadow-plot a.png")],
        ),
        "an output that is a folder": Case(
            line(f"{record} {folder / 'folder.json'}"),
            "Give the name of a file in it.",
            [line(f"{record} {folder / 'folder.json' / 'a.json'}")],
        ),
        "an output in no folder": Case(
            line(f"{record} {folder / 'none' / 'a.json'}"),
            "Make it first, or name one that exists.",
            [line(f"{record} {output}")],
        ),
        "an output that cannot be": Case(
            line(f"{record} {folder / ('a' * 300)}.json"),
            "Name a file in a folder of your own.",
            [line(f"{record} {output}")],
        ),
        "a shadow run of what decides nothing": Case(
            line("--plugin shadow --shadow-strategies teacache-record"),
            "decides nothing that a shadow run could look at. Leave it out.",
            [line("--plugin shadow"), line("--plugin shadow --shadow-strategies teacache")],
        ),
    }
