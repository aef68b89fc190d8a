"""Real mflux pipelines with tiny random weights: stub encoders and VAE, mflux's own transformers and loops.

The width of FLUX.1 and of FIBO is written into mflux's code as constants (3072 = 24 heads of 128). ``narrow``
runs the same code with one head, so that a forward takes milliseconds and not seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from installed import has
from mflux.callbacks.callback_registry import CallbackRegistry
from mflux.callbacks.instances.memory_saver import MemorySaver
from mflux.models.common.config.model_config import ModelConfig
from mlx import nn
from mlx.utils import tree_map

_NARROW = {3072: 128, 24: 1, 12288: 256, 15360: 384, 18432: 768, 1536: 64, 4096: 32, 2048: 16, 768: 48}


class Case(NamedTuple):
    """A way to run a pipeline.

    Attributes:
        pipeline: its class.
        make: from the path of a photo to a tiny model and further arguments of ``generate_image``.
        compiled: mflux compiles its predict function, except on the smaller M1 and M2.
        smaller: height and width of a second image, which is not square.
    """

    pipeline: type
    make: Callable[[Path], tuple[Any, dict[str, Any]]]
    compiled: bool = False
    smaller: tuple[int, int] = (32, 48)


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """mflux's process-wide precision, for as long as the tests run."""
    before = ModelConfig.precision
    ModelConfig.precision = mx.float32
    try:
        yield
    finally:
        ModelConfig.precision = before


@contextlib.contextmanager
def narrow() -> Iterator[None]:
    """Replace the width's constants in the code of mflux's FLUX.1 and FIBO transformers."""
    import mflux.models.fibo.model.fibo_transformer as fibo
    import mflux.models.flux.model.flux_transformer as flux
    from mflux.models.flux.variants.controlnet import transformer_controlnet

    modules = [*_submodules(flux), *_submodules(fibo), transformer_controlnet]
    functions = [function for module in modules for function in _methods(module)]
    before = [(function, function.__code__, function.__defaults__) for function in functions]
    for function, code, defaults in before:
        function.__code__ = _narrowed_code(code)
        function.__defaults__ = defaults and _narrowed(defaults)
    try:
        yield
    finally:
        for function, code, defaults in before:
            function.__code__, function.__defaults__ = code, defaults


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Let Ideogram 4, where mflux has it, make images of less than 256 pixels."""
    if not has("mflux.models.ideogram4"):
        yield
        return
    from mflux.models.ideogram4.latent_creator import Ideogram4LatentCreator

    before = Ideogram4LatentCreator.MIN_DIMENSION
    Ideogram4LatentCreator.MIN_DIMENSION = 16
    try:
        yield
    finally:
        Ideogram4LatentCreator.MIN_DIMENSION = before


def _submodules(package: types.ModuleType) -> list[types.ModuleType]:
    return [
        importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    ]


def _methods(module: types.ModuleType) -> Iterator[types.FunctionType]:
    for cls in vars(module).values():
        if isinstance(cls, type) and cls.__module__ == module.__name__:
            for member in vars(cls).values():
                function = getattr(member, "__func__", member)
                if isinstance(function, types.FunctionType):
                    yield function


def _narrowed_code(code: types.CodeType) -> types.CodeType:
    """With the comprehensions inside, which are code of their own before Python 3.12."""
    inner = tuple(_narrowed_code(value) if isinstance(value, types.CodeType) else value for value in code.co_consts)
    return code.replace(co_consts=_narrowed(inner))


def _narrowed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_narrowed_value(value) for value in values)


def _narrowed_value(value: Any) -> Any:
    if isinstance(value, slice):  # a constant of its own from Python 3.14 on
        return slice(*_narrowed((value.start, value.stop, value.step)))
    if isinstance(value, tuple):
        return _narrowed(value)
    return _NARROW.get(value, value) if type(value) is int else value


def randomised(module: nn.Module, seed: int, scale: float = 0.05) -> nn.Module:
    """Every parameter a small random number: modulations that start at zero would hide errors."""
    mx.random.seed(seed)
    module.update(
        tree_map(
            lambda p: (
                (mx.random.normal(p.shape) * scale).astype(mx.float32) if mx.issubdtype(p.dtype, mx.floating) else p
            ),
            module.parameters(),
        )
    )
    mx.eval(module.parameters())
    return module


class AnyPrompt(dict[str, Any]):
    """A prompt cache that knows every prompt: FLUX.1's text encoders never run."""

    def __contains__(self, prompt: object) -> bool:
        return True

    def __getitem__(self, prompt: str) -> tuple[mx.array, mx.array]:
        key = mx.random.key(len(prompt) + sum(map(ord, prompt)))
        return mx.random.normal((1, 5, 32), key=key), mx.random.normal((1, 48), key=key)


