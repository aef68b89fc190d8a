"""What the tests of the bench share: arguments, and made-up runs."""

from __future__ import annotations

import argparse

from mflux_teacache.bench import speed
from mflux_teacache.bench.runs import Case, Phase, TimedRun
from mflux_teacache.cli.own.parser import PluginParser

# The arguments of generate_image, for a tiny model.
ARGUMENTS = {"seed": 1, "prompt": "x", "num_inference_steps": 5, "height": 32, "width": 32, "guidance": 4.0}
CASES = [Case("a red ring on blue", 1), Case("a green cross on a white background", 2)]


def parsed(*words: str) -> argparse.Namespace:
    parser = PluginParser()
    speed.add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(["speed", *words])


def phase(seconds: float = 0.1, peak: int = 3, active: int = 2) -> Phase:
    return Phase(seconds=seconds, peak_bytes=peak, active_bytes=active)


def run(
    variant: str, repetition: int, pattern: str, seconds: list[float], *, peak: int = 3, finite: bool = True
) -> TimedRun:
    """Its loop takes as long as its steps together."""
    return TimedRun(
        variant=variant,
        repetition=repetition,
        pattern=pattern,
        computed=pattern.count("C"),
        encode=phase(),
        loop=phase(sum(seconds), peak=peak),
        decode=phase(0.2),
        step_seconds=tuple(seconds),
        finite=finite,
    )


def some() -> list[TimedRun]:
    """Two repetitions of three variants; a skipped step takes a quarter, a computed one a second."""
    return [
        run("plain", 0, "CCCC", [2, 1, 1, 1]),
        run("all computed", 0, "CCCC", [2, 1, 1, 1]),
        run("skipping", 0, "CSSC", [2, 0.25, 0.25, 1]),
        run("plain", 1, "CCCC", [1, 1, 1, 1], peak=7),
        run("all computed", 1, "CCCC", [1, 1, 1, 3]),
        run("skipping", 1, "CSSC", [1, 0.5, 0.25, 1], finite=False),
    ]
