"""The demo's model inside mflux's own pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux2.latent_creator.flux2_latent_creator import Flux2LatentCreator
from mflux.models.flux2.variants.edit.flux2_klein_edit_helpers import _Flux2KleinEditHelpers
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein

from mflux_teacache.demo import model as demo
from mflux_teacache.demo.model import DemoKlein, draw, tiny_klein
from mflux_teacache.errors import OptionError

pytestmark = pytest.mark.slow

PROMPT = "a large heart top left on white"


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
    assert model.model_config.model_name == "mflux-teacache/demo-emoji"
    assert base.model_name == "black-forest-labs/FLUX.2-klein-base-4B"


def test_weights_fit_into_a_wheel() -> None:
    assert demo._WEIGHTS.stat().st_size < 24e6


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
    assert pixels.shape == (192, 192, 3)
    assert (pixels == np.asarray(again.image)).all()
    assert (pixels != np.asarray(other.image)).mean() > 0.5
    # The heart's middle is red; the other corners are the white wall.
    for corner, redder in (((60, 60), True), ((20, 172), False), ((172, 20), False), ((172, 172), False)):
        red, green, blue = pixels[corner[0] - 5 : corner[0] + 5, corner[1] - 5 : corner[1] + 5].mean(axis=(0, 1))
        assert bool(red - max(green, blue) > 80) == redder, corner


def test_a_negative_prompt_only_with_guidance(model: DemoKlein) -> None:
    def encode(guidance: float) -> Any:
        return model._encode_prompt_pair(prompt=PROMPT, negative_prompt=" ", guidance=guidance)

    positive, places, negative, negative_places = encode(2.5)
    assert positive.shape == negative.shape == (1, 5, 128)
    assert places.tolist() == negative_places.tolist() == [[0, 0, 0, place] for place in range(5)]
    padding = 4 * model.words.weight[0]  # of four words
    assert mx.allclose(negative, mx.broadcast_to(padding, (1, 5, 128)), atol=1e-5)
    assert not mx.array_equal(positive, negative)
    assert encode(1.0)[2:] == (None, None)


def test_a_token_paints_around_its_own_patch(model: DemoKlein) -> None:
    latents = mx.zeros((1, 128, 8, 8))
    ground = model.vae.decode_packed_latents(latents)
    latents[0, :, 2, 5] = 2.0  # row 2, column 5
    change = mx.abs(model.vae.decode_packed_latents(latents) - ground).sum(axis=1)[0]
    assert ground.shape == (1, 3, 128, 128)
    own = change[32:48, 80:96]
    assert own.mean().item() > 10 * change.mean().item()
    assert own.max().item() == change.max().item()


def test_the_codec_gives_a_picture_back(model: DemoKlein) -> None:
    """The one of a whole image, through what image-to-image makes of it: encoded, patchified and normalised."""
    image = draw(model, "test", prompt=PROMPT, steps=6, seed=5).image
    pixels = mx.array(np.asarray(image, np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    packed = Flux2LatentCreator.patchify_latents(model.vae.encode(pixels))
    normalized = _Flux2KleinEditHelpers.bn_normalize_vae_encoded_latents(packed, vae=model.vae)
    error = model.vae.decode_packed_latents(normalized) - pixels
    assert 10 * np.log10(4 / mx.square(error).mean().item()) > 32


def test_drawing_leaves_no_callback_behind(model: DemoKlein) -> None:
    drawn = draw(model, "test", prompt=PROMPT, steps=2, seed=1)
    assert 0 < drawn.seconds < 60
    assert callbacks(model) == []
    with pytest.raises(OptionError):
        draw(model, "test", prompt="a moon", steps=2, seed=1)
    assert callbacks(model) == []


def test_the_bar_has_the_label(model: DemoKlein, capfd: pytest.CaptureFixture[str]) -> None:
    draw(model, "plain", prompt=PROMPT, steps=2, seed=1)
    assert "plain: 100%" in capfd.readouterr().err
