"""How the demo's calibration is fitted, and the file that ships."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mflux_teacache.demo.prompts import FITTED
from mflux_teacache.demo.run import PROMPT
from mflux_teacache.demo.trainer import fit as demo
from mflux_teacache.demo.vocabulary import parse
from mflux_teacache.records import Target
from mflux_teacache.teacache.calibration import find, load
from mflux_teacache.teacache.fitting import Change, r_squared


@pytest.mark.slow
def test_the_command_writes_what_the_recorder_found_under_the_demo_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.json"
    monkeypatch.setattr(demo, "STEPS", 6)
    monkeypatch.setattr(demo, "FITTED", FITTED[:2])
    monkeypatch.setattr(sys, "argv", ["fit", "--output", str(path)])
    demo.main()
    calibration = load(path)
    assert calibration.prompts == FITTED[:2]
    assert (calibration.name, calibration.model) == ("demo-emoji", "mflux-teacache/demo-emoji")
    assert (calibration.steps, calibration.threshold, calibration.guidance) == (6, demo.THRESHOLD, 2.5)
    assert "demo.trainer.fit" in calibration.source
    target = Target(pipeline="DemoKlein", model="mflux-teacache/demo-emoji")
    assert calibration.distance(target) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"R2 {calibration.r2} over all images, {calibration.r2_held_out} each from the others")


def test_what_ships_is_found_for_the_demo_and_for_nothing_else() -> None:
    target = Target(pipeline="DemoKlein", model="mflux-teacache/demo-emoji")
    assert find(target).name == "demo-emoji"
    assert find(target).distance(target) == 0
    other = find(Target(pipeline="Flux2Klein", model="black-forest-labs/FLUX.2-klein-base-4B"))
    assert other.name == "flux2-klein-base-4b"


def test_what_ships_was_fitted_by_this_code() -> None:
    shipped = load("demo-emoji")
    assert shipped.prompts == FITTED
    assert (shipped.steps, shipped.threshold) == (demo.STEPS, demo.THRESHOLD)
    # In the first steps, where the layout is settled, a residual moves twice as much at the same change of the signal
    # as later: no polynomial of the signal alone explains more. What it explains holds for other prompts.
    assert shipped.r2 is not None
    assert shipped.r2_held_out is not None
    assert shipped.r2 > 0.55
    assert shipped.r2_held_out == pytest.approx(shipped.r2, abs=0.05)
    # What it was fitted to is in the file, to five digits, so a report can draw what the fit leaves unexplained.
    changes = [Change(*pair) for pair in shipped.changes or ()]
    assert len(changes) == len(FITTED) * len(demo.SEEDS) * (demo.STEPS - 1)
    assert r_squared(shipped.polynomial, changes) == pytest.approx(shipped.r2, abs=1e-3)
    # Over the whole range, its beginning aside, which is flat within an eighth, a larger change predicts a larger one:
    # the threshold has its usual meaning.
    assert shipped.range is not None
    predictions = np.polyval(shipped.polynomial, np.linspace(*shipped.range, 200))
    assert predictions[:50].max() < 1.13 * predictions.min()
    assert (np.diff(predictions[50:]) > 0).all()
    assert shipped.floor < demo.THRESHOLD
    assert json.loads(demo._SHIPPED.read_text())["name"] == "demo-emoji"


def test_no_prompt_is_judged_that_was_fitted() -> None:
    scenes = [parse(prompt) for prompt in (*FITTED, PROMPT)]
    assert len(set(scenes)) == len(FITTED) + 1
