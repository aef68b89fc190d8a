"""What can go wrong. Each message says what, the actual value, what is allowed, and what to do next."""

from __future__ import annotations

TYPE_CHECKING = False  # imported at the start of every mflux command, where typing alone would cost milliseconds
if TYPE_CHECKING:
    from typing import Any


class PluginError(Exception):
    """Base class of every error that this package raises on purpose."""

    def __str__(self) -> str:
        """It may name values of a stranger's file, which must not act on a terminal."""
        return _visible(super().__str__())


class Refused(PluginError):
    """A request that can be turned down before any work is done.

    Plugins raise it from ``mflux_check`` and ``mflux_attach``; mflux's commands then exit with
    code 2 and show the message alone. The model is left as it was.
    """


class OptionError(Refused):
    """A plugin option with a value outside what is allowed, or one that does not exist."""


class UnknownPlugin(Refused):
    """No installed package provides a plugin of the name that was asked for."""


class UnsupportedModel(Refused):
    """The model's transformer or pipeline is not one that the adapters know."""


class AlreadyAttached(Refused):
    """Something else already reuses steps of this model."""


class BrokenPlugin(Refused):
    """A plugin that cannot be loaded, or does not fit the hooks."""


class HookFailed(PluginError):
    """A plugin's hook raised while an image was being made.

    Attributes:
        plugin: name of the plugin, as given to ``--plugin``.
        hook: name of the hook, such as ``mflux_step_start``.
        step: index of the denoising step among the active ones, from 0; ``None`` outside the steps.
    """

    def __init__(self, plugin: str, hook: str, step: int | None, error: BaseException) -> None:
        where = "" if step is None else f" at step {step}"
        super().__init__(
            f"plugin {plugin!r} failed in {hook}{where}: {described(error)}. "
            f"It is taken off, and the model is as it was before; run without --plugin {plugin} to go on."
        )
        self.plugin = plugin
        self.hook = hook
        self.step = step


class NotWritten(PluginError):
    """A file could not be written when all that it was to hold was done."""


class ModelFailed(Exception):
    """mflux's own forward raised while a plugin read a signal of it. Its cause is what mflux raised."""


def is_interruption(error: BaseException) -> bool:
    """Ctrl-C, also as what mflux makes of it in its loop: an ordinary exception of its own."""
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "StopImageGenerationException"


class PluginWarning(UserWarning):
    """Something that a user should know, but that does not stop the image."""

    def __str__(self) -> str:
        """As of a ``PluginError``."""
        return _visible(super().__str__())


def _visible(message: str) -> str:
    from mflux_teacache.terminal import visible_lines

    return visible_lines(message)


def described(error: BaseException) -> str:
    """An error of somebody else's in a few words: its kind and what it says, without the full stop that may end it."""
    try:
        said = str(error).rstrip().removesuffix(".")
    except Exception:  # noqa: BLE001 - whatever its __str__ raises
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def brief(value: Any) -> str:
    """A value of somebody else's as a message shows it: whole if it is short, and never long."""
    import reprlib

    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001 - of a number with too many digits, or whatever its __repr__ raises
        return f"a value of the type {type(value).__name__}"
