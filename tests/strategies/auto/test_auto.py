"""The plugin on a model that runs in milliseconds: what it chooses, keeps to, says and records."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dreams as dreaming
import hypothesis
import mlx.core as mx
import pytest
from dreams import FAMILY, Brings, Dreams, Layer
from hypothesis import given
from hypothesis import strategies as some
from preset_files import PROVENANCE, preset
from tiny_models import generate, same

from mflux_teacache import TokenGrid, attach
from mflux_teacache.attachment import Request, attach_requests
from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.image_record.read import parse
from mflux_teacache.options import from_keywords
from mflux_teacache.pieces.patterns import even, letters
from mflux_teacache.plugins import Loaded, load
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import PresetKey, Setting
from mflux_teacache.records import GenerationStats, Target
from mflux_teacache.runtime import Runtime
from mflux_teacache.strategies.auto import plugin as auto
from mflux_teacache.strategies.auto.levels import LEVELS, of_level

MODEL = "me/dreams"
KEY = PresetKey(model=MODEL, pipeline="Dreams", width=64, height=64, steps=12, guidance=1.0)
PATTERN = "CCSCSSCSSSSC"
OWN = Setting(plugin="schedule", options={"pattern": PATTERN, "reuse": "output"}, computed=5, steps=12)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    return tmp_path / "presets"


@pytest.fixture
def dreams() -> Dreams:
    model = Dreams()
    model.model_config = SimpleNamespace(model_name=MODEL, base_model=None, aliases=[])
    return model


class Auto(auto.Auto, Brings):
    """With the family of the model, which is a third party's."""


def made(
    model: Dreams, steps: int = 12, images: int = 1, side: int = 64, **options: Any
) -> tuple[list[GenerationStats], list[Any]]:
    """The stats of images, and what is recorded of each."""
    values: list[Any] = []
    plugin = Loaded("auto", Auto)
    request = Request(plugin, from_keywords(plugin, options))
    with attach_requests(model, [request], lambda _, recorded: values.append(recorded["auto"])) as handle:
        for seed in range(images):
            generate(model, num_inference_steps=steps, seed=seed, height=side, width=side)
    return handle.stats.history, values


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


def test_a_preset_comes_first(dreams: Dreams) -> None:
    store.save(preset("mine", key=KEY, settings=(OWN,)))
    [image], [values] = made(dreams, speedup=2.4)
    assert image.pattern == PATTERN
    assert (values["source"], values["from"]) == ("preset", "mine")
    assert values["setting"] == "schedule reuse=output: preset mine, not checked by images"
    [other], [values] = made(dreams, speedup=2)
    assert other.pattern.count("C") == 6
    assert values["setting"].endswith("preset mine, not checked by images, at 5 of 12 steps")


def test_the_difference_from_a_preset_is_said_once(dreams: Dreams) -> None:
    store.save(preset("mine", key=replace(KEY, bits=4), settings=(OWN,)))
    with pytest.warns(PluginWarning) as caught:
        made(dreams, images=2)
    said = [str(each.message) for each in caught if "preset" in str(each.message)]
    assert len(said) == 1
    assert "the preset mine, which was made with 4 bits in place of no quantisation" in said[0]


def test_a_preset_of_another_model_is_not_taken(dreams: Dreams) -> None:
    store.save(preset("other", key=replace(KEY, model="me/other"), settings=(OWN,)))
    assert made(dreams)[1][0]["source"] == "rule"


def test_an_adaptive_setting_and_what_it_lets_run(dreams: Dreams) -> None:
    setting = Setting(plugin="first-block-cache", options={"max_computed": 5, "forecast": 1}, computed=5, steps=12)
    store.save(preset("mine", key=KEY, settings=(setting,)))
    with attach(dreams, Auto) as handle:
        generate(dreams, num_inference_steps=12)
    assert handle.stats.history[0].pattern.count("C") == 6
    assert handle._lifecycle._body._residual_after == 1
    dreams.model_config.model_name = "me/other"
    with attach(dreams, Auto) as handle:
        assert handle._lifecycle._body._residual_after == 0


def test_a_setting_that_reuses_outputs_needs_no_block_in_skipped_steps(dreams: Dreams) -> None:
    setting = Setting(plugin="first-block-cache", options={"max_computed": 5, "reuse": "output"}, computed=5, steps=12)
    store.save(preset("mine", key=KEY, settings=(setting,)))
    with attach(dreams, Auto) as handle:
        assert handle._lifecycle._body._residual_after == 0
        generate(dreams, num_inference_steps=12)
    assert handle.stats.history[0].pattern.count("C") == 6


def test_a_preset_that_cannot_be_used_is_named_and_the_next_setting_taken(dreams: Dreams) -> None:
    setting = Setting(plugin="magcache", options={"max_computed": 6}, computed=6, steps=12)
    store.save(preset("mine", key=KEY, settings=(setting,)))
    with pytest.warns(PluginWarning, match=r"setting of mine cannot be used here: MagCache has no .* next best one\."):
        [image], [values] = made(dreams)
    assert values["source"] == "rule"
    assert image.pattern.count("C") == 6


