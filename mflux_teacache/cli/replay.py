"""``-C run.json`` repeats the recorded decisions themselves, where they fit the run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mflux_teacache import options
from mflux_teacache.attachment import Request
from mflux_teacache.cli.arguments import Reader
from mflux_teacache.plugins import load
from mflux_teacache.recorded import REPLAY, Decided
from mflux_teacache.records import Target

# mflux's options that say how many steps of the schedule run: image-to-image starts late.
_STEPS = {"steps", "image", "image_strength", "image_path", "image_paths"}


@dataclass(frozen=True, slots=True)
class Replacement:
    """A request of ``replay`` that stands in for the plugin that decided.

    Attributes:
        path: of the sidecar.
        decided: what it records.
        steps_given: the command line itself says something of how many steps run.
    """

    path: Path
    decided: Decided
    request: Request
    steps_given: bool

    def why_not(self, target: Target) -> str | None:
        """Why the decisions are not repeated; ``None`` if they are.

        A file that is at odds with itself is left to ``replay`` to refuse.
        """
        steps = len(self.decided.pattern)
        if self.decided.is_of_another(target.model):
            other = f"an image of {self.decided.model}, and this is {target.model}"
        elif self.steps_given and target.active_steps not in (None, steps):
            other = f"{steps} steps, and this run has {target.active_steps}"
        else:
            return None
        return (
            f"{self.path} records {other}: the steps to skip are not repeated; {self.decided.plugin} decides anew, "
            f"with the recorded options."
        )


def replacement(path: Path, decided: Decided, parser: argparse.ArgumentParser, argv: Sequence[str]) -> Replacement:
    """Args:
    parser: mflux's.
    """
    plugin = load(REPLAY)
    request = Request(plugin, options.from_keywords(plugin, {"from": path}))
    return Replacement(path, decided, request, _says_steps(parser, argv))


def _says_steps(parser: argparse.ArgumentParser, argv: Sequence[str]) -> bool:
    reader = Reader(parser.prog)
    for action in parser._actions:
        if action.dest in _STEPS:
            reader.add_argument(*action.option_strings, dest=action.dest, nargs=action.nargs)
    namespace, _ = reader.parse_known_args(argv)
    return bool(vars(namespace))
