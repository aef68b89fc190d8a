"""A guidance branch is known by what mflux asks it for, and reuses only what it computed itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from mflux.models.flux.variants.txt2img.flux import Flux1
from strategies import kept
from tiny_models import same

from mflux_teacache import Body, Decision, Step, attach, hookimpl
from mflux_teacache.adapters.families import FLUX1, FLUX2, IRIS, Z_IMAGE
from mflux_teacache.adapters.seam.image import _KEPT, Branches
from mflux_teacache.forward import Ran as Branch

# What each step of a loop asks for: guidance in some steps, in another order, a prompt alone.
STEPS = ("pn", "n", "p", "np", "pnp", "pn")


class Loop(Flux1):
    """A pipeline of somebody's own, which asks for other branches in each step."""

    def generate_image(self, seed: int, prompt: str, num_inference_steps: int, **more: Any) -> Any:
        from mflux.models.common.config.config import Config

        config = Config(model_config=self.model_config, num_inference_steps=num_inference_steps, **more)
        prompts = {name: self.prompt_cache[name] for name in "pn"}
        latents = mx.random.normal((1, 16, 64), key=mx.random.key(seed))
        context = self.callbacks.start(seed=seed, prompt=prompt, config=config)
        context.before_loop(latents)
        for t in config.time_steps:
            noises = [
                self.transformer(
                    t=t,
                    config=config,
                    hidden_states=latents,
                    prompt_embeds=prompts[name][0],
                    pooled_prompt_embeds=prompts[name][1],
                )
                for name in STEPS[t]
            ]
            latents = config.scheduler.step(noise=sum(noises), timestep=t, latents=latents)
            context.in_loop(t, latents)
            mx.eval(latents)
        context.after_loop(latents)
        return SimpleNamespace()


class ReusesAll:
    """Computes the first step, and what it has nothing for."""

    def __init__(self) -> None:
        self.residuals: list[mx.array | None] = []
        self.bodies: list[Body] = []

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision | None:
        return Decision.reuse(self.residuals) if step.index else None

    @hookimpl
    def mflux_post_transformer(self, body: Body) -> None:
        self.bodies.append(body)
        new = body.residuals
        self.residuals += [None] * (len(new) - len(self.residuals))
        self.residuals = [
            known if fresh is None else fresh
            for known, fresh in zip(self.residuals, (*new, *[None] * len(self.residuals)), strict=False)
        ]


@pytest.mark.usefixtures("tiny")
def test_a_loop_that_asks_for_other_branches_in_each_step() -> None:
    model = tiny_models.flux1(cls=Loop)
    plugin, made = kept(ReusesAll)
    with attach(model, plugin) as handle:
        model.generate_image(seed=1, prompt="x", num_inference_steps=len(STEPS), height=64, width=64)
    bodies = made[0].bodies
    numbers = {"p": 0, "n": 1}
    seen = [[branch.index for branch in body.branches] for body in bodies]
    # The second prediction for one prompt in one step is a branch of its own.
    assert seen == [[0, 1], [1], [0], [1, 0], [0, 1, 2], [0, 1]]
    computed = {index: bodies[0].branches[index].residual for index in numbers.values()}
    for body in bodies[1:]:
        for branch in body.branches:
            assert branch.reused == (branch.index in computed)
            if branch.reused:
                assert same(branch.output, branch.input + computed[branch.index])
    assert not same(computed[0], computed[1])
    assert handle.stats.last_generation.pattern == "CSSSPS"


def _arguments(**more: Any) -> dict[str, Any]:
    """Of FLUX.1's transformer, with a noise level and latents of this step."""
    return {"t": 0, "config": CONFIG, "hidden_states": mx.zeros((1, 4, 8)), **more}


CONFIG = SimpleNamespace(scheduler=SimpleNamespace(sigmas=[1.0, 0.5]))
PROMPT, OTHER = mx.zeros((1, 5, 8)), mx.zeros((1, 5, 8))


def _numbers(branches: Branches, family: Any, arguments: dict[str, Any], count: int = 1, **done: Any) -> list[int]:
    stream = mx.zeros((1, 4, 8))
    ran = [Branch(stream, stream, reused=False, **done) for _ in range(count)]
    return list(branches.numbered(branches.prediction(arguments), ran))


