"""The options that name a model, of every measurement."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from mflux_teacache.bench import command, quality
from mflux_teacache.bench.settings import ImageSettings
from mflux_teacache.bench.speed import settings_of

GIVEN: dict[str, Any] = {
    "model": "me/mine", "base_model": "dev", "quantize": 8, "width": 64, "height": 32, "guidance": 1.5,
}  # fmt: skip
WORDS = ["--model", "me/mine", "--base-model", "dev", "-q", "8", "--size", "64x32", "--guidance", "1.5"]


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["speed"], settings_of),
        (["quality", "--setting", "easycache", "--prompts", "FILE"], lambda args: quality.settings_of(args).image),
    ],
    ids=["speed", "quality"],
)
def test_what_is_given_arrives(
    words: list[str], settings: Callable[[argparse.Namespace], ImageSettings], tmp_path: Any
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red apple")
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = [str(prompts) if word == "FILE" else word for word in words]
    read = settings(parser.parse_args(["bench", *words, *WORDS]))
    assert {name: getattr(read, name) for name in GIVEN} == GIVEN
