"""One declarative entry per transformer class of mflux."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mflux_teacache.family import Arguments, Dual, Family, Joint, TokenGrid


def _flux1_input(block: Any, call: Arguments) -> Any:
    return block.norm1(hidden_states=call["hidden_states"], text_embeddings=call["text_embeddings"])[0]


def _flux2_input(block: Any, call: Arguments) -> Any:
    (shift, scale, _), _ = call["temb_mod_params_img"]
    return (1 + scale) * block.norm1(call["hidden_states"]) + shift


def _qwen_input(block: Any, call: Arguments) -> Any:
    def modulation(embeddings: Any) -> Any:
        return mx.split(block.img_mod_linear(block.img_mod_silu(embeddings)), 2, axis=-1)[0]

    # Reference images may be modulated as clean ones (zero_cond_t).
    clean = call.get("cond_embeddings")
    more = () if clean is None else (modulation(clean), call["is_cond_token"])
    return block._modulate(block.img_norm1(call["hidden_states"]), modulation(call["text_embeddings"]), *more)[0]


def _z_image_input(block: Any, call: Arguments) -> Any:
    scale, *_ = mx.split(block.adaLN_modulation[0](call["t_emb"])[:, None], 4, axis=2)
    return block.attention_norm1(call["x"]) * (1.0 + scale)


def _fibo_input(block: Any, call: Arguments) -> Any:
    return block.norm1(hidden_states=call["hidden_states"], text_embeddings=call["temb"])[0]


def _ernie_input(block: Any, call: Arguments) -> Any:
    shift, scale, *_ = call["temb"]
    return block.adaLN_sa_ln(call["x"]) * (1 + scale) + shift


def _krea2_input(block: Any, call: Arguments) -> Any:
    scale, shift, *_ = block.mod(call["vec"])
    return (1 + scale) * block.prenorm(call["x"]) + shift


def _lens_input(block: Any, call: Arguments) -> Any:
    shift, scale, *_ = mx.split(block.img_mod[1](block.img_mod[0](call["temb"])), 6, axis=-1)
    return block.img_norm1(call["hidden_states"]) * (1 + scale[:, None]) + shift[:, None]


def _anima_input(block: Any, call: Arguments) -> Any:
    shift, scale, _ = block.modulate(block.adaln_modulation_self_attn, call["emb"], call["adaln_lora"])
    return block.norm(call["x"]) * (1 + scale) + shift


def _boogu_input(block: Any, call: Arguments) -> Any:
    return block.img_norm1(call["img_hidden_states"], call["temb"])[0]


def _iris_input(block: Any, call: Arguments) -> Any:
    shift, scale, *_ = mx.split(block.adaln_img(call["img_core"]), 6, axis=-1)
    return block.norm_x1(call["x"]) * (1 + scale) + shift


def _moss_input(block: Any, call: Arguments) -> Any:
    shift, scale = (call["modulation"][:, i : i + 1] for i in range(2))
    return block.norm1(call["x"]) * (1 + scale) + shift


def _fibo2_input(block: Any, call: Arguments) -> Any:
    scale, *_ = block._modulation(call["t_noisy"], call["t_clean"], call["noise_mask"])
    return block.attention_norm1(call["x"]) * scale


def _flux3_input(block: Any, call: Arguments) -> Any:
    shift, scale, _ = call["mod"]
    return (1 + scale) * block.norm(call["x"]) + shift


def _ideogram4_input(block: Any, call: Arguments) -> Any:
    scale, *_ = mx.split(block.adaln_modulation(call["adaln_input"]), 4, axis=-1)
    return block.attention_norm1(call["x"]) * (1.0 + scale)


def _qwen21_input(block: Any, call: Arguments) -> Any:
    scale, _ = mx.split(call["mod1"], 2, axis=-1)
    return block.img_norm1(call["hidden_states"]) * (1 + scale)


def _qwen21_edit_input(block: Any, call: Arguments) -> Any:
    scale, *_ = mx.split(call["modulation"], 4, axis=-1)
    return block.img_norm1(call["x"]) * (1 + block.select_rows(scale, call["target_mask"]))


def _flux2_extracts(call: Arguments) -> bool:
    """The call keeps the keys and values of its reference rows, one slot per block; later calls have no such rows."""
    cache = call.get("kv_cache")
    return cache is not None and cache.is_extracting


def _scheduler_sigma(call: Arguments) -> mx.array:
    sigma: mx.array = call["config"].scheduler.sigmas[call["t"]]
    return sigma


def _qwen21_sigma(call: Arguments) -> mx.array:
    """Of the image's function; or of image and text together, where a padded prompt takes part: the text's is 0."""
    sigma: mx.array = call["timestep"] if "timestep" in call else call["timestep_rows"][:1]
    return sigma


def _z_image_sigma(call: Arguments) -> mx.array | float:
    """``timestep`` is 1 - sigma, or with a ControlNet the index of the step."""
    timestep = call["timestep"]
    return call["sigmas"][timestep] if isinstance(timestep, int) else 1 - timestep  # type: ignore[no-any-return]


FLUX1 = Family(
    name="flux",
    transformer="mflux.models.flux.model.flux_transformer.transformer:Transformer",
    body=(
        Dual("transformer_blocks", image="hidden_states", text="encoder_hidden_states"),
        Joint("single_transformer_blocks", stream="hidden_states"),
    ),
    modulated_input=_flux1_input,
    sigma=_scheduler_sigma,
    latents="hidden_states",
    packed=True,
    token_grid=TokenGrid(),
    numbered=("layer",),
    made_anew=("controlnet_block_samples", "controlnet_single_block_samples"),
    signal="LayerNorm of image; scale, shift of time, guidance, prompt",
    guidance="none",
)

FLUX2 = Family(
    name="flux2",
    transformer="mflux.models.flux2.model.flux2_transformer.transformer:Flux2Transformer",
    body=(
        Dual("transformer_blocks", image="hidden_states", text="encoder_hidden_states"),
        Joint("single_transformer_blocks", stream="hidden_states"),
    ),
    modulated_input=_flux2_input,
    sigma=lambda call: call["timestep"] / 1000,
    latents="latents",
    packed=True,
    token_grid=TokenGrid(),
    predict=("_predict", "_cached_predict"),  # the second one only for editing
    must_compute=_flux2_extracts,
    signal="LayerNorm of image; scale, shift of time",
    guidance="two calls",
    compiled=True,
)

QWEN = Family(
    name="qwen",
    transformer="mflux.models.qwen.model.qwen_transformer.qwen_transformer:QwenTransformer",
    body=(Dual("transformer_blocks", image="hidden_states", text="encoder_hidden_states"),),
    modulated_input=_qwen_input,
    sigma=_scheduler_sigma,
    latents="hidden_states",
    packed=True,
    token_grid=TokenGrid(),
    looked_at=("encoder_hidden_states_mask",),
    numbered=("block_idx",),
    signal="LayerNorm of image; scale, shift of time",
    guidance="two calls, always",
)

Z_IMAGE = Family(
    name="z_image",
    transformer="mflux.models.z_image.model.z_image_transformer.transformer:ZImageTransformer",
    body=(Joint("layers", stream="x"),),
    modulated_input=_z_image_input,
    sigma=_z_image_sigma,
    latents=("latents", "x"),  # of the predict function, of the transformer
    token_grid=TokenGrid(),
    predict=("_predict",),
    made_anew=("controlnet_block_samples",),
    signal="RMSNorm of image and text; scale of time",
    guidance="two calls",
    compiled=True,
)

FIBO = Family(
    name="fibo",
    transformer="mflux.models.fibo.model.fibo_transformer.transformer:FiboTransformer",
    body=(
        Dual("transformer_blocks", image="hidden_states", text="encoder_hidden_states"),
        Joint("single_transformer_blocks", stream="hidden_states"),
    ),
    modulated_input=_fibo_input,
    sigma=_scheduler_sigma,
    latents="hidden_states",
    packed=True,
    token_grid=TokenGrid(),
    numbered=("layer",),
    signal="LayerNorm of image; scale, shift of time",
    guidance="one batch of two",
)

ERNIE_IMAGE = Family(
    name="ernie_image",
    transformer="mflux.models.ernie_image.model.ernie_transformer.transformer:ErnieTransformer",
    body=(Joint("layers", stream="x"),),
    modulated_input=_ernie_input,
    sigma=lambda call: call["sigma"],
    latents="latents",
    token_grid=TokenGrid(),
    predict=("_predict",),
    signal="RMSNorm of image and text; scale, shift of time",
    guidance="one batch of two",
    compiled=True,
)

KREA2 = Family(
    name="krea2",
    transformer="mflux.models.krea2.model.krea2_transformer.transformer:Krea2Transformer",
    body=(Joint("blocks", stream="x"),),
    modulated_input=_krea2_input,
    sigma=lambda call: call["timestep"],
    latents="latents",
    token_grid=TokenGrid(text_first=True),
    predict=("_predict",),
    signal="RMSNorm of text and image; scale, shift of time",
    guidance="two calls",
    compiled=True,
)

LENS = Family(
    name="lens",
    transformer="mflux.models.lens.model.transformer.lens_transformer:LensTransformer",
    body=(Dual("transformer_blocks", image="hidden_states", text="encoder_hidden_states"),),
    modulated_input=_lens_input,
    sigma=lambda call: call["timestep"],
    latents="hidden_states",
    packed=True,
    token_grid=TokenGrid(),
    signal="RMSNorm of image; scale, shift of time",
    guidance="none",
)

MING_IMAGE = Family(
    name="ming_image",
    transformer="mflux.models.ming_image.model.ming_transformer.ming_transformer:MingTransformer",
    body=(Joint("layers", stream="x"),),
    modulated_input=_z_image_input,
    sigma=lambda call: 1 - call["timestep"],
    latents="latents",
    token_grid=TokenGrid(),
    predict=("_predict",),
    signal="RMSNorm of image and text; scale of time",
    guidance="two calls",
)

ANIMA = Family(
    name="anima",
    transformer="mflux.models.anima.model.anima_transformer.anima_transformer:AnimaTransformer",
    body=(Joint("blocks", stream="x"),),
    modulated_input=_anima_input,
    sigma=lambda call: call["sigma"],
    latents="latents",
    token_grid=TokenGrid(),
    predict=("_predict",),
    signal="LayerNorm of image; scale, shift of time",
    guidance="two calls",
    compiled=True,
)

BOOGU = Family(
    name="boogu",
    transformer="mflux.models.boogu.model.boogu_transformer.boogu_transformer:BooguImageTransformer",
    body=(
        Dual("double_stream_layers", image="img_hidden_states", text="instruct_hidden_states", image_first=True),
        Joint("single_stream_layers", stream="hidden_states"),
    ),
    modulated_input=_boogu_input,
    sigma=lambda call: 1 - call["timestep"],
    latents="hidden_states",
    token_grid=TokenGrid(),
    signal="RMSNorm of image; scale of time",
    guidance="none",
)

IRIS = Family(
    name="iris",
    transformer="mflux.models.iris.model.iris_transformer.iris_transformer:IrisTransformer",
    body=(Dual("blocks", image="x", text="y", image_first=True),),
    modulated_input=_iris_input,
    sigma=lambda call: call["t"][:1] / 1000,  # of a batch of two, for guidance
    latents="x",
    token_grid=TokenGrid(),
    made_anew=("y", "y_mask"),  # both prompts of that batch
    signal="RMSNorm of image; scale, shift of time",
    guidance="one batch of two",
)

MOSS_IMAGE = Family(
    name="moss_image",
    transformer="mflux.models.moss_image.model.moss_image_transformer.moss_image_transformer:MOSSImageTransformer",
    body=(Joint("layers", stream="x"),),
    modulated_input=_moss_input,
    sigma=lambda call: call["timestep"] / 1000,
    latents="hidden_states",
    token_grid=TokenGrid(),
    signal="RMSNorm of image and text; scale, shift of time",
    guidance="two calls, one without some layers",
)

FIBO2 = Family(
    name="fibo2",
    transformer="mflux.models.fibo2.model.fibo2_transformer.fibo2_transformer:Fibo2Transformer",
    body=(Joint("layers", stream="x"),),
    modulated_input=_fibo2_input,
    sigma=lambda call: call["sigma"],
    latents="latents",
    # A token has 2x2 latents of 32 channels, those of reference images as well.
    token_grid=TokenGrid(text_first=True, after=lambda call: sum(x.size // 128 for x in call["context_latents"] or ())),
    signal="RMSNorm of gist, image and text; scale of time",
    guidance="two calls, one after --cfg-end",
)

FLUX3 = Family(
    name="flux3",
    transformer="mflux.models.flux3.model.flux3_transformer.flux3_transformer:Flux3Transformer",
    body=(
        Joint("mode_blocks.image", stream="x"),
        # Reference and text rows follow. Their own mode blocks are not evaluated where these blocks are skipped.
        Joint("single_transformer_blocks", stream="x", image_first=True),
    ),
    modulated_input=_flux3_input,
    sigma=lambda call: call["timestep"],
    latents="latents",
    packed=True,
    token_grid=TokenGrid(),
    predict=("_predict",),
    signal="LayerNorm of image; scale, shift of time",
    guidance="two calls",
)

IDEOGRAM4 = Family(
    name="ideogram4",
    transformer="mflux.models.ideogram4.model.ideogram4_transformer.transformer:Ideogram4Transformer",
    body=(Joint("layers", stream="x"),),
    modulated_input=_ideogram4_input,
    sigma=lambda call: 1 - call["t"],
    latents="z",
    token_grid=TokenGrid(text_first=True),
    predict=("_predict_conditional", "_predict_unconditional"),
    attribute=("conditional_transformer", "unconditional_transformer"),
    signal="RMSNorm of text and image; scale of time",
    guidance="two transformers",
    compiled=True,
)

QWEN21 = Family(
    name="qwen21",
    transformer="mflux.models.qwen21.model.qwen21_transformer.qwen21_transformer:Qwen21Transformer",
    # Not packed: text that is padded runs along in every step, its rows before the image's. Other text is cached,
    # from mflux 0.21 on, which runs the image alone by methods of its own.
    body=(Joint("transformer_blocks", stream="hidden_states", methods=("image_forward", "__call__")),),
    modulated_input=_qwen21_input,
    sigma=_qwen21_sigma,
    latents="hidden_states",
    token_grid=TokenGrid(text_first=True),
    compiles=(("_step_fn", "_forward"), ("_image_step_fn", "_image_forward")),
    signal="LayerNorm of image; scale of time",
    guidance="two calls",
    compiled=True,
)

QWEN21_EDIT = Family(
    name="qwen21_edit",
    transformer="mflux.models.qwen21.model.qwen21_transformer.qwen_image21_transformer:QwenImage21Transformer",
    body=(
        Joint(
            "transformer_blocks",
            stream="x",
            image_rows=lambda call: call["layout"].target_tokens,
            methods=("forward_reference",),
            returns_more=1,
        ),
    ),
    modulated_input=_qwen21_edit_input,
    sigma=lambda call: call["timestep"],
    latents=lambda call: call["hidden_states"][:, -call["layout"].target_tokens :],  # after the reference images
    token_grid=TokenGrid(),
    must_compute=lambda call: call["extract"],
    caller="controlnet",
    signal="LayerNorm of image; scale of time",
    guidance="two calls",
    compilable=False,
)

FAMILIES = tuple(entry for entry in list(vars().values()) if isinstance(entry, Family))
