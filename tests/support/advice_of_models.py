"""What is said as plugins are attached to a model, followed on real pipelines of mflux with tiny weights."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import packages
import pytest
import tiny_models
from advised import Case
from advised_models import IMAGE, Act, Model, drawing, draws, on, tiny
from mflux.callbacks.callback_registry import CallbackRegistry
from mflux.models.flux2.model.flux2_transformer.transformer_block import Flux2TransformerBlock
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from strategies import Observer, Pattern, ReadsEverything

from mflux_teacache import Family, attach, attached, hookimpl
from mflux_teacache.adapters.families import FLUX1, FLUX2
from mflux_teacache.errors import UnsupportedModel

FORCED: dict[str, Any] = {"coefficients": (0.3,), "thresh": 0.5}
RECORD = {"teacache_record": {"output": "calibration.json"}}


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for packages.
    """
    return tiny({**_twice(), **_no_pipeline(), **_named(folder), **_changed()})


# --- Attaching --------------------------------------------------------------------------------------------------------


def _twice() -> dict[str, Case]:
    def again(model: Model) -> None:
        with attach(model, "teacache", **FORCED):
            draws(model, "easycache")

    def restored(model: Model) -> None:
        attach(model, "teacache", **FORCED)
        handle = attached(model)
        assert handle is not None
        handle.restore()
        draws(model, "easycache")

    def sharing(model: Model, *, taken_off: bool) -> None:
        other = tiny_models.flux2()
        other.transformer.transformer_blocks[0] = model.transformer.transformer_blocks[0]
        attach(model, Observer)
        if taken_off:
            handle = attached(model)
            assert handle is not None
            handle.restore()
        draws(other, Observer)

    def beside_another_package(model: Model, *, taken_off: bool) -> None:
        def generate_image(**arguments: Any) -> Any: ...

        generate_image.__module__ = "mlx_teacache.integrations.mflux.lifecycle"
        model.generate_image = generate_image
        if taken_off:  # what its own handle does
            del model.generate_image
        draws(model, Observer)

    twice: dict[str, Any] = {"first_block_cache": {"thresh": 0.1}, "first-block-cache": {"skip_first": 2}}
    return {
        "a model that has plugins": Case(
            on(again),
            "Call restore() on its handle first, which mflux_teacache.attached(model) returns, or name all plugins in "
            "one attach().",
            [on(restored), on(lambda model: attach(model, teacache=FORCED, **RECORD).restore())],
        ),
        "a block of a model that has plugins": Case(
            on(functools.partial(sharing, taken_off=False)),
            "Call restore() on that model's handle first, which mflux_teacache.attached(model) returns.",
            [on(functools.partial(sharing, taken_off=True))],
        ),
        "a model that mlx-teacache is at work on": Case(
            on(functools.partial(beside_another_package, taken_off=False)),
            "Call restore() on its handle first.",
            [on(functools.partial(beside_another_package, taken_off=True))],
        ),
        "a plugin named twice": Case(
            drawing(**twice),
            "Give all of its options in one dict.",
            [drawing(first_block_cache={"thresh": 0.1, "skip_first": 2})],
        ),
        "blocks that mflux compiles": Case(
            drawing("easycache", compile_blocks=True), "changes nothing here: mflux compiles", [drawing("easycache")]
        ),
    }


def _no_pipeline() -> dict[str, Case]:
    def freed(model: Model) -> None:
        model.transformer = None
        draws(model, "easycache")

    def without_registry(model: Model) -> None:
        del model.callbacks
        draws(model, "easycache")

    def with_registry(model: Model) -> None:
        model.callbacks = CallbackRegistry()
        draws(model, "easycache")

    return {
        "a pipeline without a registry": Case(
            on(without_registry),
            "A pipeline of one's own needs self.callbacks = CallbackRegistry(), and a loop that tells it of each step",
            [on(with_registry)],
        ),
        "no plugin": Case(
            drawing(),
            'attach(model, "teacache", thresh=0.2), or attach(model, teacache={...}).',
            [on(lambda model: draws(model, "teacache", **FORCED)), drawing(teacache=FORCED)],
        ),
        "options without a plugin": Case(
            drawing(thresh=0.5), 'attach(model, teacache={"thresh": 0.2}).', [drawing(teacache=FORCED)]
        ),
        "a class in place of a model": Case(
            lambda: draws(Flux2Klein, "easycache"),
            "Load the model first, and attach to that.",
            [drawing("easycache")],
        ),
        "a model without its transformer": Case(on(freed), "load the model anew.", [drawing("easycache")]),
    }


