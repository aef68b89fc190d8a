"""Weights, memory and threads: what is left of an attachment."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from installed import KEEPS_PREDICT
from mlx.utils import tree_flatten
from strategies import Observer, Pattern
from tiny_models import generate, memory_saver, same

from mflux_teacache import Step, apply_teacache, attach, hookimpl

pytestmark = pytest.mark.usefixtures("tiny")


def test_parameters_and_saved_weights_are_the_same_while_attached(model: Any, tmp_path: Path) -> None:
    before = tree_flatten(model.transformer.parameters())
    with attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0]):
        generate(model)
        after = tree_flatten(model.transformer.parameters())
        assert [name for name, _ in after] == [name for name, _ in before]
        assert all(a is b for (_, a), (_, b) in zip(after, before, strict=True))
        model.transformer.save_weights(str(tmp_path / "attached.safetensors"))
    model.transformer.save_weights(str(tmp_path / "restored.safetensors"))
    assert (tmp_path / "attached.safetensors").read_bytes() == (tmp_path / "restored.safetensors").read_bytes()


def _alive_at_decode(model: Any) -> list[bool]:
    """Whether the transformer is, under mflux's memory saver, while the image is decoded."""
    transformer = weakref.ref(model.transformer)
    alive: list[bool] = []
    decode = type(model.vae)

    class Watching(decode):  # type: ignore[misc,valid-type]
        def decode(self, latents: mx.array) -> mx.array:
            alive.append(transformer() is not None)
            return super().decode(latents)

        def decode_packed_latents(self, packed: mx.array, tiling_config: Any = None) -> mx.array:
            alive.append(transformer() is not None)
            return super().decode_packed_latents(packed, tiling_config)

    model.vae.__class__ = Watching
    model.callbacks.register(memory_saver(model))
    model.generate_image(seed=1, prompt="x", num_inference_steps=5, height=32, width=32)
    return alive


@pytest.mark.parametrize("make", [tiny_models.flux1, tiny_models.flux2])
def test_the_memory_saver_frees_the_transformer_and_the_residuals_before_the_decode(make: Any) -> None:
    model = make()
    handle = attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0])
    kept_by_mflux = make is tiny_models.flux2 and KEEPS_PREDICT
    assert _alive_at_decode(make()) == [kept_by_mflux]
    assert _alive_at_decode(model) == [kept_by_mflux]
    assert handle.stats.history[0].pattern == "CSSSC"
    handle.restore()
    assert "generate_image" not in vars(model)


def test_residuals_are_gone_when_the_loop_has_ended(model: Any) -> None:
    gc.collect()
    generate(model)
    with attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0]):
        generate(model)
        gc.collect()
        before = mx.get_active_memory()
        for _ in range(3):
            generate(model)
        gc.collect()
        assert mx.get_active_memory() - before < 16 * 64 * 4  # one residual: rows, width, bytes


def test_restore_twice_and_the_context_manager(model: Any, unchanged: None) -> None:
    handle = attach(model, Observer)
    handle.restore()
    handle.restore()
    with pytest.raises(ZeroDivisionError), attach(model, Observer):
        1 / 0  # noqa: B018


@pytest.mark.parametrize("make", [tiny_models.flux1, tiny_models.flux2])
def test_restore_in_the_middle_of_an_image_waits_for_its_end(make: Any) -> None:
    class Leaving(Pattern):
        ended = False

        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            if step.index == 1:  # a skipped one
                handle.restore()

        @hookimpl
        def mflux_generation_end(self) -> None:
            Leaving.ended = True

    model = make()
    plain = generate(model)
    with attach(model, Pattern):
        skipped = generate(model)
    handle = attach(model, Leaving)
    assert same(generate(model), skipped)
    assert Leaving.ended
    assert [image.pattern for image in handle.stats.history] == ["CSCSC"]
    assert "generate_image" not in vars(model)
    assert same(generate(model), plain)
    attach(model, Observer).restore()


