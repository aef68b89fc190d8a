"""One run of an mflux command with plugins: from its parsed arguments to its last image."""

from __future__ import annotations

import argparse
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mflux_teacache.adapters.pipelines import pipeline_of, refuse_partly, refuse_unsupported
from mflux_teacache.adapters.targets import for_image, of_class
from mflux_teacache.attachment import Request, attach_requests, check_all
from mflux_teacache.cli.mflux import guard
from mflux_teacache.cli.mflux.choice import Chosen
from mflux_teacache.cli.mflux.sidecar import naming
from mflux_teacache.cli.mflux.summary import summary
from mflux_teacache.errors import AlreadyAttached, PluginWarning
from mflux_teacache.messages import reported, say
from mflux_teacache.plugins import PluginSet
from mflux_teacache.records import GenerationStats, Target
from mflux_teacache.terminal import tell

# Arguments of generate_image that mflux's commands have under another name.
_OPTIONS = {"num_inference_steps": "steps"}

# mflux-generate-kontext accepts --image-strength, with a default, and does not pass it on.
_NOT_PASSED_ON = {"Flux1Kontext": "image_strength"}


class Session:
    """Judges what mflux is about to load, attaches the plugins to it, and reports.

    Args:
        command: name of the command, for messages.
        chosen: the plugins, with their options.
        pipeline: what the command is known to make, if that is known.

    Attributes:
        arguments: mflux's parsed arguments, as soon as there are any; its command fills in defaults later.

    Raises:
        Refused: two plugins decide, or mlx-teacache is at work.
    """

    def __init__(self, command: str, chosen: Chosen, pipeline: type | None = None) -> None:
        self._command = command
        self._chosen = chosen
        self._pipeline = pipeline
        self._parsed = False
        self._config: Any = None
        self._target = Target(pipeline="")
        self.arguments = argparse.Namespace()
        with naming(chosen.source):
            self._use(chosen.requests)
        if "mlx_teacache" in sys.modules:
            raise AlreadyAttached(
                f"mlx-teacache is at work in {command}, and two caches would reuse what the other reused. "
                f"Use --plugin with mflux's own command instead, or run this one without --plugin."
            )

    def _use(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._plugins = _made(requests)

    def watch(self) -> None:
        """From now on be there when mflux makes its pipeline, or fetches something before that."""
        guard.watch(self.check, self.foresee, self._note_config)

    def begin(self, arguments: argparse.Namespace) -> None:
        """Be there when the pipeline is loaded: the command line is parsed, and the command goes on."""
        from mflux.callbacks.callback_manager import CallbackManager

        self.arguments, self._parsed = arguments, True
        CallbackManager.register_callbacks = staticmethod(self._attaching(CallbackManager.register_callbacks))

    def _note_config(self, config: Any) -> None:
        if self._parsed:  # what the parser looks up is for its defaults, and need not be what the command loads
            self._config = config

    def foresee(self) -> None:
        """Refuse what is certain to be refused: something is about to be fetched for a pipeline that is not made yet.

        What is not known yet, such as the model, is no reason to refuse.
        """
        if self._pipeline is None or self._target.pipeline:
            return
        known = {name: getattr(self.arguments, name, None) for name in ("model_path", "quantize", "lora_paths")}
        self._judge(self._pipeline, {"model_config": self._config, **known})

    def check(self, cls: type, arguments: Mapping[str, Any]) -> None:
        """Refuse what the plugins do not run on: before the weights load."""
        self._target = self._judge(cls, arguments)
        replacement = self._chosen.replacement
        if replacement is None:
            return
        if why_not := replacement.why_not(self._target):
            with reported(self._command):
                warnings.warn(why_not, PluginWarning, stacklevel=2)
            return
        self._use(self._replaced(self._target))
        if replacement.note:
            say(self._command, "note", replacement.note)

    def _judge(self, cls: type, arguments: Mapping[str, Any]) -> Target:
        with reported(self._command), naming(self._chosen.source):
            pipeline = pipeline_of(cls)
            if pipeline.level == "refused" or not self._plugins.implementers("mflux_families"):
                refuse_unsupported(pipeline)
            asked = self._image_arguments(cls)
            refuse_partly(pipeline, asked, deciding=self._plugins.decider is not None)
            target = for_image(of_class(cls, arguments), asked)
            requests = self._replaced(target)
            check_all(self._plugins if requests is self._requests else _made(requests), requests, target)
            return target

    def _replaced(self, target: Target) -> Sequence[Request]:
        """With the recorded decisions in the place of who made them, if that is asked for and they fit the run."""
        replacement = self._chosen.replacement
        if replacement is None or replacement.why_not(target):
            return self._chosen.requests
        decider = replacement.decided.plugin
        return [replacement.request if each.plugin.name == decider else each for each in self._chosen.requests]

    def _image_arguments(self, cls: type) -> dict[str, Any]:
        """What the command line says of ``generate_image``'s arguments, so far."""
        said = vars(self.arguments)
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
        details = self._details()

        def report(stats: GenerationStats) -> None:
            # The image is not saved yet, and whatever becomes of this line, it must not cost it.
            tell(summary(stats, self._plugins.names, self._plugins.decider, **details), sys.stdout)

        with reported(self._command), naming(self._chosen.source):
            attach_requests(
                model,
                self._requests,
                report,
                self._target.model_path,
                compile_blocks=self._chosen.compile_blocks,
            )
        generate_image = model.generate_image

        @functools.wraps(generate_image)
        def reporting(*args: Any, **kwargs: Any) -> Any:
            with reported(self._command):
                return generate_image(*args, **kwargs)

        model.generate_image = reporting

    def _details(self) -> dict[str, Any]:
        """What the line after an image says of the deciding plugin's options."""
        decider = self._plugins.decider
        options = next((vars(request.options) for request in self._requests if request.plugin.name == decider), {})
        about = self._plugins.about
        spelt = {name: f"--{decider}-{name.replace('_', '-')}" for name in options}
        budgets = (f"{spelt[name]} {options[name]}" for name in about.budgets if options.get(name) is not None)
        return {
            "threshold_option": spelt.get(about.threshold or ""),
            "budget": next(budgets, None),
            "limits": [spelt[name] for name in about.windows if name in spelt],
            "never": f"{spelt[about.cap]} 0" if about.cap is not None and str(options.get(about.cap)) == "0" else None,
            "source": None if about.source is None else str(options.get(about.source)),
            "distilled": self._target.distilled,
        }


def _made(requests: Sequence[Request]) -> PluginSet:
    return PluginSet([request.plugin for request in requests])
