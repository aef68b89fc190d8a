"""Full runs from which nothing can be worked out are refused, and not kept."""

from __future__ import annotations

from argparse import Namespace
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import early_dreams
import mlx.core as mx
import numpy as np
import pytest
from recorded_runs import recorded, walk

from mflux_teacache import handle
from mflux_teacache.bench.runs import Case
from mflux_teacache.bench.settings import ImageSettings
from mflux_teacache.errors import Refused
from mflux_teacache.handle import attach_requests
from mflux_teacache.plugins import Loaded, Request
from mflux_teacache.tune.folder import Folder
from mflux_teacache.tune.ranks import Ranks
from mflux_teacache.tune.recorded import Recorded, from_json
from mflux_teacache.tune.recorder import Recorder
from mflux_teacache.tune.settings import TuneSettings
from mflux_teacache.tune.tuning import tuned


@pytest.mark.parametrize(
    ("output", "problem"),
    [(np.nan, "its outputs are not finite"), (np.inf, "its outputs are not finite"), (0, "its outputs are all zero")],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of NaN as a level
def test_such_a_run_is_refused_when_it_is_drawn(
    output: float, problem: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "FAMILIES", [early_dreams.FAMILY])
    model = early_dreams.EarlyDreams()
    model.transformer.jumps = mx.full(model.transformer.jumps.shape, output)
    settings = TuneSettings(
        image=ImageSettings(steps=early_dreams.STEPS), cases=(Case("a dream", 1), Case("another", 2)), speed_ups=(2.0,)
    )
    with pytest.raises(Refused, match=f"full run of 'a dream' with the seed 1: {problem}. "):
        tuned(settings, replace(early_dreams.subject(), load=lambda: nullcontext(model)), folder := Folder({}), Ranks())
    assert folder.kept == "no image was finished. Run the same command to begin again."


def test_a_noise_level_that_is_not_finite_is_not_known(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "FAMILIES", [replace(early_dreams.FAMILY, sigma=lambda _: mx.array(np.nan))])
    recorder = Recorder([])
    model = early_dreams.EarlyDreams()
    with attach_requests(model, [Request(Loaded("tune", lambda: recorder), Namespace())]):
        model.generate_image(1, "a dream", early_dreams.STEPS, early_dreams.SIDE, early_dreams.SIDE, 1.0)
    assert recorder.recorded is not None
    assert recorder.recorded.sigmas is None


@pytest.mark.parametrize("run", [recorded(walk(9, 1) * np.nan), recorded(walk(9, 1) * 0)])
def test_one_that_is_kept_is_as_good_as_none(run: Recorded) -> None:
    with pytest.raises(ValueError, match="its outputs are"):
        from_json(run.as_json())
