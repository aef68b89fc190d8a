"""The entries of ERNIE-Image, Krea 2, Lens, Anima, Boogu and Iris, on calls that mflux itself made."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from all_cases import cases_of
from installed import KEEPS_PREDICT
from mflux.models.common.config.config import Config
from mflux.utils.apple_silicon import AppleSiliconUtil
from recording import carries, run, second_call, seen_by
from strategies import Observer, Pattern, ProbedPattern, ReadsEverything, kept
from tiny_models import generate, memory_saver, same

from mflux_teacache import Body as StepBody
from mflux_teacache import Step, attach, hookimpl
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import family_of
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body

pytestmark = pytest.mark.usefixtures("tiny")

CASES = cases_of(
    "cases_anima", "cases_ernie", "cases_iris", "cases_krea2", "cases_krea2_controlnet", "cases_lens_boogu"
)
ATTENTION = {
    "anima": "self_attn",
    "boogu": "img_instruct_attn",
    "ernie_image": "self_attention",
    "iris": "attn",
    "krea2": "attn",
    "lens": "attn",
}
# Their predict functions capture the prompt.
CAPTURING = ("anima-turbo", "anima-guidance", "krea2-turbo", "krea2-controlnet-guidance")
# Branches per step, and the batch of each.
BRANCHES = dict.fromkeys(CASES, (1, 1)) | {
    "anima-guidance": (2, 1),
    "anima-euler": (2, 1),
    "ernie-guidance": (1, 2),
    "iris-base": (1, 2),
    "krea2-guidance": (2, 1),
    "krea2-controlnet-guidance": (2, 1),
}


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that a test records must not be traced ones."""
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", CASES)
def test_the_signal_is_what_block_0_hands_to_its_attention(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    transformer = model.transformer
    forward = second_call(model, transformer, arguments)
    family = family_of(transformer, FAMILIES)
    attention = getattr(getattr(transformer, family.body[0].blocks)[0], ATTENTION[family.name])
    seen = seen_by(attention)
    body = Body(transformer, family)
    body.install()
    signal = probe(body, forward, first_block=True).modulated_input
    assert same(signal, next(iter(seen[0].values())))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("residual_after", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_the_body_s_own_residual_reproduces_the_output(name: str, residual_after: int, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    transformer = model.transformer
    forward = second_call(model, transformer, arguments)
    body = Body(transformer, family_of(transformer, FAMILIES), residual_after)
    plain = forward()
    body.install()
    computed_result, [computed] = run(body, forward, [], None)
    assert same(computed_result, plain)
    assert computed.input.shape[0] == BRANCHES[name][1]
    for carry in carries(body, forward):
        again, [branch] = run(body, forward, [computed.output - computed.input], carry)
        assert branch.reused
        assert mx.allclose(again, plain, rtol=0, atol=1e-5)
    without, _ = run(body, forward, [mx.zeros_like(computed.input)], None)
    assert not mx.allclose(without, plain, rtol=0, atol=1e-3)


class Notes:
    """What each step says of itself."""

    def __init__(self) -> None:
        self.sigmas: list[float | None] = []
        self.latents: list[mx.array] = []
        self.branches: list[tuple[int, int]] = []

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        self.sigmas.append(step.sigma)
        self.latents.append(step.latents)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: StepBody) -> None:
        self.branches.append((len(body.branches), body.branches[0].input.shape[0]))


def _schedule(name: str, model: Any, config: Config) -> list[float]:
    """Noise levels of the steps that run, 1 = pure noise, as the pipeline computes them for 64x64 pixels and seed 1."""
    steps = config.num_inference_steps
    family = name.partition("-")[0]
    if family == "lens":
        return list(model._turbo_sigmas(16, steps)[:steps])
    if family == "boogu":  # its own sigmas say how much signal there is: 0.001 at first
        return (1 - mx.linspace(0.001, 1.0, steps + 1)[:-1]).tolist()
    if name == "iris-turbo":
        from mflux.models.iris.model.iris_scheduler.iris_turbo_scheduler import IrisTurboScheduler

        return list(IrisTurboScheduler.SIGMAS)
    if family == "iris":
        from mflux.models.iris.model.iris_scheduler.iris_flow_dpm_solver import IrisFlowDPMSolver

        return IrisFlowDPMSolver(steps, 4.0).grid[:steps]
    if family == "anima":
        from mflux.models.anima.model.anima_scheduler import AnimaSampler

        sampler = AnimaSampler.make("euler" if name == "anima-euler" else "er_sde", config.scheduler.sigmas, 1)
        return [sampler.sigma(index).item() for index in range(steps)]
    return config.scheduler.sigmas[config.init_time_step : steps].tolist()


@pytest.mark.parametrize("name", CASES)
def test_steps_have_the_pipeline_s_noise_levels_latents_and_branches(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    entering: list[mx.array] = []
    configs: list[Config] = []

    def before_loop(*, latents: mx.array, config: Config, **_: Any) -> None:
        entering.append(latents)
        configs.append(config)

    model.callbacks.register(
        SimpleNamespace(call_before_loop=before_loop, call_in_loop=lambda *, latents, **_: entering.append(latents))
    )
    notes, made = kept(Notes)
    with attach(model, notes):
        generate(model, **arguments)
    schedule = _schedule(name, model, configs[0])
    assert made[0].sigmas == pytest.approx(schedule, abs=1e-6)
    assert sorted(schedule, reverse=True) == schedule
    assert 0.99 < schedule[0] <= 1.0 or "img2img" in name
    assert made[0].branches == [BRANCHES[name]] * len(schedule)
    # A batch of guidance branches holds the same latents twice.
    for latents, expected in zip(made[0].latents, entering[:-1], strict=True):
        assert bool(mx.array_equal(latents, mx.broadcast_to(expected, latents.shape)))


@pytest.mark.parametrize(
    "name",
    [name for name in ("anima-turbo", "anima-guidance", "krea2-turbo", "krea2-controlnet-guidance") if name in CASES],
)
def test_compiled_functions_do_not_outlive_an_image(name: str, photo: Path) -> None:
    """One that is kept paints the last image again."""
    model, arguments = CASES[name].make(photo)
    prompts = ("a red apple", "two pears")
    alone = [generate(model, prompt=prompt, **arguments) for prompt in prompts]
    assert not same(*alone)
    for plugin in (Observer, ReadsEverything):
        with attach(model, plugin):
            for prompt, expected in zip(prompts, alone, strict=True):
                assert same(generate(model, prompt=prompt, **arguments), expected)


@pytest.mark.parametrize("plugin", [Pattern, ProbedPattern])
@pytest.mark.parametrize("name", [name for name in ("anima-guidance", "krea2-turbo") if name in CASES])
def test_an_image_with_skipped_steps_does_not_depend_on_the_one_before(name: str, plugin: type, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    with attach(model, plugin):
        alone = generate(model, prompt="two pears", **arguments)
    with attach(model, plugin):
        generate(model, prompt="a red apple", **arguments)
        assert same(generate(model, prompt="two pears", **arguments), alone)


@pytest.mark.parametrize("name", CASES)
def test_the_memory_saver_frees_the_transformer_before_the_decode(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    transformer = weakref.ref(model.transformer)
    alive: list[bool] = []
    with attach(model, ProbedPattern):
        model.callbacks.register(memory_saver(model))
        model.callbacks.register(SimpleNamespace(call_after_loop=lambda **_: alive.append(transformer() is not None)))
        generate(model, **arguments)
    assert alive == [CASES[name].compiled and KEEPS_PREDICT]
