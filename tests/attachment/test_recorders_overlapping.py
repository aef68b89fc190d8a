"""Recorders look at all images of a run together, also where one is made within another."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models
from tiny_models import generate

from mflux_teacache import PluginWarning, attach

STEPS = 12


def _recorded(model: Any, path: Path, plugin: str, *, within: bool) -> dict[str, Any]:
    """What a recorder writes of two images: one after the other, or the second one within the first."""
    made: list[int] = []

    def preview(*, t: int, **_: Any) -> None:
        if within and t == 5 and not made:
            made.append(t)
            generate(model, num_inference_steps=STEPS, seed=2)

    listener = SimpleNamespace(call_in_loop=preview)
    model.callbacks.register(listener)
    with attach(model, plugin, output=path):
        generate(model, num_inference_steps=STEPS, seed=1)
        if not within:
            generate(model, num_inference_steps=STEPS, seed=2)
    model.callbacks.in_loop.remove(listener)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.parametrize(("plugin", "numbers"), [("teacache-record", "polynomial"), ("magcache-record", "ratios")])
def test_an_image_within_another_is_recorded_as_if_it_were_made_alone(
    model: Any, unchanged: None, tmp_path: Path, plugin: str, numbers: str
) -> None:
    one, other = (_recorded(model, tmp_path / f"{within}.json", plugin, within=within) for within in (False, True))
    assert "2 images" in other["note"]
    assert other[numbers] == pytest.approx(one[numbers], rel=1e-4)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("recorder", ["teacache-record", "magcache-record"])
@pytest.mark.parametrize("reuse", ["body", "output"])
def test_an_image_with_skipped_steps_is_left_out(recorder: str, reuse: str, tmp_path: Path) -> None:
    """With outputs reused there is no residual that could be read."""
    model, file = tiny_models.flux2(), tmp_path / "recorded.json"
    with (
        attach(model, schedule={"every": 2, "reuse": reuse}, **{recorder: {"output": file}}) as handle,
        pytest.warns(PluginWarning, match=f"{recorder} leaves out image 1: "),
    ):
        generate(model, num_inference_steps=STEPS)
    assert handle.stats.skipped_count == 5
    assert not file.exists()