def test_a_foreign_file_among_the_presets(dreams: Dreams, data: Path) -> None:
    store.save(preset("mine", key=KEY, settings=(OWN,)))
    (data / "bad.json").write_text("{")
    with pytest.warns(PluginWarning, match=r"bad\.json is not JSON.* It is left out\.") as caught:
        _, values = made(dreams, images=2)
    assert [each["from"] for each in values] == ["mine", "mine"]
    assert sum("bad.json" in str(each.message) for each in caught) == 1


def test_presets_that_cannot_be_listed(dreams: Dreams, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OptionError("The presets cannot be listed.")

    monkeypatch.setattr(store, "stored", refuse)
    with pytest.warns(PluginWarning, match=r"cannot be listed\. auto goes on without presets\."):
        assert made(dreams)[1][0]["source"] == "rule"


def test_a_published_plan(dreams: Dreams) -> None:
    dreams.model_config.model_name = "black-forest-labs/FLUX.1-dev"
    with pytest.warns(PluginWarning, match="it uses flux1-dev, made with Flux1.* Compare an image") as caught:
        [image], [values] = made(dreams)
    assert (values["source"], values["from"]) == ("published", "flux1-dev")
    assert image.pattern.count("C") == 6
    assert not any("--schedule" in str(each.message) for each in caught)  # whose options nobody gave


# --- A time to keep ---------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Advances with what the model does: so much for each computed step, and for whatever is done in any step."""

    step: float = 1.0
    always: float = 0.1
    first: float = 5.0
    now: float = 0.0

    def call_in_loop(self, *, t: int, **_: Any) -> None:
        self.now += self.always + (self.first if t == 0 else 0.0)


@pytest.fixture
def clock(dreams: Dreams, monkeypatch: pytest.MonkeyPatch) -> Clock:
    ticking = Clock()
    monkeypatch.setattr(auto, "perf_counter", lambda: ticking.now)

    class Slow(Layer):
        def __call__(self, x: mx.array, scale: mx.array) -> mx.array:
            ticking.now += ticking.step / len(dreams.transformer.layers)
            return super().__call__(x, scale)

    for layer in dreams.transformer.layers:  # which do not run where the transformer's output is reused
        layer.__class__ = Slow
    dreams.callbacks.in_loop.append(ticking)
    return ticking


@pytest.mark.parametrize("grid", [None, TokenGrid(pixels=8)])
@pytest.mark.parametrize("seconds", [14.0, 20.0, 27.0])
def test_the_time_is_kept(
    dreams: Dreams, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float, grid: TokenGrid | None
) -> None:
    monkeypatch.setattr(dreaming, "FAMILY", replace(FAMILY, token_grid=grid))
    images, values = made(dreams, steps=28, images=2, side=256, seconds=seconds)
    # 28 steps take 2.8 in any case, and the first one 5 more.
    for image in images:
        assert image.pattern.count("C") == pytest.approx(seconds - 7.8, abs=0.51)
    assert {each["strategy"] for each in values} == {"sea" if grid else "schedule"}


def test_a_second_image_knows_what_steps_take(dreams: Dreams, clock: Clock) -> None:
    clock.first = 0.0
    images, _ = made(dreams, steps=28, images=2, seconds=5.8)
    first, second = (image.pattern for image in images)
    assert first[:2] == "CC"
    assert second == letters(even(28, 3), 28)


def test_a_time_that_is_too_short_or_longer_than_the_full_run(dreams: Dreams, clock: Clock) -> None:
    [image], _ = made(dreams, seconds=0.5)
    assert image.pattern == "CCSSSSSSSSSC"
    [image], _ = made(dreams, seconds=1000)
    assert image.pattern.count("C") >= 11


def test_a_machine_that_gets_slower(dreams: Dreams, clock: Clock) -> None:
    clock.first = 0.0

    def slower(*, t: int, **_: Any) -> None:
        clock.step = 2.0 if t >= 8 else 1.0

    dreams.callbacks.in_loop.append(SimpleNamespace(call_in_loop=slower))
    made(dreams, steps=28, seconds=16.8)
    assert clock.now == pytest.approx(16.8, abs=1.1)


def test_images_of_another_size_take_another_time(dreams: Dreams, clock: Clock) -> None:
    plugin = Auto()
    plugin._generation = SimpleNamespace(width=64, height=64, guidance=1.0)  # type: ignore[assignment]
    plugin._pace.note(1.0, 1.0, first=False)
    plugin._generation = SimpleNamespace(width=64, height=128, guidance=1.0)  # type: ignore[assignment]
    assert plugin._pace.affords(10, 5) is None


# --- Refusals, records ------------------------------------------------------------------------------------------------

DEV = Target(pipeline="Flux1", model=MODEL, steps=12, active_steps=12)


def check(target: Target, **options: Any) -> None:
    loaded = load("auto")
    auto.Auto().mflux_check(from_keywords(loaded, options), target)


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


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_seconds_that_are_none(seconds: str) -> None:
    with pytest.raises(OptionError, match="is not a finite number above 0, such as 20"):
        check(DEV, seconds=seconds)


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


def test_differences_are_said_before_the_weights_load() -> None:
    key = replace(KEY, pipeline="Flux1", guidance=4.0, scheduler="LinearScheduler")
    store.save(preset("mine", key=key, settings=(OWN,), provenance=PROVENANCE))
    with pytest.warns(PluginWarning, match=r"made with guidance 4 in place of guidance 3\.5\. Compare"):
        check(replace(DEV, guidance=3.5, width=64, height=64))


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
