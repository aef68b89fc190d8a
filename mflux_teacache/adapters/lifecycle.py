"""An attachment's hold on a model: ``generate_image``, mflux's loop and its predictions, and how all of it lets go.

The pipeline and its transformers become instances of subclasses, never a class or module of mflux is changed; so two
models do not mix, and what the objects hold is not touched.
"""

from __future__ import annotations

import functools
import inspect
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from mflux_teacache.adapters.body import Body
from mflux_teacache.adapters.forward import with_globals
from mflux_teacache.adapters.images import Call, Image, LooseCall, Owner
from mflux_teacache.adapters.loop import Loop, registry_of
from mflux_teacache.adapters.pipelines import pipeline_of
from mflux_teacache.adapters.predictions import Predictions
from mflux_teacache.adapters.signatures import bind
from mflux_teacache.adapters.swaps import Swaps, subclass
from mflux_teacache.errors import HookFailed, PluginWarning, UnsupportedModel, is_interruption

_PASSED_BY = (
    "generate_image was called on the pipeline's class and not on the model, so plugins do not see the image that it "
    "returns, and nothing is recorded in its metadata. Call model.generate_image(...)."
)
_OUT_OF_REACH = (
    "generate_image was called on the pipeline's class and not on the model, and this pipeline then makes its "
    "predictions without asking the model: no plugin takes part in the image. Call model.generate_image(...)."
)

MARK = "_mflux_plugins_handle"  # on the class of a pipeline and of its transformers, while plugins are attached


class Handle(Protocol):
    """What the caller of ``attach`` has in hand."""

    def restore(self) -> None: ...


