"""A forward that is not compiled runs once per step, whatever was read, and pauses while the step is decided."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from recording import seen_by
from strategies import Observer, Pattern, ProbedPattern, ReadsEverything
from tiny_models import flux1, generate, randomised, same

from mflux_teacache import Decision, Family, Joint, Step, attach, hookimpl
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body
from mflux_teacache.adapters.seam.run import Pause
from mflux_teacache.adapters.seam.values import Made
from mflux_teacache.errors import HookFailed
from mflux_teacache.forward import Reuse


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("plugin", "computed"), [(Observer, 4), (ReadsEverything, 4), (Pattern, 2), (ProbedPattern, 2)]
)
def test_what_comes_before_the_body_runs_once_per_step(plugin: type, computed: int) -> None:
    model = flux1()
    before, block_0 = seen_by(model.transformer.time_text_embed), seen_by(model.transformer.transformer_blocks[0])
    with attach(model, plugin):
        generate(model, num_inference_steps=4)
    assert len(before) == 4
    assert len(block_0) == computed


@pytest.mark.usefixtures("tiny")
def test_a_plugin_that_fails_while_the_forward_pauses_leaves_the_model_as_it_was() -> None:
    class Fails:
        @hookimpl
        def mflux_pre_transformer(self, step: Step) -> Decision:
            mx.eval(step.modulated_input)
            raise RuntimeError("no more")

    model = flux1()
    plain = generate(model)
    attach(model, Fails)
    with pytest.raises(HookFailed, match="no more"):
        generate(model)
    assert same(generate(model), plain)


class InPlace(nn.Module):
    """A block that changes what it is given, as the caller of FLUX.1's changes what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(8, affine=False), nn.Linear(8, 8)

    def __call__(self, x: mx.array) -> mx.array:
        x += self.mix(self.norm(x))
        return x


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [InPlace() for _ in range(3)]

    def __call__(self, noisy: mx.array) -> mx.array:
        x = 2 * noisy
        for layer in self.layers:
            x = layer(x)
        return x


FAMILY = Family(
    name="in place",
    transformer=f"{__name__}:Stack",
    body=(Joint("layers", stream="x"),),
    modulated_input=lambda layer, call: layer.norm(call["x"]),
    sigma=lambda call: None,
    latents="noisy",
)


@pytest.mark.parametrize("first_block", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_a_pause_can_be_probed_when_mflux_has_changed_its_arrays(first_block: bool, skip: bool) -> None:
    stack: Any = randomised(Stack(), seed=1, scale=0.5)
    body = Body(stack, FAMILY)
    body.install()
    noisy = mx.random.normal((1, 5, 8), key=mx.random.key(2))
    plain = stack(noisy)
    expected = probe(body, lambda: stack(noisy), first_block=True)
    pauses: list[Pause] = []
    residual = mx.ones((1, 5, 8))

    def decide(pause: Pause) -> Reuse:
        pauses.append(pause)
        if first_block:
            pause.probe(first_block=True)
        return Reuse([residual] if skip else [])

    result, [branch] = body.run(lambda: stack(noisy), decide, made=Made(mx.float32, mx.float32))
    assert branch.reused == skip
    assert mx.allclose(result, 2 * noisy + residual if skip else plain, atol=1e-6)
    assert same(branch.input, 2 * noisy)
    found = pauses[0].probe(first_block=True)
    assert same(found.modulated_input, expected.modulated_input)
    assert same(found.first_block_residual, expected.first_block_residual)
    assert same(found.carry.entry.image, 2 * noisy)


def test_a_second_probe_leaves_what_the_first_one_found() -> None:
    stack: Any = randomised(Stack(), seed=1, scale=0.5)
    body = Body(stack, FAMILY)
    body.install()
    noisy = mx.random.normal((1, 5, 8), key=mx.random.key(2))
    lean = probe(body, lambda: stack(noisy))
    full = probe(body, lambda: stack(noisy), first_block=True, carry=lean.carry)
    assert same(lean.carry.entry.image, 2 * noisy)
    assert same(full.first_block_residual, stack.layers[0](2 * noisy) - 2 * noisy)