def test_the_same_objects_are_the_same_branch_and_equal_ones_are_not() -> None:
    branches = Branches(FLUX1)
    numbers = []
    for prompt in (PROMPT, OTHER, OTHER, PROMPT, PROMPT + 0):
        numbers += _numbers(branches, FLUX1, _arguments(prompt_embeds=prompt))
        branches.end_step()
    assert numbers == [0, 1, 1, 0, 2]


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ({"guidance": 4.0}, {"guidance": 2.0}, True),
        ({"target_timestep": mx.zeros((1,))}, {"target_timestep": mx.ones((1,))}, True),
        ({"skip_layers": None}, {"skip_layers": [1, 2]}, False),
        ({"skip_layers": [1, 2]}, {"skip_layers": [1, 2]}, True),
        ({"skip_layers": [1, 2]}, {"skip_layers": [1, 3]}, False),
        ({"masked": True}, {"masked": False}, False),
        ({"prompt_embeds": PROMPT}, {"prompt_embeds": None}, False),
        ({"prompt_embeds": PROMPT}, {}, False),
        ({"controlnet_block_samples": [PROMPT]}, {"controlnet_block_samples": [OTHER]}, True),
        ({"cache": object()}, {"cache": object()}, False),
    ],
)
def test_what_tells_branches_apart(first: dict[str, Any], second: dict[str, Any], alike: bool) -> None:
    branches = Branches(FLUX1)
    assert _numbers(branches, FLUX1, _arguments(**first)) == [0]
    branches.end_step()
    assert _numbers(branches, FLUX1, _arguments(**second)) == ([0] if alike else [1])


def test_a_second_prediction_for_one_prompt_in_one_step_is_another_branch() -> None:
    branches = Branches(FLUX1)
    for _ in range(2):
        assert _numbers(branches, FLUX1, _arguments(prompt_embeds=PROMPT)) == [0]
        assert _numbers(branches, FLUX1, _arguments(prompt_embeds=PROMPT)) == [1]
        branches.end_step()


def test_a_prediction_of_several_branches_numbers_them_in_turn() -> None:
    branches = Branches(FLUX2)
    both = {"latents": mx.zeros((1, 4, 8)), "timestep": mx.array(1.0), "prompt_embeds": PROMPT, "negative": OTHER}
    assert _numbers(branches, FLUX2, both, count=2) == [0, 1]
    branches.end_step()
    assert _numbers(branches, FLUX2, {**both, "negative": None}) == [2]
    branches.end_step()
    assert _numbers(branches, FLUX2, both, count=2) == [0, 1]


def test_a_model_that_has_taken_in_its_reference_images_is_asked_without_them() -> None:
    branches = Branches(FLUX2)
    call = {"latents": mx.zeros((1, 4, 8)), "timestep": mx.array(1.0), "prompt_embeds": PROMPT}
    assert _numbers(branches, FLUX2, {**call, "image_latents": OTHER}, in_full=True) == [0]
    branches.end_step()
    assert _numbers(branches, FLUX2, call) == [0]
    branches.end_step()
    assert _numbers(branches, FLUX2, {**call, "image_latents": OTHER}) == [1]


@pytest.mark.parametrize(
    ("family", "anew", "call"),
    [
        (IRIS, ("y", "y_mask"), {"x": mx.zeros((2, 4, 8)), "t": mx.ones((2,))}),
        (Z_IMAGE, ("controlnet_block_samples",), {"x": mx.zeros((4, 8)), "timestep": 0, "sigmas": mx.ones((3,))}),
    ],
)
def test_what_mflux_makes_anew_tells_nothing(family: Any, anew: tuple[str, ...], call: dict[str, Any]) -> None:
    assert family.made_anew == anew
    branches = Branches(family)
    for _ in range(2):
        assert _numbers(branches, family, {**call, **{name: mx.zeros((2, 5, 8)) for name in anew}}) == [0]
        branches.end_step()


def test_a_prompt_that_is_new_in_every_step_is_not_kept_for_ever() -> None:
    branches = Branches(FLUX1)
    for step in range(3 * _KEPT):
        assert _numbers(branches, FLUX1, _arguments(prompt_embeds=mx.zeros((1, 5, 8)))) == [step]
        branches.end_step()
    assert len(branches._known) == _KEPT
