"""Attaching, what happens in between, and that the model is what it was afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from mflux.callbacks.instances.memory_saver import MemorySaver
from mflux.utils.exceptions import StopImageGenerationException
from mlx.utils import tree_flatten
from strategies import Observer, Pattern, ProbedPattern, ReadsEverything, kept
from tiny_models import generate, same

from mflux_teacache import (
    Decision,
    Family,
    Generation,
    PluginError,
    PluginWarning,
    Refused,
    Step,
    apply_teacache,
    attach,
    hookimpl,
)
from mflux_teacache.adapters.families import FLUX2
from mflux_teacache.errors import AlreadyAttached, HookFailed, OptionError, UnknownPlugin, UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def model() -> Any:
    return tiny_models.flux2()


@pytest.fixture
def unchanged(model: Any) -> Iterator[None]:
    """After the test the model gives the very latents that it gave before, and carries nothing of ours."""
    before = generate(model, guidance=4.0)
    attributes = set(vars(model))
    listeners = [list(callbacks) for callbacks in vars(model.callbacks).values()]
    yield
    assert same(generate(model, guidance=4.0), before)
    assert set(vars(model)) == attributes
    assert [list(callbacks) for callbacks in vars(model.callbacks).values()] == listeners


# What is refused


def test_an_unknown_plugin_lists_what_is_installed(model: Any, unchanged: None) -> None:
    with pytest.raises(UnknownPlugin, match=r"unknown plugin 'teacahe'. Installed: .*teacache"):
        attach(model, "teacahe")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"tresh": 0.2}, r"plugin 'teacache' has no option 'tresh'. It has: .*thresh"),
        ({"thresh": "high"}, "plugin 'teacache': .*--teacache-thresh"),
        ({"thresh": -1}, "plugin 'teacache': .*--teacache-thresh"),
        ({"force": "yes"}, "--teacache-force is on or off: True or False, not 'yes'"),
    ],
)
def test_keywords_are_checked_as_flags_are(model: Any, unchanged: None, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        attach(model, "teacache", **keywords)


def test_a_call_without_a_plugin_says_how(model: Any, unchanged: None) -> None:
    with pytest.raises(OptionError, match="no plugin named"):
        attach(model)
    with pytest.raises(OptionError, match=r"thresh=0\.2: without a plugin's name before it"):
        attach(model, thresh=0.2)


def test_two_deciders_are_refused_by_name(model: Any, unchanged: None) -> None:
    with pytest.raises(Refused, match="'teacache' and 'first-block-cache' both decide"):
        attach(model, teacache={}, first_block_cache={})


def test_attaching_twice_is_refused(model: Any, unchanged: None) -> None:
    with attach(model, Observer):
        with pytest.raises(AlreadyAttached, match="plugin 'observer' is attached to this model already"):
            attach(model, "teacache")
        generate(model)
    with attach(model, Observer):
        pass


def test_mlx_teacache_on_the_same_model_is_refused(model: Any) -> None:
    def generate_image() -> None: ...

    generate_image.__module__ = "mlx_teacache.integrations.mflux.lifecycle"
    model.generate_image = generate_image
    with pytest.raises(AlreadyAttached, match="mlx-teacache is at work"):
        attach(model, Observer)


def test_an_unknown_transformer_is_refused(model: Any) -> None:
    model.transformer = SimpleNamespace()
    with pytest.raises(UnsupportedModel, match=r"types:SimpleNamespace is not supported. Supported: flux"):
        attach(model, Observer)


def test_a_renamed_block_list_is_refused_and_nothing_is_left_behind(model: Any) -> None:
    model.transformer.layers = model.transformer.pop("single_transformer_blocks")
    before = set(vars(model))
    with pytest.raises(UnsupportedModel, match="no block list 'single_transformer_blocks'"):
        attach(model, Observer)
    assert set(vars(model)) == before
    assert not model.callbacks.in_loop


def test_a_plugin_that_refuses_an_image_leaves_it_undone(model: Any, unchanged: None) -> None:
    class Picky:
        @hookimpl
        def mflux_check(self, target: Any) -> None:
            if target.steps is not None and target.active_steps < 3:
                raise Refused(f"{target.active_steps} steps are too few; 3 would do")

    with attach(model, Picky) as handle:
        with pytest.raises(Refused, match="2 steps are too few"):
            generate(model, num_inference_steps=2)
        generate(model, num_inference_steps=3)
        assert handle.stats.generations == 1


# What can go wrong while an image is made


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
        model.transformer.x_embedder.weight = weight * float("nan")
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
    assert (record.decision, record.reason) == ("forced", "no residual fits branch 1")


@pytest.mark.parametrize("hook", ["mflux_generation_end", "mflux_image_metadata"])
def test_a_failure_after_the_loop_is_a_warning_and_the_image_is_kept(model: Any, unchanged: None, hook: str) -> None:
    class Clumsy:
        @hookimpl(specname=hook)
        def fail(self) -> None:
            raise RuntimeError("late")

    with attach(model, Clumsy), pytest.warns(PluginWarning, match=f"'clumsy' failed in {hook}: RuntimeError: late"):
        image = model.generate_image(seed=1, prompt="x", num_inference_steps=2, height=32, width=32)
    assert image.image.size == (32, 32)


# What is observed


def test_signals_and_decisions_of_each_step_are_recorded(model: Any) -> None:
    with attach(model, "teacache", thresh=0.3, coefficients=[1.0, 0.0], skip_last=0) as handle:
        generate(model, num_inference_steps=6)
    image = handle.stats.last_generation
    assert image is not None
    assert [record.index for record in image.decisions] == list(range(6))
    sigmas = [record.sigma for record in image.decisions]
    assert sigmas[0] == pytest.approx(1.0)
    assert sigmas == sorted(sigmas, reverse=True)
    assert image.decisions[0].change is None
    assert all(record.change is not None and record.change > 0 for record in image.decisions[1:])
    assert all(record.threshold == 0.3 for record in image.decisions[1:])
    assert handle.stats.computed_count + handle.stats.forced_count + handle.stats.skipped_count == 6
    assert handle.stats.speedup_estimate == pytest.approx(6 / (6 - handle.stats.skipped_count))
    assert image.seconds > 0


def test_post_transformer_sees_every_branch(model: Any) -> None:
    plugin, made = kept(ProbedPattern)
    with attach(model, plugin):
        generate(model, guidance=4.0)
    [instance] = made
    assert [len(body.branches) for body in instance.bodies] == [2] * 5
    assert [body.computed for body in instance.bodies] == [True, False, True, False, True]
    computed, reused = instance.bodies[0], instance.bodies[1]
    for branch, again in zip(computed.branches, reused.branches, strict=True):
        assert branch.residual.shape == (1, 16, 64)
        assert mx.allclose(branch.output - branch.input, branch.residual)
        assert same(again.residual, branch.residual)
        assert same(again.output, again.input + branch.residual)
    assert [step.branches for step in instance.steps] == [None, 2, 2, 2, 2]


def test_a_step_that_a_plugin_keeps_lets_the_model_go(model: Any) -> None:
    plugin, made = kept(ProbedPattern)
    with attach(model, plugin):
        generate(model)
    step = made[0].steps[2]
    assert step.sigma is not None
    with pytest.raises(PluginError, match="this step is over"):
        _ = step.latents
    transformer = weakref.ref(model.transformer)
    model.transformer = None
    gc.collect()
    assert transformer() is None


def test_image_to_image_counts_its_active_steps(model: Any, photo: Path) -> None:
    seen: list[Generation] = []

    class Watching:
        @hookimpl
        def mflux_generation_start(self, generation: Generation) -> None:
            seen.append(generation)

    with attach(model, Watching) as handle:
        generate(model, num_inference_steps=10, image_path=photo, image_strength=0.3)
    assert (seen[0].num_inference_steps, seen[0].active_steps) == (10, 7)
    assert handle.stats.history[0].num_steps == len(handle.stats.history[0].decisions) == 7
    assert (seen[0].seed, seen[0].prompt, seen[0].width, seen[0].height) == (1, "x", 64, 64)


def test_reference_images_are_not_target_rows(photo: Path) -> None:
    from mflux.models.flux2.variants.edit.flux2_klein_edit import Flux2KleinEdit

    rows: list[tuple[int | None, int]] = []

    class Measuring:
        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            rows.append((step.generation.target_rows, step.modulated_input.shape[1]))

    model = tiny_models.flux2(Flux2KleinEdit)
    with attach(model, Measuring):
        generate(model, image_paths=[photo])
    assert set(rows) == {(16, 32)}


def test_the_image_s_metadata_tell_how_it_was_made(model: Any) -> None:
    arguments = {"seed": 1, "prompt": "x", "num_inference_steps": 5, "height": 32, "width": 32}
    with attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0]):
        image = model.generate_image(**arguments)
    entry = image._get_metadata()["mflux_plugins"]
    assert entry["pattern"] == "CSSSC"
    assert entry["plugins"]["teacache"]["options"]["thresh"] == 1e9
    assert entry["plugins"]["teacache"]["package"] == "mflux-teacache-plugin"
    assert "mflux_plugins" not in model.generate_image(**arguments)._get_metadata()


def test_metadata_that_is_not_json_is_left_out_with_a_warning(model: Any) -> None:
    class Arrays:
        @hookimpl
        def mflux_image_metadata(self) -> dict[str, Any]:
            return {"residual": mx.zeros(2)}

    with attach(model, Arrays), pytest.warns(PluginWarning, match="'arrays': mflux_image_metadata gave values"):
        image = model.generate_image(seed=1, prompt="x", num_inference_steps=2, height=32, width=32)
    assert image._get_metadata()["mflux_plugins"]["plugins"]["arrays"]["values"] == {}


def test_a_generate_image_that_calls_itself_records_each_image(model: Any) -> None:
    """Qwen-Image 2.1 edit tries again inside its own generate_image."""
    plain = type(model).generate_image

    class Retrying(type(model)):  # type: ignore[misc]
        def generate_image(self, *, retry: bool = True, **arguments: Any) -> Any:
            first = plain(self, **arguments)
            return self.generate_image(**{**arguments, "num_inference_steps": 3}, retry=False) if retry else first

    model.__class__ = Retrying
    with attach(model, Pattern) as handle:
        image = model.generate_image(seed=1, prompt="x", num_inference_steps=5, height=32, width=32)
    assert [entry.pattern for entry in handle.stats.history] == ["CSCSC", "CSC"]
    assert image._get_metadata()["mflux_plugins"]["pattern"] == "CSC"


def test_a_third_party_adds_a_family(model: Any) -> None:
    class Ported(type(model.transformer)):  # type: ignore[misc]
        """Another class that only its own entry knows, with an outcome that shows which entry was used."""

    entry = Family(
        name="ported",
        transformer=f"{Ported.__module__}:{Ported.__qualname__}",
        body=FLUX2.body,
        modulated_input=lambda block, arguments: arguments["hidden_states"],
        sigma=lambda call: 0.5,
        latents="latents",
        predict=("_predict",),
    )

    class Porter(Observer):
        @hookimpl
        def mflux_families(self) -> list[Family]:
            return [entry]

    model.transformer.__class__ = Ported
    with attach(model, Porter) as handle:
        generate(model)
    assert {record.sigma for record in handle.stats.history[0].decisions} == {0.5}


# What is left of it all


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


@pytest.mark.parametrize("make", [tiny_models.flux1, tiny_models.flux2])
def test_the_memory_saver_frees_the_transformer_and_the_residuals_before_the_decode(make: Any) -> None:
    model = make()
    transformer = weakref.ref(model.transformer)
    alive_at_decode: list[bool] = []
    decode = type(model.vae)

    class Watching(decode):  # type: ignore[misc,valid-type]
        def decode(self, latents: mx.array) -> mx.array:
            alive_at_decode.append(transformer() is not None)
            return super().decode(latents)

        def decode_packed_latents(self, packed: mx.array, tiling_config: Any = None) -> mx.array:
            alive_at_decode.append(transformer() is not None)
            return super().decode_packed_latents(packed, tiling_config)

    model.vae.__class__ = Watching
    handle = attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0])
    model.callbacks.register(MemorySaver(model, keep_transformer=False, cache_limit_bytes=None))
    model.generate_image(seed=1, prompt="x", num_inference_steps=5, height=32, width=32)
    assert alive_at_decode == [False]
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
        assert mx.get_active_memory() == before


def test_restore_twice_and_the_context_manager(model: Any, unchanged: None) -> None:
    handle = attach(model, Observer)
    handle.restore()
    handle.restore()
    with pytest.raises(ZeroDivisionError), attach(model, Observer):
        1 / 0  # noqa: B018


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
        import threading, mlx.core as mx
        import tiny_models
        from strategies import ProbedPattern
        from tiny_models import generate, same
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
        print("apart")
        """
    )
    support = Path(__file__).parent / "support"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(support)!r})\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["apart"]), done.stderr[-2000:]
