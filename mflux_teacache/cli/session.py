"""One run of an mflux command with plugins: from its parsed arguments to its last image."""

from __future__ import annotations

import argparse
import contextlib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mflux_teacache.adapters.pipelines import pipeline_of, refuse_partly, refuse_unsupported
from mflux_teacache.adapters.targets import for_image, of_class
from mflux_teacache.attachment import Request, attach_requests, check_all
from mflux_teacache.cli import guard
from mflux_teacache.cli.messages import reported
from mflux_teacache.cli.replay import Replacement
from mflux_teacache.cli.sidecar import naming
from mflux_teacache.cli.summary import summary
from mflux_teacache.errors import AlreadyAttached, PluginWarning
from mflux_teacache.plugins import PluginSet
from mflux_teacache.records import GenerationStats, Target

# Arguments of generate_image that mflux's commands have under another name.
_OPTIONS = {"num_inference_steps": "steps"}

# Options that a plugin may have in place of a threshold.
_BUDGETS = ("max_computed", "speedup")

# mflux-generate-kontext accepts --image-strength, with a default, and does not pass it on.
_NOT_PASSED_ON = {"Flux1Kontext": "image_strength"}


class Session:
    """Judges what mflux is about to load, attaches the plugins to it, and reports.

    Args:
        command: name of the command, for messages.
        requests: the plugins, with their options.
        arguments: mflux's parsed arguments; its command fills in defaults later.
        replacement: what repeats the decisions of one of the plugins in its place.
        compile_blocks: as in ``attach``.
        source: the sidecar that named the plugins, if the command line did not.

    Raises:
        Refused: two plugins decide, or mlx-teacache is at work.
    """

    def __init__(
        self,
        command: str,
        requests: Sequence[Request],
        arguments: argparse.Namespace,
        replacement: Replacement | None = None,
        *,
        compile_blocks: bool = False,
        source: Path | None = None,
    ) -> None:
        self._command = command
        self._source = source
        self._arguments = arguments
        self._replacement = replacement
        self._compile_blocks = compile_blocks
        self._model_path: str | None = None
        self._use(requests)
        if "mlx_teacache" in sys.modules:
            raise AlreadyAttached(
                f"mlx-teacache is at work in {command}, and two caches would reuse what the other reused. "
                f"Use --plugin with mflux's own command instead, or run this one without --plugin."
            )

    def _use(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._plugins = PluginSet([request.plugin for request in requests])

    def begin(self) -> None:
        """Be there when mflux makes its pipeline, and when that is loaded."""
        from mflux.callbacks.callback_manager import CallbackManager

        guard.watch(self.check)
        CallbackManager.register_callbacks = staticmethod(self._attaching(CallbackManager.register_callbacks))

    def check(self, cls: type, arguments: Mapping[str, Any]) -> None:
        """Refuse what the plugins do not run on: before the weights load."""
        with reported(self._command), naming(self._source):
            pipeline = pipeline_of(cls)
            if pipeline.level == "refused" or not self._plugins.implementers("mflux_families"):
                refuse_unsupported(pipeline)
            asked = self._image_arguments(cls)
            deciding = self._plugins.decider is not None
            refuse_partly(pipeline, asked, deciding=deciding)
            target = of_class(cls, arguments)
            self._model_path = target.model_path
            target = for_image(target, asked)
            self._replace(target)
            check_all(self._plugins, self._requests, target)

    def _replace(self, target: Target) -> None:
        """Let the recorded decisions be repeated, if that is asked for and they fit the run."""
        replacement, self._replacement = self._replacement, None
        if replacement is None:
            return
        if why_not := replacement.why_not(target):
            warnings.warn(why_not, PluginWarning, stacklevel=2)
        else:
            self._use(
                [replacement.request if r.plugin.name == replacement.decided.plugin else r for r in self._requests]
            )

    def _image_arguments(self, cls: type) -> dict[str, Any]:
        """What the command line says of ``generate_image``'s arguments, so far."""
        said = vars(self._arguments)
        names = inspect.signature(cls.generate_image).parameters  # type: ignore[attr-defined]
        wanted = {name: _OPTIONS.get(name, name) for name in names}
        wanted.pop(_NOT_PASSED_ON.get(cls.__name__, ""), None)
        return {name: said[option] for name, option in wanted.items() if option in said}

    def _attaching(self, register_callbacks: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(register_callbacks)
        def attach_first(args: argparse.Namespace, model: Any, *rest: Any, **options: Any) -> Any:
            self.attach(model)
            return register_callbacks(args, model, *rest, **options)

        return attach_first

    def attach(self, model: Any) -> None:
        """Put the plugins on the loaded model; its errors of ours end the command with one message."""
        with reported(self._command), naming(self._source):
            attach_requests(model, self._requests, self._report, self._model_path, compile_blocks=self._compile_blocks)
        generate_image = model.generate_image

        @functools.wraps(generate_image)
        def reporting(*args: Any, **kwargs: Any) -> Any:
            with reported(self._command):
                return generate_image(*args, **kwargs)

        model.generate_image = reporting

    def _report(self, stats: GenerationStats) -> None:
        decider = self._plugins.decider
        options = next((vars(request.options) for request in self._requests if request.plugin.name == decider), {})
        threshold_option = f"--{decider}-thresh" if "thresh" in options else None
        budget = next((f"--{decider}-{_spelt(name)} {options[name]}" for name in _BUDGETS if options.get(name)), None)
        with contextlib.suppress(OSError):  # a reader that has gone must not cost the image, which is not saved yet
            print(summary(stats, self._plugins.names, decider, threshold_option, budget), flush=True)


def _spelt(name: str) -> str:
    return name.replace("_", "-")
