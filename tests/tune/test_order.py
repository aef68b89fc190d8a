"""Which settings of a budget come first."""

from __future__ import annotations

from mflux_teacache.bench.runs import Case, JudgedRun, Setting
from mflux_teacache.tune.candidates import Candidate
from mflux_teacache.tune.order import best_first

CASES = [Case("a cat", 1), Case("a dog", 2)]


def candidate(plugin: str, budget: int) -> Candidate:
    return Candidate(setting=Setting(plugin, {"max_computed": budget}), way=plugin, budget=budget, error=0.0)


def run(each: Candidate, case: Case, level: float) -> JudgedRun:
    """Of a PSNR in dB."""
    error = 255**2 / 10 ** (level / 10) if level < 200 else 0.0
    return JudgedRun(
        setting=str(each.setting), case=case, pattern="", computed=each.budget, squared_error=error, ssim=1.0
    )


def ordered(levels: dict[tuple[str, int], tuple[float, float]]) -> list[str]:
    candidates = [candidate(*name) for name in levels]
    runs = [
        run(each, case, level)
        for each, both in zip(candidates, levels.values(), strict=True)
        for case, level in zip(CASES, both, strict=True)
    ]
    return [f"{each.setting.plugin} {each.budget}" for each in best_first(candidates, runs)]


def test_the_higher_psnr_comes_first() -> None:
    levels = {("sea", 9): (30.0, 31.0), ("teacache", 9): (33.0, 32.0)}
    assert ordered(levels) == ["teacache 9", "sea 9"]


def test_a_kind_that_is_better_everywhere_else_comes_first() -> None:
    """A single image in which an object comes out otherwise does not decide alone."""
    levels = {
        **{("sea", budget): (40.0, 40.0) for budget in (9, 11, 14)},
        **{("teacache", budget): (36.0, 36.0) for budget in (9, 11, 14)},
        ("sea", 18): (40.0, 38.0),
        ("teacache", 18): (40.0, 40.0),
    }
    assert [each for each in ordered(levels) if each.startswith("sea")] == ordered(levels)[::2]


def test_a_kind_that_is_better_at_one_budget_comes_first_there() -> None:
    levels = {
        **{("sea", budget): (40.0, 40.0) for budget in (9, 14)},
        ("teacache", 9): (39.0, 39.0),
        ("teacache", 14): (44.0, 44.0),
    }
    assert ordered(levels)[2:] == ["teacache 14", "sea 14"]


def test_equal_images_are_better_than_all_others() -> None:
    assert ordered({("sea", 9): (50.0, 50.0), ("teacache", 9): (300.0, 300.0)})[0] == "teacache 9"
