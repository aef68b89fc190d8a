"""mflux's pipelines around transformers of full size with random weights: nothing is downloaded.

The time of a step does not depend on the values of the weights. Sizes are those of mflux's model configs and of
its constructors' defaults. Prompt encoders and VAE are stubs, so encode and decode say nothing about a real model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import mlx.core as mx
from mflux.callbacks.callback_registry import CallbackRegistry
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.common.weights.loading.loaded_weights import LoadedWeights, MetaData
from mflux.models.common.weights.loading.weight_applier import WeightApplier
from mflux.models.fibo.model.fibo_transformer.transformer import FiboTransformer
from mflux.models.fibo.variants.txt2img.fibo import FIBO
from mflux.models.fibo.weights.fibo_weight_definition import FIBOWeightDefinition
from mflux.models.flux.model.flux_transformer.transformer import Transformer
from mflux.models.flux.variants.txt2img.flux import Flux1
from mflux.models.flux.weights.flux_weight_definition import FluxWeightDefinition
from mflux.models.flux2.model.flux2_transformer.transformer import Flux2Transformer
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from mflux.models.flux2.weights.flux2_weight_definition import Flux2KleinWeightDefinition
from mflux.models.qwen.model.qwen_transformer.qwen_transformer import QwenTransformer
from mflux.models.qwen.variants.txt2img.qwen_image import QwenImage
from mflux.models.qwen.weights.qwen_weight_definition import QwenWeightDefinition
from mflux.models.z_image.model.z_image_transformer.transformer import ZImageTransformer
from mflux.models.z_image.variants.z_image import ZImage
from mflux.models.z_image.weights.z_image_weight_definition import ZImageWeightDefinition
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import family_of
from mflux_teacache.bench.laboratory import stubs

# Keeps the variance about as it is through a matrix of these widths, so that values stay finite over 60 blocks.
WEIGHT_SCALE = 0.02

_SMOLLM3_STATES = 37  # FIBO's text encoder has 36 layers, and the embedding counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make one model.

    Attributes:
        pipeline: mflux's class.
        config: mflux's model config.
        transformer: from the config to the transformer; further arguments of its constructor make it smaller.
        definition: mflux's weight definition, which says what is quantised.
        encoders: from the transformer to the pipeline's prompt encoders, by attribute.
        tokenizers: by mflux's names.
        vae_scale: pixels to a side of a latent that the VAE gets.
    """

    pipeline: type
    config: Callable[[], ModelConfig]
    transformer: Callable[..., nn.Module]
    definition: type
    encoders: Callable[[Any], Mapping[str, Any]]
    tokenizers: Mapping[str, stubs.Tokenizer] = field(default_factory=dict)
    vae_scale: int = 8


def _flux1(transformer: Any) -> Mapping[str, Any]:
    pooled = transformer.time_text_embed.text_embedder.linear_1
    return {
        "t5_text_encoder": stubs.token_encoder(_width(transformer.context_embedder)),
        "clip_text_encoder": stubs.pooling_encoder(_width(pooled)),
    }


def _flux2(config: Callable[[], ModelConfig]) -> Recipe:
    return Recipe(
        pipeline=Flux2Klein,
        config=config,
        transformer=lambda config, **sizes: Flux2Transformer(**{**config.transformer_overrides, **sizes}),
        definition=Flux2KleinWeightDefinition,
        encoders=lambda transformer: {
            "text_encoder": stubs.HiddenStatesEncoder(_width(transformer.context_embedder)),
        },
        tokenizers={"qwen3": stubs.Tokenizer(padded_to=512)},
        vae_scale=16,
    )


