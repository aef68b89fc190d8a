"""Judges a run before it costs anything: when mflux begins to make its pipeline, or to fetch something before that.

When a pipeline is made, its class and arguments are known, and its weights are not loaded. Some commands load another
model first, which writes the prompt, or fetch a LoRA. What is known by then is which pipeline the command can make,
what the command line says, and the model that the command has looked up, if it has.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from mflux_teacache.adapters.entry_check import bind
from mflux_teacache.cli.startup import AfterImport

Check = Callable[[type, Mapping[str, Any]], None]

MODELS = "mflux.models."

# Where mflux loads or fetches something that comes before a pipeline's __init__ in some of its commands: FIBO's and
# FIBO 2's model that writes captions, and LoRAs, by the parser and by the in-context commands.
_BEFORE_PIPELINES = (("FiboVLM", "__init__"), ("LoraResolution", "resolve"))

# Where a command looks up what to load.
_LOOK_UPS = (("ModelConfig", "from_name"), ("ConfigResolution", "resolve_restricted"))


def watch(
    check: Check, before: Callable[[], None] = lambda: None, looked_up: Callable[[Any], None] = lambda config: None
) -> None:
    """Be told of what mflux does, in modules that are imported already and in those that will be.

    Args:
        check: called with the class and the arguments of its ``__init__`` before any pipeline is built.
        before: called before something else is loaded or fetched.
        looked_up: called with each model configuration that is looked up by name.
    """

    def guard_module(module: ModuleType) -> None:
        for cls in classes_of(module):
            if hasattr(cls, "generate_image"):
                guard(cls, check)
            for name, function in _BEFORE_PIPELINES:
                if cls.__name__ == name and hasattr(cls, function):
                    _wrap(cls, function, before, lambda result: None)
            for name, function in _LOOK_UPS:
                if cls.__name__ == name and hasattr(cls, function):
                    _wrap(cls, function, lambda: None, looked_up)

    for name, module in list(sys.modules.items()):
        if name.startswith(MODELS):
            guard_module(module)
    sys.meta_path.insert(0, AfterImport(lambda name: name.startswith(MODELS), guard_module))


def classes_of(module: ModuleType) -> list[type]:
    """Those that a module defines itself."""
    return [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]


def pipeline_in(namespace: Mapping[str, Any]) -> type | None:
    """The one pipeline of mflux's that a command's module has imported; ``None`` where there are several or none."""
    pipelines = {
        value
        for value in namespace.values()
        if isinstance(value, type) and value.__module__.startswith(MODELS) and hasattr(value, "generate_image")
    }
    return pipelines.pop() if len(pipelines) == 1 else None


def guard(cls: type, check: Check) -> None:
    """Let ``check`` judge before ``cls.__init__``."""
    original: Callable[..., None] = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self) is cls:  # the __init__ of a subclass that got here was guarded too
            check(cls, bind(signature, (self, *args), kwargs))
        original(self, *args, **kwargs)

    cls.__init__ = __init__  # type: ignore[misc]


def _wrap(cls: type, name: str, before: Callable[[], None], after: Callable[[Any], None]) -> None:
    """Around a function of a class, which may be a static one."""
    original = getattr(cls, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before()
        result = original(*args, **kwargs)
        after(result)
        return result

    setattr(cls, name, staticmethod(wrapper) if isinstance(vars(cls).get(name), staticmethod) else wrapper)
