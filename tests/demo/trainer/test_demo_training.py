"""The parts of the trainer: they make weights and scenes that fit mflux's model and our vocabulary."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import PIL.Image
import pytest
from mflux.models.common.schedulers.flow_match_euler_discrete_scheduler import FlowMatchEulerDiscreteScheduler

from mflux_teacache.demo import model as mlx_model
from mflux_teacache.demo import vocabulary
from mflux_teacache.demo.sizes import GRID, SIDE

torch = pytest.importorskip("torch")

from mflux_teacache.demo.trainer import detector, judge, sampling, scenes, train, weights, workers  # noqa: E402
from mflux_teacache.demo.trainer.emoji import CANVAS, CONTENT  # noqa: E402
from mflux_teacache.demo.trainer.render import Renderer  # noqa: E402
from mflux_teacache.demo.trainer.torch_codec import Codec  # noqa: E402
from mflux_teacache.demo.trainer.torch_model import TinyFlux  # noqa: E402

PROMPT = "a small fox top left and a rocket on grass at night"
CPU = torch.device("cpu")


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def batch():
    return scenes.sample(16, generator())


@pytest.fixture(scope="module")
def renderer(tmp_path_factory):
    """With a disc of its own colour for each object."""
    line = np.arange(CANVAS) - CANVAS / 2 + 0.5
    inside = np.hypot(line, line[:, None]) < CONTENT / 2
    colours = np.random.default_rng(0).integers(0, 256, (len(vocabulary.OBJECTS), 1, 1, 4), dtype=np.uint8)
    colours[..., 3] = 255
    path = tmp_path_factory.mktemp("sprites") / "sprites.npy"
    np.save(path, colours * inside[None, :, :, None])
    return Renderer(path, CPU)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model, codec = TinyFlux(), Codec()
    for parameter in (*model.parameters(), *codec.parameters()):
        parameter.data = (parameter.data + 0.02 * torch.randn_like(parameter)).half().float()  # as they are stored
    codec.bn.running_mean.normal_()
    codec.bn.running_var.uniform_(0.5, 2)
    return model.requires_grad_(False), codec.requires_grad_(False)


@pytest.fixture
def loaded(trained, tmp_path, monkeypatch):
    weights.export(tmp_path / "weights.safetensors", *trained, metadata={"steps": "7"})
    monkeypatch.setattr(mlx_model, "_WEIGHTS", tmp_path / "weights.safetensors")
    with mlx_model.tiny_klein() as klein:
        yield klein


def test_saved_weights_give_mflux_the_same_velocity(trained, loaded):
    latents, sigma = torch.randn(1, GRID**2, 128), torch.tensor([0.8])
    tokens = vocabulary.parse(PROMPT).tokens
    ours = trained[0](latents, sigma, torch.tensor([tokens])).numpy()
    text, places, _, _ = loaded._encode_prompt_pair(prompt=PROMPT, negative_prompt=None, guidance=1.0)
    rows, columns = np.divmod(np.arange(GRID**2), GRID)
    zeros = np.zeros(GRID**2, int)
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


def test_the_saved_codec_is_the_same_both_ways(trained, loaded):
    codec = trained[1]
    latents = torch.randn(2, GRID**2, 128)
    packed = mx.array(latents.numpy()).reshape(2, GRID, GRID, 128).transpose(0, 3, 1, 2)
    pictures = codec.pictures(latents).numpy()
    assert pictures.std() > 0.05
    np.testing.assert_allclose(np.array(loaded.vae.decode_packed_latents(packed)), pictures, atol=1e-4)
    encoded = loaded.vae.encode(mx.array(pictures))
    assert encoded.shape == (2, 32, 2 * GRID, 2 * GRID)
    np.testing.assert_allclose(np.array(encoded), codec.encoder(torch.from_numpy(pictures)).numpy(), atol=1e-4)


def test_a_whole_picture_is_the_same_in_mflux(trained, loaded):
    """From the same noise, by mflux's schedule, with guidance."""
    steps, seed = 3, 5
    noise = np.array(mx.random.normal((1, 128, GRID, GRID), key=mx.random.key(seed)))
    latents = torch.from_numpy(noise).flatten(2).transpose(1, 2)
    tokens = torch.tensor([vocabulary.parse(PROMPT).tokens])
    ours = trained[1].pictures(sampling.denoised(trained[0], latents, tokens, steps=steps))
    theirs = mlx_model.draw(loaded, "test", prompt=PROMPT, steps=steps, seed=seed).image
    levels = ((ours[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).numpy()
    assert levels.std() > 5
    np.testing.assert_allclose(np.asarray(theirs).astype(float), levels, atol=1.01)  # mflux cuts off, not rounds


def test_a_picture_is_an_image_to_image_start(trained, loaded, tmp_path):
    path = tmp_path / "start.png"
    PIL.Image.new("RGB", (SIDE, SIDE), (200, 40, 40)).save(path)
    arguments = mlx_model.image_arguments(prompt=PROMPT, steps=2, seed=1)
    image = loaded.generate_image(**arguments, image_path=path, image_strength=0.9).image
    assert np.asarray(image).shape == (SIDE, SIDE, 3)


def test_weights_come_back_from_the_file(trained, tmp_path):
    weights.export(tmp_path / "weights.safetensors", *trained, metadata={})
    for ours, again in zip(trained, weights.load(tmp_path / "weights.safetensors", CPU), strict=True):
        stored = again.state_dict()
        assert all(torch.equal(tensor, stored[name]) for name, tensor in ours.state_dict().items())


def caption(batch, index):
    """The prompt of one scene."""
    words = [[vocabulary.WORDS[token] if token else None for token in slot] for slot in batch.tokens[index].tolist()]
    objects = tuple(
        vocabulary.Object(name=name, size=size, row=row, column=column) for size, name, row, column in words[:4] if name
    )
    ground, light, _, _ = words[4]
    return vocabulary.Scene(objects=objects, ground=ground, light=light)


def test_captions_are_prompts(batch):
    many = scenes.sample(300, generator(4))
    for index in range(300):
        scene = caption(many, index)
        assert scene.tokens == many.tokens[index].tolist()
        assert vocabulary.parse(str(scene)) == scene


def test_objects_are_where_the_caption_says_and_within_the_picture(batch):
    many = scenes.sample(300, generator(5))
    for slot, middles in ((2, many.centre[..., 1]), (3, many.centre[..., 0])):
        words = (vocabulary.ROWS, vocabulary.COLUMNS)[slot - 2]
        for cell, word in enumerate(words):
            said = many.tokens[:, :4, slot] == vocabulary.WORDS.index(word)
            assert said.any()
            assert ((middles - 0.5 * (cell - 1)).abs()[said] < 0.25).all()
    assert ((many.centre.abs() + many.half[..., None]) < 1).all()


def test_scenes_are_pictures(batch, renderer):
    pictures = renderer.render(batch, generator())
    assert pictures.shape == (16, 3, SIDE, SIDE)
    assert pictures.abs().max() <= 1
    gone = renderer.render(replace(batch, present=torch.zeros_like(batch.present)), generator())
    changed = (pictures != gone).any(1)
    for index in range(16):
        for middle, present in zip(batch.centre[index], batch.present[index], strict=True):
            column, row = ((middle + 1) / 2 * SIDE).long().tolist()
            assert not present or changed[index, row, column]


def test_schedule_is_mfluxs():
    for steps in (8, 28, 50):
        _, sigmas = FlowMatchEulerDiscreteScheduler.get_timesteps_and_sigmas(GRID**2, steps)
        np.testing.assert_allclose(sampling.schedule(steps), np.array(sigmas), atol=1e-4)


def test_some_captions_are_dropped():
    tokens = torch.ones(4000, vocabulary.LENGTH, vocabulary.WORDS_PER_TOKEN, dtype=torch.long)
    kept = train.without_some_captions(train.Captioned(tokens, tokens), generator()).tokens
    assert set(kept.sum((1, 2)).tolist()) == {0, vocabulary.LENGTH * vocabulary.WORDS_PER_TOKEN}
    assert float((kept == 0).float().mean()) == pytest.approx(train.CAPTION_DROPOUT, abs=0.02)


def test_learning_rate_rises_and_falls_to_nothing():
    assert workers.cosine(0) == workers.cosine(1) == 0
    assert workers.cosine(0.02) == pytest.approx(1, abs=0.01)
    assert workers.cosine(0.5) == pytest.approx(0.5)


class Oracle(torch.nn.Module):
    """Knows what is where in one batch of scenes."""

    def __init__(self, drawn):
        super().__init__()
        self.labels = detector.labels(drawn)

    def forward(self, pictures):
        return 9.0 * torch.nn.functional.one_hot(self.labels, detector.NOTHING + 1).permute(0, 3, 1, 2).float()


def test_what_a_detector_sees_is_judged(renderer):
    drawn = scenes.sample(8, generator(6))
    detected = detector.detect(Oracle(drawn), renderer.render(drawn, generator()), drawn.name)
    assert (detected.is_best | ~drawn.present).all()
    assert ((detected.centre - drawn.centre).norm(dim=2)[drawn.present] < 2 / GRID).all()


class Claims(torch.nn.Module):
    """Sees one object in every picture, at a place of 12x12."""

    def __init__(self, name, column, row):
        super().__init__()
        self.index, self.column, self.row = vocabulary.OBJECTS.index(name), column, row

    def forward(self, pictures):
        scores = torch.zeros(len(pictures), detector.NOTHING + 1, GRID, GRID)
        scores[:, detector.NOTHING] = 5.0
        scores[:, self.index, self.row, self.column] = 9.0
        return scores


@pytest.mark.parametrize(
    ("prompt", "score"),
    [
        ("a fox top left", (1, 1)),
        ("a fox middle left", (1, 0)),
        ("a fox top right", (1, 0)),
        ("a cat top left", (0, 0)),
        ("a fox top left and a cat bottom left", (0.5, 1)),
    ],
)
def test_a_picture_is_judged_by_what_is_where(prompt, score):
    finder = Claims("fox", column=2, row=3)
    assert judge.score(finder, torch.zeros(1, 3, SIDE, SIDE), [vocabulary.parse(prompt)]) == score


def test_a_sheet_has_all_pictures(tmp_path):
    judge.write_sheet(tmp_path / "sheet.png", torch.zeros(10, 3, SIDE, SIDE), [PROMPT] * 10)
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] == 8 * (SIDE + 4)
        assert sheet.size[1] > 2 * SIDE
