"""The base of strategies, with a stranger's strategy on it: what a subclass has to give, and what it gets."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mlx.core as mx
import pytest
from scripted import DEV, Plugin, Scripted, generation, level

from mflux_teacache import Limits, Refused, Strategy, Target, Verdict, hookimpl
from mflux_teacache.errors import OptionError, PluginWarning
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.strategy import COMMON, Settings
from mflux_teacache.plugins import Loaded, PluginSet
from mflux_teacache.step import Body, Step
from mflux_teacache.strategies.easycache.plugin import EasyCache
from mflux_teacache.strategies.first_block_cache import FirstBlockCache
from mflux_teacache.strategies.magcache.plugin import MagCache
from mflux_teacache.teacache.plugin import TeaCache


class Drift(Strategy):
    """Adds up how far the latents moved, and skips while that is little. A stranger's, with all that the base has."""

    name = "my-drift"
    title = "Drift"
    about = replace(COMMON, threshold="most", default_threshold=0.5, budgets=BUDGETS)
    defaults = Limits(skip_first=1, skip_last=1, max_skips=3)
    skips_while = "the latents have moved by less than this"

    latents: mx.array | None = None

    def judge(self, step: Step) -> Verdict:
        latents, before = step.latents, self.latents
        self.latents = latents
        change = None if before is None else step.relative_l1(latents, before)
        return Verdict(kind="weigh", reason="drift", change=change, prediction=change)

    def forget(self) -> None:
        self.latents = None


class Calibrated(Drift):
    """The same with a default that depends on the model, an option of its own, and a hook of its own."""

    name = "calibrated"
    about = replace(Drift.about, default_threshold=None, needs_calibration=True)
    models_own = {"most": "the model's own", "skip_first": "the model's own"}  # noqa: RUF012

    def __init__(self) -> None:
        self.seen: list[str] = []

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        group.add_argument("--calibrated-bias", type=float, default=0.0)

    def settings(self, options: argparse.Namespace, target: Target) -> Settings:
        if target.model != DEV.model:
            raise Refused(f"nothing is known of {target.model}")
        return self.settings_from(options, replace(self.defaults, skip_first=2), 0.25 + options.bias)

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        self.seen.append(f"start {step.index}")

    def observe(self, step: Step, body: Body) -> None:
        self.seen.append(f"end {step.index}")

    def values(self, generation: Any) -> Mapping[str, Any]:
        return {"threshold": self.threshold, "first": self.limits.skip_first}


def drift(**keywords: Any) -> Plugin:
    return Plugin("my-drift", Drift, **keywords)


def moving(*values: float) -> dict[str, Any]:
    return {"latents": [level(value) for value in values]}


# From step to step: 0.25, 0.2, 1/3, 0.25, 0.2, 1/6
VALUES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5)


def test_the_options_that_come_from_the_record() -> None:
    assert as_json(from_keywords(Loaded("my-drift", Drift), {})) == {
        "most": 0.5, "max_computed": None, "speedup": None, "skip_first": 1, "skip_last": 1, "max_skips": 3,
        "reuse": "body", "forecast": None, "cache_dtype": None, "force": False,
    }  # fmt: skip


def test_what_a_threshold_skips_and_what_is_recorded_of_it() -> None:
    image = drift().run(7, branches=2, **moving(*VALUES))
    assert image.pattern == "CSSCSSC"
    assert image.residuals[4] == [30, 31]
    assert image.decisions[3].running_sum == pytest.approx(0.45 + 1 / 3)
    assert [decision.threshold for decision in image.decisions] == [0.5] * 7
    assert image.forced == "F-----F"


@pytest.mark.parametrize(("budget", "computed"), [({"max_computed": 4}, 4), ({"speedup": 2}, 3), ({"speedup": 1}, 7)])
def test_any_running_number_can_have_an_exact_budget(budget: dict[str, Any], computed: int) -> None:
    image = drift(**budget).run(7, **moving(*VALUES))
    assert image.pattern.count("C") == computed
    assert image.decisions[2].change == pytest.approx(0.2)
    assert 0.5 not in [decision.threshold for decision in image.decisions]


def test_a_budget_that_windows_and_cap_exceed_is_refused_in_the_strategy_s_name() -> None:
    message = r"^Drift cannot get by with 1 step computed of 28: .* Use --my-drift-max-computed 8 or more"
    options = from_keywords(Loaded("my-drift", Drift), {"max_computed": 1})
    with pytest.raises(OptionError, match=message):
        Drift().mflux_check(options, replace(DEV, active_steps=28))
    with pytest.raises(OptionError, match="not allowed with argument --my-drift-most"):
        drift(most=1, speedup=2)


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("strategy", [Drift, TeaCache, EasyCache, MagCache, FirstBlockCache])
def test_a_threshold_is_a_finite_number_from_0(strategy: type[Strategy], threshold: float) -> None:
    """Also where it comes from no option."""
    options = from_keywords(Loaded(strategy.name, strategy), {})
    keyword = strategy.about.threshold
    setattr(options, str(keyword), threshold)
    with pytest.raises(
        OptionError, match=rf"{strategy.title}'s threshold is {threshold}; it must be a finite number from 0"
    ):
        strategy().mflux_check(options, DEV)


