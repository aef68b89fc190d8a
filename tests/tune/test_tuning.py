"""The command on a tiny model: from nothing to a preset, interrupted anywhere, and on two processes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_tune

from mflux_teacache.bench import figures
from mflux_teacache.bench.plugin_settings import load
from mflux_teacache.bench.tables import duration
from mflux_teacache.cli.own.main import main
from mflux_teacache.errors import PluginWarning
from mflux_teacache.options import from_keywords
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import Preset
from mflux_teacache.teacache.calibration import FILES
from mflux_teacache.tune.session import Session

HERE = Path(__file__).parent


def tune(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main([*tiny_tune.WORDS, *words])
    return int(left.value.code or 0)


def preset() -> Preset:
    [found] = store.usable()
    return found


def written(folder: Path) -> dict[str, bytes]:
    """What outlasts a tuning: presets and calibrations."""
    return {path.name: path.read_bytes() for part in ("presets", "calibrations") for path in (folder / part).iterdir()}


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts of all images that are drawn."""
    drawn: list[str] = []
    draw = Session._draw

    def noted(session: Session, row: Any, case: Any, computed: int) -> Any:
        drawn.append(case.prompt)
        return draw(session, row, case, computed)

    monkeypatch.setattr(Session, "_draw", noted)
    return drawn


def test_from_nothing_to_a_preset(tunes_tiny: Path, capsys: pytest.CaptureFixture[str], drawing: list[str]) -> None:
    figures = tunes_tiny.parent / "tune.json"
    assert tune("--json", str(figures)) == 0
    out = capsys.readouterr().out
    assert "Looking for the best settings that compute 8 and 4 of 12 steps." in out
    assert "A full run takes " in out
    assert f"preset       {tunes_tiny / 'presets'}" in out

    found = preset()
    assert [setting.computed for setting in found.settings] == [4, 4, 4, 4, 8, 8, 8]  # two plans are one
    assert (found.key.width, found.key.steps, found.key.guidance) == (32, 12, 2.5)
    assert len(found.sigmas or ()) == 12
    for setting in found.settings:
        assert setting.evidence is not None
        assert setting.evidence.images == 1
        assert setting.evidence.fewer_steps_psnr is not None
        from_keywords(load(setting.plugin), setting.options)

    content = json.loads(figures.read_text())
    assert content["preset"] == found.name
    assert len(content["runs"]) == len(found.settings)
    assert len(content["fewer_steps"]["runs"]) == 2
    [calibration] = (tunes_tiny / "calibrations").iterdir()
    assert FILES.load(calibration).steps == 12

    # Of three prompts, two are fitted to; what is reported is of the third, and of nothing else.
    provenance = found.provenance
    assert len(provenance.fitted_prompts) == 2
    assert {run["case"]["prompt"] for run in content["runs"]} == set(provenance.checked_prompts)
    assert set(provenance.checked_prompts).isdisjoint(provenance.fitted_prompts)
    assert drawing[3:] == list(provenance.checked_prompts) * (len(found.settings) + 2)

    drawing.clear()
    assert tune() == 0
    assert drawing == []
    assert preset() == found


def test_a_speed_up_at_which_fewer_steps_are_as_close_is_told(
    tunes_tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "psnr", lambda _: 30.0)  # of all images
    assert tune() == 0
    said = capsys.readouterr().out
    best = {setting.computed: setting for setting in reversed(preset().settings)}
    beaten = {computed for computed, setting in best.items() if setting.evidence and setting.evidence.is_beaten}
    assert beaten
    for computed in best:
        told = f"draw with --steps {computed} and without plugins, which takes as long" in said
        assert told is (computed in beaten)


def told_as_interrupted(images: int, folder: Path) -> str:
    if not images:
        return "\nmflux-teacache: interrupted: no image was finished. Run the same command to begin again.\n"
    [kept] = (folder / "tune").iterdir()
    finished = f"{images} finished {'image is' if images == 1 else 'images are'} kept"
    return f"\nmflux-teacache: interrupted: {finished} in {kept}. Run the same command to go on.\n"