def _named(folder: Path) -> dict[str, Case]:
    for name in ("every-second", "every_second"):
        packages.install(folder, name, "1.0", {name: "strategies:Observer"})

    def among(*plugins: str, **options: Any) -> Act:
        return packages.among(folder, drawing(*plugins, **options))

    return {
        "a keyword for two plugins": Case(
            among(every_second={}),
            "Attach it by its name, attach(model, 'every-second'), or as attach(model, **{'every-second': {...}}) "
            "beside others.",
            [among("every-second"), among("every_second"), among(**{"every-second": {}, "easycache": {}})],
        ),
    }


# --- mflux, or the model, is not as it was ----------------------------------------------------------------------------


def _bringing(base: type = ReadsEverything, *, entry: Family, **changes: Any) -> type:
    """A plugin with another entry for a family, which wins over ours: what another release of ours has."""
    family = dataclasses.replace(entry, **changes)

    class Brings(base):  # type: ignore[misc]
        @hookimpl
        def mflux_families(self) -> list[Family]:
            return [family]

    return Brings


@contextlib.contextmanager
def _having_argument(name: str) -> Iterator[None]:
    """A release of mflux whose FLUX.2 blocks take one argument more."""
    old = Flux2TransformerBlock.__call__
    signature = inspect.signature(old)
    more = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)

    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop(name, None)
        return old(*args, **kwargs)

    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), more])  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flux2TransformerBlock, "__call__", call)
        yield


def _changed() -> dict[str, Case]:
    outdated = _bringing(entry=FLUX2, must_compute=lambda call: call["cache"] is not None)

    def earlier(model: Model) -> None:
        with _having_argument("cache"):
            draws(model, outdated)

    def shorter(model: Model, *, again: bool) -> None:
        attach(model, "teacache", **FORCED)
        model.transformer.transformer_blocks.pop()
        with contextlib.suppress(*([UnsupportedModel] if again else [])):
            model.generate_image(**IMAGE)
        if again:
            draws(model, "teacache", **FORCED)

    def replaced(model: Model, *, again: bool) -> None:
        attach(model, Pattern)
        model.transformer = tiny_models.flux2().transformer
        with contextlib.suppress(*([UnsupportedModel] if again else [])):
            model.generate_image(**IMAGE)
        if again:
            draws(model, Pattern)

    def sealed(model: Model, *, first: bool) -> None:
        block = model.transformer.transformer_blocks[0]
        with contextlib.nullcontext() if first else attach(model, "schedule", every=2):

            class Sealed(type(block)):  # type: ignore[misc]
                def __init_subclass__(cls) -> None:
                    raise TypeError("this class is final")

            block.__class__ = Sealed
            if first:
                attach(model, "schedule", every=2)
            model.generate_image(**IMAGE)

    def numbering(model: Model, *plugins: Any, **options: Any) -> None:
        block = model.transformer.transformer_blocks[1]
        cls = type(block)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            assert self.layer >= 0
            return cls.__call__(self, *args, **kwargs)

        block.__class__ = type(cls.__name__, (cls,), {"__call__": functools.wraps(cls.__call__)(call)})
        draws(model, *plugins, **options)

    def numbered(*plugins: Any, **options: Any) -> Act:
        return on(lambda model: numbering(model, *plugins, **options), tiny_models.flux1)

    return {
        "an entry of another mflux": Case(
            drawing(outdated),
            "has no argument 'cache' (it has hidden_states",
            [drawing(ReadsEverything), on(earlier)],
        ),
        "a block that is gone": Case(
            on(functools.partial(shorter, again=False)), "Attach again.", [on(functools.partial(shorter, again=True))]
        ),
        "a transformer that was replaced": Case(
            on(functools.partial(replaced, again=False)),
            "Has it been replaced in the model since? Then attach again.",
            [on(functools.partial(replaced, again=True))],
        ),
        "a part that allows no subclass": Case(
            on(functools.partial(sealed, first=True)),
            "Has something wrapped it? Attach first, and wrap it afterwards.",
            [on(functools.partial(sealed, first=False))],
        ),
        "blocks that read their numbers": Case(
            numbered("easycache", compile_blocks=True),
            "reads 'layer' in its blocks, which compiled ones cannot tell apart. Leave out --plugin-compile-blocks "
            "(compile_blocks=True), or upgrade mflux-teacache-plugin.",
            [numbered("easycache"), numbered(_bringing(entry=FLUX1, numbered=()), compile_blocks=True)],
        ),
    }
