"""The plugin on a model that runs in milliseconds: what it chooses, refuses, says and records."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import dreams as dreaming
import hypothesis
import mlx.core as mx
import pytest
from auto_dreams import DEV, Auto, check, made
from dreams import FAMILY, Dreams
from hypothesis import given
from hypothesis import strategies as some
from tiny_models import generate, same

from mflux_teacache import TokenGrid, attach
from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.image_record.read import parse
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import load
from mflux_teacache.runtime import Runtime
from mflux_teacache.strategies.auto import plugin as auto
from mflux_teacache.strategies.auto.levels import LEVELS, of_level

pytestmark = pytest.mark.usefixtures("data")


def test_by_a_rule(dreams: Dreams) -> None:
    [image], [values] = made(dreams)
    assert image.pattern == "CSCSCSSCSCSC"
    assert values == {
        "plan": "even",
        "forecast": 2,
        "cache_dtype": None,
        "reuse": "output",
        "source": "rule",
        "from": None,
        "strategy": "schedule",
        "options": {"reuse": "output", "max_computed": 6},
        "setting": "schedule reuse=output: a rule, not measured on this model",
    }


def test_seacache_where_enough_tokens_are_known(dreams: Dreams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dreaming, "FAMILY", replace(FAMILY, token_grid=TokenGrid(pixels=8)))
    [image], [values] = made(dreams, side=256)
    assert image.pattern.count("C") == 6
    assert values["setting"] == "sea reuse=output: a rule, not measured on this model"
    # 31 in a line are too few.
    assert made(dreams, side=248)[1][0]["strategy"] == "schedule"
    # Not as many tokens as the latents have rows.
    monkeypatch.setattr(dreaming, "FAMILY", replace(FAMILY, token_grid=TokenGrid(pixels=4)))
    assert made(dreams, side=256)[1][0]["strategy"] == "schedule"
    # Nobody knows how noisy a step is.
    monkeypatch.setattr(dreaming, "FAMILY", replace(FAMILY, token_grid=TokenGrid(pixels=8), sigma=lambda _: None))
    assert made(dreams, side=256)[1][0]["strategy"] == "schedule"


def test_seacache_gives_way_where_its_cap_needs_more(dreams: Dreams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dreaming, "FAMILY", replace(FAMILY, token_grid=TokenGrid(pixels=8)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a rule is nothing that anybody asked for
        [image], [values] = made(dreams, steps=40, side=256, speedup=20)
    assert image.pattern == "C" + "S" * 38 + "C"
    assert values["strategy"] == "schedule"


@given(steps=some.integers(3, 40), data=some.data())
@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_the_budget_is_exact(dreams: Dreams, steps: int, data: some.DataObject) -> None:
    if data.draw(some.booleans()):
        level = data.draw(some.sampled_from([*LEVELS]))
        options, computed = {"level": level}, of_level(level, steps)
    else:
        computed = data.draw(some.integers(2, steps - 1))
        options = {"speedup": steps / (computed + 0.25)}
    [image], _ = made(dreams, steps=steps, **options)
    assert image.pattern.count("C") == computed
    assert image.pattern[0] == image.pattern[-1] == "C"


def test_a_published_plan(dreams: Dreams) -> None:
    dreams.model_config.model_name = "black-forest-labs/FLUX.1-dev"
    with pytest.warns(PluginWarning, match="it uses flux1-dev, made with Flux1.* Compare an image") as caught:
        [image], [values] = made(dreams)
    assert (values["source"], values["from"]) == ("published", "flux1-dev")
    assert image.pattern.count("C") == 6
    assert not any("--schedule" in str(each.message) for each in caught)  # whose options nobody gave


@pytest.mark.parametrize(
    ("options", "steps", "message"),
    [
        (
            {"speedup": 7},
            12,
            r"--auto-speedup 7 asks to compute 1 of 12 .* an --auto-speedup above 1 and up to 6\.",
        ),
        ({"speedup": 1}, 12, r"--auto-speedup 1 asks to compute 12 of 12"),
        ({"level": "fast"}, 2, r"--auto-level fast leaves nothing to skip of 2 active steps"),
        ({"seconds": 3}, 2, r"--auto-seconds 3 leaves nothing to skip of 2 active steps"),
    ],
)
def test_what_leaves_nothing_to_choose(options: dict[str, Any], steps: int, message: str) -> None:
    with pytest.raises(Refused, match=message):
        check(replace(DEV, steps=steps, active_steps=steps), **options)


def test_one_of_the_three() -> None:
    with pytest.raises(OptionError, match="not allowed with argument"):
        check(DEV, seconds=3, speedup=2)
    with pytest.raises(OptionError, match="invalid choice: 'slow'"):
        check(DEV, level="slow")


def test_distilled_models_are_refused() -> None:
    with pytest.raises(Refused, match="is distilled to a few steps, .* or --auto-force to try it all the same"):
        check(replace(DEV, distilled=True))
    check(replace(DEV, distilled=True), force=True)


def test_few_steps_are_advised_against_once() -> None:
    options, plugin = from_keywords(load("auto"), {}), auto.Auto()
    short = replace(DEV, steps=8, active_steps=8)
    with pytest.warns(PluginWarning, match="this run has 8 active steps"):
        plugin.mflux_check(options, short)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plugin.mflux_check(options, short)


def test_an_image_can_be_repeated_from_its_record(dreams: Dreams) -> None:
    [image], [values] = made(dreams)
    options = {"level": "balanced", "speedup": None, "seconds": None, "force": False}
    recorded = parse(
        {
            "schema": 1,
            "pattern": image.pattern,
            "decider": "auto",
            "residual_after": 0,
            "plugins": {"auto": {"package": "p", "version": "1", "options": options, "values": values}},
        }
    )
    assert recorded.decided is not None
    assert (recorded.decided.pattern, recorded.decided.reuse, recorded.decided.forecast) == (image.pattern, "output", 2)


def test_an_image_without_a_step_records_nothing(dreams: Dreams) -> None:
    assert auto.Auto().mflux_image_metadata(SimpleNamespace()) is None  # type: ignore[arg-type]


def test_overlapping_images_have_choices_of_their_own(dreams: Dreams) -> None:
    inner: list[mx.array] = []

    def preview(*, t: int, **_: Any) -> None:
        if t == 3 and not inner:
            inner.append(mx.array(0))
            inner.append(generate(dreams, num_inference_steps=10, seed=9))

    listener = SimpleNamespace(call_in_loop=preview)
    with attach(dreams, Auto):
        alone = generate(dreams, num_inference_steps=12)
        inner_alone = generate(dreams, num_inference_steps=10, seed=9)
        dreams.callbacks.in_loop.append(listener)
        assert same(generate(dreams, num_inference_steps=12), alone)
    assert same(inner[1], inner_alone)


@pytest.mark.parametrize(("options", "kept"), [({}, {0, 1}), ({"steps": 8}, {0, 2})])
def test_residuals_are_evaluated_only_where_the_choice_reuses_them(
    dreams: Dreams, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], kept: set[int]
) -> None:
    found: set[int] = set()
    own = Runtime._kept

    def counted(runtime: Runtime, body: Any) -> list[mx.array]:
        arrays = own(runtime, body)
        found.add(len(arrays))
        return arrays

    monkeypatch.setattr(Runtime, "_kept", counted)
    made(dreams, **options)
    assert found == kept
