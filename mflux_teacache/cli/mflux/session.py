"""One run of an mflux command with plugins: from its command line to its last image.

The run is checked before it costs anything: when mflux begins to make its pipeline, whose class and arguments are
known by then but whose weights are not loaded. Some commands load another model first, which writes the prompt, or
fetch a LoRA. The run is then checked before that, by what is known so far: which pipeline the command can make, what
the command line says, and the model configuration, if the command has looked it up.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mflux_teacache import options
from mflux_teacache.adapters.pipelines import for_image, of_class, pipeline_of, refuse_partly, refuse_unsupported
from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS, NONE, OPTION, SIDECAR_OPTIONS
from mflux_teacache.cli.mflux.sidecar import Replacement, replacement, restored, warn_of_left_out
from mflux_teacache.cli.mflux.unknown import refuse_unknown
from mflux_teacache.errors import AlreadyAttached, HookFailed, OptionError, PluginWarning, Refused
from mflux_teacache.handle import attach_requests
from mflux_teacache.image_record.read import Recorded, read_beside_mflux
from mflux_teacache.messages import reported, say, show_warnings, tell
from mflux_teacache.options import Declared
from mflux_teacache.plugins import PluginSet, Request, check_all, load
from mflux_teacache.records import GenerationStats, Target
from mflux_teacache.summary import Settings, summary
from mflux_teacache.words import Line, read

# Arguments of generate_image that mflux's commands have under another name.
_OPTIONS = {"num_inference_steps": "steps"}

# mflux-generate-kontext accepts --image-strength, with a default, and does not pass it on.
_NOT_PASSED_ON = {"Flux1Kontext": "image_strength"}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which plugins a command line asks for, and whether blocks are to be compiled.

    Attributes:
        names: the plugins' names in the order in which they were given, each once; empty after ``--plugin none``.
        sidecar: the file of ``-C``, which may name plugins; ``None`` also after ``--plugin none``.
        compile_blocks: ``None`` if the command line does not say; the sidecar may.
    """

    names: tuple[str, ...] = ()
    sidecar: Path | None = None
    compile_blocks: bool | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a run asks for. It is false if the run asks for nothing.

    Attributes:
        requests: the plugins, in the order in which they were named.
        compile_blocks: as in ``attach``.
        source: the sidecar that named the plugins, if the command line did not.
        replacement: the plugin that repeats the decisions of one of them in its place, if they are to be repeated.
    """

    requests: Sequence[Request] = ()
    compile_blocks: bool = False
    source: Path | None = None
    replacement: Replacement | None = None

    def __bool__(self) -> bool:
        return bool(self.requests) or self.compile_blocks


def session_for(parser: argparse.ArgumentParser, argv: Sequence[str], command: Mapping[str, Any]) -> Session | None:
    """The session that a command line asks for, before mflux parses it.

    Args:
        parser: mflux's parser.
        command: the names that the module of mflux's command has imported.

    Returns:
        ``None`` if no plugin is asked for, or if mflux shows its help or refuses the command line itself.

    Raises:
        SystemExit: the command line is refused; the message has been printed.
    """
    with reported(parser.prog):
        line = read(parser, argv)
        if line.problem is not None:
            if {OPTION, COMPILE_BLOCKS} & set(line.about) and not line.asks_for_help:
                raise OptionError(line.problem)
            return None
        asked = asked_for(line)
        if asked == Asked():  # only mflux is concerned, unless there is an option of a plugin that is off
            if line.unknown_options:
                refuse_unknown(line, anybodys=any(OPTION in given.action.option_strings for given in line.given))
            return None
        show_warnings(parser.prog)
        chosen = choose(asked, parser, argv)
        if not chosen:
            return None
        return Session(parser.prog, chosen, pipeline_in(command))


def pipeline_in(namespace: Mapping[str, Any]) -> type | None:
    """The one pipeline of mflux's that a command's module has imported; ``None`` if there are several or none."""
    pipelines = {
        value
        for value in namespace.values()
        if isinstance(value, type) and value.__module__.startswith("mflux.models.") and hasattr(value, "generate_image")
    }
    return pipelines.pop() if len(pipelines) == 1 else None


def asked_for(line: Line) -> Asked:
    """What a command line asks for.

    Raises:
        OptionError: ``--plugin none`` together with a plugin.
    """
    named: list[str] = []
    sidecar: Path | None = None
    compile_blocks: bool | None = None
    for given in line.given:
        names = given.action.option_strings
        if OPTION in names:
            named += given.words
        elif COMPILE_BLOCKS in names:
            compile_blocks = not given.option.startswith("--no-")
        elif not set(SIDECAR_OPTIONS).isdisjoint(names):
            sidecar = Path(given.words[0])
    if NONE not in named:
        return Asked(tuple(dict.fromkeys(named)), sidecar, compile_blocks)
    if others := " and ".join(repr(name) for name in dict.fromkeys(named) if name != NONE):
        raise OptionError(
            f"{OPTION} {NONE} switches plugins off, and {others} was asked for too. Leave one of them out."
        )
    return Asked(compile_blocks=compile_blocks)


def choose(asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str]) -> Chosen:
    """Load what the command line asks for, else what its sidecar names, and put the options on mflux's parser.

    If the command line asks for help, or mflux is going to refuse it, the result is empty.

    Raises:
        Refused: a plugin is not installed or does not fit, an option does not exist, a value is not allowed, or an
            entry in the sidecar is malformed.
    """
    with naming(asked.sidecar):
        recorded = Recorded() if asked.sidecar is None else read_beside_mflux(asked.sidecar)
    source = None if asked.names else asked.sidecar  # an error about a plugin must say that the file named it
    with naming(source):
        plugins = [Declared(load(name)) for name in asked.names or recorded.options]
    # Only now can the line be read in full, since the options of the plugins are known.
    for plugin in plugins:
        plugin.put_on(parser)
    line = _read_again(asked, parser, argv, plugins)
    if line is None:
        return Chosen()

    requests: list[Request] = []
    for plugin in plugins:
        said = plugin.said_in(line.given)
        given = said.given
        if not line.asks_for_help and (record := recorded.options.get(plugin.plugin.name)):
            with naming(asked.sidecar), options.naming(plugin.plugin):
                given = [*restored(plugin, record, said), *given]
        requests.append(Request(plugin.plugin, plugin.take(given, complete=not line.asks_for_help)))
    if line.asks_for_help:  # only after the loop, which refuses values that are not allowed
        return Chosen()
    if asked.names and asked.sidecar:
        warn_of_left_out(asked.sidecar, recorded, asked.names)
    compile_blocks = recorded.compile_blocks if asked.compile_blocks is None else asked.compile_blocks
    repeated = None if source is None else replacement(source, recorded, plugins, line)
    return Chosen(requests, compile_blocks, source, repeated)


def _read_again(
    asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str], plugins: Sequence[Declared]
) -> Line | None:
    """The command line with the plugins' options known; ``None`` if mflux refuses it for something of its own."""
    line = read(parser, argv)
    if line.problem is not None:
        if any(option.startswith((plugin.prefix, plugin.no_prefix)) for plugin in plugins for option in line.about):
            raise OptionError(line.problem)
        return None
    if line.unknown_options:
        refuse_unknown(line, plugins, anybodys=bool(plugins))
    if asked_for(line) != asked:  # what looked like our option turns out to be the value of a plugin's option
        names = " or ".join(plugin.plugin.name for plugin in plugins)
        raise OptionError(
            f"--plugin, --plugin-compile-blocks or -C stands where an option of {names} takes whatever follows it. "
            f"Give them before the options of plugins."
        )
    return line


