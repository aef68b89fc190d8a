"""How mflux's commands come to know ``--plugin``: by wrappers around its parser, and around the classes that it loads.

``mflux_teacache.pth`` in site-packages calls ``start`` in commands named ``mflux-*``. From Python 3.15 on
``mflux_teacache.start`` does so, in every process. Until mflux's parser is imported, the only trace is one finder in
``sys.meta_path``. So this module imports next to nothing, and the rest of the package is imported only for a command
line that may concern plugins.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing would take longer than all of this module
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Container, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    AddArguments = Callable[[argparse.ArgumentParser], None]
    ParseArguments = Callable[[argparse.ArgumentParser], argparse.Namespace]

OFF = "MFLUX_PLUGINS"
OWN_COMMAND = "mflux-teacache"
PARSERS = "mflux.cli.parser.parsers"
MODELS = "mflux.models."

# The commands of mflux that describe the options of the others.
_DESCRIBING = ("mflux-completions", "mflux-capabilities")

# Where some of mflux's commands load or fetch something before a pipeline's __init__: the model that writes captions
# for FIBO and FIBO 2, and LoRAs, which the parser and the in-context commands fetch.
_BEFORE_PIPELINES = {"FiboVLM": "__init__", "LoraResolution": "resolve"}

# Where a command looks up the configuration of the model that it is going to load.
_LOOK_UPS = {"ModelConfig": "from_name", "ConfigResolution": "resolve_restricted"}


def start() -> None:
    """Make this process's mflux command know ``--plugin``. In any other process this does nothing."""
    # While start-up files run, an embedded Python may not have sys.argv yet.
    if is_mflux_command(getattr(sys, "argv", [])) and os.environ.get(OFF) != "0":
        install()


def is_mflux_command(argv: Sequence[str]) -> bool:
    """Whether a process with these arguments is one of mflux's console scripts. Our own command is not."""
    name = _name(argv)
    return name.startswith("mflux-") and name != OWN_COMMAND


def _name(argv: Sequence[str]) -> str:
    return argv[0].replace("\\", "/").rpartition("/")[2].removesuffix(".exe") if argv else ""


