"""An attachment's hold on a model: it covers ``generate_image``, mflux's loop and its predictions, and lets go again.

The pipeline and its transformers become instances of subclasses. No class or module of mflux is changed, so two models
do not mix, and what the objects hold is not touched.
"""

from __future__ import annotations

import functools
import inspect
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from mflux_teacache.adapters.calls import Call, LooseCall
from mflux_teacache.adapters.entry_check import bind, of_method
from mflux_teacache.adapters.seam.compiled import compiling_itself, deferring, factory, with_globals
from mflux_teacache.adapters.seam.image import IMAGE, Body, Image, loop_methods
from mflux_teacache.adapters.seam.run import calling
from mflux_teacache.adapters.swaps import Swaps, subclass
from mflux_teacache.errors import NEWER_MFLUX, HookFailed, PluginWarning, UnsupportedModel, is_interruption
from mflux_teacache.records import Status, Target

_PASSED_BY = (
    "generate_image was called on the pipeline's class and not on the model, so plugins do not see the image that it "
    "returns, and nothing is recorded in its metadata. Call model.generate_image(...)."
)
_OUT_OF_REACH = (
    "generate_image was called on the pipeline's class and not on the model, and this pipeline then makes its "
    "predictions without asking the model: no plugin takes part in the image. Call model.generate_image(...)."
)

MARK = "_mflux_plugins_handle"  # on the class of a pipeline and of its transformers, while plugins are attached
_REGISTRY = "_mflux_plugins_registry"  # on the class of what stands for a registry


class Owner(Protocol):
    """The attachment: it checks images, gives each of them its plugins, and records what happened."""

    def check(self, arguments: dict[str, Any]) -> Target:
        """Check the arguments of ``generate_image``; returns what they ask for."""

    def begin(self, image: dict[str, Any], latents: Any, asked: Target | None) -> Any:
        """The runtime that takes an image's plugins through a denoising loop that is about to start.

        Args:
            image: mflux's ``config`` for the image, its ``seed`` and its ``prompt``.
            asked: what ``check`` returned for it; ``None`` if nothing was checked.
        """

    def end(self, runtime: Any, status: Status) -> None:
        """The denoising loop is over. May be called again where an interrupt cut it off."""

    def record(self, image: Any, runtime: Any) -> None:
        """Record what happened in the image that ``generate_image`` has made. No failure here costs the image."""

    def release(self, runtime: Any) -> None:
        """Let another image have the plugins of this one."""

    def drop(self) -> None:
        """Drop the plugins: no further image will be made."""


