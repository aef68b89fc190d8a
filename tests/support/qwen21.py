"""Qwen-Image 2.1's pipelines of ``all_cases``, and how their transformers and blocks are called."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from all_cases import cases_of
from installed import MFLUX
from recording import seen_by
from tiny_models import generate

CASES = cases_of("cases_qwen21", "cases_qwen21_edit", "cases_qwen21_controlnet")
TEXT_TO_IMAGE = [name for name in CASES if not name.startswith(("qwen21-edit", "qwen21-controlnet"))]
# mflux keeps text that is not padded out of the body: from the release on that brought the edit.
JOINT = TEXT_TO_IMAGE if MFLUX < (0, 21) else ["qwen21-padded"]
ROWS = 16  # of the image, 64x64 pixels
# Branches of each of five steps; image-to-image starts after two of them.
BRANCHES = {name: [2 if "guidance" in name else 1] * 5 for name in CASES} | {
    "qwen21-padded": [2] * 5,
    "qwen21-img2img": [2] * 3,
    "qwen21-edit-img2img": [2] * 3,
    "qwen21-edit-no-cache": [2] * 5,
}


def those(*names: str) -> list[str]:
    """Of these cases, the ones that the installed mflux has."""
    return [name for name in names if name in CASES]


def caller_of(model: Any) -> Any:
    """What the pipeline calls for a prediction."""
    return getattr(model, "controlnet", model.transformer)


def entered_by(name: str) -> str:
    """The method by which mflux enters a block."""
    if name in JOINT:
        return "__call__"
    return "image_forward" if name in TEXT_TO_IMAGE else "forward_reference"


def calls_of(name: str, photo: Path) -> tuple[Any, list[Callable[[], Any]]]:
    """A pipeline, and its calls for the predictions of the first two steps; a cache to be filled is filled anew."""
    model, arguments = CASES[name].make(photo)
    caller, cls = caller_of(model), type(caller_of(model))
    calls = seen_by(caller)
    generate(model, num_inference_steps=6 if "img2img" in name else 3, **arguments)
    caller.__class__ = cls
    branches = 2 if "guidance" in arguments else 1

    def forward(call: dict[str, Any], place: int) -> Any:
        fills = call.get("cache") is not None and place < branches
        return caller(**{**call, "cache": []} if fills else call)

    return model, [functools.partial(forward, call, place) for place, call in enumerate(calls[: 2 * branches])]
