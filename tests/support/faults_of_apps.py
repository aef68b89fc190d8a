"""What stops an image or spoils what is said of it: interrupts, callbacks that fail, full and closed outputs."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
from faults import EverySecond, Subject, fault, hook, listening, named, plugin, quiet, raising
from mflux.utils.exceptions import StopImageGenerationException
from tiny_models import same

from mflux_teacache import PluginWarning, Step, attach, hookimpl

STOPS: dict[str, Callable[[], BaseException]] = {
    "an_error": lambda: ValueError("boom"),
    "ctrl_c": lambda: KeyboardInterrupt(),
    "a_stop_of_mflux_s": lambda: StopImageGenerationException("stop"),
    "an_exit": lambda: SystemExit(3),
    "a_closed_generator": lambda: GeneratorExit(),
}


def _stopped(callback: str, step: int, make: Callable[[], BaseException]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        def stop(*, t: int = 0, **_: Any) -> None:
            if t == step:
                raise make()

        with (
            attach(subject.model, EverySecond) as handle,
            listening(subject.model, **{callback: stop}),
            raising(type(make()), StopImageGenerationException),
        ):
            subject.image()
            raise AssertionError("it went on")
        assert handle.stats.generations == 0
        assert [image.status == "finished" for image in handle.stats.history] == [callback == "call_after_loop"]

    return run


for _name, _error in STOPS.items():
    named(f"{_name}_before_the_loop", _stopped("call_before_loop", 0, _error))
    for _step in range(4):
        named(f"{_name}_at_step_{_step}", _stopped("call_in_loop", _step, _error))


# Outputs that take nothing, and warnings that are errors: the image is made, and is in the statistics.


class _Full(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


class _Ascii(io.StringIO):
    def write(self, text: str) -> int:
        text.encode("ascii")
        return len(text)


@contextlib.contextmanager
def _outputs() -> Iterator[None]:
    """Puts them back."""
    before = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


OUTPUTS: dict[str, Callable[[], Any]] = {"full": _Full, "closed": _closed, "missing": lambda: None, "ascii": _Ascii}


def _complaining(make: Callable[[], Any]) -> type:
    """Its outputs are what ``make`` gives from the end of the loop on: mflux's progress bar is mflux's affair."""

    def end() -> None:
        sys.stdout = sys.stderr = make()
        warnings.warn("přeskok", PluginWarning, stacklevel=2)
        raise RuntimeError("příliš pozdě")

    return plugin(mflux_generation_end=hook("mflux_generation_end", end))


def _output(make: Callable[[], Any]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        for action in ("always", "error"):
            with warnings.catch_warnings():
                warnings.simplefilter(action, PluginWarning)
                with attach(subject.model, _complaining(make)) as handle, _outputs():
                    image = subject.image()
            assert same(image, subject.cached)
            assert handle.stats.last_generation.status == "finished"

    return run


for _name, _stream in OUTPUTS.items():
    named(f"an_output_that_is_{_name}", _output(_stream))


@fault
def warnings_that_are_errors_at_attach(subject: Subject) -> None:
    """Whoever makes warnings errors gets one, of the warning's kind; the plugin is not called broken."""

    def warn() -> None:
        warnings.warn("made for another model", PluginWarning, stacklevel=2)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with raising(PluginWarning):
            attach(subject.model, plugin(mflux_attach=hook("mflux_attach", warn)))
            raise AssertionError("attached as if nothing had been")


@fault
def a_showwarning_that_fails(subject: Subject) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no place for warnings")

    with quiet():
        warnings.showwarning = fails
        with attach(subject.model, _complaining(io.StringIO)), _outputs():
            image = subject.image()
    assert same(image, subject.cached)


# What mflux's own forward raises is not the plugin's fault, and the plugin stays.


@fault
def a_model_that_fails_while_a_signal_is_read(subject: Subject) -> None:
    model = subject.model
    norm = model.transformer.transformer_blocks[0].norm1
    cls = type(norm)

    class Broken(cls):  # type: ignore[misc,valid-type]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError("mflux's own")

    with attach(model, _Reads) as handle:
        norm.__class__ = Broken
        with raising(ZeroDivisionError):
            subject.image()
            raise AssertionError("it went on")
        norm.__class__ = cls
        assert handle.attached
        assert same(subject.image(), subject.cached)


class _Reads(EverySecond):
    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        mx.eval(step.modulated_input)


@fault
def an_image_that_is_refused_in_mid_air(subject: Subject) -> None:
    """A size that mflux turns down."""
    with attach(subject.model, EverySecond) as handle:
        with contextlib.suppress(Exception):
            subject.image(height=-16, width=-16)
        assert [image.status for image in handle.stats.history] in ([], ["failed"])
        assert same(subject.image(), subject.cached)


@fault
def attached_and_restored_a_hundred_times(subject: Subject) -> None:
    for _ in range(100):
        attach(subject.model, EverySecond).restore()


@fault
def restored_a_hundred_times(subject: Subject) -> None:
    handle = attach(subject.model, EverySecond)
    for _ in range(100):
        handle.restore()


@fault
def a_handle_that_nobody_kept(subject: Subject) -> None:
    attach(subject.model, EverySecond)
    assert same(subject.image(), subject.cached)  # and verify() finds it
