"""The seam on its own: a reused body against the arithmetic by hand."""

from __future__ import annotations

import functools
import gc
import weakref
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from mflux.models.common.config.config import Config
from mflux.models.common.config.model_config import ModelConfig
from mlx.utils import tree_flatten
from recording import carries, run, seen_by
from tiny_models import same

from mflux_teacache.adapters.families import FLUX1, FLUX2
from mflux_teacache.adapters.pipelines import family_of
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body
from mflux_teacache.adapters.seam.values import Made
from mflux_teacache.errors import UnsupportedModel
from mflux_teacache.family import Dual, Family, Joint

pytestmark = pytest.mark.usefixtures("tiny")


def _flux1() -> tuple[Any, dict[str, Any]]:
    transformer = tiny_models.flux1().transformer
    config = Config(ModelConfig.dev(), num_inference_steps=4, height=64, width=64)
    random = mx.random.normal
    arguments = {
        "t": 1,
        "config": config,
        "hidden_states": random((1, 16, 64)),
        "prompt_embeds": random((1, 5, 32)),
        "pooled_prompt_embeds": random((1, 48)),
    }
    return transformer, arguments


def _flux2() -> tuple[Any, dict[str, Any]]:
    transformer = tiny_models.flux2().transformer
    arguments = {
        "hidden_states": mx.random.normal((1, 16, 128)),
        "encoder_hidden_states": mx.random.normal((1, 7, 24)),
        "timestep": mx.array(700.0),
        "img_ids": mx.zeros((16, 4), dtype=mx.int32),
        "txt_ids": mx.zeros((7, 4), dtype=mx.int32),
    }
    return transformer, arguments


def _by_hand_flux1(transformer: Any, arguments: dict[str, Any], residual: mx.array) -> mx.array:
    stream = transformer.x_embedder(arguments["hidden_states"]) + residual
    embeddings = type(transformer).compute_text_embeddings(
        arguments["t"], arguments["pooled_prompt_embeds"], transformer.time_text_embed, arguments["config"]
    )
    return transformer.proj_out(transformer.norm_out(stream, embeddings))


def _by_hand_flux2(transformer: Any, arguments: dict[str, Any], residual: mx.array) -> mx.array:
    stream = transformer.x_embedder(arguments["hidden_states"]) + residual
    embedding = transformer.time_guidance_embed(mx.full((1,), arguments["timestep"]), None)
    return transformer.proj_out(transformer.norm_out(stream, embedding))


FAMILIES = pytest.mark.parametrize(
    ("make", "family", "by_hand"), [(_flux1, FLUX1, _by_hand_flux1), (_flux2, FLUX2, _by_hand_flux2)]
)


@FAMILIES
def test_a_reused_body_is_its_input_plus_the_residual(make: Any, family: Family, by_hand: Any) -> None:
    transformer, arguments = make()
    body = Body(transformer, family)
    body.install()
    forward = lambda: transformer(**arguments)  # noqa: E731
    plain, [computed] = run(body, forward, [], None)
    residual = mx.random.normal(computed.input.shape) * 0.1
    for carry in carries(body, forward):
        result, [branch] = run(body, forward, [residual], carry)
        assert branch.reused
        assert same(branch.output, computed.input + residual)
        assert mx.allclose(result, by_hand(transformer, arguments, residual), atol=1e-5)
        assert not mx.allclose(result, plain, atol=1e-3)


@FAMILIES
def test_the_body_s_own_residual_reproduces_the_output(make: Any, family: Family, by_hand: Any) -> None:
    for residual_after in (0, 1, 2):
        transformer, arguments = make()
        body = Body(transformer, family, residual_after)
        body.install()
        plain, [computed] = run(body, lambda: transformer(**arguments), [], None)
        again, [branch] = run(body, lambda: transformer(**arguments), [computed.output - computed.input], None)
        assert branch.reused
        assert mx.allclose(again, plain, atol=1e-5)


@FAMILIES
def test_block_0_runs_only_where_its_residual_is_read_and_then_once(make: Any, family: Family, by_hand: Any) -> None:
    transformer, arguments = make()
    calls = seen_by(transformer.transformer_blocks[0])
    body = Body(transformer, family)
    body.install()
    forward = lambda: transformer(**arguments)  # noqa: E731
    lean = probe(body, forward)
    assert not calls
    full = probe(body, forward, first_block=True, carry=lean.carry)
    assert same(full.first_block_residual, probe(body, forward, first_block=True).first_block_residual)
    assert same(full.modulated_input, lean.modulated_input)
    calls.clear()
    run(body, forward, [], full.carry)
    assert not calls


@FAMILIES
def test_the_signal_is_what_block_0_hands_to_its_attention(make: Any, family: Family, by_hand: Any) -> None:
    transformer, arguments = make()
    seen: list[mx.array] = []
    attention = transformer.transformer_blocks[0].attn
    cls = type(attention)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["hidden_states"])
        return cls.__call__(self, *args, **kwargs)

    attention.__class__ = type("Seeing", (cls,), {"__call__": call})
    body = Body(transformer, family)
    body.install()
    assert same(probe(body, lambda: transformer(**arguments), first_block=True).modulated_input, seen[0])


