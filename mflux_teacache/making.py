"""One image in the making: its plugins' hooks from its beginning to what is recorded with it, and its times."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any

from mflux_teacache.errors import is_interruption
from mflux_teacache.forward import Forward
from mflux_teacache.messages import warn_kept
from mflux_teacache.plugins import PluginSet
from mflux_teacache.records import Generation, GenerationStats, Status
from mflux_teacache.runtime import Runtime
from mflux_teacache.spelling import described


class Making(Runtime):
    """Takes one image through its plugins' hooks, from its beginning to what is recorded with it."""

    def __init__(self, plugins: PluginSet, generation: Generation) -> None:
        super().__init__(plugins, generation)
        self._begun = 0.0
        self._begun_steps: list[float] = []
        self._untold = plugins.implementers("mflux_generation_end")

    def start(self) -> None:
        """The denoising loop is about to begin."""
        self._begun = time.perf_counter()
        super().start()

    def _begin(self, forward: Forward) -> Any:
        self._begun_steps.append(time.perf_counter())
        return super()._begin(forward)

    def end(self, status: Status) -> None:
        """The loop is over: finished, interrupted or failed. May be called again where an interrupt cut it off."""
        self.close_step()
        if self.generation.status == "running":
            self._note_times(time.perf_counter())
            self.generation.status = status
        # An ExitStack goes on with the others when one is interrupted. It runs the last callback first: hence reversed.
        with ExitStack() as each:
            for plugin in reversed(self._untold):
                each.callback(self._tell_end, plugin)

    def _note_times(self, ended: float) -> None:
        # mflux waits for a step's latents after the step, and before the next one begins.
        ends = [*self._begun_steps[1:], ended]
        self.generation.records[:] = [
            replace(record, seconds=end - begun)
            for record, begun, end in zip(self.generation.records, self._begun_steps, ends, strict=False)
        ]
        self.generation.seconds = ended - self._begun

    def _tell_end(self, plugin: str) -> None:
        try:
            self._call(plugin, "mflux_generation_end")
        finally:
            self._untold.remove(plugin)

    @cached_property
    def stats(self) -> GenerationStats:
        """The image's stats, once its loop has ended; always the same object."""
        return self.generation.stats

    def image_metadata(self) -> dict[str, Any]:
        """The values that each plugin wants recorded, by the plugin's name."""
        hook = "mflux_image_metadata"
        return {plugin: self._call(plugin, hook) for plugin in self.plugins.implementers(hook)}

    def _call(self, plugin: str, hook: str) -> Any:
        """A hook's result, or ``None`` with a warning if the hook fails."""
        try:
            return self.plugins.call(plugin, hook, generation=self.generation)
        except BaseException as error:  # SystemExit as well: the finished image is worth more than a plugin's complaint
            if is_interruption(error):
                raise
            warn_kept(f"plugin {plugin!r} failed in {hook}: {described(error)}. The image is kept.")
            return None
