"""What tuning, long measurements and ``auto`` say, each followed as it says, on a tiny model."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from advice_of_files import in_data, within
from advised import Case
from advised_runs import line, own, printed, written
from cut_off import TUNE, Drawing, cut_off, goes_on, tiny, tiny_demo
from denying import denied
from shown_images import FAST, MADE, image

from mflux_teacache import attach
from mflux_teacache.bench.subjects import subject_of
from mflux_teacache.cli.own import tune_command
from mflux_teacache.cli.own.main import build_parser
from mflux_teacache.demo import model as demo
from mflux_teacache.presets import store
from mflux_teacache.tune import ranks
from mflux_teacache.tune.settings import settings_of

BENCH = ("bench", "quality", "--setting", "schedule every=2", "--prompts", "1", "--seeds", "2", "--size", "32x32")


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for the files that they are about.
    """
    return {
        **_asked(folder),
        **_without_presets(folder),
        **_interrupted(folder),
        **_denied(folder),
        **_processes(folder),
        **_too_short(folder),
        **_auto(folder),
    }


# --- What is asked for ------------------------------------------------------------------------------------------------


def _asked(folder: Path) -> dict[str, Case]:
    one, two = (written(folder / f"{name}.txt", "a fox\n" + more) for name, more in (("one", ""), ("two", "a cat\n")))
    return {
        "no model to tune": Case(
            tune(""),
            "Give --model, as for mflux-generate, such as --model dev -q 8; or --demo for the small one",
            [tune("--model dev -q 8"), tune("--demo")],
        ),
        "two models to tune": Case(tune("--model dev --demo"), "Leave one out.", [tune("--model dev"), tune("--demo")]),
        "too few steps to tune": Case(
            tune("--demo --steps 5"),
            "Give --steps 28, or as many as your images take.",
            [tune("--demo --steps 28"), tune("--demo --steps 20")],
        ),
        "a speed-up that computes too little": Case(
            tune("--demo --speedups 2,20"), "Try --speedups 1.5,2,2.5,3.", [tune("--demo --speedups 1.5,2,2.5,3")]
        ),
        "a speed-up that computes too little of few steps": Case(
            tune("--demo --steps 10 --speedups 8"),
            "Try --speedups 1.5,2,2.5,3.",
            [tune("--demo --steps 10 --speedups 1.5,2,2.5,3")],
        ),
        "one prompt to tune with": Case(
            tune(f"--model dev --prompts {one}"), "Write one in a line.", [tune(f"--model dev --prompts {two}")]
        ),
        "a distilled model to tune": Case(
            tune("--model schnell"),
            "Tune the base model that it was distilled from, with more steps.",
            [tune("--model dev --steps 28")],
        ),
    }


def tune(words: str) -> Callable[[], None]:
    """``mflux-teacache tune``, up to where it would draw."""

    def act() -> None:
        settings = settings_of(build_parser().parse_args(["tune", *shlex.split(words)]))
        tune_command._refuse_distilled(subject_of(settings.image))

    return act


def _without_presets(folder: Path) -> dict[str, Case]:
    data = folder / "empty"

    def made() -> None:
        tiny(own(*TUNE))()
        [found] = store.usable()
        own("presets", "show", found.name)()
        shutil.rmtree(data)

    return {
        "no presets to list": Case(
            in_data(data, printed("presets", "list")), "`mflux-teacache tune` makes one.", [in_data(data, made)]
        ),
        "no preset to show": Case(
            in_data(data, own("presets", "show", "mine")), "`mflux-teacache tune` makes one.", [in_data(data, made)]
        ),
    }


# --- Runs that are cut off --------------------------------------------------------------------------------------------


def _interrupted(folder: Path) -> dict[str, Case]:
    none, some, measured, short = (folder / name for name in ("none", "some", "measured.json", "short.json"))
    bench, shorter = (*BENCH, "--json", measured), (*BENCH, "--json", short)
    page = own("report", short, "--output", folder / "short.html")
    cut_short = cut_off(printed(*shorter), 3, short)

    def measured_on() -> None:
        drawing = Drawing()
        within(lambda: tiny_demo(drawing), own(*bench))()
        fewer = json.loads(measured.read_text())["fewer_steps"]["runs"]
        assert drawing.images == 2 + 1 + len(fewer)  # full runs are drawn again; of two images one was kept

    def reported_on() -> None:
        with contextlib.suppress(Exception):
            cut_short()
        page()

    def reported_at_the_end() -> None:
        tiny(own(*shorter))()
        page()

    return {
        "a tuning that is cut off in its first image": Case(
            in_data(none, cut_off(printed(*TUNE), 0, none)),
            "no image was finished. Run the same command to begin again.",
            [in_data(none, goes_on(0))],
        ),
        "a tuning that is cut off": Case(
            in_data(some, cut_off(printed(*TUNE), 5, some)),
            "5 finished images are kept in ",
            [in_data(some, goes_on(5))],
        ),
        "a measurement that is cut off": Case(
            cut_off(printed(*bench), 3, measured),
            f"keeps what is done in {measured}. Run the same command to go on.",
            [measured_on],
        ),
        "a report of a measurement that was cut off": Case(
            reported_on, "Let its command go on to the end.", [reported_at_the_end]
        ),
    }


# --- A data directory that takes nothing ------------------------------------------------------------------------------


