"""mflux's calls for a prediction, sent to the image that is being made where they are called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from mflux_teacache.adapters.body import Body
from mflux_teacache.adapters.forward import CompiledPredict, plain_predict, with_core
from mflux_teacache.adapters.images import Image
from mflux_teacache.adapters.signatures import bind_all, of_method
from mflux_teacache.errors import UnsupportedModel


class Predictions:
    """The members of the subclasses by which plugins see each prediction of a model.

    Outside of an image's loop, and while its plugins or callbacks are at work, all of them do what mflux's own do.

    Args:
        predicts: the pipeline builds its predict functions by methods, so that nothing else may call its transformer.
    """

    def __init__(self, body: Body, pipeline: str, *, predicts: bool) -> None:
        self._body = body
        self._pipeline = pipeline
        self._predicts = predicts

    def factory(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """In the place of a method that builds a predict function.

        Args:
            original: mflux's, bound.
        """

        method = inspect.unwrap(original)
        owner, function = (method.__self__,) if inspect.ismethod(method) else (), getattr(method, "__func__", method)

        @functools.wraps(original)
        def build(*args: Any) -> Callable[..., Any]:
            predict, compiled = plain_predict(function, *owner, *args)
            if not inspect.isroutine(predict):
                raise self._unseen()
            return self._predicting(predict, functools.partial(original, *args), compiled=compiled)

        return build

    def _predicting(
        self, predict: Callable[..., Any], build_plain: Callable[[], Callable[..., Any]], *, compiled: bool
    ) -> Callable[..., Any]:
        """A predict function that asks the image.

        Args:
            predict: mflux's, before it compiles it.
            build_plain: makes mflux's own, for calls that belong to no image.
            compiled: mflux compiles it.
        """
        signature = inspect.signature(predict)
        plain: list[Callable[..., Any]] = []
        halves = CompiledPredict(self._body, predict) if compiled else None

        def step(*args: Any, **kwargs: Any) -> Any:
            image = self._image
            if image is None:
                plain[:] = plain or [build_plain()]
                return plain[0](*args, **kwargs)
            arguments = bind_all(signature, args, kwargs)
            if halves is None:
                return image.predict(predict, arguments)
            return image.predict_compiled(halves, arguments)

        return step

    def call(self, cls: type, forward: Callable[..., Any]) -> Callable[..., Any]:
        """In the place of a transformer's ``__call__``, or of what runs its blocks in its stead.

        Args:
            cls: whose method it is.
            forward: mflux's.
        """
        signature = of_method(cls, "__call__")

        def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:
            image = self._image
            if image is None:
                return forward(module, *args, **kwargs)
            if self._predicts:
                raise self._unseen()
            return image.predict(functools.partial(forward, module), bind_all(signature, args, kwargs))

        return __call__

    def caller(self, cls: type, forward: Any) -> Callable[..., Any]:
        """As ``call``, of a module beside the transformer that evaluates work of its own."""
        return self.call(cls, with_core(forward, eval=self._body.evaluate))

    def compiling(self, cls: type, forward: Callable[..., Any]) -> dict[str, Any]:
        """The members of a transformer's subclass where it compiles parts of itself.

        It compiles where it finds nothing compiled yet. So during an image it finds ours, and it keeps nothing.
        """
        signature = of_method(cls, "__call__")

        def __call__(transformer: Any, *args: Any, **kwargs: Any) -> Any:
            image = self._image
            if image is not None:
                image.asked = bind_all(signature, args, kwargs)
            return forward(transformer, *args, **kwargs)

        parts = {kept: self._part(kept, method) for kept, method in self._body.family.compiles if hasattr(cls, method)}
        return {"__call__": __call__, **parts}

    def _part(self, kept: str, method: str) -> property:
        """The attribute in which a transformer keeps what it compiled of a method."""

        def get(transformer: Any) -> Any:
            image = self._image
            if image is not None:
                return image.compiled_part(transformer, method)
            if kept in vars(transformer):
                return vars(transformer)[kept]
            raise AttributeError(kept)

        def put(transformer: Any, value: Any) -> None:
            vars(transformer)[kept] = value

        def drop(transformer: Any) -> None:
            del vars(transformer)[kept]

        return property(get, put, drop)

    def _unseen(self) -> UnsupportedModel:
        return UnsupportedModel(
            f"{self._pipeline} called its transformer by another predict function than the one that plugins run on. "
            f"Has its generate_image been overridden? Then it must call super().generate_image(...). "
            f"Has it been wrapped? Then attach first and wrap it afterwards. Else this "
            f"version of mflux may be newer than the newest supported one: upgrade mflux-teacache-plugin."
        )

    @property
    def _image(self) -> Image | None:
        """Whose loop calls; ``None`` also while it is already being answered."""
        here = self._body.here
        image = here.image
        return image if image is not None and image.running and here.phase is None else None
