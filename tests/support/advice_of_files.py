"""What is said of presets, outputs and other files, and of packages that are missing, each followed as it says."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Set
from functools import partial
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any
from unittest import mock

from advised import Case, told
from advised_runs import bench_speed, own, printed, written
from denying import denied
from packaging.requirements import Requirement
from preset_files import SETTINGS, preset
from shown_images import FAST, MADE, image, sidecar

from mflux_teacache.bench import needs
from mflux_teacache.bench.quality import MOST_PROMPTS, prompts_in
from mflux_teacache.bench.settings import ImageSettings
from mflux_teacache.bench.subjects import subject_of
from mflux_teacache.discovery import PACKAGE
from mflux_teacache.image_record.account import Account
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import Setting, as_text
from mflux_teacache.show.comparison import looked_at


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for the files that they are about.
    """
    return {**_outputs(folder), **_store(folder), **_shared(folder), **_broken_presets(folder), **_needs(folder)}


def within(context: Callable[[], contextlib.AbstractContextManager[Any]], act: Callable[[], Any]) -> Callable[[], Any]:
    """An act while something holds."""

    def inside() -> None:
        with context():
            act()

    return inside


def in_data(data: Path | str, act: Callable[[], Any]) -> Callable[[], Any]:
    """An act with a data directory of its own."""
    return within(lambda: mock.patch.dict(os.environ, {store.VARIABLE: str(data)}), act)


# --- Files that are written -------------------------------------------------------------------------------------------


def _outputs(folder: Path) -> dict[str, Case]:
    others, mine = folder / "others", folder / "mine"
    for each in (others, mine):
        each.mkdir()
    old, into = written(others / "old.json", "{}"), written(mine / "printed.json", "")

    def speed(path: Path) -> Callable[[], None]:
        return bench_speed(f"--json {path}")

    def refused(path: Path, act: Callable[[], Any]) -> Callable[[], Any]:
        return within(lambda: denied("write", path), act)

    return {
        "an output in somebody else's folder": Case(
            refused(others, speed(others / "new.json")),
            "which cannot be written. Name a file in a folder of your own.",
            [refused(others, speed(mine / "new.json"))],
        ),
        "an output that is somebody else's": Case(
            refused(old, speed(old)),
            "which cannot be written. Name a file in a folder of your own.",
            [refused(old, speed(mine / "old.json"))],
        ),
        "an output in place of what is printed": Case(
            within(lambda: _printing_into(into), speed(into)),
            "where this command prints. Name another file.",
            [within(lambda: _printing_into(into), speed(mine / "other.json"))],
        ),
    }


