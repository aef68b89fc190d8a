"""One case per way to run a FLUX pipeline of mflux."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux.variants.controlnet.flux_controlnet import Flux1Controlnet
from mflux.models.flux.variants.depth.flux_depth import Flux1Depth
from mflux.models.flux.variants.fill.flux_fill import Flux1Fill
from mflux.models.flux.variants.in_context.flux_in_context_dev import Flux1InContextDev
from mflux.models.flux.variants.in_context.flux_in_context_fill import Flux1InContextFill
from mflux.models.flux.variants.kontext.flux_kontext import Flux1Kontext
from mflux.models.flux.variants.redux.flux_redux import Flux1Redux
from mflux.models.flux.variants.txt2img.flux import Flux1
from mflux.models.flux2.variants.edit.flux2_klein_edit import Flux2KleinEdit
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from tiny_models import Case


def _case(
    pipeline: type,
    config: Callable[[], ModelConfig],
    arguments: Callable[[Path], dict[str, Any]],
    *,
    compiled: bool = True,
) -> Case:
    family = "flux1" if pipeline.__name__.startswith("Flux1") else "flux2"

    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        model = getattr(tiny_models, family)(pipeline, config())
        # Redux's image encoder and Depth's depth estimator run before the loop and are not our business.
        model.image_encoder = lambda image: (image, None)
        model.image_embedder = lambda image: mx.ones((1, 3, 32))
        model.depth_pro = SimpleNamespace()
        return model, arguments(photo)

    return Case(pipeline, make, compiled=compiled and family == "flux2")


CASES = {
    "flux1-dev": _case(Flux1, ModelConfig.dev, lambda photo: {}),
    "flux1-schnell": _case(Flux1, ModelConfig.schnell, lambda photo: {}),
    "flux1-krea": _case(Flux1, ModelConfig.krea_dev, lambda photo: {}),
    "flux1-img2img": _case(Flux1, ModelConfig.dev, lambda photo: {"image_path": photo, "image_strength": 0.4}),
    "flux1-controlnet": _case(
        Flux1Controlnet, ModelConfig.dev_controlnet_canny, lambda photo: {"controlnet_image_path": photo}
    ),
    "flux1-kontext": _case(Flux1Kontext, ModelConfig.dev_kontext, lambda photo: {"image_path": photo}),
    "flux1-fill": _case(
        Flux1Fill, ModelConfig.dev_fill, lambda photo: {"image_path": photo, "masked_image_path": photo}
    ),
    "flux1-depth": _case(Flux1Depth, ModelConfig.dev_depth, lambda photo: {"depth_image_path": photo}),
    "flux1-redux": _case(Flux1Redux, ModelConfig.dev_redux, lambda photo: {"redux_image_paths": [photo]}),
    "flux1-in-context": _case(Flux1InContextDev, ModelConfig.dev, lambda photo: {"image_path": photo}),
    "flux1-in-context-fill": _case(Flux1InContextFill, ModelConfig.dev_fill, lambda photo: {"left_image_path": photo}),
    "flux2-base-9b": _case(Flux2Klein, ModelConfig.flux2_klein_base_9b, lambda photo: {}),
    "flux2-distilled": _case(Flux2Klein, ModelConfig.flux2_klein_4b, lambda photo: {}),
    "flux2-guidance": _case(Flux2Klein, ModelConfig.flux2_klein_base_4b, lambda photo: {"guidance": 4.0}),
    "flux2-img2img": _case(
        Flux2Klein, ModelConfig.flux2_klein_base_4b, lambda photo: {"image_path": photo, "image_strength": 0.4}
    ),
    "flux2-edit": _case(Flux2KleinEdit, ModelConfig.flux2_klein_base_4b, lambda photo: {"image_paths": [photo]}),
    "flux2-edit-guidance": _case(
        Flux2KleinEdit, ModelConfig.flux2_klein_base_9b, lambda photo: {"image_paths": [photo], "guidance": 4.0}
    ),
}
if hasattr(ModelConfig, "flux2_klein_9b_kv"):  # with its key/value cache, which mflux never compiles
    CASES |= {
        "flux2-edit-kv": _case(
            Flux2KleinEdit, ModelConfig.flux2_klein_9b_kv, lambda photo: {"image_paths": [photo]}, compiled=False
        ),
        "flux2-edit-kv-guidance": _case(
            Flux2KleinEdit,
            ModelConfig.flux2_klein_9b_kv,
            lambda photo: {"image_paths": [photo, photo], "guidance": 4.0},
            compiled=False,
        ),
    }
