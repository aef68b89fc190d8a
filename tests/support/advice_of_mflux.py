"""What is said of the mflux that is installed, its commands and its pipelines, before any model is loaded."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import packages
import pytest
from advised import Case
from advised_runs import bench_quality, bench_speed, line, written
from advised_streams import announced, plugins_page
from chosen import parser_of_mflux
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.fibo.variants.txt2img.fibo import FIBO
from mflux.models.flux.variants.txt2img.flux import Flux1

from mflux_teacache import __main__ as module_form
from mflux_teacache.adapters.pipelines import in_installed_mflux
from mflux_teacache.bench.subjects import subject_of
from mflux_teacache.bench.variants import check
from mflux_teacache.cli import startup
from mflux_teacache.cli.mflux.session import session_for


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for packages and files.
    """
    return {**_start(folder), **_lines(folder), **_pipelines(), **_bench(folder)}


# --- Commands ---------------------------------------------------------------------------------------------------------

PARSER = """
import argparse
class CommandLineParser(argparse.ArgumentParser):
    def {add}(self): ...
    def parse_args(self): return super().parse_args()
"""

COMMAND = """
import sys
def main(): sys.stderr.write("" if sys.argv == ["mflux-generate", "--plugin", "teacache", "--help"] else "other words")
"""


def _start(folder: Path) -> dict[str, Case]:
    known, changed, bare, mflux = (folder / name for name in ("known", "changed", "bare", "mflux"))
    packages.install(known, "parses", "1.0", {}, advised_parsers=PARSER.format(add="add_output_arguments"))
    packages.install(changed, "parses", "2.0", {}, advised_parsers=PARSER.format(add="add_outputs"))
    bare.mkdir()
    packages.install(
        mflux, "mflux", "1.0", {"mflux-generate": "advised_command:main"}, group="console_scripts",
        advised_command=COMMAND,
    )  # fmt: skip
    return {
        "a parser of mflux that has changed": Case(
            announced(_started(changed)),
            f"Upgrade mflux-teacache-plugin or install an earlier mflux, or set {startup.OFF}=0 to silence this.",
            # A later version of ours knows the new parser as this one knows the earlier one.
            [announced(_started(known, takes_plugins=True)), announced(_started(changed, **{startup.OFF: "0"}))],
        ),
        "no mflux": Case(
            announced(_as_module(bare, "mflux-generate")),
            "mflux's commands are: none; pip install mflux. For example: python -m mflux_teacache mflux-generate "
            "--plugin teacache --help",
            [announced(_as_module(mflux, "mflux-generate --plugin teacache --help"))],
        ),
    }


def _started(folder: Path, *, takes_plugins: bool = False, **environment: str) -> Callable[[], None]:
    """A command of mflux's, from the start of Python until its parser has its options."""

    def act() -> None:
        with packages.on_path(folder), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["mflux-generate"])
            patch.setattr(sys, "meta_path", list(sys.meta_path))
            patch.setattr(startup, "PARSERS", "advised_parsers")
            for name, value in environment.items():
                patch.setenv(name, value)
            startup.start()
            parser = importlib.import_module("advised_parsers").CommandLineParser()
            if takes_plugins:
                parser.add_output_arguments()
                assert "--plugin" in parser.format_help()

    return act


def _as_module(folder: Path, words: str) -> Callable[[], None]:
    """``python -m mflux_teacache`` where nothing is installed but what the folder has."""

    def act() -> None:
        with packages.on_path(folder), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [str(folder)])
            patch.setattr(sys, "argv", ["-m", *shlex.split(words)])
            patch.setattr(sys, "meta_path", list(sys.meta_path))
            module_form.main()

    return act


REST = """
import argparse
from mflux_teacache import hookimpl
class Rest:
    @staticmethod
    @hookimpl
    def mflux_add_options(group): group.add_argument("--rest-words", nargs=argparse.REMAINDER)
"""


def _lines(folder: Path) -> dict[str, Case]:
    greedy = folder / "greedy"
    packages.install(greedy, "rest", "1.0", {"rest": "rest_module:Rest"}, rest_module=REST)
    entry = {"schema": 1, "pattern": "CS" * 12 + "C", "decider": "first-block-cache", "residual_after": 1}
    plugin = {"package": "mflux-teacache-plugin", "version": "0.1.0", "options": {"thresh": 0.3}}
    values = {"values": {"forecast": 0}}
    record = written(
        folder / "run.metadata.json",
        {
            "model": ModelConfig.dev().model_name,
            "mflux_plugins": {**entry, "plugins": {"first-block-cache": {**plugin, **values}}},
        },
    )
    again = f"-C {record} --seed 5"

    def swallowed(before: str, after: str) -> Callable[[], None]:
        return packages.among(greedy, line(f"--plugin rest {before} --rest-words a {after}"))

    return {
        "what an option swallows": Case(
            swallowed("", "--plugin teacache --plugin-compile-blocks"),
            "stands where an option of rest or teacache takes whatever follows it. Give them before the options of "
            "plugins.",
            [swallowed("--plugin teacache --plugin-compile-blocks", "")],
        ),
        "recorded steps in another image": Case(
            announced(_judged(again, "Flux1", decider="replay", steps=25)),
            "To let it decide anew, add --plugin first-block-cache.",
            [announced(_judged(f"{again} --plugin first-block-cache", "Flux1", decider="first-block-cache", steps=25))],
        ),
    }


