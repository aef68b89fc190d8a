"""Random command lines: each is parsed, or refused in one line with exit code 2, or refused by argparse as ever."""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mflux.callbacks.callback_manager import CallbackManager
from mflux.cli.parser.parsers import CommandLineParser
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux.variants.txt2img.flux import Flux1

from mflux_teacache.cli import startup
from mflux_teacache.cli.mflux import session
from mflux_teacache.cli.startup import extend
from mflux_teacache.discovery import built_in
from mflux_teacache.errors import PluginWarning
from mflux_teacache.options import Declared
from mflux_teacache.plugins import load

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plugins_in_process")]

LINES = 150  # for each seed

VALUES = [
    "0", "1", "2", "3", "0.3", "0.99", "-1", "1e308", "1e-400", "nan", "inf", "many", "", " ", "a,b", "1,2,3", "0.3,0",
    "CCSC", "SSSS", "flux1-dev", "missing.json", "bfloat16", "none", "first-block-cache", "teacache,magcache", "a b",
    "/dev/null", "x" * 3000, "\x1b[2J", "é", "\udcff", "True", "[1]", "{}", "%s", "%(default)s", "--", "-",
]  # fmt: skip

NAMES = [
    *built_in(),
    "alternate",
    "watch",
    "needs-size",
    "broken",
    "clash",
    "none",
    "nobodys",
    "",
    "\x1b[2J",
    "TeaCache",
]


