"""One image from start to end: ``generate_image``, mflux's callbacks, its predict functions, its transformer.

Everything is set on the pipeline object and on its transformer's blocks, never on a class or module of
mflux, so two models do not mix; and everything is undone by ``restore``.
"""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

from mflux_teacache.adapters import swaps
from mflux_teacache.adapters.body import Body
from mflux_teacache.adapters.forward import (
    EagerForward,
    compiled_forward,
    plain_predict,
    with_core,
    with_globals,
)
from mflux_teacache.adapters.pipelines import pipeline_of
from mflux_teacache.adapters.signatures import bind, bind_all, of_method
from mflux_teacache.errors import HookFailed, UnsupportedModel, is_interruption
from mflux_teacache.records import Generation, Status
from mflux_teacache.runtime import Runtime

MARK = "_mflux_plugins_handle"  # on a pipeline and its transformers, while plugins are attached

Check = Callable[[dict[str, Any]], None]
CheckRun = Callable[[Generation], None]
Record = Callable[[Any, Generation], None]


class Handle(Protocol):
    """What the caller of ``attach`` has in hand."""

    def restore(self) -> None: ...


class Lifecycle:
    """Drives a runtime from one pipeline object.

    Args:
        model: the pipeline.
        body: the seam of its transformer.
        check: judges the arguments of each ``generate_image`` before it starts.
        check_run: judges the image as the denoising loop is about to make it.
        record: gets the image that ``generate_image`` returns, and its generation.
        handle: is noted on the model; and takes the whole attachment off, after a plugin's hook failed or the model
            turned out to be another than its family's entry describes.
    """

    def __init__(
        self,
        model: Any,
        body: Body,
        runtime: Runtime,
        *,
        check: Check,
        check_run: CheckRun,
        record: Record,
        handle: Handle,
    ) -> None:
        self._model = weakref.ref(model)
        self._factories = [name for name in body.family.predict if hasattr(model, name)]
        self._idle_steps = pipeline_of(type(model)).idle_steps
        self._body = body
        self._runtime = runtime
        self._check = check
        self._check_run = check_run
        self._record = record
        self._handle = handle
        self._images: list[Generation | None] = []  # one entry per generate_image under way: it may call itself
        self._count = 0
        self._compiled: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()  # ours, which the transformer holds
        self._signatures: weakref.WeakKeyDictionary[type, inspect.Signature] = weakref.WeakKeyDictionary()
        self._undo = ExitStack()
        self._leaving = False

    def install(self) -> None:
        """Put everything in place; undoes what it did if something is missing."""
        model = self._model()
        with ExitStack() as undo:
            self._body.install()
            undo.callback(self._body.restore)
            family = self._body.family
            transformers = [getattr(model, name) for name in family.attributes]
            for transformer in transformers:
                call = self._call_compiling if family.compiles else self._call_transformer
                undo.callback(_calls(transformer, call))
            if family.caller is not None and hasattr(model, family.caller):
                undo.callback(_calls(getattr(model, family.caller), self._call_caller))
            for name in self._factories:
                undo.callback(swaps.attribute(model, name, self._predict_factory(getattr(model, name))))
            undo.callback(swaps.attribute(model, "generate_image", self._generate_image(model)))
            undo.callback(_listen(model, self))
            for marked in (model, *transformers):
                undo.callback(swaps.attribute(marked, MARK, self._handle))
            self._undo = undo.pop_all()

    def restore(self) -> None:
        """Take everything off: now, or when the image that is being made is done.

        A forward that goes on without the seam would run what is left of a skipped body.
        """
        self._leaving = True
        if not self._images:
            self._undo.close()

    @property
    def _gone(self) -> bool:
        """Taken off; what somebody had wrapped may still be called."""
        return self._leaving and not self._images

    # mflux's loop, in the order of its calls

    def _generate_image(self, model: Any) -> Callable[..., Any]:
        original = _unbound(model, "generate_image")
        signature = inspect.signature(model.generate_image)

        @functools.wraps(original)
        def generate_image(*args: Any, **kwargs: Any) -> Any:
            pipeline = self._model()
            if self._gone:
                return original(pipeline, *args, **kwargs)
            self._check(bind(signature, args, kwargs))
            self._images.append(None)
            try:
                image = _by_object(original, pipeline, self._body.family.predict)(pipeline, *args, **kwargs)
                generation = self._images[-1]
            except BaseException as error:
                self._end("interrupted" if is_interruption(error) else "failed")
                if isinstance(error, HookFailed | UnsupportedModel):
                    self._handle.restore()
                raise
            finally:
                self._images.pop()
                if self._leaving:
                    self.restore()
            if generation is not None:
                self._record(image, generation)
            return image

        return generate_image

    def call_before_loop(self, *, seed: int, prompt: str, latents: Any, config: Any, **_: Any) -> None:
        steps = config.num_inference_steps - self._idle_steps
        generation = Generation(
            number=self._count,
            seed=seed,
            prompt=prompt,
            width=config.width,
            height=config.height,
            guidance=config.guidance,
            num_inference_steps=steps,
            active_steps=steps - config.init_time_step,
            target_rows=latents.shape[1] if self._body.family.packed else None,
        )
        self._check_run(generation)
        self._count += 1
        if self._images:
            self._images[-1] = generation
        self._runtime.start(generation)

    def _predict_factory(self, original: Callable[..., Any]) -> Callable[..., Any]:
        owner = weakref.ref(original.__self__) if inspect.ismethod(original) else None
        unbound = getattr(original, "__func__", original)

        def factory(*args: Any) -> Callable[..., Any]:
            if owner is not None:
                args = (owner(), *args)
            if self._gone:
                return unbound(*args)  # type: ignore[no-any-return]
            predict, compiled = plain_predict(inspect.unwrap(unbound), *args)
            return self._predicting(predict, compiled=compiled)

        return factory

    def _predicting(self, predict: Callable[..., Any], *, compiled: bool) -> Callable[..., Any]:
        """A predict function that asks the runtime."""
        if compiled and self._body.compiled_blocks is not None:
            self._body.compiled_blocks.change_nothing("mflux compiles this model itself")
        signature = inspect.signature(predict)
        eager = functools.partial(EagerForward, self._body, predict)
        forward = compiled_forward(self._body, predict) if compiled else eager

        def step(*args: Any, **kwargs: Any) -> Any:
            return self._runtime.predict(forward(bind_all(signature, args, kwargs)))

        return step

    def _call_transformer(self, forward: Callable[..., Any], transformer: Any, *args: Any, **kwargs: Any) -> Any:
        if self._runtime.generation is None or self._body.busy:
            return forward(transformer, *args, **kwargs)
        if self._factories:
            raise UnsupportedModel(
                f"{type(self._model()).__name__} called its transformer by another predict function than the one that "
                f"plugins run on. Has its generate_image been wrapped or overridden? Then attach first and wrap it "
                f"afterwards. Else this version of mflux may be newer than the newest supported one: upgrade "
                f"mflux-teacache-plugin."
            )
        cls = type(transformer)
        if cls not in self._signatures:
            self._signatures[cls] = of_method(cls, "__call__")
        arguments = bind_all(self._signatures[cls], args, kwargs)
        return self._runtime.predict(EagerForward(self._body, functools.partial(forward, transformer), arguments))

    def _call_caller(self, forward: types.FunctionType, caller: Any, *args: Any, **kwargs: Any) -> Any:
        return self._call_transformer(with_core(forward, eval=self._body.evaluate), caller, *args, **kwargs)

    def _call_compiling(self, forward: Callable[..., Any], transformer: Any, *args: Any, **kwargs: Any) -> Any:
        """mflux compiles where it finds nothing compiled yet: so it finds ours, from the first call of an image on."""
        if self._runtime.generation is not None:
            for kept, method in self._body.family.compiles:
                if hasattr(transformer, method) and getattr(transformer, kept) not in self._compiled:
                    compiled = self._predicting(getattr(transformer, method), compiled=True)
                    self._compiled.add(compiled)
                    setattr(transformer, kept, compiled)
        return forward(transformer, *args, **kwargs)

    def _drop_compiled(self) -> None:
        """At the end of each image, since mflux up to 0.22 keeps for the next one whatever it finds there."""
        for attribute in self._body.family.attributes:
            transformer = getattr(self._model(), attribute, None)
            for kept, _ in self._body.family.compiles:
                if getattr(transformer, kept, None) in self._compiled:
                    setattr(transformer, kept, None)

    def call_in_loop(self, *, latents: Any, **_: Any) -> None:
        self._runtime.end_step(latents)

    def call_after_loop(self, **_: Any) -> None:
        self._end("finished")

    def call_interrupt(self, **_: Any) -> None:
        self._end("interrupted")

    def _end(self, status: Status) -> None:
        self._runtime.end(status)
        self._body.end_image()
        self._drop_compiled()


