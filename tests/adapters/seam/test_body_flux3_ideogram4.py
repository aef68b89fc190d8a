"""The entries of FLUX.3 and Ideogram 4: a body in which other rows join late, and one in two transformers."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from all_cases import cases_of
from installed import KEEPS_PREDICT, MFLUX
from mflux.models.ideogram4.model.ideogram4_scheduler import Ideogram4Scheduler
from mflux.utils.apple_silicon import AppleSiliconUtil
from recording import carries, run, second_call, seen_by
from strategies import Observer, Pattern, ProbedPattern, ReadsEverything, kept
from tiny_models import generate, memory_saver, same

from mflux_teacache import Body as StepBody
from mflux_teacache import Decision, Step, attach, hookimpl
from mflux_teacache.adapters.families import FAMILIES, FLUX3, IDEOGRAM4
from mflux_teacache.adapters.pipelines import family_of
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

CASES = cases_of("cases_flux3", "cases_ideogram4")
ATTENTION = {"flux3": "attn", "ideogram4": "attention"}
# Branches of each of five steps.
BRANCHES = {
    "flux3": [1] * 5,
    "flux3-base": [2] * 5,
    "flux3-edit": [1] * 5,
    "flux3-base-edit": [2] * 5,
    "ideogram4": [2] * 5,
    "ideogram4-one-branch": [1 if MFLUX >= (0, 19) else 2] * 5,  # guidance of 1 called both before
    "ideogram4-cfg-end": [2, 2, 2, 1, 1],
}


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that a test records must not be traced ones."""
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)


def _transformers(name: str, model: Any) -> list[Any]:
    family = FLUX3 if name.startswith("flux3") else IDEOGRAM4
    return [getattr(model, attribute) for attribute in family.attributes]