@pytest.fixture
def options(plugins_in_process: None) -> list[str]:
    """Of plugins, whole, shortened, mistyped and taken back; and some of mflux's."""
    ours = [
        option
        for name in (*built_in(), "alternate", "needs-size")
        for action in Declared(load(name)).actions
        for option in action.option_strings
    ]
    mflux = ["--steps", "--seed", "--prompt", "--guidance", "--image-path", "--image-strength", "--lora-scales", "-q"]
    return [
        *ours,
        *(option[:-2] for option in ours),
        *(f"{option}x" for option in ours[::5]),
        *(option.replace("--", "--no-", 1) for option in ours[::3]),
        *mflux,
        *(option[:-1] for option in mflux),
        "--plugin-compile-blocks", "--no-plugin-compile-blocks", "--plugin-comp", "--plug", "--nonsense", "-h", "-v",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def sidecars(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """That mflux itself can read."""
    folder = tmp_path_factory.mktemp("sidecars")
    entries: list[Any] = [
        None, 7, [], {}, {"schema": 1}, {"schema": 9, "plugins": {}}, {"schema": 1, "plugins": {}},
        {"schema": 1, "plugins": {"teacache": {"options": {"thresh": 0.2}}}},
        {"schema": 1, "plugins": {"teacache": {"options": {"thresh": 0.2, "speedup": 2}}}},
        {"schema": 1, "plugins": {"schedule": {"options": {"every": 2}}, "watch": {"options": {}}}},
        {"schema": 1, "plugins": {"alternate": {"options": {"names": ["--plugin", "x"]}}}},
        {"schema": 1, "plugins": {"os.path:join": {"options": {}}}, "compile_blocks": True},
        {"schema": 1, "plugins": {"\x1b[2J": {"options": {"\n": "\x07"}}}},
        {"schema": 1, "plugins": {"replay": {"options": {"from": "/dev/null"}}}},
        {
            "schema": 1, "decider": "easycache", "pattern": "CSCS", "residual_after": 0,
            "plugins": {"easycache": {"options": {"thresh": 0.2}, "values": {"forecast": 0}}},
        },
    ]  # fmt: skip
    paths = []
    for number, entry in enumerate(entries):
        path = folder / f"{number}.json"
        content = {"model": "dev", "prompt": "x", "steps": 4, "seed": 1, "mflux_plugins": entry}
        path.write_text(json.dumps(content))
        paths.append(str(path))
    return paths


def command_lines(seed: int, options: list[str], sidecars: list[str]) -> Iterator[list[str]]:
    chosen = random.Random(seed)

    def option() -> list[str]:
        name = chosen.choice(options)
        values = chosen.choices(VALUES, k=chosen.choice((0, 1, 1, 1, 1, 2)))
        if values and chosen.random() < 0.3:
            return [f"{name}={values[0]}", *values[1:]]
        return [name, *values]

    def plugin() -> list[str]:
        name = chosen.choice(NAMES)
        return chosen.choice([["--plugin", name], ["--plugin", name], [f"--plugin={name}"], ["--plugin"]])

    def sidecar() -> list[str]:
        path = chosen.choice(sidecars)
        return chosen.choice([["-C", path], [f"-C{path}"], ["-vC", path], ["--config-from-metadata", path], ["-C"]])

    for _ in range(LINES):
        parts = [plugin() for _ in range(chosen.choice((0, 1, 1, 1, 2)))]
        parts += [sidecar() for _ in range(chosen.choice((0, 0, 1)))]
        parts += [option() for _ in range(chosen.choice((0, 1, 1, 2, 3)))]
        parts += [["--prompt", "x"], ["--model", "dev"]]
        chosen.shuffle(parts)
        yield [word for part in parts for word in part]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Parse by mflux's parser with our extension, and judge the pipeline that its command would make."""
    judged: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CallbackManager, "register_callbacks", staticmethod(CallbackManager.register_callbacks))
    monkeypatch.setattr(startup, "watch", lambda check, *_: judged.append(check))
    monkeypatch.setattr(session, "show_warnings", lambda command: None)

    def run(argv: list[str], shortened: bool) -> argparse.Namespace:
        parser_class = type("CommandLineParser", (CommandLineParser,), {})
        extend(SimpleNamespace(CommandLineParser=parser_class))
        monkeypatch.setattr(sys, "argv", ["mflux-generate", *argv])
        judged.clear()
        parser = parser_class(prog="mflux-generate", allow_abbrev=shortened)
        parser.add_model_arguments(require_model_arg=False)
        parser.add_lora_arguments()
        parser.add_image_generator_arguments(supports_metadata_config=True)
        parser.add_image_to_image_arguments(required=False)
        parser.add_output_arguments()
        namespace = parser.parse_args()
        for check in judged:
            check(Flux1, {"model_config": ModelConfig.dev()})
        return namespace

    return run


@pytest.mark.parametrize("shortened", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore:unclosed file")  # mflux up to 0.18 leaves it to Python
def test_a_command_line_is_parsed_or_refused(run, options, sidecars, seed, shortened):
    outcomes = []
    for argv in command_lines(seed, options, sidecars):
        out, err = io.StringIO(), io.StringIO()  # as Python's own stderr, this one takes any character
        try:
            with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
                warnings.simplefilter("ignore", PluginWarning)
                namespace = run(argv, shortened)
        except SystemExit as leaving:
            code = leaving.code
        else:
            code = None
            assert not {name for name in vars(namespace) if name.startswith(("plugin", "teacache", "SUPPRESS", "="))}
        outcomes.append(_outcome(code, out.getvalue(), err.getvalue()))
        assert outcomes[-1], (argv, code, out.getvalue(), err.getvalue())
    assert {"parsed", "refused", "argparse"} <= set(outcomes)


def _outcome(code: object, out: str, err: str) -> str | None:
    """``None`` for what should never be."""
    lines = err.splitlines()
    if code is None:
        return "parsed"
    if code == 0:
        return "help" if out.startswith("usage: mflux-generate ") else None
    if code != 2 or "Traceback" in err:
        return None
    if lines[0].startswith("usage: mflux-generate "):
        return "argparse"
    if (
        len(lines) == 1
        and lines[0].startswith("mflux-generate: error: ")
        and lines[0].isprintable()
        and len(err) < 5000
    ):
        return "refused"
    return None
