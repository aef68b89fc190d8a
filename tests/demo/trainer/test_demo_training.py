"""The parts of the trainer: they make weights and scenes that fit mflux's model and our vocabulary."""

import math
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mflux.models.common.schedulers.flow_match_euler_discrete_scheduler import FlowMatchEulerDiscreteScheduler

from mflux_teacache.demo import model as mlx_model
from mflux_teacache.demo import vocabulary

torch = pytest.importorskip("torch")

from mflux_teacache.demo.trainer import judge, scenes, train  # noqa: E402
from mflux_teacache.demo.trainer.torch_codec import Codec  # noqa: E402
from mflux_teacache.demo.trainer.torch_model import TinyFlux  # noqa: E402


@pytest.fixture(scope="module")
def batch():
    return scenes.sample(16, torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def trained(batch):
    torch.manual_seed(0)
    model = TinyFlux()
    for parameter in model.parameters():
        parameter.data = (parameter.data + 0.02 * torch.randn_like(parameter)).half().float()  # as they are stored
    return train.Trained(model, Codec.fit(scenes.render(batch), whitening=0.5), steps=7)


@pytest.fixture
def loaded(trained, tmp_path, monkeypatch):
    train.save(tmp_path / "weights.safetensors", trained)
    monkeypatch.setattr(mlx_model, "_WEIGHTS", tmp_path / "weights.safetensors")
    with mlx_model.tiny_klein() as klein:
        yield klein


def caption(batch, index):
    """The prompt of one scene."""
    things = (
        {kind: vocabulary.KINDS[kind][int(batch.words[kind][index, place])] for kind in vocabulary.KINDS}
        for place in range(int(batch.count[index]))
    )
    ground = vocabulary.KINDS["colour"][int(batch.ground[index])]
    return vocabulary.Scene(objects=tuple(vocabulary.Object(**thing) for thing in things), ground=ground)


def test_saved_weights_give_mflux_the_same_velocity(trained, loaded):
    latents, sigma = torch.randn(1, 64, 128), torch.tensor([0.8])
    tokens = vocabulary.parse("small red dotted ring top left on white").tokens
    with torch.no_grad():
        ours = trained.model(latents, sigma, torch.tensor([tokens])).numpy()
    text, places, _, _ = loaded._encode_prompt_pair(
        prompt="small red dotted ring top left on white", negative_prompt=None, guidance=1.0
    )
    rows, columns = np.divmod(np.arange(64), 8)
    zeros = np.zeros(64, int)
    theirs = loaded.transformer(
        hidden_states=mx.array(latents.numpy()),
        encoder_hidden_states=text,
        timestep=mx.array([800.0]),
        img_ids=mx.array(np.stack([zeros, rows, columns, zeros], axis=1)),
        txt_ids=places,
        guidance=None,
    )
    assert np.abs(ours).max() > 0.5
    np.testing.assert_allclose(np.array(theirs), ours, atol=1e-4)


def test_the_saved_codec_decodes_the_same(trained, loaded):
    latents = torch.randn(2, 64, 128)
    packed = mx.array(latents.numpy()).reshape(2, 8, 8, 128).transpose(0, 3, 1, 2)
    theirs = loaded.vae.decode_packed_latents(packed).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(np.array(theirs), trained.codec.decode(latents).numpy(), atol=2e-2)  # half a basis


def test_tokens_are_those_of_the_caption(batch):
    for index, tokens in enumerate(scenes.tokens(batch).tolist()):
        scene = caption(batch, index)
        assert tokens == scene.tokens
        assert vocabulary.parse(str(scene)) == scene


def test_scenes_are_pictures_of_distinct_objects(batch):
    pictures = scenes.render(batch)
    assert pictures.shape == (16, 128, 128, 3)
    assert pictures.abs().max() <= 1
    assert (batch.words["colour"] != batch.ground[:, None]).all()
    places = 3 * batch.words["row"] + batch.words["column"]
    assert all(len(set(row)) == 3 for row in places.tolist())


def test_codec_whitens_and_weighs_as_in_pixels(batch):
    pictures = scenes.render(batch)
    plain, white = Codec.fit(pictures, whitening=0), Codec.fit(pictures, whitening=1)
    assert white.encode(pictures).flatten(0, 1).std(0) == pytest.approx(torch.full((128,), 3.0), rel=0.02)
    assert plain.scale == pytest.approx(plain.scale[0].expand(128), rel=1e-4)
    assert plain.loss_weights == pytest.approx(torch.ones(128), rel=1e-4)
    error = torch.randn(1, 64, 128)
    pixels = white.decode(error) - white.decode(torch.zeros(1, 64, 128))
    ratio = (error.square() * white.loss_weights).sum() / pixels.square().sum()
    assert float(ratio) == pytest.approx(float(1 / white.scale.square().mean()), rel=1e-3)


def test_codec_keeps_what_it_was_fitted_on(batch):
    pictures = scenes.render(batch)
    codec = Codec.fit(pictures, whitening=0.5)
    assert judge.psnr(codec.decode(codec.encode(pictures)), pictures).min() > 30


def test_closest_scene_is_found_from_the_caption():
    few = scenes.sample(4, torch.Generator().manual_seed(5))
    pictures = scenes.render(few)
    unshifted = replace(few, shift=torch.zeros_like(few.shift))
    assert judge.psnr(scenes.render(unshifted), pictures).max() < 30
    assert judge.closest(pictures, unshifted) == pytest.approx(pictures, abs=1e-6)
    noisy = pictures + 0.05 * torch.randn_like(pictures)
    assert judge.closest(noisy, unshifted) == pytest.approx(pictures, abs=1e-6)


def test_schedule_is_mfluxs():
    for steps in (8, 28, 50):
        _, sigmas = FlowMatchEulerDiscreteScheduler.get_timesteps_and_sigmas(64, steps)
        np.testing.assert_allclose(judge.schedule(steps), np.array(sigmas), atol=1e-4)


def test_some_captions_are_dropped():
    tokens = torch.ones(4000, vocabulary.LENGTH, dtype=torch.long)
    kept = train.without_some_captions(train.Captioned(tokens, tokens), torch.Generator().manual_seed(0)).tokens
    assert set(kept.sum(1).tolist()) == {0, vocabulary.LENGTH}
    assert float((kept == 0).float().mean()) == pytest.approx(train.CAPTION_DROPOUT, abs=0.02)


def test_learning_rate_rises_and_falls_to_nothing():
    assert train.cosine(0) == train.cosine(1) == 0
    assert train.cosine(0.02) == pytest.approx(1, abs=0.01)
    assert train.cosine(0.5) == pytest.approx(0.5)
    assert train.cosine(0.01) == pytest.approx((1 + math.cos(math.pi / 100)) / 4)
