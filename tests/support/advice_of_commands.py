"""What our own commands answer, and what is said of files, each followed as it says."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

from advised import Case
from advised_runs import deleted, demo, line, own, written
from report_files import ALL, quality, shadow, speed
from shown_images import ENTRY, FAST, MADE, image, sidecar

from mflux_teacache.presets import reading
from mflux_teacache.report.files import sections_of
from mflux_teacache.strategies.schedule.lists import FILES


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for the files that they are about.
    """
    return {**_demo(), **_show(folder), **_report(folder), **_files(folder), **_sidecars(folder)}


def _demo() -> dict[str, Case]:
    twice = "--thresh 0.1 --teacache-thresh 0.2"
    return {
        "the demo with a threshold below 0": Case(
            demo("--thresh=-1"), "Leave it out for the plugin's own default.", [demo(""), demo("--thresh 0")]
        ),
        "the demo with too few steps": Case(
            demo("--steps 2"), "Try --steps 28.", [demo("--steps 28"), demo("--steps 3")]
        ),
        "the demo with another seed": Case(demo("--seed=-1"), "Try --seed 27.", [demo("--seed 27")]),
        "the demo with a threshold for a plugin without one": Case(
            demo("--plugin schedule --thresh 0.1"),
            "Leave out --thresh.",
            [demo("--plugin schedule --schedule-every 2")],
        ),
        "the demo with a threshold twice": Case(
            demo(twice), "Leave one of them out.", [demo("--thresh 0.1"), demo("--teacache-thresh 0.2")]
        ),
        "the demo with another prompt": Case(
            demo("--prompt 'a dragon'"), "Try 'a ", [demo("--prompt 'a large fox on yellow'")]
        ),
    }


def _show(folder: Path) -> dict[str, Case]:
    full, fast = image(folder, "full.png", MADE), image(folder, "fast.png", FAST, shade=93)
    bare, text = image(folder, "bare.png", None), written(folder / "text.png", "no image")
    told, cut = sidecar(folder), folder / "cut.png"
    cut.write_bytes(full.read_bytes()[:-30])
    steps = sidecar(folder, "steps.metadata.json", mflux_plugins={**ENTRY, "steps": {"change": [1]}})
    wrong = sidecar(folder, "wrong.metadata.json", mflux_plugins={**ENTRY, "steps": []})
    older = {name: value for name, value in ENTRY.items() if name != "steps"}
    without = sidecar(folder, "without.metadata.json", mflux_plugins=older)
    plain, png = written(folder / "plain.json", MADE), folder / "drawn.png"
    return {
        "an image that says nothing": Case(
            own("show", bare),
            "Name an image that mflux wrote, or its .metadata.json.",
            [own("show", fast), own("show", told)],
        ),
        "a picture in place of what is read": Case(
            own("show", fast, "--png", fast), "Name a file that is new.", [own("show", fast, "--png", png)]
        ),
        "a picture in place of an image": Case(
            own("show", fast, "--png", full),
            "Name a file that is new, or delete it first.",
            [own("show", fast, "--png", png), deleted(full, own("show", fast, "--png", full))],
        ),
        "no image at all": Case(
            own("show", full, text),
            "Name another image, or its .metadata.json.",
            [own("show", full, fast), own("show", full, told)],
        ),
        "no pixels": Case(
            own("show", full, cut),
            "Name another image, or its .metadata.json.",
            [own("show", full, fast), own("show", full, told)],
        ),
        "nothing to draw": Case(own("show", plain, "--png", png), "Name an image.", [own("show", fast, "--png", png)]),
        "too much to draw": Case(
            own("show", *[full] * 9, "--png", png),
            "Name fewer, or leave out --png.",
            [own("show", *[full] * 2, "--png", png), own("show", *[full] * 9)],
        ),
        "steps that are not a table": Case(
            own("show", wrong), "Leave it out to see the outcomes alone.", [own("show", without)]
        ),
        "steps that are others": Case(own("show", steps), "to see the outcomes alone.", [own("show", without)]),
    }


