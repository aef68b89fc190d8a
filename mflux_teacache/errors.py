"""The errors. Each message says what is wrong, the actual value, what is allowed, and what to do next."""

from __future__ import annotations

from mflux_teacache.spelling import described, visible_lines

NEWER_MFLUX = (
    "this version of mflux may be newer than the newest supported one: upgrade mflux-teacache-plugin, or install an "
    "earlier mflux."
)
"""What to do where mflux is not as an adapter knows it, as the end of a sentence."""


class PluginError(Exception):
    """Base class of every error that this package raises on purpose."""

    def __str__(self) -> str:
        """The message, in which control characters are spelt out."""
        # It may quote a stranger's file, which must not act on a terminal, even in a traceback that is not ours.
        return visible_lines(super().__str__())


class Refused(PluginError):
    """A request that can be turned down before any work is done.

    Plugins raise it from ``mflux_check`` and ``mflux_attach``. mflux's commands then exit with code 2 and show only the
    message. The model is left as it was.
    """


class OptionError(Refused):
    """A plugin's option has a value that is not allowed, or does not exist."""


class UnknownPlugin(Refused):
    """No installed package provides a plugin of the name that was asked for."""


class UnsupportedModel(Refused):
    """The model's transformer or pipeline is not one that the adapters know."""


class AlreadyAttached(Refused):
    """Something else already reuses steps of this model."""


class BrokenPlugin(Refused):
    """A plugin cannot be loaded, or does not fit the hooks."""


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
    """A file could not be written, after the work for its content was done."""


class ModelFailed(Exception):
    """mflux's own forward raised while a plugin was reading a signal. The cause of this error is what mflux raised."""


def is_interruption(error: BaseException) -> bool:
    """Whether an error is Ctrl-C."""
    # mflux's loop turns it into an ordinary exception of its own. By name, so that mflux need not be imported.
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "StopImageGenerationException"


class PluginWarning(UserWarning):
    """Something that a user should know, but that does not stop the image."""

    def __str__(self) -> str:
        """The message, in which control characters are spelt out."""
        return visible_lines(super().__str__())