@FAMILIES
def test_a_skipped_step_evaluates_nothing_of_the_text(make: Any, family: Family, by_hand: Any, tmp_path: Path) -> None:
    """But for what a block 0 that runs makes of it for the image: there not what that block adds to the text."""
    transformer, arguments = make()
    name = "prompt_embeds" if family is FLUX1 else "encoder_hidden_states"
    prompt = arguments[name] = mx.abs(arguments[name])  # a node of the graph, which an evaluated array is not
    added = seen_by(transformer.transformer_blocks[0].norm2_context)

    def nodes(*arrays: mx.array) -> int:
        mx.export_to_dot(str(tmp_path / "graph.dot"), *arrays)
        return (tmp_path / "graph.dot").read_text().count("shape=rectangle")

    def needs(result: mx.array, array: mx.array) -> bool:
        return nodes(result, array) == nodes(result)

    for residual_after in (0, 1):
        body = Body(transformer, family, residual_after)
        body.install()
        plain, [computed] = run(body, lambda: transformer(**arguments), [], None)
        assert needs(plain, prompt)
        assert needs(plain, added[-1]["x"])
        reused, _ = run(body, lambda: transformer(**arguments), [mx.zeros(computed.input.shape)], None)
        assert needs(reused, prompt) == bool(residual_after)
        assert not needs(reused, added[-1]["x"])
        body.restore()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 15, 64), mx.float32), ((1, 16, 63), mx.float32), ((2, 16, 64), mx.float32)]
)
def test_a_residual_of_another_shape_computes(shape: tuple[int, ...], dtype: mx.Dtype) -> None:
    transformer, arguments = _flux2()
    body = Body(transformer, FLUX2)
    body.install()
    plain, _ = run(body, lambda: transformer(**arguments), [], None)
    result, [branch] = run(body, lambda: transformer(**arguments), [mx.zeros(shape, dtype)], None)
    assert not branch.reused
    assert same(result, plain)


def test_a_stream_of_another_type_computes() -> None:
    transformer, arguments = _flux2()
    body = Body(transformer, FLUX2)
    body.install()
    _, [computed] = run(body, lambda: transformer(**arguments), [], None)
    other = Made(mx.bfloat16, mx.bfloat16)  # as if the last computed step had run in another precision
    _, [branch] = run(body, lambda: transformer(**arguments), [computed.output - computed.input], None, other)
    assert not branch.reused


@pytest.mark.parametrize("kept", [mx.float16, mx.float32])
def test_what_comes_after_the_body_keeps_its_dtype_whatever_a_residual_is_kept_in(
    kept: mx.Dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelConfig, "precision", mx.bfloat16)
    transformer, arguments = _flux2()
    transformer.set_dtype(mx.bfloat16)
    half = {name: array.astype(mx.bfloat16) for name, array in arguments.items()}
    body = Body(transformer, FLUX2)
    body.install()
    plain, [computed] = run(body, lambda: transformer(**half), [], None)
    residual = (computed.output - computed.input).astype(kept)
    result, [branch] = run(body, lambda: transformer(**half), [residual], None)
    assert branch.reused
    assert (branch.output.dtype, result.dtype) == (computed.output.dtype, plain.dtype) == (mx.bfloat16, mx.bfloat16)


def test_parameters_and_names_are_untouched_while_installed() -> None:
    transformer, _ = _flux2()
    before = [name for name, _ in tree_flatten(transformer.parameters())]
    classes = [type(block) for block in transformer.transformer_blocks]
    shown = repr(transformer)
    body = Body(transformer, FLUX2)
    body.install()
    assert [name for name, _ in tree_flatten(transformer.parameters())] == before
    assert repr(transformer) == shown
    assert all(isinstance(block, cls) for block, cls in zip(transformer.transformer_blocks, classes, strict=True))
    body.restore()
    assert [type(block) for block in transformer.transformer_blocks] == classes


def test_the_body_does_not_keep_the_transformer_alive() -> None:
    transformer, arguments = _flux2()
    body = Body(transformer, FLUX2)
    body.install()
    forward = functools.partial(transformer, **arguments)
    run(body, forward, [], probe(body, forward, first_block=True).carry)
    blocks = [weakref.ref(block) for block in transformer.transformer_blocks]
    del transformer, forward
    gc.collect()
    assert all(block() is None for block in blocks)
    body.restore()


@pytest.mark.parametrize(
    ("family", "missing"),
    [
        (
            Family(
                name="x", transformer="", body=(Joint("layers", "x"),), modulated_input=None, sigma=None, latents=""
            ),
            "'layers'",
        ),  # type: ignore[arg-type]
        (
            Family(
                name="x",
                transformer="",
                body=(Dual("transformer_blocks", image="picture", text="encoder_hidden_states"),),
                modulated_input=None,  # type: ignore[arg-type]
                sigma=None,  # type: ignore[arg-type]
                latents="",
            ),
            "'picture'",
        ),
        (
            Family(
                name="x",
                transformer="",
                body=(
                    Joint("single_transformer_blocks", stream="hidden_states", methods=("forward", "image_forward")),
                ),
                modulated_input=None,  # type: ignore[arg-type]
                sigma=None,  # type: ignore[arg-type]
                latents="",
            ),
            "has no method 'forward' or 'image_forward'",
        ),
    ],
)
def test_a_missing_block_list_method_or_argument_is_named(family: Family, missing: str) -> None:
    with pytest.raises(UnsupportedModel, match=missing):
        Body(_flux2()[0], family)


def test_something_must_be_left_to_skip() -> None:
    with pytest.raises(UnsupportedModel, match="residual_after is 5, but the body of flux2 has 5 blocks"):
        Body(_flux2()[0], FLUX2, residual_after=5)


def test_an_unknown_transformer_is_refused_with_what_is_supported() -> None:
    from mlx import nn

    with pytest.raises(UnsupportedModel, match=r"Linear is not supported. Supported: flux \(Transformer\), flux2"):
        family_of(nn.Linear(2, 2), [FLUX1, FLUX2])