class Crash(Exception):
    pass


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, drawing: list[str]) -> Callable[[int, BaseException], None]:
    """Lets the image of a number fail."""
    draw = Session._draw

    def fail(number: int, error: BaseException) -> None:
        def failing(session: Session, row: Any, case: Any, computed: int) -> Any:
            if len(drawing) == number:
                raise error
            return draw(session, row, case, computed)

        monkeypatch.setattr(Session, "_draw", failing)

    return fail


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_interrupted_at_a_random_image_it_comes_to_the_same(
    seed: int,
    tunes_tiny: Path,
    drawing: list[str],
    failing: Callable[[int, BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = tunes_tiny.with_name("whole")
    monkeypatch.setenv(store.VARIABLE, str(whole))
    assert tune() == 0
    images, chance = len(drawing), random.Random(seed)

    monkeypatch.setenv(store.VARIABLE, str(tunes_tiny))
    drawing.clear()
    failing(chance.randrange(images), KeyboardInterrupt())
    assert tune() == 130
    assert told_as_interrupted(len(drawing), tunes_tiny) in capsys.readouterr().err
    assert not (tunes_tiny / "presets").exists()
    failing(chance.randrange(len(drawing), images), Crash())
    with contextlib.suppress(Crash):
        main([*tiny_tune.WORDS])
    failing(-1, Crash())
    assert tune() == 0
    assert written(tunes_tiny) == written(whole)
    assert len(drawing) == images


def test_a_damaged_file_is_drawn_again(tunes_tiny: Path, drawing: list[str]) -> None:
    assert tune() == 0
    before, images = written(tunes_tiny), len(drawing)
    [folder] = (tunes_tiny / "tune").iterdir()
    kept = sorted(path for path in folder.iterdir() if path.name != "question.json")
    damage: Iterator[bytes] = iter((b"", b"{", b"[]", b'{"recorded": 1}', b'{"run": {"case": {}}}', b"\xff"))
    damaged = {path.stem for path, content in zip(kept, damage, strict=False) if path.write_bytes(content) is not None}
    drawing.clear()
    assert tune() == 0
    assert len(drawing) == len(damaged) < images
    assert written(tunes_tiny) == before


def test_more_prompts_go_on_from_fewer(tunes_tiny: Path, drawing: list[str]) -> None:
    assert tune() == 0
    drawing.clear()
    assert tune("--prompts", "4") == 0
    found = preset().provenance
    assert (len(found.fitted_prompts), len(found.checked_prompts)) == (2, 2)
    # The same two prompts are fitted to, so what was checked on the third stands, and only the fourth is new.
    assert set(drawing) == {found.checked_prompts[1]}
    assert len(drawing) == 10  # in full, with fewer steps for each budget, and with seven settings


@pytest.mark.parametrize(("kept", "of"), [(2, "at most 13"), (3, "12"), (6, "12")])
def test_a_run_that_goes_on_says_what_is_there_and_reckons_with_the_rest(
    kept: int,
    of: str,
    tunes_tiny: Path,
    failing: Callable[[int, BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(kept, KeyboardInterrupt())
    assert tune() == 130
    assert "from an earlier run" not in capsys.readouterr().out
    lasting(600.0, tunes_tiny)
    failing(-1, Crash())
    assert tune() == 0
    done = 12 * min(kept, 3) + 8 * max(kept - 3, 0)  # of 12 steps; the settings that compute 8 come first
    left = 3 * 12 + (5 if kept < 3 else 4) * 8 + 5 * 4 - done
    said = capsys.readouterr()
    assert f"{kept} of {of} images are kept from an earlier run. " in said.out + said.err
    assert f"A full run takes 10 min: what is left takes about {duration(left * 600 / 12)}." in said.out + said.err
    assert tune() == 0
    said = capsys.readouterr()
    assert "12 of 12 images are kept from an earlier run: nothing is left to draw." in said.out + said.err


def lasting(seconds: float, folder: Path) -> None:
    """As if each full run had taken so long."""
    for path in (folder / "tune").rglob("*.json"):
        content = json.loads(path.read_text())
        if "recorded" in content:
            content["recorded"]["seconds"] = seconds
            path.write_text(json.dumps(content))


def test_minutes_leave_less_to_draw(tunes_tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune() == 0
    lasting(120.0, tunes_tiny)
    capsys.readouterr()
    assert tune("--prompts", "6", "--minutes", "20") == 0
    said = capsys.readouterr()
    assert "3 of at most 16 images are kept from an earlier run. A full run takes 2 min: " in said.out + said.err
    assert (
        "There is no time for more: 4 of 6 prompts are used, and 2 of 4 settings of each speed-up are checked."
        in said.out + said.err
    )
    assert tune("--minutes", "3") == 2
    assert "--minutes 3 is too short: a full run takes 2 min, and the least that says anything takes 8 min" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_two_processes_come_to_the_same(tunes_tiny: Path) -> None:
    assert tune() == 0
    program = HERE.parent / "support" / "tiny_tune.py"
    launch = [str(Path(sys.executable).with_name("mlx.launch")), "-n", "2", sys.executable, str(program)]
    apart = tunes_tiny.with_name("apart")
    paths = {"PYTHONPATH": str(program.parent), store.VARIABLE: str(apart), "TQDM_DISABLE": "1"}
    done = subprocess.run(launch, env={**os.environ, **paths}, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Looking for the best settings") == 1
    assert written(apart) == written(tunes_tiny)


def test_warnings_of_strategies_that_are_only_looked_at_are_not_shown(tunes_tiny: Path, recwarn: Any) -> None:
    assert tune("--speedups", "1.5") == 0
    assert not [warning for warning in recwarn if issubclass(warning.category, PluginWarning)]
