"""Which LoRAs a target has, wherever their files lie."""

import pytest

from mflux_teacache.pieces.data_files import loras_of, spelt
from mflux_teacache.records import Target

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