@contextlib.contextmanager
def naming(sidecar: Path | None) -> Iterator[None]:
    """Say in a refusal, or where a hook fails, that this file named the plugin, if it did, and how to do without it."""
    try:
        yield
    except (Refused, HookFailed) as error:
        if sidecar is not None:
            message = str(error).removesuffix(".")
            error.args = (f"{sidecar}: {message}. Or run without the plugins of this file: --plugin none.",)
        raise


class Session:
    """Checks what mflux is about to load, attaches the plugins to it, and reports.

    Args:
        command: the name of the command, for messages.
        chosen: the plugins, with their options.
        pipeline: the pipeline that the command is going to make, if that is known.

    Attributes:
        arguments: mflux's parsed arguments, as soon as there are any; its command fills in defaults later.

    Raises:
        Refused: two plugins decide, or mlx-teacache is at work.
    """

    def __init__(self, command: str, chosen: Chosen, pipeline: type | None = None) -> None:
        self.arguments = argparse.Namespace()
        self._command = command
        self._chosen = chosen
        self._pipeline = pipeline
        self._parsed = False
        self._config: Any = None
        self._target = Target(pipeline="")
        self._attached = False
        with naming(chosen.source):
            self._use(chosen.requests)
        if "mlx_teacache" in sys.modules:
            raise AlreadyAttached(
                f"mlx-teacache is at work in {command}, and two caches would reuse what the other reused. "
                f"Use --plugin with mflux's own command instead, or run this one without --plugin."
            )

    def _use(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._plugins = PluginSet([request.plugin for request in requests])

    # --- mflux goes on ---

    def follow(self, parser: argparse.ArgumentParser) -> None:
        """Get hold of mflux's arguments while its parser is still at work."""
        # mflux's ``parse_args`` fetches LoRAs before it returns, and the run has to be checked before that.
        original = parser.parse_known_args

        @functools.wraps(original)
        def parse_known_args(*args: Any, **options: Any) -> Any:
            self.arguments, rest = original(*args, **options)
            return self.arguments, rest

        parser.parse_known_args = parse_known_args  # type: ignore[method-assign]

    def begin(self, arguments: argparse.Namespace) -> None:
        """Arrange for the plugins to be attached as soon as the pipeline is loaded."""
        # Every command of mflux registers its callbacks between loading the model and the first image.
        from mflux.callbacks.callback_manager import CallbackManager

        self.arguments, self._parsed = arguments, True
        register_callbacks = CallbackManager.register_callbacks

        @functools.wraps(register_callbacks)
        def attach_first(args: argparse.Namespace, model: Any, *rest: Any, **options: Any) -> Any:
            self.attach(model)
            return register_callbacks(args, model, *rest, **options)

        CallbackManager.register_callbacks = staticmethod(attach_first)

    def look_up(self, config: Any) -> None:
        """Note the model configuration that the command has looked up."""
        if self._parsed:  # what the parser looks up is for its defaults, and need not be what the command loads
            self._config = config

    def foresee(self) -> None:
        """Refuse what is certain to be refused, before something is fetched for a pipeline that is not made yet."""
        if self._pipeline is None or self._target.pipeline:  # too little is known yet, or it has been judged already
            return
        known = {name: getattr(self.arguments, name, None) for name in ("model_path", "quantize", "lora_paths")}
        self._judge(self._pipeline, {"model_config": self._config, **known})

    def check(self, cls: type, arguments: Mapping[str, Any]) -> None:
        """Refuse what the plugins do not run on, before the weights load."""
        if self._attached:  # a further pipeline gets plugins of its own
            self._attached = False
            self._use(self._chosen.requests)
        self._target = self._judge(cls, arguments)
        replacement = self._chosen.replacement
        if replacement is None:
            return
        if why_not := replacement.why_not(self._target):
            with reported(self._command):
                warnings.warn(why_not, PluginWarning, stacklevel=2)
        elif replacement.note:
            say(self._command, "note", replacement.note)

    def _judge(self, cls: type, arguments: Mapping[str, Any]) -> Target:
        with reported(self._command), naming(self._chosen.source):
            pipeline = pipeline_of(cls)
            if pipeline.level == "refused" or not self._plugins.implementers("mflux_families"):
                refuse_unsupported(pipeline)
            asked = self._image_arguments(cls)
            refuse_partly(pipeline, asked, deciding=self._plugins.decider is not None)
            target = for_image(of_class(cls, arguments), asked)
            if (requests := self._repeating(target)) != self._requests:
                self._use(requests)
            check_all(self._plugins, self._requests, target)
            return target

    def _image_arguments(self, cls: type) -> dict[str, Any]:
        """The arguments of ``generate_image``, as far as the command line gives them."""
        said = vars(self.arguments)
        names = inspect.signature(cls.generate_image).parameters  # type: ignore[attr-defined]
        wanted = {name: _OPTIONS.get(name, name) for name in names}
        wanted.pop(_NOT_PASSED_ON.get(cls.__name__, ""), None)
        return {name: said[option] for name, option in wanted.items() if option in said}

    def _repeating(self, target: Target) -> Sequence[Request]:
        """The requests, with recorded decisions in place of the plugin that made them, if they are to be repeated."""
        replacement = self._chosen.replacement
        if replacement is None or replacement.why_not(target):
            return self._chosen.requests
        decider = replacement.decided.plugin
        return [replacement.request if each.plugin.name == decider else each for each in self._chosen.requests]

    # --- The model is loaded ---

    def attach(self, model: Any) -> None:
        """Put the plugins on the loaded model. Errors of ours then end the command with one message."""
        plugins, requests, target = self._plugins, self._requests, self._target
        # If these instances are attached to a model already, a further one needs instances of its own.
        have_judged = bool(target.pipeline) and not self._attached

        def report(stats: GenerationStats, values: Mapping[str, Any]) -> None:
            options = next((vars(each.options) for each in requests if each.plugin.name == plugins.decider), {})
            recorded = values.get(plugins.decider or "")
            settings = Settings.of(plugins, options, recorded, distilled=target.distilled)
            # The image is not saved yet, so a failure to print this line must not cost it.
            tell(summary(stats, plugins.names, plugins.decider, settings), sys.stdout)

        with reported(self._command), naming(self._chosen.source):
            attach_requests(
                model,
                requests,
                report,
                target.model_path,
                compile_blocks=self._chosen.compile_blocks,
                judged=plugins if have_judged else None,
            )
        self._attached = True
        generate_image = model.generate_image

        @functools.wraps(generate_image)
        def reporting(*args: Any, **kwargs: Any) -> Any:
            with reported(self._command), naming(self._chosen.source):
                return generate_image(*args, **kwargs)

        model.generate_image = reporting
