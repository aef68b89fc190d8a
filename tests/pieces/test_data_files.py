"""Figures in JSON files, as a strategy of one's own would use them."""

import json
from dataclasses import dataclass

import pytest

from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.pieces.data_files import DataFiles, Figures, as_text, calibration_free, loras_of, spelt
from mflux_teacache.pieces.option_types import AMOUNT, NUMBER
from mflux_teacache.records import Target


@dataclass(frozen=True, kw_only=True)
class Figure(Figures):
    level: float
    pipelines: tuple[str, ...] = ("Flux1",)
    double: float | None = None


def doubled(data, what):
    if data["level"] > 9:
        raise OptionError(f"{what} is too high")
    return {"double": 2 * data["level"]}


@pytest.fixture
def files(tmp_path):
    for figure in (
        Figure(name="b", model="them/base", level=1, stand_in_for=("them/port",)),
        Figure(name="a", model="them/base", level=2),
        Figure(name="c", model="them/port", level=3),
    ):
        (tmp_path / f"{figure.name}.json").write_text(as_text(figure))
    (tmp_path / "readme.txt").write_text("not one of them")
    return DataFiles(
        strategy="Calm",
        noun="level",
        option="--calm-level",
        folder=tmp_path,
        record=Figure,
        allowed={"level": AMOUNT, "double": NUMBER},
        otherwise="measure it",
        derive=doubled,
    )


def test_what_is_shipped_is_in_order_of_names_with_what_follows_from_it(files):
    assert {name: (figure.level, figure.double) for name, figure in files.shipped.items()} == {
        "a": (2, 4),
        "b": (1, 2),
        "c": (3, 6),
    }
    assert files.shipped["b"].stand_in_for == ("them/port",)
    assert files.load("b") is files.shipped["b"]


@pytest.mark.parametrize(
    ("model", "base_model", "nearest"),
    [
        ("them/base", None, "a"),  # of equals, the first name
        ("them/port", None, "c"),  # made on it, and not on one that it shares the transformer with
        ("me/mine", "them/base", "a"),
    ],
)
def test_nearest(files, model, base_model, nearest):
    target = Target(pipeline="Flux1", model=model, base_model=base_model)
    assert files.nearest(target).name == nearest


@pytest.mark.parametrize("model", ["me/mine", None])
def test_a_model_that_nothing_was_made_for(files, model):
    with pytest.raises(Refused) as refusal:
        files.nearest(Target(pipeline="Flux1", model=model))
    assert str(refusal.value) == (
        f"Calm has no level for {model or 'a model without a name'} (Flux1). It has: them/base, them/base, them/port. "
        f"Use one of the plugins that need none ({', '.join(calibration_free())}); or measure it."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": -1}, r"^The level .*mine\.json has level = -1; it must be a number from 0\.$"),
        ({"double": "1"}, r"has double = '1'; it must be a number or null\.$"),
        ({"level": None}, r"has level = None; it must be a number from 0\.$"),
        ({"levle": 1}, r"has the unknown fields levle\. Its fields are schema, name, model, pipelines, "),
        ({"level": 10}, r"^The level .*mine\.json is too high$"),
        (
            {"model": "mflux-teacache/demo-tinyflux"},
            r"mine\.json was made with mflux-teacache/demo-tinyflux, .* again with mflux-teacache/demo-emoji\.$",
        ),
    ],
)
def test_a_file_of_one_s_own(files, tmp_path, change, message):
    mine = {"schema": 1, "name": "mine", "model": "me/mine", "level": 5, "double": None}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(mine))
    assert files.load(path) == Figure(name="mine", model="me/mine", level=5, double=10)
    path.write_text(json.dumps(mine | change))
    with pytest.raises(OptionError, match=message):
        files.load(path)


def test_a_name_that_is_none(files):
    with pytest.raises(OptionError, match=r"^Calm has no level 'd'\. It has: a, b, c\. .* such as \./d\.json\.$"):
        files.load("d")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            {"pipeline": "Flux1Fill", "model": "them/base"},
            "Calm has no level of Flux1Fill on them/base; it uses a, made with Flux1 on them/base. ",
        ),
        (
            {"pipeline": "Flux1", "model": "them/base", "model_path": "./mine", "loras": ("a.safetensors",)},
            "Calm's level a was made on them/base as published, without ./mine, a.safetensors. ",
        ),
    ],
)
def test_figures_made_elsewhere_are_said_to_be(files, target, message):
    with pytest.warns(PluginWarning) as caught:
        files.warn_if_made_elsewhere(files.load("a"), Target(**target))
    [warned] = caught
    assert str(warned.message) == (
        f"{message}Compare an image with one of a full run before you rely on it, or give --calm-level a file of your "
        "own."
    )


def test_figures_made_on_the_very_model_pass_without_a_word(files):
    for path in (None, "them/base"):  # with -C, mflux gives its own id
        files.warn_if_made_elsewhere(files.load("a"), Target(pipeline="Flux1", model="them/base", model_path=path))


# --- LoRAs -------------------------------------------------------------------------------------------------------

CACHE = "/home/me/.cache/huggingface/hub/models--{}/snapshots/0123abc/{}"


@pytest.mark.parametrize(
    ("loras", "scales", "expected"),
    [
        ((), (), {}),
        (("style.safetensors",), (), {"style.safetensors": 1.0}),
        (("/a/style.safetensors", "b/light.safetensors"), (0.5,), {"style.safetensors": 0.5, "light.safetensors": 1.0}),
        (("style.safetensors",), (0.5, 9.0), {"style.safetensors": 0.5}),  # one too many is left out, as by mflux
        (("a/style.safetensors", "style.safetensors"), (0.5, 0.25), {"style.safetensors": 0.75}),
        (("author/repository",), (), {"repository": 1.0}),
        (
            (CACHE.format("me--first", "lora.safetensors"), CACHE.format("you--second", "lora.safetensors")),
            (),
            {"me/first/lora.safetensors": 1.0, "you/second/lora.safetensors": 1.0},
        ),
    ],
)
def test_loras_of(loras, scales, expected):
    assert loras_of(Target(pipeline="Flux1", loras=loras, lora_scales=scales)) == expected


def test_their_order_is_nothing():
    first = Target(pipeline="Flux1", loras=("a", "b"), lora_scales=(0.5, 1.0))
    assert loras_of(first) == loras_of(Target(pipeline="Flux1", loras=("b", "a"), lora_scales=(1.0, 0.5)))


def test_spelt():
    assert spelt({}) == "no LoRA"
    assert spelt({"a": 0.5, "b": 1.0}) == "a at 0.5 and b at 1"
