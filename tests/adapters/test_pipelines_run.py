"""Every supported pipeline through mflux's own loop: bit-identical when everything is computed, and restored."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
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
from mflux.utils.apple_silicon import AppleSiliconUtil
from strategies import (
    Observer,
    Pattern,
    PatternAfterFirstBlock,
    ProbedPattern,
    ProbedPatternAfterFirstBlock,
    ReadsEverything,
)
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.pipelines import PIPELINES

CASES: dict[str, tuple[type, Any, dict[str, str]]] = {
    "flux1-dev": (Flux1, ModelConfig.dev, {}),
    "flux1-schnell": (Flux1, ModelConfig.schnell, {}),
    "flux1-krea": (Flux1, ModelConfig.krea_dev, {}),
    "flux1-img2img": (Flux1, ModelConfig.dev, {"image_path": "photo", "image_strength": "0.4"}),
    "flux1-controlnet": (Flux1Controlnet, ModelConfig.dev_controlnet_canny, {"controlnet_image_path": "photo"}),
    "flux1-kontext": (Flux1Kontext, ModelConfig.dev_kontext, {"image_path": "photo"}),
    "flux1-fill": (Flux1Fill, ModelConfig.dev_fill, {"image_path": "photo", "masked_image_path": "photo"}),
    "flux1-depth": (Flux1Depth, ModelConfig.dev_depth, {"depth_image_path": "photo"}),
    "flux1-redux": (Flux1Redux, ModelConfig.dev_redux, {"redux_image_paths": "[photo]"}),
    "flux1-in-context": (Flux1InContextDev, ModelConfig.dev, {"image_path": "photo"}),
    "flux1-in-context-fill": (Flux1InContextFill, ModelConfig.dev_fill, {"left_image_path": "photo"}),
    "flux2-base-9b": (Flux2Klein, ModelConfig.flux2_klein_base_9b, {}),
    "flux2-distilled": (Flux2Klein, ModelConfig.flux2_klein_4b, {}),
    "flux2-guidance": (Flux2Klein, ModelConfig.flux2_klein_base_4b, {"guidance": "4.0"}),
    "flux2-img2img": (Flux2Klein, ModelConfig.flux2_klein_base_4b, {"image_path": "photo", "image_strength": "0.4"}),
    "flux2-edit": (Flux2KleinEdit, ModelConfig.flux2_klein_base_4b, {"image_paths": "[photo]"}),
    "flux2-edit-guidance": (
        Flux2KleinEdit,
        ModelConfig.flux2_klein_base_9b,
        {"image_paths": "[photo]", "guidance": "4.0"},
    ),
}

PIPELINE_CLASSES = {cls.__name__ for cls, _, _ in CASES.values()}


def _value(text: str, photo: Path) -> Any:
    return {"photo": photo, "[photo]": [photo]}.get(text) or float(text)


def _case(name: str, photo: Path) -> tuple[Any, dict[str, Any]]:
    cls, config, arguments = CASES[name]
    make = tiny_models.flux1 if cls.__name__.startswith("Flux1") else tiny_models.flux2
    model = make(cls, config())
    # Redux's image encoder and Depth's depth estimator run before the loop and are not our business.
    model.image_encoder = lambda image: (image, None)
    model.image_embedder = lambda image: mx.ones((1, 3, 32))
    model.depth_pro = SimpleNamespace()
    return model, {name: _value(text, photo) for name, text in arguments.items()}


def test_every_supported_pipeline_has_a_case() -> None:
    supported = {pipeline.name for pipeline in PIPELINES.values() if pipeline.level in ("full", "partial")}
    assert supported == PIPELINE_CLASSES


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("name", "eager"), [(name, False) for name in CASES] + [(name, True) for name in CASES if name.startswith("flux2")]
)
def test_all_computed_is_bit_identical_and_so_is_restored(
    name: str, eager: bool, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if eager:  # mflux compiles FLUX.2's predict function, except on the smaller M1 and M2
        monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)
    model, arguments = _case(name, photo)
    plain = generate(model, **arguments)
    plain_small = generate(model, height=32, width=48, num_inference_steps=4, **arguments)
    for plugin in (Observer, ReadsEverything):
        with attach(model, plugin) as handle:
            assert same(generate(model, **arguments), plain)
            assert same(generate(model, height=32, width=48, num_inference_steps=4, **arguments), plain_small)
            assert set(handle.stats.history[0].pattern) == {"C"}
    assert same(generate(model, **arguments), plain)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", CASES)
def test_skipping_changes_the_image_and_is_the_same_probed_or_not(name: str, photo: Path) -> None:
    model, arguments = _case(name, photo)
    plain = generate(model, **arguments)
    for unprobed, probed in ((Pattern, ProbedPattern), (PatternAfterFirstBlock, ProbedPatternAfterFirstBlock)):
        with attach(model, unprobed) as handle:
            skipped = generate(model, **arguments)
        assert handle.stats.history[0].pattern == Pattern.pattern[: handle.stats.history[0].num_steps]
        assert not same(skipped, plain)
        with attach(model, probed):
            assert same(generate(model, **arguments), skipped)
