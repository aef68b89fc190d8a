"""What is asked of the program, up to where it is refused and no further: command lines, Python, and files."""

from __future__ import annotations

import argparse
import io
import json
import shlex
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chosen import parser_of_mflux
from scripted import DEV

from mflux_teacache.bench import quality, speed
from mflux_teacache.bench.outputs import outputs
from mflux_teacache.cli.mflux.session import Session, asked_for, choose
from mflux_teacache.cli.mflux.unknown import refuse_unknown
from mflux_teacache.cli.own.main import build_parser, main
from mflux_teacache.demo.run import Settings
from mflux_teacache.errors import Refused
from mflux_teacache.plugins import PluginSet, attach_all, check_all
from mflux_teacache.words import read


def line(words: str, steps: int = 25, active: int | None = None, **target: Any) -> Callable[[], None]:
    """A line of mflux-generate, from its parsing until plugins have judged the run and are attached."""

    def act() -> None:
        argv = shlex.split(words)
        parser = parser_of_mflux()
        asked = asked_for(read(parser, argv))
        if not asked.names and asked.sidecar is None:
            refuse_unknown(read(parser, argv), anybodys=True)
        chosen = choose(asked, parser, argv)
        Session("mflux-generate", chosen)
        made = replace(DEV, **{"steps": steps, "active_steps": active or steps, "guidance": 4.0, **target})
        plugins = PluginSet([request.plugin for request in chosen.requests])
        check_all(plugins, chosen.requests, made)
        attach_all(plugins, chosen.requests, made, None)

    return act


def demo(words: str) -> Callable[[], None]:
    """``mflux-teacache demo``, up to its settings."""

    def act() -> None:
        from mflux_teacache.plugins import load

        arguments = build_parser().parse_args(["demo", *shlex.split(words)])
        names = ("prompt", "thresh", "steps", "seed", "plugin", "plugin_options", "output")
        settings = Settings(**{name: getattr(arguments, name) for name in names})
        settings.keywords(load(settings.plugin))

    return act


def bench_speed(words: str) -> Callable[[], Any]:
    """``mflux-teacache bench speed``, up to its settings, which it gives."""
    return _bench("speed", words, speed.settings_of)


def bench_quality(words: str) -> Callable[[], Any]:
    """``mflux-teacache bench quality``, likewise."""
    return _bench("quality", words, quality.settings_of)


def _bench(measurement: str, words: str, settings: Callable[[argparse.Namespace], Any]) -> Callable[[], Any]:
    def act() -> Any:
        arguments = build_parser().parse_args(["bench", measurement, *shlex.split(words)])
        found = settings(arguments)
        outputs(arguments)
        return found

    return act


def own(*words: object) -> Callable[[], None]:
    """Our command as a whole; raises what it prints of an error."""

    def act() -> None:
        failed, _, said = _ran(words)
        if failed:
            raise Refused(said)

    return act


def printed(*words: object) -> Callable[[], None]:
    """The same for advice that is no error: raises all that it prints."""

    def act() -> None:
        _, *said = _ran(words)
        raise Refused("".join(said))

    return act


def _ran(words: Sequence[object]) -> tuple[bool, str, str]:
    """Whether it failed, and what is on its two streams."""
    out, said = io.StringIO(), io.StringIO()
    # A command shows warnings in its own way, from which ``told`` is to be kept.
    with warnings.catch_warnings(), redirect_stderr(said), redirect_stdout(out), pytest.raises(SystemExit) as leaving:
        main([str(word) for word in words])
    return bool(leaving.value.code), out.getvalue(), said.getvalue()


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def deleted(path: Path, act: Callable[[], Any]) -> Callable[[], Any]:
    """With a file out of the way, which comes back afterwards: a case may be tried again."""

    def again() -> None:
        content = path.read_bytes()
        path.unlink()
        try:
            act()
        finally:
            path.write_bytes(content)

    return again
