"""How the demo's calibration is fitted, and the file that ships."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mflux_teacache.demo import fit as demo
from mflux_teacache.demo.model import DemoKlein, tiny_klein
from mflux_teacache.demo.run import PROMPT
from mflux_teacache.demo.vocabulary import parse
from mflux_teacache.records import Target
from mflux_teacache.teacache.calibration import find, load
from mflux_teacache.teacache.fitting import Change
from mflux_teacache.teacache.policy import evaluate

POLYNOMIAL = (2.0, -1.0, 0.5, 0.25, 0.125)


def on_the_curve(signals: list[float]) -> list[Change]:
    return [Change(signal, evaluate(POLYNOMIAL, signal)) for signal in signals]


def test_a_recorded_run_has_one_change_per_later_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "STEPS", 3)
    with tiny_klein() as model:
        changes = demo.record(model, demo.PROMPTS[0], seed=1)
        assert changes == demo.record(model, demo.PROMPTS[0], seed=1)
    assert len(changes) == 2
    assert all(0.001 < value < 10 for change in changes for value in change)
    assert all(change.signal != change.residual for change in changes)


def test_the_command_writes_a_calibration_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.json"

    def record(model: DemoKlein, prompt: str, seed: int) -> list[Change]:
        # Held-out prompts lie off the curve.
        shift = 0.05 if prompt in demo.HELD_OUT else 0.0
        return [Change(x, y + shift) for x, y in on_the_curve([0.01 * seed, 0.2, 0.4, 0.6, 0.8, len(prompt) / 100])]

    monkeypatch.setattr(demo, "record", record)
    monkeypatch.setattr(sys, "argv", ["fit", "--output", str(path)])
    demo.main()
    calibration = load(path)
    lengths = [len(prompt) / 100 for prompt in demo.PROMPTS]
    assert calibration.polynomial == pytest.approx(POLYNOMIAL)
    assert calibration.range == (0.01 * min(demo.SEEDS), max(lengths))
    assert calibration.r2 == 1.0
    assert calibration.r2_held_out is not None
    assert calibration.r2_held_out < 1.0
    assert f"R2 1.0 on the fitting prompts, {calibration.r2_held_out} on others" in capsys.readouterr().out


def test_what_ships_is_found_for_the_demo_and_for_nothing_else() -> None:
    target = Target(pipeline="DemoKlein", model="mflux-teacache/demo-tinyflux")
    assert find(target).name == "demo-tinyflux"
    assert find(target).distance(target) == 0
    other = find(Target(pipeline="Flux2Klein", model="black-forest-labs/FLUX.2-klein-base-4B"))
    assert other.name == "flux2-klein-base-4b"


def test_what_ships_was_fitted_by_this_code() -> None:
    shipped = load("demo-tinyflux")
    assert shipped.prompts == demo.PROMPTS
    assert (shipped.steps, shipped.threshold) == (demo.STEPS, demo.THRESHOLD)
    # In the first steps, where the layout is settled, a residual moves twice as much at the same change of the signal
    # as later: no polynomial of the signal alone explains more. What it explains holds for other prompts.
    assert shipped.r2 is not None
    assert shipped.r2_held_out is not None
    assert shipped.r2 > 0.55
    assert shipped.r2_held_out == pytest.approx(shipped.r2, abs=0.05)
    # Over the whole range, its flat beginning aside, a larger change predicts a larger one: the threshold has its
    # usual meaning.
    assert shipped.range is not None
    predictions = np.polyval(shipped.polynomial, np.linspace(*shipped.range, 200))
    assert predictions[0] == pytest.approx(predictions[:20].min(), abs=0.001)
    assert (np.diff(predictions[10:]) > 0).all()
    assert shipped.floor < demo.THRESHOLD
    assert json.loads(demo._SHIPPED.read_text())["name"] == "demo-tinyflux"


def test_no_prompt_is_judged_that_was_fitted() -> None:
    scenes = [parse(prompt) for prompt in (*demo.PROMPTS, *demo.HELD_OUT, PROMPT)]
    assert len(set(scenes)) == len(demo.PROMPTS) + len(demo.HELD_OUT) + 1
