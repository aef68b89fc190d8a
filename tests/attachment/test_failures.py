"""What can go wrong while an image is made, and that the model is what it was afterwards."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import all_cases
import mlx.core as mx
import numpy as np
import pytest
import tiny_models
from mflux.utils.exceptions import StopImageGenerationException
from strategies import Pattern, ReadsEverything
from tiny_models import generate, same

from mflux_teacache import (
    Decision,
    Generation,
    PluginWarning,
    Step,
    attach,
    hookimpl,
)
from mflux_teacache.attachment import Request, attach_requests
from mflux_teacache.errors import HookFailed, UnsupportedModel
from mflux_teacache.plugins import Loaded

pytestmark = pytest.mark.usefixtures("tiny")


def test_a_hook_that_raises_names_plugin_hook_and_step_and_restores(model: Any, unchanged: None) -> None:
    class Broken:
        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            if step.index == 2:
                raise RuntimeError("out of luck")

    handle = attach(model, Broken)
    with pytest.raises(HookFailed, match="plugin 'broken' failed in mflux_step_start at step 2: RuntimeError: out of"):
        generate(model, guidance=4.0)
    assert handle.stats.last_generation is not None
    assert handle.stats.last_generation.status == "failed"
    assert handle.stats.last_generation.pattern == "CC"
    assert handle.stats.generations == 0


def test_a_decision_that_is_none_of_ours_is_named(model: Any, unchanged: None) -> None:
    class Confused:
        @hookimpl
        def mflux_pre_transformer(self) -> bool:
            return True

    attach(model, Confused)
    with pytest.raises(HookFailed, match="'confused' failed in mflux_pre_transformer at step 0.*returned True"):
        generate(model)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (lambda _: 0.0, "residual for branch 0 is of float, where an mlx array"),
        (np.array, "residual for branch 0 is of ndarray, where an mlx array"),
        (lambda residual: residual.astype(mx.complex64), "branch 0 is of mlx.core.complex64, where .* floating-point"),
    ],
)
@pytest.mark.parametrize("make", [tiny_models.flux1, tiny_models.flux2])
def test_a_residual_that_is_none_is_named(make: Any, kept: Any, message: str) -> None:
    class Odd(Pattern):
        @hookimpl
        def mflux_post_transformer(self, body: Any) -> None:
            self.residuals = (kept(body.residuals[0]),)

    model = make()
    plain = generate(model)
    attach(model, Odd)
    with pytest.raises(HookFailed, match=f"'odd' failed in mflux_pre_transformer at step 1: .*{message}"):
        generate(model)
    assert same(generate(model), plain)  # taken off


def test_an_error_in_mflux_s_loop_leaves_the_model_attached_and_clean(model: Any, unchanged: None) -> None:
    plain = generate(model, guidance=4.0)
    with attach(model, ReadsEverything) as handle:
        bomb = SimpleNamespace(call_in_loop=_raising(ValueError("boom"), at=1))
        model.callbacks.register(bomb)
        with pytest.raises(ValueError, match="boom"):
            generate(model)
        model.callbacks.in_loop.remove(bomb)
        assert same(generate(model, guidance=4.0), plain)
    assert [image.status for image in handle.stats.history] == ["failed", "finished"]


def test_ctrl_c_in_the_loop_is_an_interrupted_generation(model: Any, unchanged: None) -> None:
    plain = generate(model, guidance=4.0)
    with attach(model, ReadsEverything) as handle:
        bomb = SimpleNamespace(call_in_loop=_raising(KeyboardInterrupt(), at=2))
        model.callbacks.register(bomb)
        with pytest.raises(StopImageGenerationException):
            generate(model)
        model.callbacks.in_loop.remove(bomb)
        assert same(generate(model, guidance=4.0), plain)
    first, second = handle.stats.history
    assert (first.status, first.pattern) == ("interrupted", "CCC")
    assert (second.status, second.pattern) == ("finished", "CCCCC")
    assert handle.stats.total_active_steps == 5


def test_ctrl_c_in_a_hook_is_an_interruption_too(model: Any, unchanged: None) -> None:
    class Impatient:
        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            if step.index == 1:
                raise KeyboardInterrupt

    with attach(model, Impatient) as handle, pytest.raises(StopImageGenerationException):
        generate(model)
    assert handle.stats.history[0].status == "interrupted"


def _raising(error: BaseException, at: int) -> Any:
    def call_in_loop(*, t: int, **_: Any) -> None:
        if t == at:
            raise error

    return call_in_loop


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # the picture of that image
def test_nan_in_the_signal_computes(model: Any, unchanged: None) -> None:
    """A weight turned to NaN for one image; TeaCache computes every step of it and skips again in the next."""
    weight = model.transformer.x_embedder.weight
    with attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0]) as handle:
        generate(model)
        model.transformer.x_embedder.weight = mx.array(np.full(weight.shape, np.nan, np.float32))
        generate(model)
        model.transformer.x_embedder.weight = weight
        generate(model)
    assert [image.pattern for image in handle.stats.history] == ["CSSSC", "CCCCC", "CSSSC"]


def test_a_second_image_of_another_size_and_step_count_starts_afresh(model: Any, unchanged: None) -> None:
    alone = []
    for arguments in (
        {"num_inference_steps": 4, "height": 32},
        {"num_inference_steps": 6, "width": 96, "guidance": 3.0},
    ):
        with attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0]):
            alone.append(generate(model, **arguments))
    with attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0]) as handle:
        assert same(generate(model, num_inference_steps=4, height=32), alone[0])
        assert same(generate(model, num_inference_steps=6, width=96, guidance=3.0), alone[1])
    assert [image.pattern for image in handle.stats.history] == ["CSSC", "CSSSSC"]


def test_a_branch_without_a_residual_computes_and_says_so(model: Any, unchanged: None) -> None:
    class FirstBranchOnly(Pattern):
        @hookimpl
        def mflux_pre_transformer(self, step: Step) -> Decision | None:
            return Decision.reuse(self.residuals[:1]) if step.index == 2 else None

    with attach(model, FirstBranchOnly) as handle:
        generate(model, guidance=4.0)
    record = handle.stats.history[0].decisions[2]
    assert (record.decision, record.reason) == ("partial", "no residual fits branch 1")


@pytest.mark.parametrize("hook", ["mflux_generation_end", "mflux_image_metadata"])
def test_a_failure_after_the_loop_is_a_warning_and_the_image_is_kept(model: Any, unchanged: None, hook: str) -> None:
    class Clumsy:
        @hookimpl(specname=hook)
        def fail(self) -> None:
            raise RuntimeError("late")

    with attach(model, Clumsy), pytest.warns(PluginWarning, match=f"'clumsy' failed in {hook}: RuntimeError: late"):
        image = model.generate_image(seed=1, prompt="x", num_inference_steps=2, height=32, width=32)
    assert image.image.size == (32, 32)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError, SystemExit, GeneratorExit])
def test_all_are_told_of_the_end_and_the_image_counts_whatever_one_of_them_raises(
    model: Any, unchanged: None, raised: type[BaseException]
) -> None:
    """Where warnings are errors, as in these tests, that of a failed hook does not cost the image either."""

    class First:
        @hookimpl
        def mflux_generation_end(self) -> None:
            raise raised

    class Second:
        @hookimpl
        def mflux_generation_end(self, generation: Generation) -> None:
            told.append(generation.status)

    told: list[str] = []
    requests = [Request(Loaded(plugin.__name__, plugin), argparse.Namespace()) for plugin in (First, Second)]
    interrupted = pytest.raises(KeyboardInterrupt) if raised is KeyboardInterrupt else contextlib.nullcontext()
    with attach_requests(model, requests) as handle, interrupted:
        generate(model)
    assert told == ["finished"]
    assert [image.status for image in handle.stats.history] == ["finished"]


@pytest.mark.parametrize("make", [tiny_models.flux1, tiny_models.flux2])
def test_a_transformer_that_replaces_the_attached_one_is_noticed(make: Any) -> None:
    """mflux calls FLUX.1's itself, and FLUX.2's by a predict function."""
    model, other = make(), make()
    plain = generate(model)
    with attach(model, Pattern) as handle:
        model.transformer = other.transformer
        with pytest.raises(UnsupportedModel, match=r"attached to was .*would do nothing\. .*Then attach again\. Else"):
            generate(model)
        assert handle.stats.generations == 0
        assert same(generate(model), plain)  # taken off


BY_CLASS = all_cases.cases_of("cases_anima", "cases_krea2_controlnet")  # mflux calls their predict by their class


@pytest.mark.parametrize("name", [name for name in ("anima-guidance", "krea2-controlnet") if name in BY_CLASS])
def test_a_generate_image_that_hides_its_predict_function_is_noticed(name: str, photo: Path) -> None:
    model, arguments = BY_CLASS[name].make(photo)
    plain = generate(model, **arguments)
    with attach(model, Pattern):
        skipped = generate(model, **arguments)
        inner = model.generate_image
        model.generate_image = lambda **more: inner(**more)
        assert same(generate(model, **arguments), skipped)
    del model.generate_image

    own = model.generate_image
    model.generate_image = lambda **more: own(**more)
    attach(model, Pattern)
    with pytest.raises(UnsupportedModel, match=r"by another predict function than the one .*Then attach first"):
        generate(model, **arguments)
    assert same(generate(model, **arguments), plain)  # taken off