def _wrapped(module: Any, calls: list[Any]) -> None:
    """As a profiler does it."""

    class Timed(type(module)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            calls.append(module)
            return super().__call__(*args, **kwargs)

    module.__class__ = Timed


@pytest.mark.parametrize("make", [tiny_models.flux1, tiny_models.flux2])
def test_what_was_wrapped_around_the_model_since_stays_and_ours_beneath_it_does_nothing(make: Any) -> None:
    class Checking(Pattern):
        @hookimpl
        def mflux_check(self) -> None:
            calls.append("check")

    calls: list[Any] = []
    model = make()
    plain = generate(model)
    handle = attach(model, Checking)
    block = model.transformer.transformer_blocks[0]
    _wrapped(block, calls)
    _wrapped(model.transformer, calls)
    attached = model.generate_image
    model.generate_image = lambda **arguments: calls.append(model) or attached(**arguments)
    skipped = generate(model)
    handle.restore()
    calls.clear()
    assert same(generate(model), plain)
    assert {*map(id, calls)} == {id(model), id(block), id(model.transformer)}
    assert len(handle.stats.history) == 1
    with attach(model, Pattern):
        assert same(generate(model), skipped)
    assert same(generate(model), plain)


def test_a_predict_function_that_was_wrapped_since_is_mflux_s_own_again() -> None:
    model = tiny_models.flux2()
    plain = generate(model)
    handle = attach(model, Pattern)
    attached = model._predict
    model._predict = lambda *arguments: attached(*arguments)
    handle.restore()
    assert same(generate(model), plain)
    assert len(handle.stats.history) == 0


def test_what_somebody_took_off_by_hand_does_not_keep_the_rest_on(model: Any) -> None:
    cls, classes = type(model), [type(module) for module in model.transformer.modules()]
    handle = attach(model, Observer)
    model.__class__ = cls
    handle.restore()
    assert [type(module) for module in model.transformer.modules()] == classes
    attach(model, Observer).restore()


def test_apply_teacache_has_the_call_of_mlx_teacache(model: Any, unchanged: None) -> None:
    with apply_teacache(
        model, rel_l1_thresh=1e9, coefficients=[0.0, 0.0, 0.0, 1.0, 0.0], skip_first_n_steps=2, skip_last_n_steps=1
    ) as handle:
        generate(model, num_inference_steps=6)
    assert handle.stats.skipped_count == 3
    assert handle.stats.last_generation is not None
    assert handle.stats.last_generation.decisions[5].decision == "forced"
    assert handle.stats.last_generation.pattern == "CCSSSC"


def test_two_models_in_two_threads_do_not_mix() -> None:
    """In a process of its own: MLX's CPU backend aborts at exit after plain mflux in two threads."""
    script = textwrap.dedent(
        """
        import os, threading, mlx.core as mx
        import tiny_models
        from strategies import ProbedPattern
        from tiny_models import generate, memory_saver, same
        from mflux_teacache import attach

        class Other(ProbedPattern):
            pattern = "CCSSCCSSCCSS"

        with tiny_models.float32():
            models = [tiny_models.flux2(), tiny_models.flux2()]
            plugins = [ProbedPattern, Other]
            sizes = [{"height": 32}, {"width": 96, "num_inference_steps": 7, "guidance": 4.0}]
            alone = []
            for model, plugin, size in zip(models, plugins, sizes):
                with attach(model, plugin):
                    alone.append(generate(model, **size))
            mx.eval(alone)
            handles = [attach(model, plugin) for model, plugin in zip(models, plugins)]
            together = [[], []]

            def work(place):
                for _ in range(3):
                    latents = generate(models[place], **sizes[place])
                    mx.eval(latents)
                    together[place].append(latents)
                mx.clear_streams()

            threads = [threading.Thread(target=work, args=(place,)) for place in (0, 1)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
        for place in (0, 1):
            assert len(together[place]) == 3
            assert all(same(latents, alone[place]) for latents in together[place])
            assert len(handles[place].stats.history) == 3
        assert {image.pattern for image in handles[0].stats.history} == {"CSCSC"}
        assert {image.pattern for image in handles[1].stats.history} == {"CCSSCCS"}
        print("apart", flush=True)
        os._exit(0)  # MLX before 0.32 may abort in Python's own exit
        """
    )
    support = Path(__file__).parents[1] / "support"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(support)!r})\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["apart"]), done.stderr[-2000:]
