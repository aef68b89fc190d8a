"""How an attachment hears of mflux's denoising loop: from the context that mflux makes for each image.

mflux asks the pipeline's callback registry for the context, and tells it of the loop's start, steps and end. The
registry and its lists of callbacks belong to the user, who may replace or clear them at any time, and are not touched.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mflux_teacache.adapters.here import Here
from mflux_teacache.adapters.images import Image
from mflux_teacache.adapters.swaps import subclass

_IMAGE = "_mflux_plugins_image"  # on a context
_REGISTRY = "_mflux_plugins_registry"  # on the class of what stands for a registry

# From a context, and the arguments that it was made of, to its image; ``None`` leaves the context as it is.
MakeImage = Callable[[Any, dict[str, Any]], Image | None]


class Loop:
    """Makes the registry's stand-ins, and the contexts that report.

    Ours is told first: residuals must be gone before mflux's memory saver measures, and before decoding starts.
    """

    def __init__(self, here: Here, make: MakeImage) -> None:
        self._here = here
        self._make = make
        self._view: Any = None
        self._contexts: dict[type, type] = {}

    def view(self, registry: Any) -> Any:
        """What stands for a registry: of a subclass of its class, with the same attributes, so that callbacks that are
        put into one are in the other."""
        if self._view is None or getattr(type(self._view), _REGISTRY) is not registry:
            cls = subclass(type(registry), {_REGISTRY: registry, "start": self._starting(type(registry))})
            view: Any = object.__new__(cls)
            view.__dict__ = vars(registry)
            self._view = view
        return self._view

    def _starting(self, cls: type) -> Callable[..., Any]:
        start = cls.start  # type: ignore[attr-defined]
        signature = inspect.signature(start)

        def reporting(registry: Any, *args: Any, **kwargs: Any) -> Any:
            context = start(registry, *args, **kwargs)
            image = self._make(context, signature.bind(registry, *args, **kwargs).arguments)
            if image is None:
                return context
            theirs = type(context)
            if theirs not in self._contexts:
                self._contexts[theirs] = subclass(theirs, self._reporting(theirs))
            context.__class__ = self._contexts[theirs]
            vars(context)[_IMAGE] = image
            return context

        return reporting

    def _reporting(self, cls: Any) -> dict[str, Callable[..., None]]:
        """The methods of a context, which tell the image and then mflux's callbacks."""
        here = self._here

        def before_loop(context: Any, latents: Any, *args: Any, **kwargs: Any) -> None:
            image = vars(context)[_IMAGE]
            with here.aside():
                image.begin(latents)
                cls.before_loop(context, latents, *args, **kwargs)
            here.image = image

        def in_loop(context: Any, t: int, latents: Any, *args: Any, **kwargs: Any) -> None:
            with here.aside():
                vars(context)[_IMAGE].end_step(latents)
                cls.in_loop(context, t, latents, *args, **kwargs)

        def after_loop(context: Any, *args: Any, **kwargs: Any) -> None:
            with here.aside():
                vars(context)[_IMAGE].end("finished")
                cls.after_loop(context, *args, **kwargs)
            here.image = None

        def interruption(context: Any, *args: Any, **kwargs: Any) -> None:
            with here.aside():
                vars(context)[_IMAGE].end("interrupted")
                cls.interruption(context, *args, **kwargs)
            here.image = None

        return {
            "before_loop": before_loop,
            "in_loop": in_loop,
            "after_loop": after_loop,
            "interruption": interruption,
        }


def registry_of(value: Any) -> Any:
    """The user's own registry, of what may stand for it."""
    return getattr(type(value), _REGISTRY, value)