class Flux1VAE(nn.Module):
    """Eight by eight pixels to one latent and back, by repeating and averaging."""

    scaling_factor = 1.0
    shift_factor = 0.0

    def decode(self, latents: mx.array) -> mx.array:
        return mx.tanh(mx.repeat(mx.repeat(latents[:, :3], 8, axis=2), 8, axis=3))

    def encode(self, image: mx.array) -> mx.array:
        batch, channels, height, width = image.shape
        blocks = image.reshape(batch, channels, height // 8, 8, width // 8, 8).mean(axis=(3, 5))
        return mx.concatenate([blocks] * 6, axis=1)[:, :16]


class Flux2VAE(nn.Module):
    """As above with FLUX.2's 32 channels; packed latents have 128."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm(128)

    def decode_packed_latents(self, packed: mx.array, tiling_config: Any = None) -> mx.array:
        return mx.tanh(mx.repeat(mx.repeat(packed[:, :3], 16, axis=2), 16, axis=3)).astype(mx.float32)

    def encode(self, image: mx.array) -> mx.array:
        batch, channels, height, width = image.shape
        blocks = image.reshape(batch, channels, height // 8, 8, width // 8, 8).mean(axis=(3, 5))
        return mx.concatenate([blocks] * 11, axis=1)[:, :32]


def _pipeline(cls: type, config: ModelConfig) -> Any:
    model = cls.__new__(cls)
    if isinstance(model, nn.Module):  # Lens is not
        nn.Module.__init__(model)
    model.model_config = config
    model.callbacks = CallbackRegistry()
    model.tiling_config = None
    model.bits = None
    model.lora_paths = None
    model.lora_scales = None
    return model


def default_precision(model: Any) -> None:
    """What mflux sets where the user asks for no precision; up to mflux 0.21 there is nothing to ask for."""
    if has("mflux.models.common.compute_precision"):
        from mflux.models.common.compute_precision import ComputePrecision

        model.compute_precision = ComputePrecision(None)


def flux1(cls: type | None = None, config: ModelConfig | None = None, blocks: tuple[int, int] = (2, 2)) -> Any:
    """A FLUX.1 pipeline; call it inside ``narrow()``, and keep using it there."""
    from mflux.models.flux.model.flux_transformer.transformer import Transformer
    from mflux.models.flux.variants.controlnet.flux_controlnet import Flux1Controlnet
    from mflux.models.flux.variants.controlnet.transformer_controlnet import TransformerControlnet
    from mflux.models.flux.variants.txt2img.flux import Flux1

    config = config or ModelConfig.dev()
    model = _pipeline(cls or Flux1, config)
    model.prompt_cache = AnyPrompt()
    model.tokenizers = {"t5": None, "clip": None}
    model.t5_text_encoder = model.clip_text_encoder = None
    model.transformer = randomised(Transformer(config, *blocks), seed=1)
    model.vae = Flux1VAE()
    if isinstance(model, Flux1Controlnet):
        model.transformer_controlnet = randomised(TransformerControlnet(config, 1, 1), seed=2)
    return model


def flux2(cls: type | None = None, config: ModelConfig | None = None, blocks: tuple[int, int] = (2, 3)) -> Any:
    """A FLUX.2 Klein pipeline, 64 wide; its prompts are random embeddings."""
    from mflux.models.flux2.model.flux2_transformer.transformer import Flux2Transformer
    from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein

    model = _pipeline(cls or Flux2Klein, config or ModelConfig.flux2_klein_base_4b())
    default_precision(model)
    model.transformer = randomised(
        Flux2Transformer(
            in_channels=128,
            num_layers=blocks[0],
            num_single_layers=blocks[1],
            attention_head_dim=32,
            num_attention_heads=2,
            joint_attention_dim=24,
            axes_dims_rope=(8, 8, 8, 8),
        ),
        seed=3,
    )
    model.vae = Flux2VAE()
    model._encode_prompt_pair = _encode_prompt_pair
    return model


def _encode_prompt_pair(*, prompt: str, negative_prompt: str, guidance: float) -> tuple[Any, ...]:
    """The negative prompt is shorter: its branch has another text length."""
    positive = mx.random.normal((1, 7, 24), key=mx.random.key(sum(map(ord, prompt))))
    ids = mx.zeros((1, 7, 4), dtype=mx.int32)
    if guidance <= 1:
        return positive, ids, None, None
    return positive, ids, mx.random.normal((1, 5, 24), key=mx.random.key(1)), ids[:, :5]


def generate(model: Any, **arguments: Any) -> mx.array:
    """The final latents of one image, exactly: pixels are rounded to eight bits.

    Of images that are made within it, the listener hears too; its own end comes last.
    """
    final: list[mx.array] = []
    listener = types.SimpleNamespace(call_after_loop=lambda *, latents, **_: final.append(latents))
    listeners = model.callbacks.after_loop
    listeners.append(listener)
    try:
        model.generate_image(
            **{"seed": 1, "prompt": "x", "num_inference_steps": 5, "height": 64, "width": 64, **arguments}
        )
    finally:
        listeners.remove(listener)
    return final[-1]


def memory_saver(model: Any) -> MemorySaver:
    """mflux's own for a single image. Without the decode in tiles that it may turn on: the VAEs here have none."""
    saver = MemorySaver(model, keep_transformer=False)
    model.tiling_config = None
    return saver


def same(a: mx.array, b: mx.array) -> bool:
    """Bit for bit."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(mx.array_equal(a, b))
