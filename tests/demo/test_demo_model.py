"""The demo's model inside mflux's own pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein

from mflux_teacache.demo import model as demo
from mflux_teacache.demo.model import DemoKlein, draw, tiny_klein
from mflux_teacache.errors import OptionError

pytestmark = pytest.mark.slow

PROMPT = "large red plain circle top left on white"


@pytest.fixture(scope="module")
def model() -> Iterator[DemoKlein]:
    with tiny_klein() as loaded:
        yield loaded


def callbacks(model: DemoKlein) -> list[Any]:
    registry = model.callbacks
    return [*registry.before_loop, *registry.in_loop, *registry.after_loop, *registry.interrupt]


def test_it_is_mflux_pipeline(model: DemoKlein) -> None:
    assert isinstance(model, Flux2Klein)
    for name in ("generate_image", "_prepare_generation_latents", "_predict"):
        assert getattr(DemoKlein, name) is getattr(Flux2Klein, name)


def test_the_config_is_klein_base_under_another_name(model: DemoKlein) -> None:
    base = ModelConfig.flux2_klein_base_4b()
    assert {**vars(model.model_config), "model_name": None} == {**vars(base), "model_name": None}
    assert model.model_config.model_name == "mflux-teacache/demo-tinyflux"
    assert base.model_name == "black-forest-labs/FLUX.2-klein-base-4B"


def test_weights_fit_into_a_wheel() -> None:
    assert demo._WEIGHTS.stat().st_size < 12e6


def test_precision_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelConfig, "precision", mx.float16)
    with tiny_klein():
        assert ModelConfig.precision == mx.float32
    assert ModelConfig.precision == mx.float16
    with pytest.raises(KeyError), tiny_klein():
        raise KeyError
    assert ModelConfig.precision == mx.float16


def test_the_seed_decides_and_the_prompt_is_drawn(model: DemoKlein) -> None:
    first, again = (draw(model, "test", prompt=PROMPT, steps=3, seed=5) for _ in range(2))
    other = draw(model, "test", prompt=PROMPT, steps=3, seed=6)
    pixels = np.asarray(first.image).astype(int)
    assert pixels.shape == (128, 128, 3)
    assert (pixels == np.asarray(again.image)).all()
    assert (pixels != np.asarray(other.image)).mean() > 0.5
    # The circle's middle is red; the other corners are the white ground.
    for corner, redder in (((20, 20), True), ((20, 108), False), ((108, 20), False), ((108, 108), False)):
        red, green, blue = pixels[corner[0] - 5 : corner[0] + 5, corner[1] - 5 : corner[1] + 5].mean(axis=(0, 1))
        assert bool(red - max(green, blue) > 80) == redder, corner


def test_a_negative_prompt_only_with_guidance(model: DemoKlein) -> None:
    def encode(guidance: float) -> Any:
        return model._encode_prompt_pair(prompt=PROMPT, negative_prompt=" ", guidance=guidance)

    positive, places, negative, negative_places = encode(2.5)
    assert positive.shape == negative.shape == (1, 24, 96)
    assert places.tolist() == negative_places.tolist() == [[0, 0, 0, place] for place in range(24)]
    padding = model.words.weight[0]
    assert mx.array_equal(negative, mx.broadcast_to(padding, (1, 24, 96)))
    assert not mx.array_equal(positive, negative)
    assert encode(1.0)[2:] == (None, None)


def test_a_token_paints_its_own_patch(model: DemoKlein) -> None:
    latents = mx.zeros((1, 128, 8, 8))
    ground = model.vae.decode_packed_latents(latents)
    latents[0, 0, 2, 5] = 1.0  # row 2, column 5
    changed = mx.any(model.vae.decode_packed_latents(latents) != ground, axis=1)[0]
    assert ground.shape == (1, 3, 128, 128)
    assert changed[32:48, 80:96].any().item()
    assert changed.sum().item() == changed[32:48, 80:96].sum().item()


def test_drawing_leaves_no_callback_behind(model: DemoKlein) -> None:
    drawn = draw(model, "test", prompt=PROMPT, steps=2, seed=1)
    assert 0 < drawn.seconds < 60
    assert callbacks(model) == []
    with pytest.raises(OptionError):
        draw(model, "test", prompt="a fox", steps=2, seed=1)
    assert callbacks(model) == []


def test_the_bar_has_the_label(model: DemoKlein, capfd: pytest.CaptureFixture[str]) -> None:
    draw(model, "plain", prompt=PROMPT, steps=2, seed=1)
    assert "plain: 100%" in capfd.readouterr().err
