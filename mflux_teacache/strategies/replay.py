"""The plugin ``replay``: compute and skip the very steps that were computed and skipped in a recorded image.

A strategy decides by numbers, which differ in their last bits between chips and versions, so the same settings can
skip other steps there. The recorded pattern cannot: each skipped step reuses the same computed ones again, through
the same cache, and in a partly reused step the same branches do. Where the arithmetic is the same, so is the image,
bit for bit; but for a run in which a strategy dropped the residuals of a forecast, which is not recorded.

``Replay.check`` refuses a run of another number of steps. Over a sidecar, ``cli/mflux/sidecar.py`` looks first whether
the file fits, and lets the plugin decide anew where it does not.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from mflux_teacache.about import About
from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.image_record import keys
from mflux_teacache.image_record.read import Decided, read
from mflux_teacache.pieces.cache import CACHES, VALUES
from mflux_teacache.pieces.controller import Bounds, unlimited
from mflux_teacache.pieces.option_types import file_path
from mflux_teacache.pieces.retired import refuse_retired
from mflux_teacache.pieces.strategy import Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import REUSED, Generation, Target
from mflux_teacache.step import Step


class Replay(Strategy):
    """Follows the pattern that a sidecar or an image records."""

    name = "replay"
    title = "A replay"
    about = About(
        kind="tool",
        description="Computes and skips the very steps that were computed and skipped in a recorded image.",
        source="from",
        simulated=False,  # it would show what the file says
        replay_values=VALUES,
    )

    residual_after: int
    _decided: Decided
    _from_file: Decided | None = None

    @staticmethod
    @hookimpl
    def mflux_add_options(group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--replay-from",
            type=file_path,
            required=True,
            metavar="FILE",
            help="skip the steps that this image skipped: its .metadata.json sidecar, or the image that mflux wrote",
        )

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target) -> None:
        self._decided = self._read(options)
        if self._decided.is_of_another(target.model):
            warnings.warn(
                f"{_path(options)} records an image of {self._decided.model}, and this is {target.model}, of which "
                f"other steps may matter. Compare with a full run, or let {self._decided.plugin} itself decide: "
                f"--plugin {self._decided.plugin}.",
                PluginWarning,
                stacklevel=2,
            )
        self.residual_after = self._decided.residual_after
        # Of the recorded kind, whatever this version's defaults are.
        self.cache = CACHES[self._decided.reuse](self._decided.forecast, self._decided.cache_dtype)
        self.reuses = self.cache.reuses

    def names_steps(self, options: argparse.Namespace) -> bool:
        return True

    def check(self, options: argparse.Namespace, target: Target) -> None:
        decided, path = self._read(options), _path(options)
        if decided.has_other_steps(target):
            raise Refused(
                f"{path} records {len(decided.pattern)} steps, and this run has {target.active_steps}. Run as many "
                f"(image-to-image runs fewer than --steps says), or let {decided.plugin} itself decide: "
                f"--plugin {decided.plugin}."
            )

    def bounds(self, generation: Generation) -> Bounds:
        return unlimited(generation.active_steps)

    def judge(self, step: Step) -> Verdict:
        computed = self._decided.pattern[step.index] == "C"
        return Verdict(kind="compute" if computed else "reuse", reason=f"as {self._decided.plugin} did")

    def reused(self, step: Step) -> tuple[mx.array | None, ...]:
        arrays = super().reused(step)
        if self._decided.pattern[step.index] != "P":
            return arrays
        branches = zip(arrays, self._decided.partly[step.index], strict=False)
        return tuple(array if done == REUSED else None for array, done in branches)

    def values(self, generation: Generation) -> Mapping[str, Any]:
        """All that was recorded of the plugin that is replayed, so that the file can be done without."""
        return {keys.REPLAYS: {keys.PLUGIN: self._decided.plugin, **self._decided.entry}}

    def _read(self, options: argparse.Namespace) -> Decided:
        """Once: the file may change, or be gone, while images are made."""
        if self._from_file is None:
            self._from_file = _read(options)
        return self._from_file


def _path(options: argparse.Namespace) -> Path:
    path: Path = getattr(options, "from")  # a keyword of Python's
    return path


def _read(options: argparse.Namespace) -> Decided:
    path = _path(options)
    decided = read(path).decided
    if decided is None:
        raise OptionError(
            f"{path} does not record decisions that can be repeated: no plugin decided, or one that does not record "
            f"the order of its forecast. Name a plugin that decides itself, such as --plugin teacache."
        )
    refuse_retired(decided.model, f"The image of {path}")
    return decided