CALLS = [(name, 0) for name in CASES] + [("ideogram4", 1)]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("name", "place"), CALLS)
def test_the_signal_is_what_block_0_hands_to_its_attention(name: str, place: int, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    transformer = _transformers(name, model)[place]
    forward = second_call(model, transformer, arguments)
    family = family_of(transformer, FAMILIES)
    blocks = transformer.mode_blocks["image"] if family is FLUX3 else transformer.layers
    attention = getattr(blocks[0], ATTENTION[family.name])
    seen = seen_by(attention)
    body = Body(transformer, family)
    body.install()
    signal = probe(body, forward, first_block=True).modulated_input
    assert same(signal, next(iter(seen[0].values())))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("residual_after", [0, 1, 2])
@pytest.mark.parametrize(("name", "place"), CALLS)
def test_the_body_s_own_residual_reproduces_the_output(name: str, place: int, residual_after: int, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    transformer = _transformers(name, model)[place]
    forward = second_call(model, transformer, arguments)
    body = Body(transformer, family_of(transformer, FAMILIES), residual_after)
    plain = forward()
    body.install()
    computed_result, [computed] = run(body, forward, [], None)
    assert same(computed_result, plain)
    if name.startswith("flux3"):
        assert computed.output.shape[1] == 16  # the image's rows, without those of references and text
    for carry in carries(body, forward):
        again, [branch] = run(body, forward, [computed.output - computed.input], carry)
        assert branch.reused
        assert mx.allclose(again, plain, rtol=0, atol=1e-5)
    without, _ = run(body, forward, [mx.zeros_like(computed.input)], None)
    assert not mx.allclose(without, plain, rtol=0, atol=1e-3)


def test_transformers_of_different_depth_are_refused(photo: Path) -> None:
    model, _ = CASES["ideogram4"].make(photo)
    del model.unconditional_transformer.layers[-1]
    with pytest.raises(UnsupportedModel, match="differ in their number of blocks: 3, 2"):
        attach(model, Observer)


class Notes(Pattern):
    """What each step says of itself, computed and reused in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmas: list[float | None] = []
        self.latents: list[mx.array] = []
        self.reused: list[list[bool]] = []

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        self.sigmas.append(step.sigma)
        self.latents.append(step.latents)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: StepBody) -> None:
        self.reused.append([branch.reused for branch in body.branches])
        if body.computed:
            self.residuals = body.residuals

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        return Decision.reuse(self.residuals) if step.index % 2 else Decision.compute()


def _schedule(name: str, preset: str | None, steps: int) -> list[float]:
    """Noise levels, 1 = pure noise, for 64x64 pixels."""
    if name.startswith("flux3"):
        from mflux.models.flux3.model.flux3_scheduler import Flux3FlowMapScheduler

        return Flux3FlowMapScheduler(steps).timesteps[:-1].tolist()  # type: ignore[no-any-return]
    sampler = Ideogram4Scheduler.get_preset(preset)
    levels, _ = Ideogram4Scheduler.make_timesteps(num_steps=steps, height=64, width=64, mu=sampler.mu, std=sampler.std)
    return [1 - float(level) for level in reversed(levels)]  # its own say how much signal there is


def _steps(model: Any, **arguments: Any) -> tuple[Any, list[mx.array]]:
    """Notes of each step, and the latents that entered it."""
    entering: list[mx.array] = []
    model.callbacks.register(
        SimpleNamespace(
            call_before_loop=lambda *, latents, **_: entering.append(latents),
            call_in_loop=lambda *, latents, **_: entering.append(latents),
        )
    )
    notes, made = kept(Notes)
    with attach(model, notes):
        generate(model, **arguments)
    return made[0], entering[:-1]


@pytest.mark.parametrize("name", CASES)
def test_steps_have_the_pipeline_s_noise_levels_latents_and_branches(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    notes, entering = _steps(model, **arguments)
    schedule = _schedule(name, None, 5)
    assert notes.sigmas == pytest.approx(schedule, abs=1e-6)
    assert sorted(schedule, reverse=True) == schedule
    assert 0.99 < schedule[0] <= 1.0
    assert notes.reused == [[bool(index % 2)] * count for index, count in enumerate(BRANCHES[name])]
    assert all(same(*pair) for pair in zip(notes.latents, entering, strict=True))


def test_a_preset_brings_its_own_steps_and_guidance(photo: Path) -> None:
    model, arguments = CASES["ideogram4"].make(photo)
    notes, _ = _steps(model, **arguments, num_inference_steps=None, preset="V4_TURBO_12")
    assert notes.sigmas == pytest.approx(_schedule("ideogram4", "V4_TURBO_12", 12), abs=1e-6)
    assert [len(branches) for branches in notes.reused] == [2] * 12


@pytest.mark.parametrize(
    "name", [name for name in ("flux3-base-edit", "ideogram4", "ideogram4-cfg-end") if name in CASES]
)
@pytest.mark.parametrize("plugin", [Observer, ReadsEverything, Pattern, ProbedPattern])
def test_an_image_does_not_depend_on_the_one_before(name: str, plugin: type, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    with attach(model, plugin):
        alone = generate(model, **{**arguments, "prompt": "two pears"})
    with attach(model, plugin):
        first = generate(model, **{**arguments, "prompt": "a red apple"})
        assert same(generate(model, **{**arguments, "prompt": "two pears"}), alone)
    assert not same(first, alone)


@pytest.mark.parametrize("name", CASES)
def test_the_memory_saver_frees_every_transformer_before_the_decode(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    transformers = [weakref.ref(transformer) for transformer in _transformers(name, model)]
    alive: list[bool] = []
    with attach(model, ProbedPattern):
        model.callbacks.register(memory_saver(model))
        model.callbacks.register(
            SimpleNamespace(call_after_loop=lambda **_: alive.extend(each() is not None for each in transformers))
        )
        generate(model, **arguments)
    assert alive == [KEEPS_PREDICT] * len(transformers)


@pytest.mark.parametrize("name", CASES)
def test_restore_gives_every_module_its_class_back(name: str, photo: Path) -> None:
    model, _ = CASES[name].make(photo)

    def classes() -> list[type]:
        return [type(module) for each in _transformers(name, model) for module in each.modules()]

    before, attributes = classes(), set(vars(model))
    with attach(model, Observer):
        assert classes() != before
    assert classes() == before
    assert set(vars(model)) == attributes