# --- Pipelines --------------------------------------------------------------------------------------------------------


def _judged(words: str, pipeline: str, decider: str | None = None, **arguments: Any) -> Callable[[], None]:
    """A line of a command that makes a pipeline of this name, up to where the weights would load.

    Args:
        decider: the plugin that then decides.
        arguments: mflux's own, as its parser gives them.
    """

    def act() -> None:
        def generate_image(self: Any, num_inference_steps: int, step_cache_ratio: float | None) -> None: ...

        session = session_for(parser_of_mflux(), shlex.split(words), {})
        if session is None:
            assert decider is None
            return
        session.arguments = argparse.Namespace(**arguments)
        session.check(type(pipeline, (), {"generate_image": generate_image}), {"model_config": ModelConfig.dev()})
        assert session._plugins.decider == decider

    return act


def _pipelines() -> dict[str, Case]:
    def each_is_listed() -> None:
        words = plugins_page()
        assert all(pipeline.name in words for pipeline in in_installed_mflux())

    def cached(words: str, ratio: float | None, decider: str | None) -> Callable[[], None]:
        return announced(_judged(words, "Fibo2", decider, step_cache_ratio=ratio))

    easycache = "--plugin easycache --easycache-thresh 0.1"
    return {
        "a pipeline that plugins do not run on": Case(
            announced(_judged(f"{easycache} --plugin-compile-blocks", "SeedVR2")),
            "Run it without --plugin and --plugin-compile-blocks; `mflux-teacache plugins` lists every pipeline.",
            [announced(_judged("", "SeedVR2")), each_is_listed],
        ),
        "mflux's own step reuse": Case(
            cached(easycache, 0.5, None),
            "step_cache_ratio=0.5 asks for it. Turn it off, or run without plugins.",
            [cached(easycache, None, "easycache"), cached("", 0.5, None)],
        ),
    }


# --- Models that are to be measured -----------------------------------------------------------------------------------


def _bench(folder: Path) -> dict[str, Case]:
    own_model = f"--setting 'schedule every=2' --prompts {written(folder / 'prompts.txt', 'a fox')} --model"

    def subject(words: str) -> Callable[[], Any]:
        return lambda: subject_of(bench_quality(f"{own_model} {words}")().image)

    def without_loras(words: str) -> Callable[[], None]:
        def act() -> None:
            with pytest.MonkeyPatch.context() as patch:  # FIBO's pipeline, which took some in mflux 0.17
                patch.setattr(FIBO, "__init__", lambda self, quantize=None, model_config=None: None)
                subject(words)()

        return act

    def timed(words: str) -> Callable[[], None]:
        def act() -> None:
            settings = bench_speed(words)()
            check(settings, subject_of(settings))

        return act

    def offline(words: str, *, connected: bool) -> Callable[[], None]:
        """The pipeline as far as it looks for the model's files."""

        def __init__(self: Any, *, model_config: ModelConfig, **_: Any) -> None:
            if not (connected or Path(model_config.model_name).is_dir()):
                raise httpx.ConnectError("Name or service not known")

        def act() -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Flux1, "__init__", __init__)
                subject(words)().load()

        return act

    return {
        "a model that cannot be downloaded": Case(
            offline("dev", connected=False),
            "Connect this machine to the network, or give --model a folder that holds the model.",
            [offline("dev", connected=True), offline(f"{folder} --base-model dev", connected=False)],
        ),
        "a model that mflux does not know": Case(
            subject("dave"),
            "Check the spelling, or give --base-model with one of these: ",
            [subject("dev"), subject("dave --base-model dev")],
        ),
        "LoRAs for a model that takes none": Case(
            without_loras("fibo --lora-paths a.safetensors"),
            "takes no LoRAs. Leave them out.",
            [without_loras("fibo")],
        ),
        "compiled blocks of a model that is compiled": Case(
            timed("--skip 3 --compile-blocks"), "mflux compiles this model itself. Leave it out.", [timed("--skip 3")]
        ),
    }
