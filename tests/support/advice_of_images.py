"""What is said of an image that is made with plugins on a model, followed on real pipelines with tiny weights."""

from __future__ import annotations

import contextlib
import functools
import shlex
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import all_cases
import mlx.core as mx
import packages
import pytest
import tiny_models
from advised import Case
from advised_models import IMAGE, Act, Model, drawing, draws, on, tiny
from advised_runs import written
from advised_streams import leaving
from chosen import parser_of_mflux
from faults import listening
from mflux.models.flux2.model.flux2_transformer.transformer_block import Flux2TransformerBlock
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from strategies import Observer, OutputPattern, Pattern, ReadsEverything

from mflux_teacache import About, Body, Step, attach, attached, hookimpl
from mflux_teacache.cli.mflux.session import session_for
from mflux_teacache.errors import HookFailed, PluginError
from mflux_teacache.plugins import load
from mflux_teacache.summary import why_idle


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for packages and files.
    """
    return tiny({**_wrapped(), **_overlapping(), **_images(), **_by_command(folder)})


def _wrapped() -> dict[str, Case]:
    def nameless(model: Model, wraps: Callable[[Any], Any]) -> None:
        old = Flux2TransformerBlock.__call__
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Flux2TransformerBlock, "__call__", wraps(old)(lambda *args, **kwargs: old(*args, **kwargs)))
            draws(model, ReadsEverything)

    # mflux's method as somebody copies it into an app, with a predict function of the app's own.
    theirs = Flux2Klein.generate_image
    code = theirs.__code__
    names = tuple("_own_predict" if name == "_predict" else name for name in code.co_names)
    copied = types.FunctionType(code.replace(co_names=names), theirs.__globals__, "generate_image", theirs.__defaults__)
    copied.__kwdefaults__ = theirs.__kwdefaults__

    class Copying(Flux2Klein):
        generate_image = copied
        _own_predict = staticmethod(Flux2Klein._predict)

    class Calling(Flux2Klein):
        def generate_image(self, **arguments: Any) -> Any:
            return super().generate_image(**arguments)

    def by_class(model: Model) -> None:
        with attach(model, Observer):
            Flux2Klein.generate_image(model, **IMAGE)

    found = {
        "a wrapper that hides names": Case(
            on(lambda model: nameless(model, lambda old: lambda wrapper: wrapper)),
            "use functools.wraps there, and attach again.",
            [on(lambda model: nameless(model, functools.wraps))],
        ),
        "a generate_image of one's own": Case(
            on(lambda model: draws(model, Pattern), lambda: tiny_models.flux2(Copying)),
            "Has its generate_image been overridden? Then it must call super().generate_image(...).",
            [on(lambda model: draws(model, Pattern), lambda: tiny_models.flux2(Calling))],
        ),
        "generate_image of the class": Case(
            on(by_class), "nothing is recorded in its metadata. Call model.generate_image(...).", [drawing(Observer)]
        ),
    }
    by_their_class = all_cases.cases_of("cases_anima")  # mflux calls its predict function by its class
    if "anima-guidance" in by_their_class:
        found |= _out_of_reach(by_their_class["anima-guidance"])
    return found


def _out_of_reach(anima: tiny_models.Case) -> dict[str, Case]:
    def make() -> Model:
        return anima.make(Path())[0]

    def wrap(model: Model) -> None:
        inner = model.generate_image
        model.generate_image = lambda **arguments: inner(**arguments)

    def wrapped(model: Model) -> None:
        wrap(model)
        draws(model, Pattern)

    def attached_first(model: Model) -> None:
        with attach(model, Pattern) as handle:
            wrap(model)
            model.generate_image(**IMAGE)
        assert handle.stats.skipped_count

    def by_class(model: Model) -> None:
        with attach(model, Observer):
            anima.pipeline.generate_image(model, **IMAGE)  # type: ignore[attr-defined]

    return {
        "a wrapped generate_image": Case(
            on(wrapped, make),
            "Has it been wrapped? Then attach first and wrap it afterwards.",
            [on(attached_first, make)],
        ),
        "generate_image of a class out of reach": Case(
            on(by_class, make),
            "no plugin takes part in the image. Call model.generate_image(...).",
            [on(lambda model: draws(model, Observer), make)],
        ),
    }


# --- While images are made --------------------------------------------------------------------------------------------


def _in_the_middle(model: Model, plugin: Any, act: Act) -> Any:
    """An act from within the loop of an image; returns the handle."""

    def call_in_loop(*, t: int, **_: Any) -> None:
        if t == 1 and not done:
            done.append(t)
            act()

    done: list[int] = []
    handle = attach(model, plugin)
    with listening(model, call_in_loop=call_in_loop):
        model.generate_image(**IMAGE)
    return handle


def _overlapping() -> dict[str, Case]:
    class Apart:
        about = About(keeps_images_apart=True)

    def taken_off(model: Model, *, waits: bool) -> None:
        def take_off() -> None:
            handle = attached(model)
            assert handle is not None
            handle.restore()
            if not waits:
                draws(model, Observer)

        _in_the_middle(model, Observer, take_off)
        draws(model, Observer)

    def preview(model: Model, plugin: Any, *, waits: bool = False) -> None:
        with _in_the_middle(model, plugin, lambda: None if waits else model.generate_image(**IMAGE)) as handle:
            if waits:
                model.generate_image(**IMAGE)
        assert handle.stats.generations == 2

    def one_for_all(cls: type) -> Callable[[], Any]:
        only = cls()
        return lambda: only

    return {
        "plugins that are being taken off": Case(
            on(functools.partial(taken_off, waits=False)),
            "Attach when that is done.",
            [on(functools.partial(taken_off, waits=True))],
        ),
        "one object for two images at a time": Case(
            on(lambda model: preview(model, one_for_all(Observer))),
            "Wait until that image is done; or have what attach() was given make a new object at each call; or set "
            "about = About(keeps_images_apart=True) on its class",
            [
                on(lambda model: preview(model, one_for_all(Observer), waits=True)),
                on(lambda model: preview(model, lambda: Observer())),
                on(lambda model: preview(model, one_for_all(Apart))),
            ],
        ),
    }


def _images() -> dict[str, Case]:
    class Fails:
        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            if step.index == 1:
                raise OSError("out of luck")

    class KeepsSteps:
        """Reads the step before in each step."""

        before: Any = None

        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            if self.before is not None:
                mx.eval(self.before.latents)
            self.before = step

    class KeepsArrays:
        before: Any = None

        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            if self.before is not None:
                mx.eval(self.before)
            self.before = step.latents

    class ReadsBody(OutputPattern):
        """Reads the body of each branch, also of those that have none."""

        @hookimpl
        def mflux_post_transformer(self, step: Step, body: Body) -> None:
            super().mflux_post_transformer(step=step, body=body)
            for branch in body.branches:
                mx.eval(branch.input)

    class Asks(OutputPattern):
        @hookimpl
        def mflux_post_transformer(self, step: Step, body: Body) -> None:
            super().mflux_post_transformer(step=step, body=body)
            for branch in body.branches:
                if not branch.at_output:
                    mx.eval(branch.input)

    def failing(model: Model, *, goes_on: bool) -> None:
        attach(model, Fails)
        with contextlib.suppress(*([HookFailed] if goes_on else [])):
            model.generate_image(**IMAGE)
        if goes_on:
            model.generate_image(**IMAGE)

    def budgeted(model: Model, computed: int) -> None:
        options = {"coefficients": (0.3,), "max_computed": computed}
        handle = draws(model, "teacache", **options)
        if line := why_idle(handle.stats.history[-1], load("teacache"), options):
            raise PluginError(line)

    return {
        "a hook that fails": Case(
            on(functools.partial(failing, goes_on=False)),
            "It is taken off, and the model is as it was before; run without --plugin fails to go on.",
            [on(functools.partial(failing, goes_on=True))],
        ),
        "a step that is kept": Case(
            drawing(KeepsSteps), "Keep the arrays that are needed later, not the step.", [drawing(KeepsArrays)]
        ),
        "the body of a step without one": Case(drawing(ReadsBody), "Ask for at_output first.", [drawing(Asks)]),
        "a budget of all steps": Case(
            on(lambda model: budgeted(model, 10)),
            "ask for fewer computed steps than --teacache-max-computed 10 gives",
            [on(lambda model: budgeted(model, 9))],
        ),
    }


FAILS = """
from mflux_teacache import hookimpl
class Fails:
    @hookimpl
    def mflux_step_start(self): raise OSError("out of luck")
"""


def _by_command(folder: Path) -> dict[str, Case]:
    packages.install(folder, "fails", "1.0", {"fails": "fails_module:Fails"}, fails_module=FAILS)
    entry = {"package": "fails", "version": "1.0", "options": {}}
    record = {"schema": 1, "pattern": "C" * 10, "decider": None, "residual_after": 0, "plugins": {"fails": entry}}
    file = written(folder / "run.metadata.json", {"mflux_plugins": record})

    def command(words: str) -> Act:
        def act(model: Model) -> None:
            session = session_for(parser_of_mflux(), shlex.split(words), {})
            if session is not None:
                session.check(Flux2Klein, {"model_config": model.model_config})
                session.attach(model)
            model.generate_image(**IMAGE)

        return packages.among(folder, leaving(on(act)))

    return {
        "a hook that fails, of a plugin that a file names": Case(
            command(f"-C {file}"),
            f"error: {file}: plugin 'fails' failed in mflux_step_start at step 0: OSError: out of luck. It is taken "
            f"off, and the model is as it was before; run without --plugin fails to go on. Or run without the "
            f"plugins of this file: --plugin none.",
            [command(f"-C {file} --plugin none"), command("")],
        ),
    }
