"""One declarative entry per transformer class of mflux."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mflux_teacache.adapters.family import Arguments, Dual, Family, Joint
from mflux_teacache.errors import UnsupportedModel

if TYPE_CHECKING:
    import mlx.core as mx


def _flux1_modulated_input(block: Any, arguments: Arguments) -> mx.array:
    normalised: tuple[mx.array, ...] = block.norm1(
        hidden_states=arguments["hidden_states"], text_embeddings=arguments["text_embeddings"]
    )
    return normalised[0]


def _flux2_modulated_input(block: Any, arguments: Arguments) -> mx.array:
    (shift, scale, _), _ = arguments["temb_mod_params_img"]
    signal: mx.array = (1 + scale) * block.norm1(arguments["hidden_states"]) + shift
    return signal


FLUX1 = Family(
    name="flux",
    transformer="mflux.models.flux.model.flux_transformer.transformer:Transformer",
    body=(
        Dual("transformer_blocks", image="hidden_states", text="encoder_hidden_states"),
        Joint("single_transformer_blocks", stream="hidden_states"),
    ),
    modulated_input=_flux1_modulated_input,
    sigma=lambda call: call["config"].scheduler.sigmas[call["t"]],
    latents="hidden_states",
)

FLUX2 = Family(
    name="flux2",
    transformer="mflux.models.flux2.model.flux2_transformer.transformer:Flux2Transformer",
    body=(
        Dual("transformer_blocks", image="hidden_states", text="encoder_hidden_states"),
        Joint("single_transformer_blocks", stream="hidden_states"),
    ),
    modulated_input=_flux2_modulated_input,
    sigma=lambda call: call["timestep"] / 1000,
    latents="latents",
    predict=("_predict",),
)

FAMILIES = (FLUX1, FLUX2)


def family_of(transformer: object, families: Iterable[Family]) -> Family:
    """The first entry for a transformer's class or one of its base classes.

    Raises:
        UnsupportedModel: names the class and what is supported.
    """
    families = list(families)
    for cls in type(transformer).__mro__:
        path = f"{cls.__module__}:{cls.__qualname__}"
        for family in families:
            if family.transformer == path:
                return family
    cls = type(transformer)
    known = ", ".join(f"{family.name} ({family.transformer.partition(':')[2]})" for family in families)
    raise UnsupportedModel(
        f"the transformer {cls.__module__}:{cls.__qualname__} is not supported. Supported: {known}. "
        f"A plugin can add it with the hook mflux_families; `mflux-teacache plugins` lists every pipeline."
    )