class Lifecycle:
    """Holds on to one pipeline object.

    Args:
        model: the pipeline.
        body: the seam of its transformer.
        owner: checks the images and gives them their plugins.
        handle: noted on the model, where ``attached`` finds it.

    Attributes:
        leaving: it lets go as soon as no image is being made.
        gone: it is not active yet, or no longer: every method of it that is called does what mflux's own does.
        off: everything has been taken back.
    """

    def __init__(self, model: Any, body: Body, owner: Owner, handle: object) -> None:
        self.gone, self.off = True, False
        self._model = weakref.ref(model)  # mflux's memory saver frees a model by dropping the last reference
        self._body = body
        self._owner = owner
        self._handle = handle
        self._factories = [name for name in body.family.predict if hasattr(model, name)]
        self._factory = functools.partial(factory, body, unseen=_unseen(model))
        self._view: Any = None
        self._contexts: dict[type, type] = {}
        self._swaps = Swaps()
        self._calls: set[Call] = set()
        self._named = {
            base: _named_classes(vars(base)["generate_image"], type(model), body.family.predict)
            for base in type(model).__mro__
            if "generate_image" in vars(base)
        }
        self.leaving = False

    def install(self) -> None:
        """Put everything in place, and then begin.

        Raises:
            UnsupportedModel: a part of the model is not as its family's entry describes it. ``restore`` then takes back
                what was done so far.
        """
        model, family = self._model(), self._body.family
        # ``attached`` finds the handle by the pipeline, so that is changed first and restored last.
        self._swap(model, self._of_pipeline(type(model)), self._generating(type(model)))
        for name in {"generate_image", *self._factories} & vars(model).keys():
            self._swaps.set(model, name, self._of_own(name, vars(model)[name]))
        for transformer in (getattr(model, name) for name in family.attributes):
            self._swap(transformer, self._of_transformer(type(transformer)))
        if family.caller is not None and hasattr(model, family.caller):
            caller = getattr(model, family.caller)
            forward: Any = type(caller).__call__
            self._swap(caller, {"__call__": self._calling(type(caller), deferring(self._body.here, forward))})
        self._body.install()
        # Only now, so that an image that is already under way is not seen from its middle on.
        self.gone = False

    def restore(self) -> None:
        """Let go of everything, now or when the images that are being made are done.

        It may be called again, also after an interrupt.
        """
        self.leaving = True
        if self.under_way():  # without the seam, a paused forward would run the rest of a body that is being skipped
            return
        self.gone = True
        if self.under_way():  # another thread may have begun an image between the two lines above
            self.gone = False
            return
        self._body.restore()
        self._swaps.undo()
        self._owner.drop()
        self.off = True

    def under_way(self) -> bool:
        """End calls that have failed unseen; returns whether others are under way."""
        for call in list(self._calls):  # a copy, since settling a call removes it
            if not call.is_under_way():
                self._settle(call)
        return bool(self._calls)

    def _swap(self, instance: Any, members: dict[str, Any], metaclass: type | None = None) -> None:
        self._swaps.swap(instance, subclass(type(instance), {MARK: self._handle, **members}, metaclass))

    # What the subclasses differ in

    def _of_transformer(self, cls: type) -> dict[str, Any]:
        if self._body.family.compiles:
            return compiling_itself(self._body, cls)
        return {"__call__": self._calling(cls, cls.__call__)}

    def _calling(self, cls: type, forward: Callable[..., Any]) -> Callable[..., Any]:
        # A pipeline that builds a predict function must not call its transformer by any other way.
        unseen = _unseen(self._model()) if self._factories else None
        return calling(self._body.here, forward, of_method(cls, "__call__"), unseen)

    def _of_pipeline(self, cls: type) -> dict[str, Any]:
        def put(model: Any, registry: Any) -> None:
            # An app that saves ``model.callbacks`` and puts it back hands us our view: the user's registry is meant.
            vars(model)["callbacks"] = getattr(type(registry), _REGISTRY, registry)

        def drop(model: Any) -> None:
            del vars(model)["callbacks"]

        factories = {name: _Replaced(cls, name, self._factory) for name in self._factories}
        return {"callbacks": property(self._callbacks, put, drop), **factories}

    def _callbacks(self, model: Any) -> Any:
        """The registry of callbacks that mflux finds on the pipeline: a view of the user's own.

        mflux asks it for a context for each image, and reports the denoising loop to that context.
        """
        registry = vars(model)["callbacks"]
        if self.gone:
            return registry
        if self._view is None or getattr(type(self._view), _REGISTRY) is not registry:
            cls = type(registry)
            view: Any = object.__new__(subclass(cls, {_REGISTRY: registry, "start": self._starting(cls.start)}))
            # The registry belongs to the user, who may replace or clear it at any time, and is not touched. With one
            # dict for both, a callback that is put into one is in the other.
            view.__dict__ = vars(registry)
            self._view = view
        return self._view

    def _starting(self, start: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``start``, mflux's method that makes a context."""
        signature = inspect.signature(start)

        def reporting(registry: Any, *args: Any, **kwargs: Any) -> Any:
            context = start(registry, *args, **kwargs)
            image = self._start(context, signature.bind(registry, *args, **kwargs).arguments)
            if image is None:
                return context
            theirs = type(context)
            if theirs not in self._contexts:
                self._contexts[theirs] = subclass(theirs, loop_methods(theirs, self._body.here))
            context.__class__ = self._contexts[theirs]
            vars(context)[IMAGE] = image
            return context

        return reporting

    def _generating(self, cls: type) -> type:
        """A metaclass that puts ours before each ``generate_image`` of the pipeline's class and its bases."""
        ours = {
            base: type(base.__name__, (), {"generate_image": self._generate_image(vars(base)["generate_image"], named)})
            for base, named in self._named.items()
        }

        # Overriding the method once would be simpler, but a subclass's own method that calls
        # ``super().generate_image(...)`` would pass it by.
        def mro(made: type) -> list[type]:
            return [each for base in type.mro(made) for each in ((ours[base], base) if base in ours else (base,))]

        return type(type(cls).__name__, (type(cls),), {"mro": mro})

    def _generate_image(self, original: Callable[..., Any], named: list[str]) -> Callable[..., Any]:
        """Wrap one ``generate_image``.

        Args:
            named: what ``_named_classes`` finds in it.
        """

        @functools.wraps(original)
        def generate_image(model: Any, *args: Any, **kwargs: Any) -> Any:
            if self.gone:
                return original(model, *args, **kwargs)
            method = _by_object(original, named, model)
            return self._make_image(functools.partial(method, model), args, kwargs)

        return generate_image

    def _of_own(self, name: str, own: Any) -> Callable[..., Any]:
        """Wrap a method that somebody has set on the pipeline itself, such as an app's wrapper."""
        if name != "generate_image":
            return self._factory(own)

        @functools.wraps(own)
        def generate_image(*args: Any, **kwargs: Any) -> Any:
            return own(*args, **kwargs) if self.gone else self._make_image(own, args, kwargs)

        return generate_image

    # What is under way

    def _make_image(self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one call of ``generate_image``.

        Args:
            method: mflux's, bound.
        """
        self.under_way()  # ends what has failed unseen, so that its plugins are free for this image
        call = Call(self._owner.check(_arguments(method, args, kwargs)))
        here = self._body.here
        outer = here.call, here.image  # a callback may make a preview in the middle of another image
        try:
            self._calls.add(call)
            here.call = call
            image = method(*args, **kwargs)
            call.end("finished")
            self._record(image, call)
            return image
        except BaseException as error:  # Ctrl-C ends an image as well
            self._failed(call, error)
            raise
        finally:
            here.call, here.image = outer
            self._leave(call)

    def _start(self, context: Any, arguments: dict[str, Any]) -> Image | None:
        """The image for a context that mflux has just made; ``None`` if plugins cannot take part in it."""
        call = self._body.here.call
        if call is None or not call.is_under_way():
            self.under_way()  # ends what has failed unseen
            if any(self._named.values()):
                warnings.warn(_OUT_OF_REACH, PluginWarning, stacklevel=4)
                return None
            call = LooseCall(context, self._failed, self._leave)
            self._calls.add(call)
            warnings.warn(_PASSED_BY, PluginWarning, stacklevel=4)
        made_of = {name: arguments[name] for name in ("config", "seed", "prompt")}
        asked = call.asked  # the lambda must not hold the call, which holds its images: that would be a cycle
        image: Image = call.make(
            self._body, lambda latents: self._owner.begin(made_of, latents, asked), self._owner.end
        )
        return image

    def _record(self, image: Any, call: Call) -> None:
        if call.images and (runtime := call.images[-1].runtime) is not None:
            self._owner.record(image, runtime)

    def _failed(self, call: Call, error: BaseException) -> None:
        call.end("interrupted" if is_interruption(error) else "failed")
        # After a fault of plugins the model must be usable without them; any other error is none of our business.
        self.leaving |= isinstance(error, HookFailed | UnsupportedModel)

    def _leave(self, call: Call) -> None:
        """End a call, however it went."""
        self._settle(call)
        if self.leaving:
            self.restore()

    def _settle(self, call: Call) -> None:
        call.end("failed")  # does nothing to images that have ended, unless an interrupt cut their end off
        self._calls.discard(call)
        for image in call.images:
            if image.runtime is not None:
                self._owner.release(image.runtime)


class _Replaced:
    """A descriptor in the place of a method: it wraps the method anew for each object on which it is looked up."""

    def __init__(self, cls: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self._cls = cls
        self._method = inspect.getattr_static(cls, name)
        self._make = make

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        method = self._method.__get__(instance, self._cls)
        return method if instance is None else self._make(method)


def _unseen(model: Any) -> str:
    return (
        f"{type(model).__name__} called its transformer by another predict function than the one that plugins run on. "
        f"Has its generate_image been overridden? Then it must call super().generate_image(...). "
        f"Has it been wrapped? Then attach first and wrap it afterwards. Else {NEWER_MFLUX}"
    )


def _arguments(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name."""
    try:
        return bind(inspect.signature(method), args, kwargs)
    except TypeError:  # the call itself is about to fail, and Python's own message says best what is wrong with it
        return {}


def _by_object(function: Any, named: list[str], model: Any) -> Callable[..., Any]:
    """The method, with the object in the place of the pipeline's class wherever the method names the class.

    Args:
        named: the names by which the method asks for the class.
    """
    # Some pipelines build their predict function as ``Anima._predict(...)`` and not as ``self._predict(...)``, which
    # would miss what is set on the object.
    method: Callable[..., Any] = with_globals(function, **dict.fromkeys(named, model)) if named else function
    return method


def _named_classes(function: Any, cls: type, names: tuple[str, ...]) -> list[str]:
    """The names by which a method of the pipeline asks a class for the function that builds its predict function."""
    # A user's own method that builds none keeps its function as it is: its globals are its own to change.
    if not isinstance(function, types.FunctionType) or not set(names) & set(function.__code__.co_names):
        return []
    classes = {base for base in cls.__mro__ if any(name in vars(base) for name in names)}
    return [
        name
        for name in function.__code__.co_names
        if isinstance(value := function.__globals__.get(name), type) and value in classes
    ]