@contextlib.contextmanager
def _printing_into(path: Path) -> Iterator[None]:
    """As with a shell's ``> path``."""
    before = os.dup(1)
    with path.open("w") as file:
        os.dup2(file.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(before, 1)
            os.close(before)


# --- Presets ----------------------------------------------------------------------------------------------------------


def _store(folder: Path) -> dict[str, Case]:
    """Where presets are kept, and the system that may not let it."""
    data, other = _data(folder, "data"), _data(folder, "other")
    shared = written(folder / "shared.json", as_text(preset("mine")))
    listing, showing = own("presets", "list"), own("presets", "show", "mine")
    importing = own("presets", "import", shared, "--replace")

    def refused(right: Any, act: Callable[[], Any], *how: int) -> Callable[[], Any]:
        return within(lambda: denied(right, data, *how), act)

    def both(right: Any, act: Callable[[], Any]) -> list[Callable[[], Any]]:
        """Its permissions are corrected, or there is room; and another data directory is named."""
        return [in_data(data, act), refused(right, in_data(other, act))]

    elsewhere = f"or name another data directory in {store.VARIABLE}."
    return {
        "presets that cannot be listed": Case(
            in_data(data, refused("list", listing)),
            f"cannot be listed: Permission denied. Correct its permissions, {elsewhere}",
            both("list", listing),
        ),
        "a preset that cannot be looked at": Case(
            in_data(data, refused("look at", showing)),
            f"cannot be looked at: Permission denied. Correct its permissions, {elsewhere}",
            both("look at", showing),
        ),
        "a preset that cannot be written": Case(
            in_data(data, refused("write", importing)),
            f"Make room or correct its permissions, {elsewhere}",
            both("write", importing),
        ),
        "a preset for which there is no room": Case(
            in_data(data, refused("write", importing, errno.ENOSPC)),
            "No space left on device. The presets there are unchanged. Make room or correct its permissions, or name",
            both("write", importing),
        ),
        "presets in nobody's home": Case(
            in_data("~nobody-of-that-name/data", listing),
            "whose home directory is not known. Name the directory by its whole path.",
            [in_data(data, listing)],
        ),
    }


def _data(folder: Path, name: str) -> Path:
    """A data directory with a preset, written at once: the names of the cases are asked for without their files."""
    presets = folder / name / "presets"
    presets.mkdir(parents=True)
    written(presets / "mine.json", as_text(preset("mine")))
    return presets.parent


def _shared(folder: Path) -> dict[str, Case]:
    """Taking presets in and giving them away."""
    data = _data(folder, "shared")
    shared, there = (written(folder / f"{name}.json", as_text(preset("mine"))) for name in ("from-me", "there"))
    absent = folder / "from-you.json"

    def importing(file: Path, *words: str) -> Callable[[], Any]:
        return in_data(data, own("presets", "import", file, *words))

    def exporting(file: Path, *words: str) -> Callable[[], Any]:
        return in_data(data, own("presets", "export", "mine", file, *words))

    def of(coefficients: int) -> Callable[[], Any]:
        options = {"max_computed": 6, "coefficients": [1.5] * coefficients}
        setting = Setting(plugin="teacache", options=options, computed=6, steps=10)
        return in_data(data, lambda: store.save(preset("long", settings=(SETTINGS[0], setting))))

    return {
        "a preset that is there already": Case(
            importing(shared),
            f"Give --replace to put {shared} in its place, or --name with another name for it.",
            [importing(shared, "--replace"), importing(shared, "--name", "yours")],
        ),
        "a preset that is not where it is said to be": Case(
            importing(absent),
            "Write its name and folder as `ls` shows them.",
            [importing(shared, "--replace")],
        ),
        "a file that is there already": Case(
            exporting(there),
            "Give --replace to replace it, or another name.",
            [exporting(there, "--replace"), exporting(folder / "new.json")],
        ),
        "a preset with more than is read": Case(of(1000), "4000 are allowed. Leave some out.", [of(2)]),
    }


def _broken_presets(folder: Path) -> dict[str, Case]:
    """Files of the store that are none."""
    data, odd, shared = _data(folder, "broken"), _data(folder, "odd"), folder / "whole.json"
    written(shared, as_text(preset("bad")))
    bad = written(data / "presets" / "bad.json", "{")
    misnamed = written(odd / "presets" / "Odd.json", as_text(preset("odd")))

    def used(data: Path, *names: str) -> Callable[[], Any]:
        def act() -> None:
            found = [found.name for found in store.usable()]
            assert not names or found == list(names)

        return in_data(data, act)

    def moved(file: Path, to: Path, act: Callable[[], Any]) -> Callable[[], Any]:
        def again() -> None:
            file.rename(to)
            act()
            to.rename(file)

        return again

    def imported() -> None:
        in_data(data, own("presets", "import", shared, "--name", "bad", "--replace"))()
        used(data, "bad", "mine")()

    return {
        "a preset that is broken": Case(
            used(data),
            "Import it anew with `mflux-teacache presets import FILE --replace`, or move it away.",
            [moved(bad, folder / "bad.json", used(data, "mine")), imported],
        ),
        "a preset with a name that it cannot have": Case(
            used(odd),
            "Rename it, or move it away.",
            [
                moved(misnamed, misnamed.with_name("odd.json"), used(odd, "mine", "odd")),
                moved(misnamed, folder / "Odd.json", used(odd, "mine")),
            ],
        ),
    }


# --- What a command needs ---------------------------------------------------------------------------------------------


def _needs(folder: Path) -> dict[str, Case]:
    full, fast = image(folder, "needed.png", MADE), image(folder, "skipping.png", FAST, shade=93)
    told_of, gone = sidecar(folder, "told.metadata.json"), folder / "gone.png"
    page = own("report", full, "--output", folder / "needing.html")

    def prompts(count: int) -> Callable[[], Any]:
        return lambda: prompts_in(str(written(folder / "many.txt", "\n".join(map(str, range(count))))), demo=False)

    return {
        "a bench without scikit-image": _extra({"skimage"}, lambda: needs.require("skimage")),
        "a page without jinja2": _extra({"jinja2"}, page),
        "a page without anything": _extra({"jinja2", "skimage"}, page),
        "a comparison without scikit-image": Case(
            within(lambda: _hidden({"skimage"}), printed("show", full, fast)),
            "SSIM needs scikit-image. Install it with `",
            [_with_ssim(full, fast)],
        ),
        "an image that is gone": Case(
            lambda: looked_at(Account(path=gone)),
            "Name an image, or its .metadata.json.",
            [lambda: looked_at(Account(path=full)), lambda: looked_at(Account(path=told_of))],
        ),
        "too many prompts": Case(prompts(MOST_PROMPTS + 1), "Take some out.", [prompts(MOST_PROMPTS)]),
        "random weights without a checkout": Case(
            _of_a_wheel(ImageSettings(random_weights="fibo")),
            "Measure a checkpoint with --model, or the demo's.",
            [_of_a_wheel(ImageSettings(model="dev")), _of_a_wheel(ImageSettings())],
        ),
    }


def _extra(modules: Set[str], act: Callable[[], Any]) -> Case:
    """Something that needs modules which are not installed until it is done as it says."""
    wrong = within(lambda: _hidden(modules), act)
    return Case(wrong, "which is missing. Install it with `", [_installed(modules, wrong, act)])


@contextlib.contextmanager
def _hidden(modules: Set[str]) -> Iterator[None]:
    """As if they were not installed."""
    with mock.patch.dict(sys.modules, dict.fromkeys(modules)):
        yield


def _installed(hidden: Set[str], wrong: Callable[[], Any], act: Callable[[], Any]) -> Callable[[], Any]:
    """The act, when what its message names is installed: what the package's metadata have for it is hidden no more."""

    def again() -> None:
        [command] = re.findall("`(.*?)`", told(wrong) or "")
        within(lambda: _hidden(hidden - set(_brought_by(command))), act)()

    return again


def _brought_by(command: str) -> Iterator[str]:
    """The modules of an extra of this package."""
    *how, requirement = shlex.split(command)
    assert "install" in how
    asked = Requirement(requirement)
    assert asked.name == PACKAGE
    brought = {
        each.name
        for each in map(Requirement, requires(PACKAGE) or ())
        if each.marker and any(each.marker.evaluate({"extra": extra}) for extra in asked.extras)
    }
    for module, distributions in packages_distributions().items():
        if brought & {name.lower() for name in distributions}:
            yield module


def _with_ssim(full: Path, fast: Path) -> Callable[[], Any]:
    show = printed("show", full, fast)

    def act() -> None:
        assert "scikit-image" not in (told(show) or "")

    return _installed({"skimage"}, within(lambda: _hidden({"skimage"}), show), act)


def _of_a_wheel(settings: ImageSettings) -> Callable[[], Any]:
    """Up to where weights would be made or loaded."""
    return within(
        lambda: mock.patch.object(needs, "LABORATORY", "mflux_teacache.bench.not_in_the_wheel"),
        partial(subject_of, settings),
    )
