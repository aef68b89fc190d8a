"""What mflux's model configurations do not say of themselves. Data, no mlx."""

from __future__ import annotations

from typing import Any

# mflux's names of the models that are distilled to a few steps, each of which matters.
DISTILLED = frozenset(
    {
        "anima-turbo",
        "boogu-image-turbo",
        "ernie-image-turbo",
        "fibo-edit-rmbg",
        "fibo-lite",
        "fibo2-edit-turbo",
        "flux2-klein-4b",
        "flux2-klein-9b",
        "flux2-klein-9b-kv",
        "flux3-image-klein",
        "iris-3b",
        "krea-2",
        "krea-2-controlnet-depth",
        "lens-turbo",
        "ming-image-design",
        "qwen-image-2.1-turbo",
        "qwen-image-2.1-turbo-controlnet-union",
        "schnell",
        "schnell-controlnet-canny",
        "z-image-turbo",
        "z-image-turbo-controlnet-union-2.1",
    }
)


def is_distilled(config: Any) -> bool:
    """Whether an mflux ``ModelConfig`` is of a model that is distilled to a few steps."""
    return bool(DISTILLED & set(getattr(config, "aliases", None) or ()))
