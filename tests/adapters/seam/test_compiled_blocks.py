"""Blocks compiled on their own: within rounding of eager ones, traced once per image, and gone afterwards."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import all_cases
import mlx.core as mx
import pytest
import tiny_models
from mflux.utils.apple_silicon import AppleSiliconUtil
from mlx import nn
from recording import seen_by
from strategies import Pattern, ReadsEverything
from tiny_models import generate, memory_saver, same

from mflux_teacache import PluginWarning, attach
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import PIPELINES
from mflux_teacache.adapters.seam.compiled_blocks import CompiledBlocks
from mflux_teacache.errors import OptionError, UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

CASES = all_cases.cases_of()
BY_THEMSELVES = {family.name for family in FAMILIES if family.compiles}
HELD_TO_PYTHON = {family.name for family in FAMILIES if not family.compilable}


def _compilable(name: str) -> bool:
    family = PIPELINES[CASES[name].pipeline.__name__].family
    with_cache = name.startswith("flux2-edit-kv")
    return not (CASES[name].compiled or family in BY_THEMSELVES | HELD_TO_PYTHON or with_cache)


COMPILABLE = list(filter(_compilable, CASES))


def _near(a: mx.array, b: mx.array) -> bool:
    return bool(mx.abs(a - b).max() < 1e-5 * mx.abs(b).max())


@pytest.mark.parametrize("name", COMPILABLE)
def test_where_mflux_is_eager_the_image_is_that_of_an_eager_run_within_rounding(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    plain = generate(model, **arguments)
    with attach(model, compile_blocks=True):
        compiled = generate(model, **arguments)
    with attach(model, ReadsEverything, compile_blocks=True):
        assert same(generate(model, **arguments), compiled)
    with attach(model, Pattern):
        skipped = generate(model, **arguments)
    with attach(model, Pattern, compile_blocks=True):
        assert _near(generate(model, **arguments), skipped)
    assert _near(compiled, plain)
    assert same(generate(model, **arguments), plain)


@pytest.mark.parametrize("name", [name for name in CASES if name not in COMPILABLE])
def test_where_there_is_nothing_to_compile_nothing_changes_and_it_says_so(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    plain = generate(model, **arguments)
    with attach(model, ReadsEverything, compile_blocks=True):
        with pytest.warns(PluginWarning, match=r"^--plugin-compile-blocks .*changes nothing here: ") as said:
            assert same(generate(model, **arguments), plain)
        assert len(said) == 1
        assert same(generate(model, **arguments), plain)  # without a word: it is said once


WHY = {
    "flux2-guidance": "mflux compiles this model itself",
    "flux2-edit-kv": "the model's blocks are called with an object (Flux2KVCache), and what is compiled takes arrays",
}


@pytest.mark.parametrize(("name", "why"), [(name, why) for name, why in WHY.items() if name in CASES])
def test_why_there_is_nothing_to_compile(name: str, why: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    with attach(model, compile_blocks=True), pytest.warns(PluginWarning) as said:
        generate(model, **arguments)
    assert [str(warning.message) for warning in said] == [
        f"--plugin-compile-blocks (compile_blocks=True) changes nothing here: {why}. Leave it out."
    ]


def test_where_mflux_would_compile_but_does_not_blocks_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)
    model = tiny_models.flux2()
    plain = generate(model)
    calls = seen_by(model.transformer.transformer_blocks[1])
    with attach(model, compile_blocks=True):
        assert _near(generate(model), plain)
        assert len(calls) == 1


def test_a_block_s_python_runs_once_while_images_are_alike() -> None:
    model = tiny_models.flux1()
    calls = seen_by(model.transformer.transformer_blocks[1])
    with attach(model, compile_blocks=True):
        for size, traced in ((64, 1), (64, 1), (32, 2), (32, 2), (64, 3)):  # of the sizes before, the last is kept
            generate(model, height=size)
            assert len(calls) == traced


def test_what_changes_in_a_model_between_images_is_seen() -> None:
    model = tiny_models.flux1()
    block = model.transformer.single_transformer_blocks[0]
    with attach(model, compile_blocks=True):
        before = generate(model)
        block.proj_out.weight = block.proj_out.weight * 2
        heavier = generate(model)
        block.norm.norm.eps = 0.5
        blurred = generate(model)
    assert not _near(heavier, before)
    assert not _near(blurred, heavier)
    assert _near(blurred, generate(model))


class _Scaled(nn.Module):
    def __init__(self, weight: float, *, scale: float = 1, bias: str | None = None) -> None:
        super().__init__()
        self.weight = mx.array([weight, weight])
        self.scale = scale
        if bias is not None:
            self[bias] = mx.array([1.0, 1.0])


def test_blocks_that_are_alike_share_a_function_and_others_do_not() -> None:
    def forward(block: Any, x: mx.array) -> mx.array:
        traced.append((block.scale, *block))
        scaled = x * block.weight * block.scale
        return scaled + block["bias"] if "bias" in block else scaled - block["shift"] if "shift" in block else scaled

    traced: list[tuple[Any, ...]] = []
    first, alike, scaled = _Scaled(2), _Scaled(5), _Scaled(5, scale=3)
    biased, shifted = _Scaled(5, bias="bias"), _Scaled(5, bias="shift")
    weight_of = {id(block): block.weight[0].item() for block in (first, alike, scaled, biased, shifted)}
    blocks, x = CompiledBlocks(), mx.array([2.0, 3.0])
    for _ in range(2):  # images
        for block in (first, alike, scaled, biased, shifted, first, alike):
            result = blocks.call(forward, block, {"x": x}).tolist()
            by = weight_of[id(block)] * block.scale
            moved = 1 if block is biased else -1 if block is shifted else 0
            assert result == [2 * by + moved, 3 * by + moved]
        blocks.end_image()
    assert traced == [(1, "weight"), (3, "weight"), (1, "weight", "bias"), (1, "weight", "shift")]

    first.scale = 7
    assert blocks.call(forward, first, {"x": x}).tolist() == [2 * 14, 3 * 14]
    assert blocks.call(forward, alike, {"x": x}).tolist() == [2 * 5, 3 * 5]


class _Windowed(nn.Module):
    def __init__(self, window: Any) -> None:
        super().__init__()
        self.window = window  # kept with the arrays, as mlx does with lists, dicts and tuples


@pytest.mark.parametrize("kind", [tuple, list, lambda sizes: {0: sizes[0]}])
def test_blocks_that_differ_in_plain_values_only_do_not_share(kind: Any) -> None:
    def forward(block: Any, x: mx.array) -> mx.array:
        return x * block.window[0]

    blocks, x = CompiledBlocks(), mx.array([1.0])
    narrow, wide = (_Windowed(kind([size, 8])) for size in (2, 5))
    assert [blocks.call(forward, block, {"x": x}).item() for block in (narrow, wide, narrow)] == [2, 5, 2]


def test_tracing_does_not_touch_the_block() -> None:
    """Another thread may be running it, and an interrupt may come while it is traced."""

    def forward(block: Any, x: mx.array) -> mx.array:
        assert original.weight is weight
        assert block is not original
        raise KeyboardInterrupt

    original = _Scaled(2)
    weight = original.weight
    with pytest.raises(KeyboardInterrupt):
        CompiledBlocks().call(forward, original, {"x": mx.array([1.0])})
    assert original.weight is weight


def test_a_module_that_takes_another_s_place_within_an_image_is_seen() -> None:
    def forward(block: Any, x: mx.array) -> mx.array:
        return x * block.inner.weight * block.inner.scale

    blocks, x = CompiledBlocks(), mx.array([1.0, 1.0])
    block = nn.Module()
    for inner in (_Scaled(2), _Scaled(2, scale=5), _Scaled(3, scale=5), _Scaled(3)):
        block.inner = inner
        assert blocks.call(forward, block, {"x": x}).tolist() == [inner.weight[0].item() * inner.scale] * 2


def test_a_transformer_is_traced_once_for_each_kind_of_its_blocks() -> None:
    model = tiny_models.flux1()
    first, second = model.transformer.single_transformer_blocks
    calls = seen_by(first)
    second.__class__ = type(first)
    with attach(model, compile_blocks=True):
        generate(model)
    assert len(calls) == 1


def test_a_block_s_number_does_not_keep_it_from_sharing_and_comes_back() -> None:
    def forward(block: Any, x: mx.array, place: int) -> mx.array:
        traced.append(place)
        return x * block.weight

    traced: list[Any] = []
    blocks, x = CompiledBlocks(numbered=("scale", "place")), mx.array([1.0, 1.0])
    for place, block in enumerate((_Scaled(2, scale=0), _Scaled(3, scale=1))):
        assert blocks.call(forward, block, {"x": x, "place": place}).tolist() == [2 + place, 2 + place]
        assert block.scale == place
    assert len(traced) == 1


@pytest.mark.parametrize("read", ["scale", "place"])
def test_a_number_that_is_read_is_refused(read: str) -> None:
    def forward(block: Any, x: mx.array, place: int) -> mx.array:
        return x * block.weight if (block.scale if read == "scale" else place) == 0 else x

    block = _Scaled(2, scale=0)
    with pytest.raises(UnsupportedModel, match=f"this version of mflux reads '{read}' in its blocks"):
        CompiledBlocks(numbered=("scale", "place")).call(forward, block, {"x": mx.array([1.0, 1.0]), "place": 0})
    assert block.scale == 0
    assert block.weight.tolist() == [2, 2]


def test_a_block_that_looks_at_a_mask_is_compiled_for_each_mask() -> None:
    def forward(block: Any, x: mx.array, mask: mx.array | None) -> mx.array:
        traced.append(1)
        return x if mask is None or mx.all(mask) else x * mask

    traced: list[int] = []
    blocks, block, x = CompiledBlocks(("mask",)), nn.Module(), mx.array([2.0, 3.0])
    for mask in (None, mx.array([1, 1]), mx.array([1, 0]), mx.array([1, 1]), mx.array([1, 0]), None):
        expected = forward(block, x, mask)
        assert same(blocks.call(forward, block, {"x": x, "mask": mask}), expected)
    assert len(traced) == 6 + 3  # by hand, and once for each of None, ones and hidden


def test_a_call_with_an_object_runs_as_python() -> None:
    """Such as a key/value cache, which the block fills."""
    cache: list[mx.array] = []

    class Cache:
        def fill(self, array: mx.array) -> None:
            cache.append(array)

    def forward(block: Any, x: mx.array, cache: Any) -> mx.array:
        cache.fill(x)
        return x + 1

    blocks = CompiledBlocks()
    for _ in range(2):
        assert blocks.call(forward, nn.Module(), {"x": mx.array(1.0), "cache": Cache()}).item() == 2
    mx.eval(cache)
    assert len(cache) == 2


def test_nothing_holds_the_transformer_when_the_loop_has_ended() -> None:
    model = tiny_models.flux1()
    transformer = weakref.ref(model.transformer)
    alive: list[bool] = []

    class Watching(type(model.vae)):  # type: ignore[misc]
        def decode(self, latents: mx.array) -> mx.array:
            alive.append(transformer() is not None)
            return super().decode(latents)

    model.vae.__class__ = Watching
    attach(model, compile_blocks=True)
    model.callbacks.register(memory_saver(model))
    model.generate_image(seed=1, prompt="x", num_inference_steps=2, height=32, width=32)
    assert alive == [False]


def test_no_plugin_and_nothing_to_compile_is_refused() -> None:
    with pytest.raises(OptionError, match="no plugin named"):
        attach(tiny_models.flux1(), compile_blocks=False)