class Lifecycle:
    """Holds on to one pipeline object.

    Args:
        model: the pipeline.
        body: the seam of its transformer.
        owner: of the images.
        handle: is noted on the model.

    Attributes:
        leaving: it is to let go, as soon as no image is being made.
        gone: it does nothing yet, or any more: whatever of it is called does what mflux's own does.
        off: everything has been taken back.
    """

    def __init__(self, model: Any, body: Body, owner: Owner, handle: Handle) -> None:
        self.gone, self.off = True, False
        self._model = weakref.ref(model)
        self._body = body
        self._owner = owner
        self._handle = handle
        self._pipeline = pipeline_of(type(model))
        self._factories = [name for name in body.family.predict if hasattr(model, name)]
        self._predictions = Predictions(body, type(model).__name__, predicts=bool(self._factories))
        self._loop = Loop(body.here, self._start)
        self._swaps = Swaps()
        self._calls: set[Call] = set()
        self._by_class = any(
            _named_classes(vars(base).get("generate_image"), type(model), body.family.predict)
            for base in type(model).__mro__
        )
        self.leaving = False

    def install(self) -> None:
        """Put everything in place, and then begin, so that an image that is under way is not seen from its middle on.

        The pipeline, by which ``attached`` finds the handle, is the first to be changed and the last to be restored.

        Raises:
            UnsupportedModel: a part of the model is not as its family's entry describes it. ``restore`` takes back what
                was done by then.
        """
        model, family = self._model(), self._body.family
        self._swap(model, self._of_pipeline(type(model)), self._generating(type(model)))
        for name in {"generate_image", *self._factories} & vars(model).keys():
            self._swaps.set(model, name, self._of_own(name, vars(model)[name]))
        for transformer in (getattr(model, name) for name in family.attributes):
            self._swap(transformer, self._of_transformer(type(transformer)))
        if family.caller is not None and hasattr(model, family.caller):
            caller = getattr(model, family.caller)
            self._swap(caller, {"__call__": self._predictions.caller(type(caller), type(caller).__call__)})
        self._body.install()
        self.gone = False

    def restore(self) -> None:
        """Let go of everything: now, or when the images that are being made are done.

        A forward that goes on without the seam would run what is left of a skipped body. May be called again, also
        after an interrupt.
        """
        self.leaving = True
        if self.under_way():
            return
        self.gone = True
        if self.under_way():  # since another thread has begun an image just now
            self.gone = False
            return
        self._body.restore()
        self._swaps.undo()
        self._owner.drop()
        self.off = True

    def under_way(self) -> bool:
        """End calls that have failed unseen; returns whether others are under way."""
        for call in list(self._calls):
            if not call.is_under_way():
                self._settle(call)
        return bool(self._calls)

    def _swap(self, instance: Any, members: dict[str, Any], metaclass: type | None = None) -> None:
        self._swaps.swap(instance, subclass(type(instance), {MARK: self._handle, **members}, metaclass))

    # What the subclasses differ in

    def _of_transformer(self, cls: type) -> dict[str, Any]:
        forward = cls.__call__
        if self._body.family.compiles:
            return self._predictions.compiling(cls, forward)
        return {"__call__": self._predictions.call(cls, forward)}

    def _of_pipeline(self, cls: type) -> dict[str, Any]:
        def put(model: Any, registry: Any) -> None:
            vars(model)["callbacks"] = registry_of(registry)

        def drop(model: Any) -> None:
            del vars(model)["callbacks"]

        factories = {name: _Replaced(cls, name, self._predictions.factory) for name in self._factories}
        return {"callbacks": property(self._callbacks, put, drop), **factories}

    def _callbacks(self, model: Any) -> Any:
        registry = vars(model)["callbacks"]
        return registry if self.gone else self._loop.view(registry)

    def _generating(self, cls: type) -> type:
        """A metaclass that puts ours before each ``generate_image`` of a class and its bases.

        So it is called as well where a subclass's own method calls ``super().generate_image(...)``.
        """
        ours = {
            base: type(base.__name__, (), {"generate_image": self._generate_image(vars(base)["generate_image"])})
            for base in cls.__mro__
            if "generate_image" in vars(base)
        }

        def mro(made: type) -> list[type]:
            return [each for base in type.mro(made) for each in ((ours[base], base) if base in ours else (base,))]

        return type(type(cls).__name__, (type(cls),), {"mro": mro})

    def _generate_image(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def generate_image(model: Any, *args: Any, **kwargs: Any) -> Any:
            if self.gone:
                return original(model, *args, **kwargs)
            method = _by_object(original, model, self._body.family.predict)
            return self._make_image(functools.partial(method, model), args, kwargs)

        return generate_image

    def _of_own(self, name: str, own: Any) -> Callable[..., Any]:
        """In the place of what somebody has set on the pipeline itself."""
        if name != "generate_image":
            return self._predictions.factory(own)

        @functools.wraps(own)
        def generate_image(*args: Any, **kwargs: Any) -> Any:
            return own(*args, **kwargs) if self.gone else self._make_image(own, args, kwargs)

        return generate_image

    # What is under way

    def _make_image(self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of ``generate_image``.

        Args:
            method: mflux's, bound.
        """
        self.under_way()  # ends what has failed unseen
        call = Call(self._owner.check(_arguments(method, args, kwargs)))
        here = self._body.here
        outer = here.call, here.image
        try:
            self._calls.add(call)
            here.call = call
            image = method(*args, **kwargs)
            call.end("finished")
            self._record(image, call)
            return image
        except BaseException as error:
            self._failed(call, error)
            raise
        finally:
            here.call, here.image = outer
            self._leave(call)

    def _start(self, context: Any, arguments: dict[str, Any]) -> Image | None:
        """mflux has made the context of an image; ``None`` for one in which plugins cannot take part."""
        call = self._body.here.call
        if call is None or not call.is_under_way():
            self.under_way()  # ends what has failed unseen
            if self._by_class:
                warnings.warn(_OUT_OF_REACH, PluginWarning, stacklevel=4)
                return None
            call = LooseCall(context, self._failed, self._leave)
            self._calls.add(call)
            warnings.warn(_PASSED_BY, PluginWarning, stacklevel=4)
        image = Image(
            self._owner,
            self._body,
            call.asked,
            self._pipeline.idle_steps,
            call if isinstance(call, LooseCall) else None,
            **{name: arguments[name] for name in ("config", "seed", "prompt")},
        )
        call.images.append(image)
        return image

    def _record(self, image: Any, call: Call) -> None:
        if call.images and (runtime := call.images[-1].runtime) is not None:
            self._owner.record(image, runtime)

    def _failed(self, call: Call, error: BaseException) -> None:
        call.end("interrupted" if is_interruption(error) else "failed")
        self.leaving |= isinstance(error, HookFailed | UnsupportedModel)

    def _leave(self, call: Call) -> None:
        """A call is over, however it ended."""
        self._settle(call)
        if self.leaving:
            self.restore()

    def _settle(self, call: Call) -> None:
        call.end("failed")  # no image that has ended, unless an interrupt cut that off
        self._calls.discard(call)
        for image in call.images:
            if image.runtime is not None:
                self._owner.release(image.runtime)


class _Replaced:
    """A method that something else is made of, for each object on which it is looked up."""

    def __init__(self, cls: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self._cls = cls
        self._method = inspect.getattr_static(cls, name)
        self._make = make

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        method = self._method.__get__(instance, self._cls)
        return method if instance is None else self._make(method)


def _arguments(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """By name; none of a call that Python refuses, which says best what is wrong with it."""
    try:
        return bind(inspect.signature(method), args, kwargs)
    except TypeError:
        return {}


def _by_object(function: Callable[..., Any], model: Any, names: tuple[str, ...]) -> Callable[..., Any]:
    """A method in which the pipeline's class stands for the object, for as long as it runs.

    Some pipelines build their predict function as ``Anima._predict(...)`` and not as ``self._predict(...)``,
    which would pass by what is set on the object.
    """
    by_class = dict.fromkeys(_named_classes(function, type(model), names), model)
    return with_globals(function, **by_class) if isinstance(function, types.FunctionType) and by_class else function


def _named_classes(function: Any, cls: type, names: tuple[str, ...]) -> list[str]:
    """The names by which a method of the pipeline's asks a class for what builds its predict function.

    A user's own subclass, which builds none, keeps the very function that it wrote: its globals are its own to change.
    """
    if not isinstance(function, types.FunctionType) or not set(names) & set(function.__code__.co_names):
        return []
    classes = {base for base in cls.__mro__ if any(name in vars(base) for name in names)}
    return [
        name
        for name in function.__code__.co_names
        if isinstance(value := function.__globals__.get(name), type) and value in classes
    ]