def _report(folder: Path) -> dict[str, Case]:
    page = ("--output", folder / "page.html")

    def of(name: str, content: Any) -> Callable[[], None]:
        return lambda: own("report", written(folder / name, content), *page)()

    short = {**speed(), "runs": speed()["runs"][:3]}
    rows = shadow()["runs"]
    full, fast = image(folder, "report.png", MADE), image(folder, "faster.png", FAST, shade=93)
    return {
        "a report without a full run": Case(
            lambda: sections_of([fast, image(folder, "faster-still.png", FAST)]),
            "Name the full run's image too, as mflux wrote it.",
            [lambda: sections_of([fast, full])],
        ),
        "a report of something else": Case(
            of("a.json", MADE), "Name images that mflux wrote", [own("report", full, *page)]
        ),
        "a report of too many images": Case(
            own("report", *[full] * 13, *page), "Name fewer.", [own("report", *[full] * 2, *page)]
        ),
        "a speed file that was cut": Case(
            of("b.json", {**short, "runs": short["runs"][1:]}),
            "Make the file anew with bench speed.",
            [of("b.json", short)],
        ),
        "a quality file that lacks something": Case(
            of("c.json", {**quality(), "summary": [{"setting": "x"}]}),
            "Make the file anew with the command that wrote it.",
            [of("c.json", quality())],
        ),
        "a quality file with something else": Case(
            of("d.json", {**quality(), "summary": [{**quality()["summary"][0], "psnr": "x"}]}),
            "Make the file anew with the command that wrote it.",
            [of("d.json", quality())],
        ),
        "a quality file of no steps": Case(
            of("e.json", {**quality(), "summary": [{**quality()["summary"][0], "steps": 0}]}),
            "Make the file anew.",
            [of("e.json", quality())],
        ),
        "a shadow file without runs": Case(
            of("f.json", {**shadow(), "runs": []}), "Make the file anew.", [of("f.json", shadow())]
        ),
        "a shadow file without a strategy": Case(
            of("g.json", {**shadow(), "runs": [{}, *rows]}), "Make the file anew.", [of("g.json", shadow())]
        ),
        "a shadow file without errors": Case(
            of("h.json", {**shadow(), "runs": [{**rows[0], "errors": []}]}),
            "Make the file anew.",
            [of("h.json", shadow())],
        ),
    }


def _files(folder: Path) -> dict[str, Case]:
    listening = folder / "listening.json"
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)  # the address of a socket must be short
        made.bind(listening.name)
        os.fchdir(here)
        os.close(here)
    record = "--plugin teacache-record --teacache-record-output"
    preset = ALL["preset.json"]

    def parsed(content: Any) -> Callable[[], Any]:
        return lambda: reading.parse(content if isinstance(content, str) else json.dumps(content), "mine.json")

    lists = [{"computed": [0, 2, 4, 49]}, {"computed": [0, 4, 49]}]
    return {
        "an output that is a socket": Case(
            line(f"{record} {listening}"), "Name a file.", [line(f"{record} {folder / 'a.json'}")]
        ),
        "a preset of another schema": Case(
            parsed({**preset, "schema": 2}), "Make it anew, or upgrade mflux-teacache-plugin.", [parsed(preset)]
        ),
        "a preset that is no JSON": Case(
            parsed("{"), "Name a file that `mflux-teacache presets export` has written", [parsed(preset)]
        ),
        "a preset with a field twice": Case(
            parsed('{"a": 1, "a": 1}'), "is not read: it has 'a' twice in one object. Name", [parsed(preset)]
        ),
        "a preset in another order": Case(
            parsed({**preset, "settings": preset["settings"][::-1]}), "Sort them.", [parsed(preset)]
        ),
        "a plan in another order": Case(
            lambda: FILES.parse(json.dumps(_plan(lists)), "mine.json"),
            "Sort them, and keep one list for each number.",
            [lambda: FILES.parse(json.dumps(_plan(lists[::-1])), "mine.json")],
        ),
    }


def _plan(lists: list[dict[str, Any]]) -> dict[str, Any]:
    """A shipped file of a model's plan, with these lists."""
    folder = files("mflux_teacache.strategies.schedule").joinpath("data")
    plan: dict[str, Any] = json.loads(next(iter(sorted(folder.iterdir(), key=str))).read_text())
    first = plan["lists"][0]
    return {**plan, "lists": [{**first, **each} for each in lists]}


def _sidecars(folder: Path) -> dict[str, Case]:
    pipe, unknown = folder / "pipe.json", folder / "unknown.json"
    os.mkfifo(pipe)
    plugins = {"not-installed": {"options": {}}}
    written(unknown, {"mflux_plugins": {"schema": 1, "pattern": "C", "plugins": plugins}})
    return {
        "a sidecar with a plugin that is not installed": Case(
            line(f"-C {unknown}"),
            "Or run without the plugins of this file: --plugin none.",
            [line(f"-C {unknown} --plugin none")],
        ),
        "beside mlx-teacache": Case(
            _beside_mlx_teacache(line("--plugin teacache")),
            "Use --plugin with mflux's own command instead, or run this one without --plugin.",
            [line("--plugin teacache"), lambda: None],
        ),
        "a sidecar that is a pipe": Case(
            line(f"-C {pipe}"),
            "Give a file.",
            [line(f"-C {written(folder / 'none.json', {'prompt': 'x'})}")],
        ),
    }


def _beside_mlx_teacache(act: Callable[[], Any]) -> Callable[[], Any]:
    def beside() -> None:
        with mock.patch.dict(sys.modules, {"mlx_teacache": mock.Mock()}):
            act()

    return beside