def install() -> None:
    """Extend mflux's command-line parser as soon as it is imported. A second call does nothing."""
    if not any(isinstance(finder, AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, AfterImport(PARSERS.__eq__, extend))


# --- Its parser -------------------------------------------------------------------------------------------------------


def extend(parsers: ModuleType) -> None:
    """Wrap the two methods of mflux's parser that matter. A parser that has changed is left alone, with a warning."""
    try:
        parser = parsers.CommandLineParser
        add_arguments, parse_arguments = parser.add_output_arguments, parser.parse_args
    except AttributeError as error:
        from mflux_teacache.messages import say  # only here: in most processes nothing has to be said

        say(
            os.path.basename(sys.argv[0]),
            "warning",
            f"--plugin is off: the parser of the installed mflux has changed ({error}). Upgrade mflux-teacache-plugin "
            f"or install an earlier mflux, or set {OFF}=0 to silence this.",
        )
        return
    parser.add_output_arguments = _with_options(add_arguments)
    parser.parse_args = _with_plugins(parse_arguments)


def _with_options(original: AddArguments) -> AddArguments:
    from argparse import SUPPRESS, BooleanOptionalAction
    from functools import wraps

    from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS, COMPILE_BLOCKS_HELP, HELP, OPTION

    @wraps(original)
    def add_output_arguments(parser: argparse.ArgumentParser) -> None:
        original(parser)
        # type=str is argparse's own default; mflux-completions offers a value only where a type is given.
        parser.add_argument(
            OPTION, action="append", type=str, metavar="NAME", default=SUPPRESS, dest="plugin", help=HELP
        )
        parser.add_argument(
            COMPILE_BLOCKS,
            action=BooleanOptionalAction,
            default=SUPPRESS,
            dest="plugin_compile_blocks",
            help=COMPILE_BLOCKS_HELP,
        )
        if _name(sys.argv) in _DESCRIBING:
            from mflux_teacache.cli.mflux.described import describe_plugins

            describe_plugins(parser)

    return add_output_arguments


def _with_plugins(original: ParseArguments) -> ParseArguments:
    from functools import wraps

    @wraps(original)
    def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
        if not may_concern_plugins(sys.argv[1:], parser._option_string_actions):
            return original(parser)
        from mflux_teacache.cli.mflux.session import session_for

        # The caller is the module of mflux's command, and what it imported shows which pipeline it can make.
        session = session_for(parser, sys.argv[1:], command=sys._getframe(1).f_globals)
        if session is not None:
            session.follow(parser)
            watch(session.check, session.foresee, session.look_up)
        namespace = original(parser)
        # mflux's command goes on with the namespace, and must not find anything in it that it does not know.
        for ours in ("plugin", "plugin_compile_blocks"):
            vars(namespace).pop(ours, None)
        if session is not None:
            session.begin(namespace)
        return namespace

    return parse_args


def may_concern_plugins(argv: Sequence[str], known: Container[str]) -> bool:
    """Whether a word may be an option of ours or of a plugin, even a shortened one.

    Args:
        known: the options of mflux's parser. Any other option may belong to a plugin that is off.
    """
    # Only a quick look at each word: reading the line properly would import the rest of the package.
    from mflux_teacache.cli.mflux.arguments import OPTION, OURS

    def may_be_ours(word: str) -> bool:
        if not word.startswith("--"):
            return word.startswith("-") and "C" in word  # -C may share a word with other one-letter flags: -vC
        name = word.partition("=")[0]
        return name != "--" and (name not in known or name in OURS)

    return OPTION in known and any(map(may_be_ours, argv))


# --- The classes that it loads ----------------------------------------------------------------------------------------


def watch(
    check: Callable[[type, Mapping[str, Any]], None],
    before: Callable[[], None] = lambda: None,
    looked_up: Callable[[Any], None] = lambda config: None,
) -> None:
    """Watch what mflux loads, in modules that are imported already and in those that will be.

    Args:
        check: called with the class and the arguments of its ``__init__`` before any pipeline is built.
        before: called before anything else is loaded or fetched.
        looked_up: called with each model configuration that is looked up by name.
    """

    def guard(module: ModuleType) -> None:
        for cls in [value for value in vars(module).values() if isinstance(value, type)]:
            if cls.__module__ != module.__name__:  # imported from another module, where it is guarded already
                continue
            if hasattr(cls, "generate_image"):
                _guard_init(cls, check)
            if hasattr(cls, name := _BEFORE_PIPELINES.get(cls.__name__, "")):
                _wrap(cls, name, lambda *args, **kwargs: before())
            if hasattr(cls, name := _LOOK_UPS.get(cls.__name__, "")):
                _wrap(cls, name, after=looked_up)

    for name, module in list(sys.modules.items()):  # a copy, since guarding imports modules
        if name.startswith(MODELS):
            guard(module)
    sys.meta_path.insert(0, AfterImport(lambda name: name.startswith(MODELS), guard))


def _guard_init(cls: type, check: Callable[[type, Mapping[str, Any]], None]) -> None:
    """Let ``check`` judge before ``cls.__init__``."""
    from inspect import signature

    from mflux_teacache.adapters.entry_check import bind

    parameters = signature(cls.__init__)  # type: ignore[misc]

    def judge(made: object, *args: Any, **kwargs: Any) -> None:
        if type(made) is cls:  # the guarded __init__ of a subclass, which calls this one, has judged already
            check(cls, bind(parameters, (made, *args), kwargs))

    _wrap(cls, "__init__", judge)


def _wrap(
    cls: type,
    name: str,
    before: Callable[..., None] = lambda *args, **kwargs: None,
    after: Callable[[Any], None] = lambda result: None,
) -> None:
    """Put something around a function of a class, which may be a static one.

    Args:
        before: called with its arguments.
        after: called with its result.
    """
    from functools import wraps

    original = getattr(cls, name)

    @wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        result = original(*args, **kwargs)
        after(result)
        return result

    setattr(cls, name, staticmethod(wrapper) if isinstance(vars(cls).get(name), staticmethod) else wrapper)


# --- Imports ----------------------------------------------------------------------------------------------------------


class AfterImport:
    """A finder in ``sys.meta_path`` that finds nothing itself, but acts on modules right after their import.

    Args:
        applies: tells by a module's name whether to act on it.
        action: called with the module when its code has run.
    """

    def __init__(self, applies: Callable[[str], bool], action: Callable[[ModuleType], None]) -> None:
        self._applies = applies
        self._action = action

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not self._applies(name):
            return None
        # The finders after this one find the module, so that whatever else is installed there keeps working.
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            if (spec := finder.find_spec(name, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _ThenAct(spec.loader, self._action)  # type: ignore[assignment]
                return spec
        return None


class _ThenAct:
    """Stands in for a module's loader while the module is imported."""

    def __init__(self, loader: Any, action: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        # First, so that the module's own code finds its real loader, as importlib.resources does.
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._action(module)
