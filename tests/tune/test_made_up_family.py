"""A family with another error profile: only the first third of its steps matters. It gets the plan that is right."""

from __future__ import annotations

from pathlib import Path

import early_dreams
import pytest

from mflux_teacache import handle
from mflux_teacache.bench.runs import Case
from mflux_teacache.bench.settings import ImageSettings
from mflux_teacache.tune.folder import Folder
from mflux_teacache.tune.found import preset_of
from mflux_teacache.tune.ranks import Ranks
from mflux_teacache.tune.settings import TuneSettings
from mflux_teacache.tune.tuning import tuned

CASES = (Case("a dream", 1), Case("another", 2), Case("a third", 3))


def test_it_gets_the_plan_that_computes_the_first_third_and_no_forecast(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "FAMILIES", [early_dreams.FAMILY])
    settings = TuneSettings(image=ImageSettings(steps=early_dreams.STEPS), cases=CASES, speed_ups=(3.0, 2.0))
    found = preset_of(tuned(settings, early_dreams.subject(), Folder({}), Ranks()))
    assert found.key.model == "somebody/early-dreams"
    best = {setting.computed: setting for setting in reversed(found.settings)}[6]
    assert (best.plugin, best.options["pattern"]) == ("schedule", "CCCCCCSSSSSSSSSSSS")
    assert best.options["forecast"] == 0
    assert best.evidence is not None
    assert best.evidence.psnr_mean is None  # equal, as nothing that is spread over the run can be
    others = [setting for setting in found.settings if setting.computed == 6 and "pattern" not in setting.options]
    assert all(other.evidence and (other.evidence.psnr_mean or 0) > 0 for other in others)
