"""Images are compared with their full runs, setting by setting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import pytest
import tiny_models
from bench_runs import ARGUMENTS, CASES
from mflux.models.flux.variants.txt2img.flux import Flux1
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache.bench import variants
from mflux_teacache.bench.judging import judge
from mflux_teacache.bench.runs import FULL, FewerSteps, Setting
from mflux_teacache.bench.settings import ImageSettings
from mflux_teacache.bench.subjects import Subject, subject_of
from mflux_teacache.demo.model import DemoKlein

SETTINGS = [Setting("schedule", {"every": "2"}), Setting("schedule", {"pattern": "CSCS"})]


@pytest.fixture
def subject() -> Any:
    return subject_of(ImageSettings(steps=4, width=32, height=32))


def test_runs_are_compared_with_their_full_run(subject: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step is skipped an image of another grey comes out."""
    greys = iter([100, 120, 101, 124, 103, 120])
    monkeypatch.setattr(
        DemoKlein,
        "generate_image",
        lambda model, **arguments: SimpleNamespace(image=PIL.Image.new("RGB", (32, 32), (next(greys),) * 3)),
    )
    monkeypatch.setattr(variants, "attach_requests", attached)
    cases = CASES[:2]
    made = judge(subject, cases, SETTINGS[:1], cases)
    assert [(run.case, run.squared_error) for run in made.runs[:2]] == [(cases[0], 1), (cases[1], 16)]
    assert [(run.setting, run.case, run.pattern, run.squared_error) for run in made.runs[2:]] == [
        ("fewer steps: 2", cases[0], "CC", 9),
        ("fewer steps: 2", cases[1], "CC", 0),
    ]
    assert made.thumbnails[FULL, cases[0]].getpixel((0, 0)) == (100, 100, 100)
    assert made.thumbnails["schedule every=2", cases[1]].getpixel((0, 0)) == (124, 124, 124)


@contextlib.contextmanager
def attached(*_: Any, **more: Any) -> Iterator[Any]:
    stats = SimpleNamespace(pattern="CSCS", skipped_count=2, cost=2.0, decisions=())
    yield SimpleNamespace(stats=SimpleNamespace(last_generation=stats))


@pytest.mark.parametrize(("images", "whole"), [(4, 1), (5, 1), (6, 2), (3, None)])
@pytest.mark.parametrize("error", [KeyboardInterrupt, StopImageGenerationException])
def test_ctrl_c_keeps_the_whole_settings(
    subject: Any, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], images: int, whole: int | None
) -> None:
    made: list[dict[str, Any]] = []

    def generate_image(model: Any, **arguments: Any) -> Any:
        if len(made) == images:
            raise error
        made.append(arguments)
        return SimpleNamespace(image=PIL.Image.new("RGB", (32, 32)))

    monkeypatch.setattr(DemoKlein, "generate_image", generate_image)
    monkeypatch.setattr(variants, "attach_requests", attached)
    three = [*SETTINGS, Setting("schedule", {"ratio": "0.5"})]
    if whole is None:
        with pytest.raises(error):
            judge(subject, CASES, three, [])
        return
    measured = judge(subject, CASES, three, [])
    assert measured.interrupted
    assert list(dict.fromkeys(run.setting for run in measured.runs)) == [str(setting) for setting in three[:whole]]
    assert len(measured.runs) == whole * len(CASES)


def test_from_an_input_image_fewer_steps_are_as_many_as_were_computed(photo: Path, tiny: None) -> None:
    """Of 10 steps 5 are run; to run 3, 5 are asked for."""
    model = tiny_models.flux1()
    asked: list[int] = []
    generate = model.generate_image
    model.generate_image = lambda **given: asked.append(given["num_inference_steps"]) or generate(**given)
    subject = Subject(
        name="tiny",
        pipeline=Flux1,
        config=model.model_config,
        load=lambda: contextlib.nullcontext(model),
        arguments={
            **ARGUMENTS,
            **{"num_inference_steps": 10, "image_path": str(photo), "image_strength": 0.5},
        },
    )
    made = judge(subject, CASES[:1], SETTINGS[:1], [])
    assert [(run.setting, run.pattern) for run in made.runs] == [
        ("schedule every=2", "CSCSC"),
        ("fewer steps: 3", "CCC"),
    ]
    assert asked == [10, 10, 5]
    assert made.fewer == (FewerSteps(3, 5),)
