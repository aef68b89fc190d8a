"""What apps do to a model's callback registry while plugins are on it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from faults import EverySecond, Subject, fault, named
from mflux.callbacks.callback_registry import CallbackRegistry
from tiny_models import same

from mflux_teacache import attach


class _Listener:
    def call_in_loop(self, **_: Any) -> None: ...


def _fresh_registry(model: Any) -> None:
    model.callbacks = CallbackRegistry()
    model.callbacks.register(_Listener())


def _own_list(model: Any) -> None:
    model.callbacks.in_loop = [_Listener()]


def _cleared(name: str) -> Callable[[Any], None]:
    return lambda model: getattr(model.callbacks, name).clear()


def _view_put_back(model: Any) -> None:
    kept = model.callbacks
    model.callbacks = CallbackRegistry()
    model.callbacks = kept


REGISTRY_CHANGES: dict[str, Callable[[Any], None]] = {
    "a_fresh_registry": _fresh_registry,
    "a_list_of_their_own": _own_list,
    "a_registry_put_back": _view_put_back,
    **{f"{name}_cleared": _cleared(name) for name in ("before_loop", "in_loop", "after_loop", "interrupt")},
}


def _registry(change: Callable[[Any], None]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        model = subject.model
        registry = vars(model)["callbacks"]
        kept = {name: list(callbacks) for name, callbacks in vars(registry).items()}
        with attach(model, EverySecond) as handle:
            change(model)
            assert same(subject.image(), subject.cached)
            assert [image.pattern for image in handle.stats.history] == ["CSCS"]
        vars(model)["callbacks"] = registry
        vars(registry).update(kept)

    return run


for _name, _change in REGISTRY_CHANGES.items():
    named(f"callbacks_{_name}", _registry(_change))


@fault
def a_pickled_callback_registry(subject: Subject) -> None:
    with attach(subject.model, EverySecond):
        registry = pickle.loads(pickle.dumps(subject.model.callbacks))
    assert type(registry) is CallbackRegistry


@fault
def a_deleted_callback_registry(subject: Subject) -> None:
    registry = subject.model.callbacks
    with attach(subject.model, EverySecond):
        del subject.model.callbacks
        assert "callbacks" not in vars(subject.model)
        subject.model.callbacks = registry
        assert same(subject.image(), subject.cached)