def test_windows_that_leave_nothing_are_refused_in_the_strategy_s_name() -> None:
    options = from_keywords(Loaded("my-drift", Drift), {"skip_last": 3})
    with pytest.raises(Refused, match=r"^Drift always computes the first 1 step and the last 3 steps, .*--my-drift-sk"):
        Drift().mflux_check(options, replace(DEV, active_steps=4))


def test_a_step_that_went_bad_is_not_kept() -> None:
    """It dropped what was there, and what it computed comes from the same numbers."""
    plugin = drift(most=9, max_skips=9)
    image = plugin.run(6, **moving(1.0, 1.0, float("nan"), 1.0, 1.0, 1.0))
    assert image.pattern == "CSCCCC"
    assert [image.reasons[step] for step in (2, 3)] == ["change or prediction not finite"] * 2


def test_each_image_starts_afresh_and_leaves_no_array() -> None:
    plugin = drift(forecast=1, cache_dtype="bfloat16")
    sigmas = [1 - step / 10 for step in range(7)]
    patterns = {plugin.run(7, sigmas=sigmas, **moving(*VALUES)).pattern for _ in range(2)}
    assert len(patterns) == 1
    assert plugin.instance.cache.empty
    assert plugin.instance.latents is None
    assert plugin.call("mflux_image_metadata", generation=generation(7)) == {
        "forecast": 1, "cache_dtype": "bfloat16", "reuse": "body",
    }  # fmt: skip


def test_defaults_of_the_model_s_own() -> None:
    plugin = Plugin("calibrated", Calibrated, bias=0.25)
    assert vars(plugin.options)["most"] is None
    assert plugin.run(7, **moving(*VALUES)).pattern == "CCSCSSC"
    assert plugin.call("mflux_image_metadata", generation=generation(7)) == {
        "threshold": 0.5, "first": 2, "forecast": 0, "cache_dtype": None, "reuse": "body",
    }  # fmt: skip
    assert Plugin("calibrated", Calibrated, most=0.3, skip_first=1).run(7, **moving(*VALUES)).pattern == "CSCCSCC"


def test_hooks_of_its_own_go_beside_the_base_s() -> None:
    plugin = Plugin("calibrated", Calibrated)
    plugin.call("mflux_step_start", step=Scripted(0, generation(4), None))
    plugin.run(4, **moving(*VALUES))
    assert plugin.instance.seen == ["start 0", "end 0", "end 1", "end 2", "end 3"]
    assert PluginSet([plugin.loaded]).decider == "calibrated"


def test_a_strategy_that_needs_figures_waits_until_the_model_is_known() -> None:
    options = from_keywords(Loaded("calibrated", Calibrated), {})
    Calibrated().mflux_check(options, Target(pipeline="Flux1"))
    with pytest.raises(Refused, match="nothing is known of me/mine"):
        Calibrated().mflux_check(options, Target(pipeline="Flux1", model="me/mine"))


class Knows(Drift):
    """A stranger's that knows a distilled model of its own, and an option that names every step."""

    name = "knows"

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        group.add_argument("--knows-all", action="store_true")

    def names_steps(self, options: argparse.Namespace) -> bool:
        return bool(options.all)

    def is_distilled(self, options: argparse.Namespace, target: Target) -> bool:
        return super().is_distilled(options, target) or target.model == "me/turbo"


@pytest.mark.parametrize("target", [Target(pipeline="Flux1", model="me/turbo"), replace(DEV, distilled=True)])
def test_a_stranger_s_strategy_refuses_distilled_models(target: Target) -> None:
    def check(**keywords: bool) -> None:
        Knows().mflux_check(from_keywords(Loaded("knows", Knows), keywords), replace(target, active_steps=6))

    with pytest.raises(Refused, match=f"^{target.model} is distilled to a few steps, .*; or --knows-force to try it"):
        check()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(force=True)
        check(all=True)


def test_a_stranger_s_strategy_advises_short_runs() -> None:
    strategy, options = Drift(), from_keywords(Loaded("my-drift", Drift), {})
    with pytest.warns(PluginWarning, match="this run has 6 active steps; below 10, fewer steps are usually"):
        strategy.mflux_check(options, replace(DEV, active_steps=6))
