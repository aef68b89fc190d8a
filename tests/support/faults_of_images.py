"""Images that overlap: within one another, in turns and in threads, and plugins switched on and off meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from faults import STEPS, EverySecond, Subject, fails, fault, listening, method, named, plugin, raising
from tiny_models import same

from mflux_teacache import About, Refused, attach
from mflux_teacache.errors import AlreadyAttached

INNER = {"seed": 7, "num_inference_steps": 3, "height": 48}


def _alone(subject: Subject) -> mx.array:
    with attach(subject.model, EverySecond):
        return subject.image(**INNER)


def _patterns(handle: Any) -> list[str]:
    return sorted(image.pattern for image in handle.stats.history)


# A preview within an image, from a callback or a hook.


def _once(function: Callable[[], Any], kept: list[Any]) -> Callable[..., None]:
    """At the second call, if there is one, and never again: an image within makes callbacks of its own."""
    calls: list[int] = []

    def call(*_: Any, **__: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            kept.append(function())

    return call


def _in_a_callback(name: str) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        want = _alone(subject)
        made: list[mx.array] = []
        preview = _once(lambda: subject.image(**INNER), made)
        if name != "call_in_loop":
            preview()  # these are called once for an image
        with attach(subject.model, EverySecond) as handle, listening(subject.model, **{name: preview}):
            assert same(subject.image(), subject.cached)
        assert same(made[0], want)
        assert _patterns(handle) == ["CSC", "CSCS"]

    return run


for _name in ("call_before_loop", "call_in_loop", "call_after_loop"):
    named(f"an_image_within_{_name}", _in_a_callback(_name))


def _in_a_hook(name: str) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        want = _alone(subject)
        made: list[mx.array] = []
        preview = _once(lambda: subject.image(**INNER), made)
        own = getattr(EverySecond, name, None)

        def with_preview(self: Any, **arguments: Any) -> Any:
            preview()
            return own(self, **arguments) if own else None

        hooks: dict[str, Callable[..., Any]] = {
            "mflux_generation_start": lambda self: with_preview(self),
            "mflux_step_start": lambda self, step: with_preview(self, step=step),
            "mflux_pre_transformer": lambda self, step: with_preview(self, step=step),
            "mflux_post_transformer": lambda self, body: with_preview(self, body=body),
            "mflux_generation_end": lambda self: with_preview(self),
        }
        if name in ("mflux_generation_start", "mflux_generation_end"):
            preview()
        with attach(subject.model, plugin(**{name: method(name, hooks[name])})) as handle:
            assert same(subject.image(), subject.cached)
        assert same(made[0], want)
        assert _patterns(handle) == ["CSC", "CSCS"]

    return run


for _name in (
    "mflux_generation_start",
    "mflux_step_start",
    "mflux_pre_transformer",
    "mflux_post_transformer",
    "mflux_generation_end",
):
    named(f"an_image_within_{_name}", _in_a_hook(_name))


@fault
def an_image_within_an_image_within_an_image(subject: Subject) -> None:
    depth: list[int] = []
    made: list[mx.array] = []

    def preview(*, t: int, **_: Any) -> None:
        if t == 1 and len(depth) < 3:
            depth.append(t)
            made.append(subject.image(seed=10 + len(depth)))

    with attach(subject.model, EverySecond) as handle, listening(subject.model, call_in_loop=preview):
        assert same(subject.image(), subject.cached)
    assert _patterns(handle) == ["CSCS"] * 4
    for place, image in enumerate(reversed(made)):
        with attach(subject.model, EverySecond):
            assert same(subject.image(seed=11 + place), image)


@fault
def an_image_within_that_fails(subject: Subject) -> None:
    def preview(*, t: int, config: Any, **_: Any) -> None:
        if t == 1 and config.num_inference_steps == STEPS:
            with raising(ValueError), listening(subject.model, call_in_loop=fails):
                subject.image(**INNER)

    with attach(subject.model, EverySecond) as handle, listening(subject.model, call_in_loop=preview):
        assert same(subject.image(), subject.cached)
    assert sorted(image.status for image in handle.stats.history) == ["failed", "finished"]


@fault
def a_plain_model_with_the_same_transformer_within_an_image(subject: Subject) -> None:
    """Its calls of the transformer belong to no image of ours."""
    other = subject.make()
    other.transformer = subject.model.transformer
    want = subject.image(other, **INNER)
    made: list[mx.array] = []
    preview = _once(lambda: subject.image(other, **INNER), made)
    with attach(subject.model, EverySecond) as handle, listening(subject.model, call_in_loop=preview):
        assert same(subject.image(), subject.cached)
        with raising(AlreadyAttached):
            attach(other, EverySecond)
            raise AssertionError("attached as if nothing had been")
    assert same(made[0], want)
    assert _patterns(handle) == ["CSCS"]


@fault
def the_transformer_called_within_a_callback(subject: Subject) -> None:
    transformer = subject.model.transformer
    calls: list[Any] = []

    class Seen(type(transformer)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            return super().__call__(*args, **kwargs)

    cls, transformer.__class__ = type(transformer), Seen
    subject.image()
    args, kwargs = calls[0]
    transformer.__class__ = cls
    results: list[mx.array] = []
    again = _once(lambda: transformer(*args, **kwargs), results)
    with attach(subject.model, EverySecond) as handle, listening(subject.model, call_in_loop=again):
        assert same(subject.image(), subject.cached)
    assert _patterns(handle) == ["CSCS"]
    if not hasattr(subject.model, "_predict"):  # what mflux compiles was called with placeholders
        assert same(results[0], transformer(*args, **kwargs))


# A plugin that is one object for all images.


@fault
def one_object_for_two_images_at_a_time(subject: Subject) -> None:
    only = EverySecond()
    seen: list[str] = []

    def preview(*, t: int, config: Any, **_: Any) -> None:
        if t == 1 and not seen:
            seen.append("")
            with contextlib.suppress(Refused):
                subject.image(**INNER)
                seen.append("made")

    with attach(subject.model, lambda: only) as handle, listening(subject.model, call_in_loop=preview):
        assert same(subject.image(), subject.cached)
        assert seen == [""]  # refused, and the first one went on
        assert same(subject.image(), subject.cached)
    assert _patterns(handle) == ["CSCS", "CSCS"]


@fault
def one_object_that_keeps_images_apart(subject: Subject) -> None:
    class Counts:
        about = About(keeps_images_apart=True)

        def __init__(self) -> None:
            self.steps: dict[int, int] = {}

        mflux_post_transformer = method("mflux_post_transformer", lambda self, step: self._count(step))

        def _count(self, step: Any) -> None:
            self.steps[step.generation.number] = self.steps.get(step.generation.number, 0) + 1

    only = Counts()
    preview = _once(lambda: subject.image(**INNER), [])
    with attach(subject.model, lambda: only) as handle, listening(subject.model, call_in_loop=preview):
        assert same(subject.image(), subject.plain)
    assert only.steps == {0: STEPS, 1: 3}
    assert len(handle.stats.history) == 2


# Switched on and off while an image is made.


def _switched_on(*, thread: bool) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        handles: list[Any] = []
        told: list[int] = []

        def switch(*, t: int, **_: Any) -> None:
            told.append(t)
            if t == 1 and not handles:
                if thread:
                    other = threading.Thread(target=lambda: handles.append(attach(subject.model, EverySecond)))
                    other.start()
                    other.join()
                else:
                    handles.append(attach(subject.model, EverySecond))

        with listening(subject.model, call_in_loop=switch):
            assert same(subject.image(), subject.plain)
            assert told == list(range(STEPS))
        assert same(subject.image(), subject.cached)
        assert _patterns(handles[0]) == ["CSCS"]

    return run


for _thread in (False, True):
    named(f"switched_on_in_{'another_thread' if _thread else 'a_callback'}", _switched_on(thread=_thread))


@fault
def switched_off_in_a_callback(subject: Subject) -> None:
    handle = attach(subject.model, EverySecond)

    def switch(*, t: int, **_: Any) -> None:
        if t == 1:
            handle.restore()
            with pytest.raises(AlreadyAttached, match="being taken off this model, which waits for the image"):
                attach(subject.model, EverySecond)

    with listening(subject.model, call_in_loop=switch):
        assert same(subject.image(), subject.cached)  # it stays until the image is done
    assert not handle.attached
    assert same(subject.image(), subject.plain)


@fault
def switched_off_by_a_hook_of_an_image_within(subject: Subject) -> None:
    handles: list[Any] = []

    def leave(self: Any, step: Any) -> None:
        if step.active_steps == 3:
            handles[0].restore()

    preview = _once(lambda: subject.image(**INNER), [])
    handles.append(attach(subject.model, plugin(mflux_step_start=method("mflux_step_start", leave))))
    with listening(subject.model, call_in_loop=preview):
        assert same(subject.image(), subject.cached)
    assert _patterns(handles[0]) == ["CSC", "CSCS"]
    assert not handles[0].attached


@fault
def attached_by_two_threads_at_once(subject: Subject) -> None:
    """One of them, and the other one is told."""
    for _ in range(10):
        handles: list[Any] = []
        refused: list[AlreadyAttached] = []
        start = threading.Barrier(4)

        def work(start: threading.Barrier = start, handles: list[Any] = handles, refused: Any = refused) -> None:
            start.wait()
            try:
                handles.append(attach(subject.model, EverySecond))
            except AlreadyAttached as error:
                refused.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(handles) + len(refused) == 4
        assert len(handles) == 1
        assert same(subject.image(), subject.cached)
        handles[0].restore()