def _unbound(model: Any, name: str) -> Callable[..., Any]:
    """A method as a function of ``self``, so that a wrapper kept on the model does not hold the model."""
    own = vars(model).get(name)
    if own is None:
        return getattr(type(model), name)  # type: ignore[no-any-return]
    return lambda _, *args, **kwargs: own(*args, **kwargs)


def _by_object(function: Callable[..., Any], model: Any, names: tuple[str, ...]) -> Callable[..., Any]:
    """A method in which the pipeline's class stands for the object, for as long as it runs.

    Some pipelines build their predict function as ``Anima._predict(...)`` and not as ``self._predict(...)``,
    which would pass by what is set on the object.
    """
    if not isinstance(function, types.FunctionType):
        return function
    classes = {cls for cls in type(model).__mro__ if any(name in vars(cls) for name in names)}
    by_class = {
        name: model for name, value in function.__globals__.items() if isinstance(value, type) and value in classes
    }
    return with_globals(function, **by_class) if by_class else function


def _calls(module: Any, handler: Callable[..., Any]) -> swaps.Undo:
    """Send a module's calls to ``handler(forward, module, ...)``."""
    forward = type(module).__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return handler(forward, self, *args, **kwargs)

    return swaps.methods(module, {"__call__": call})


def _listen(model: Any, listener: Lifecycle) -> swaps.Undo:
    """Put our callbacks first: residuals must be gone before the memory saver measures and decoding starts."""
    registry = model.callbacks
    lists = (registry.before_loop, registry.in_loop, registry.after_loop, registry.interrupt)
    for callbacks in lists:
        callbacks.insert(0, listener)

    def undo() -> None:
        for callbacks in lists:
            if listener in callbacks:
                callbacks.remove(listener)

    return undo
