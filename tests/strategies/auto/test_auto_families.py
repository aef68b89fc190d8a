"""Auto on tiny models of mflux's own families: the budget is exact on each that is not distilled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from all_cases import cases_of
from tiny_models import generate

from mflux_teacache import attach
from mflux_teacache.adapters.pipelines import DISTILLED
from mflux_teacache.errors import Refused

CASES = cases_of()
STEPS = 11


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:The schedule has no plan of")  # of each pipeline that shares a transformer
def test_half_of_the_steps_are_computed(name: str, tiny: None, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    if DISTILLED & set(model.model_config.aliases or ()):
        with pytest.raises(Refused, match="is distilled to a few steps"):
            attach(model, "auto")
        return
    asked: dict[str, Any] = {"num_inference_steps": STEPS, **arguments}
    with attach(model, "auto") as handle:
        generate(model, **asked)
    image = handle.stats.history[0]
    # A step of which a branch had to compute after all was to be skipped.
    assert image.skipped_count + image.partial_count == image.num_steps - image.num_steps // 2, image.pattern