RECIPES = {
    "flux1-dev": Recipe(
        pipeline=Flux1,
        config=ModelConfig.dev,
        transformer=Transformer,
        definition=FluxWeightDefinition,
        encoders=_flux1,
        tokenizers={"t5": stubs.Tokenizer(padded_to=512), "clip": stubs.Tokenizer(padded_to=77)},
    ),
    "flux2-klein-base-4b": _flux2(ModelConfig.flux2_klein_base_4b),
    "flux2-klein-base-9b": _flux2(ModelConfig.flux2_klein_base_9b),
    "qwen-image": Recipe(
        pipeline=QwenImage,
        config=ModelConfig.qwen_image,
        transformer=lambda _, **sizes: QwenTransformer(**sizes),
        definition=QwenWeightDefinition,
        encoders=lambda transformer: {"text_encoder": stubs.masked_encoder(_width(transformer.txt_in))},
        tokenizers={"qwen": stubs.Tokenizer(template=5)},
    ),
    "z-image": Recipe(
        pipeline=ZImage,
        config=ModelConfig.z_image,
        transformer=lambda _, **sizes: ZImageTransformer(**sizes),
        definition=ZImageWeightDefinition,
        encoders=lambda transformer: {"text_encoder": stubs.token_encoder(_width(transformer.cap_embedder[1]))},
        tokenizers={"z_image": stubs.Tokenizer(template=12)},
    ),
    "fibo": Recipe(
        pipeline=FIBO,
        config=ModelConfig.fibo,
        transformer=lambda _, **sizes: FiboTransformer(**sizes),
        definition=FIBOWeightDefinition,
        encoders=lambda transformer: {
            "text_encoder": stubs.layered_encoder(_width(transformer.caption_projection[0].linear), _SMOLLM3_STATES),
        },
        tokenizers={"fibo": stubs.Tokenizer()},
        vae_scale=16,
    ),
}


def build(name: str, *, quantize: int | None = None, blocks: int | None = None, **sizes: Any) -> Any:
    """A loaded pipeline.

    Args:
        name: one of ``RECIPES``.
        quantize: bits per weight, by mflux's own rule of what is quantised; ``None`` = bfloat16 as it is.
        blocks: at most so many in each list of the body; ``None`` = all.
        sizes: of the transformer's constructor, for tests.
    """
    recipe = RECIPES[name]
    config = recipe.config()
    transformer = recipe.transformer(config, **sizes)
    if blocks is not None:
        shorten(transformer, blocks)
    encoders = recipe.encoders(transformer)  # before quantisation packs the widths
    pipeline = _empty(recipe.pipeline, config)
    for attribute, encoder in encoders.items():
        setattr(pipeline, attribute, encoder)
    pipeline.tokenizers = dict(recipe.tokenizers)
    pipeline.vae = stubs.BlankVAE(recipe.vae_scale)
    pipeline.transformer = transformer
    pipeline.bits = fill(transformer, recipe.definition, quantize)
    return pipeline


def shorten(transformer: nn.Module, blocks: int) -> None:
    """Keep the first so many blocks of each list of the body."""
    for entry in family_of(transformer, FAMILIES).body:
        del getattr(transformer, entry.blocks)[blocks:]


def fill(transformer: nn.Module, definition: type, quantize: int | None) -> int | None:
    """Random weights in mflux's precision, one evaluated after the other, and quantised as mflux does it.

    Returns:
        What mflux keeps as the pipeline's ``bits``.
    """
    weights = [
        (path, _random(index, path, parameter))
        for index, (path, parameter) in enumerate(tree_flatten(transformer.parameters()))
    ]
    bits: int | None = WeightApplier.apply_and_quantize(
        weights=LoadedWeights(components={"transformer": tree_unflatten(weights)}, meta_data=MetaData()),
        models={"transformer": transformer},
        quantize_arg=quantize,
        weight_definition=definition,
    )
    weights.clear()
    for _, parameter in tree_flatten(transformer.parameters()):
        mx.eval(parameter)
    mx.clear_cache()
    return bits


def _random(index: int, path: str, parameter: mx.array) -> mx.array:
    if not mx.issubdtype(parameter.dtype, mx.floating):
        return parameter
    precision = ModelConfig.precision
    if parameter.ndim == 1:  # the scale of a normalisation, or a bias
        array = mx.ones(parameter.shape, precision) if path.endswith("weight") else mx.zeros(parameter.shape, precision)
    else:
        array = mx.random.normal(parameter.shape, precision, scale=WEIGHT_SCALE, key=mx.random.key(index))
    mx.eval(array)
    return array


def _empty(cls: Any, config: ModelConfig) -> Any:
    """A pipeline as its initializer leaves it, without the models; its own ``__init__`` would download them."""
    pipeline = cls.__new__(cls)
    nn.Module.__init__(pipeline)
    pipeline.model_config = config
    pipeline.callbacks = CallbackRegistry()
    if find_spec("mflux.models.common.compute_precision"):  # from mflux 0.22 on
        from mflux.models.common.compute_precision import ComputePrecision

        pipeline.compute_precision = ComputePrecision(None)
    pipeline.prompt_cache = {}
    pipeline.float32 = False
    pipeline.tiling_config = pipeline.lora_paths = pipeline.lora_scales = None
    return pipeline


def _width(linear: nn.Linear) -> int:
    """Of a linear layer's input."""
    return int(linear.weight.shape[-1])