def _denied(folder: Path) -> dict[str, Case]:
    data, full, other = folder / "data", folder / "full", folder / "other"
    tuned = tiny(own(*TUNE))

    def refused(act: Callable[[], Any]) -> Callable[[], Any]:
        return in_data(data, within(lambda: denied("write", data), act))

    def filled(act: Callable[[], Any]) -> Callable[[], Any]:
        return within(lambda: _full_after(full, 6), act)

    return {
        "a directory for tuning that takes nothing": Case(
            refused(tuned),
            f"Make room or correct its permissions, or name another data directory in {store.VARIABLE}.",
            [refused(in_data(other, tuned)), in_data(data, tuned)],
        ),
        "a disk that is full while tuning": Case(
            in_data(full, filled(tuned)),
            "make room, and run the same command to go on; or name another data directory in",
            [filled(in_data(folder / "third", tuned)), in_data(full, goes_on(2))],
        ),
    }


@contextlib.contextmanager
def _full_after(folder: Path, files: int) -> Iterator[None]:
    """A disk that has room for so many files."""
    replace, left = os.replace, iter(range(files))

    def act(source: Any, target: Any) -> None:
        if Path(target).is_relative_to(folder) and next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with mock.patch.object(os, "replace", act):
        yield


# --- Several processes ------------------------------------------------------------------------------------------------


def _processes(folder: Path) -> dict[str, Case]:
    data, hosts = folder / "together", written(folder / "hosts.json", [["127.0.0.1"], ["127.0.0.1"]])
    several = {"MLX_RANK": "0", "MLX_HOSTFILE": str(hosts)}
    return {
        "a process of several that has ended": Case(
            in_data(data, _beside_another_that_ends(own(*TUNE), data)),
            "another process has ended, and said why above or on its machine. The finished images are kept. Run",
            [in_data(data, goes_on(1))],
        ),
        "hosts that cannot be connected": Case(
            within(lambda: mock.patch.dict(os.environ, several), ranks.Ranks),
            "Correct its hosts, or start the command without it.",
            [lambda: _connected(folder / "corrected.json"), ranks.Ranks],
        ),
    }


def _beside_another_that_ends(act: Callable[[], Any], data: Path) -> Callable[[], Any]:
    """From nothing, as the first of two processes: what comes of the other one is anything once an image is drawn."""

    def beside() -> None:
        shutil.rmtree(data, ignore_errors=True)
        drawing, group = Drawing(), mock.Mock(rank=lambda: 0, size=lambda: 2)

        def gathered(_: Any, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return np.concatenate([array, np.full_like(array, 123) if drawing.images else array])

        with (
            mock.patch.object(ranks.mx.distributed, "init", return_value=group),
            mock.patch.object(ranks.Ranks, "_all", gathered),
        ):
            within(lambda: tiny_demo(drawing), act)()

    return beside


def _connected(hosts: Path) -> None:
    """Two processes."""
    with socket.socket() as one, socket.socket() as two:
        ports = []
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
            ports.append(each.getsockname()[1])
    written(hosts, [[f"127.0.0.1:{port}"] for port in ports])
    script = "from mflux_teacache.tune.ranks import Ranks; print(Ranks().size)"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["2\n", "2\n"]


# --- Minutes ----------------------------------------------------------------------------------------------------------


def _too_short(folder: Path) -> dict[str, Case]:
    data = folder / "minutes"

    def within_minutes(words: str) -> Callable[[], Any]:
        def act() -> None:
            if not data.exists():
                tiny(own(*TUNE))()
                _last(data, 120.0)
            tiny(own(*TUNE, *shlex.split(words)))()

        return in_data(data, act)

    return {
        "minutes that are too few": Case(
            within_minutes("--minutes 6"),
            "go on with --minutes 9 or more, or with --speedups 2 alone.",
            [within_minutes("--minutes 9"), within_minutes("--minutes 6 --speedups 2")],
        ),
        "minutes that are too few for anything": Case(
            within_minutes("--minutes 5"), "go on with --minutes 9 or more.", [within_minutes("--minutes 9")]
        ),
    }


def _last(data: Path, seconds: float) -> None:
    """As if each full run had taken so long."""
    for path in (data / "tune").rglob("*.json"):
        content = json.loads(path.read_text())
        if "recorded" in content:
            content["recorded"]["seconds"] = seconds
            written(path, content)


# --- auto -------------------------------------------------------------------------------------------------------------


def _auto(folder: Path) -> dict[str, Case]:
    data = folder / "tuned"
    full, fast = image(folder, "in-full.png", MADE), image(folder, "by-auto.png", FAST, shade=93)
    compared = own("show", full, fast)

    def drawn(side: int) -> Callable[[], Any]:
        return in_data(data, tiny(lambda: _drawn_by_auto(side)))

    def tuned(side: int) -> Callable[[], Any]:
        return in_data(data, tiny(own(*TUNE, "--size", f"{side}x{side}")))

    def once_more() -> None:
        if not data.exists():
            tuned(32)()
        drawn(48)()

    def tuned_too() -> None:
        tuned(48)()
        drawn(48)()

    return {
        "a preset of another size": Case(
            once_more,
            "Compare an image with one of a full run before you rely on it, or make a preset of this run's own: "
            "mflux-teacache tune.",
            [compared, tuned_too],
        ),
        "a plan of another pipeline": Case(
            line("--plugin auto", pipeline="Flux1Fill"),
            "Compare an image with one of a full run before you rely on it.",
            [compared],
        ),
    }


def _drawn_by_auto(side: int) -> None:
    with demo.tiny_klein() as model, attach(model, "auto", speedup=1.5):
        model.generate_image(
            seed=1, prompt="a fox", num_inference_steps=10, height=side, width=side, guidance=demo.GUIDANCE
        )
