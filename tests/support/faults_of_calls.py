"""Ways to call for an image: a subclass's methods, the class itself, wrong arguments."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from faults import (
    FAMILIES,
    SIZE,
    STEPS,
    EverySecond,
    Subject,
    fails,
    fault,
    listening,
    method,
    plugin,
    quiet,
    raising,
)
from tiny_models import same

from mflux_teacache import attach
from mflux_teacache.errors import HookFailed


def _extended(subject: Subject) -> Any:
    class Mine(type(subject.model)):  # type: ignore[misc]
        def preview(self, **arguments: Any) -> Any:
            return super().generate_image(**arguments)

        def twice(self, **arguments: Any) -> Any:
            self.generate_image(**{**arguments, "seed": 99})
            return super().generate_image(**arguments)

    return Mine


@contextlib.contextmanager
def _of_class(model: Any, cls: type) -> Iterator[None]:
    before, model.__class__ = type(model), cls
    try:
        yield
    finally:
        model.__class__ = before


def _arguments(subject: Subject) -> dict[str, Any]:
    return {"seed": 1, "prompt": "x", "num_inference_steps": STEPS, **SIZE, **FAMILIES[subject.family][1]}


@fault
def a_subclass_that_calls_the_method_of_its_base(subject: Subject) -> None:
    with _of_class(subject.model, _extended(subject)):
        with attach(subject.model, EverySecond) as handle:
            image = subject.model.preview(**_arguments(subject))
            again = subject.model.twice(**_arguments(subject))
        assert [entry.pattern for entry in handle.stats.history] == ["CSCS"] * 3
        for each in (image, again):
            assert each._get_metadata()["mflux_plugins"]["pattern"] == "CSCS"
        with attach(subject.model, EverySecond):
            assert image.image.tobytes() == subject.model.generate_image(**_arguments(subject)).image.tobytes()


@fault
def a_subclass_whose_image_fails(subject: Subject) -> None:
    with _of_class(subject.model, _extended(subject)), attach(subject.model, EverySecond) as handle:
        with raising(ValueError), listening(subject.model, call_in_loop=fails):
            subject.model.preview(**_arguments(subject))
        assert [image.status for image in handle.stats.history] == ["failed"]
        assert same(subject.image(), subject.cached)


@fault
def generate_image_of_the_class(subject: Subject) -> None:
    cls = type(subject.model)
    with quiet() as caught, attach(subject.model, EverySecond) as handle:
        plain = cls.generate_image(subject.make(), **_arguments(subject))
        assert handle.stats.history == []
        cls.generate_image(subject.model, **_arguments(subject))
        assert [image.pattern for image in handle.stats.history] == ["CSCS"]
        with raising(ValueError), listening(subject.model, call_in_loop=fails):
            cls.generate_image(subject.model, **_arguments(subject))
        assert [image.status for image in handle.stats.history] == ["finished", "failed"]
        assert same(subject.image(), subject.cached)
    assert {"pipeline's class" in str(warning.message) for warning in caught} == {True}
    assert plain is not None


@fault
def generate_image_of_what_the_class_is_while_attached(subject: Subject) -> None:
    with attach(subject.model, EverySecond) as handle:
        image = type(subject.model).generate_image(subject.model, **_arguments(subject))
    assert image._get_metadata()["mflux_plugins"]["pattern"] == "CSCS"
    assert len(handle.stats.history) == 1


@fault
def wrong_arguments(subject: Subject) -> None:
    with raising(TypeError):
        subject.model.generate_image(colour="red")
    with attach(subject.model, EverySecond) as handle, raising(TypeError):
        subject.model.generate_image(colour="red")
    assert handle.stats.history == []


# Images that are asked of the class, and fail where nobody sees it.


def _by_class(model: Any, **arguments: Any) -> None:
    cls = next(cls for cls in reversed(type(model).__mro__) if "generate_image" in vars(cls))
    cls.generate_image(model, **arguments)  # type: ignore[attr-defined]


@fault
def a_failed_image_of_the_class_whose_error_is_kept(subject: Subject) -> None:
    """The error holds the frame of the call, and with it all that the image has."""
    kept: list[BaseException] = []
    other = copy.copy(subject.model)  # of the same transformer
    with quiet(), attach(subject.model, EverySecond) as handle:
        with listening(subject.model, call_in_loop=fails):
            try:
                _by_class(subject.model, **_arguments(subject))
            except ValueError as error:
                kept.append(error)
        assert same(subject.image(other), subject.plain)
        assert [image.status for image in handle.stats.history] == ["failed"]
        assert same(subject.image(), subject.cached)
        handle.restore()
        assert not handle.attached
    assert kept


@fault
def a_failed_hook_in_an_image_of_the_class(subject: Subject) -> None:
    """It is taken off, as the message says, also while the error is kept."""
    kept: list[BaseException] = []
    failing = plugin(mflux_step_start=method("mflux_step_start", _fails_at_step_1))
    handle = attach(subject.model, failing)
    with quiet():
        try:
            _by_class(subject.model, **_arguments(subject))
        except HookFailed as error:
            kept.append(error)
    assert kept
    assert not handle.attached
    assert [image.status for image in handle.stats.history] == ["failed"]


def _fails_at_step_1(self: Any, step: Any) -> None:
    if step.index == 1:
        raise RuntimeError("hook")
