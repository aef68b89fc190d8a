"""An image that is done is kept: nothing that is made or said of it afterwards costs it. No mlx."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

from mflux_teacache.errors import PluginWarning, described
from mflux_teacache.terminal import tell, visible


def warn_kept(message: str) -> None:
    """Warn of something when an image is done. Nothing that becomes of the warning costs the image.

    Where warnings are errors, or cannot be shown, as on a full device, it goes to standard error, if that takes it.
    """
    try:
        warnings.warn(message, PluginWarning, stacklevel=3)
    except Exception:  # noqa: BLE001 - whatever a warnings filter or a replaced showwarning raises
        tell(f"warning: {visible(message)}", sys.stderr)


@contextlib.contextmanager
def costing_nothing(what: str) -> Iterator[None]:
    """For what is done with a finished image: an exception is a warning.

    Args:
        what: fails, such as "recording what the plugins did".
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the image is worth more than what is said of it
        warn_kept(f"{what} failed: {described(error)}. The image is kept.")
