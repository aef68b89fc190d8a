"""What the records say of themselves."""

from __future__ import annotations

import itertools

import pytest

from mflux_teacache import Decision, Generation, StepRecord
from mflux_teacache.records import GenerationStats, Status, speedup
from mflux_teacache.stats import AttachmentStats


def _record(decision: str, **values: float) -> StepRecord:
    return StepRecord(index=0, sigma=None, decision=decision, **values)  # type: ignore[arg-type]


def _image(letters: str, status: Status = "finished") -> GenerationStats:
    words = {"C": "computed", "F": "forced", "S": "skipped"}
    return GenerationStats(
        num_steps=len(letters),
        decisions=tuple(_record(words[letter]) for letter in letters),
        status=status,
        seconds=1.0,
        seed=1,
    )


def test_an_image_counts_its_steps() -> None:
    image = _image("FCSSSF")  # 2 forced, 1 computed, 3 skipped: three different numbers
    assert (image.forced_count, image.computed_count, image.skipped_count) == (2, 1, 3)
    assert image.pattern == "CCSSSC"
    assert image.speedup_estimate == 2.0


def test_an_attachment_counts_finished_images_only() -> None:
    stats = AttachmentStats(
        history=[_image("FCS"), _image("FCSSSS", "interrupted"), _image("FSSS"), _image("C", "failed")]
    )
    assert (stats.generations, stats.total_active_steps) == (2, 7)
    assert (stats.forced_count, stats.computed_count, stats.skipped_count) == (2, 1, 4)
    assert stats.speedup_estimate == pytest.approx(7 / 3)
    assert stats.last_generation is stats.history[3]


def test_without_images_there_is_no_speed_up() -> None:
    assert AttachmentStats().speedup_estimate == 1.0
    assert AttachmentStats().last_generation is None


def test_speed_up_over_every_small_count() -> None:
    for steps, skipped in itertools.product(range(5), repeat=2):
        if skipped < steps:
            assert speedup(steps, steps - skipped) == steps / (steps - skipped)
        else:
            assert speedup(steps, 0) == 1.0


@pytest.mark.parametrize(
    ("values", "score"),
    [
        ({}, None),
        ({"change": 0.1}, 0.1),
        ({"change": 0.1, "prediction": 0.2}, 0.2),
        ({"change": 0.1, "prediction": 0.2, "running_sum": 0.0}, 0.0),
    ],
)
def test_the_score_is_what_was_held_against_the_threshold(values: dict[str, float], score: float | None) -> None:
    assert _record("computed", **values).score == score


def test_decisions() -> None:
    assert Decision.compute("window", forced=True).residuals is None
    assert Decision.compute("window", forced=True).forced
    assert Decision.reuse([None], change=0.5).residuals == (None,)
    assert not Decision.reuse([]).forced


def test_a_snapshot_does_not_change_with_the_generation() -> None:
    generation = Generation(
        number=0, seed=7, prompt="", width=16, height=16, guidance=1.0, num_inference_steps=9, active_steps=4
    )
    before = generation.stats
    generation.records.append(_record("skipped"))
    generation.status = "finished"
    assert (before.pattern, before.status, before.num_steps, before.seed) == ("", "running", 4, 7)
    assert (generation.stats.pattern, generation.stats.status) == ("S", "finished")
