"""What users and apps do to a model while plugins are on it: copies, replaced parts, wrappers."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from faults import EverySecond, Subject, fault, listening, named, raising
from tiny_models import same

from mflux_teacache import PluginError, attach, attached
from mflux_teacache.errors import AlreadyAttached, UnsupportedModel

# Copies belong to nobody.


@fault
def a_shallow_copy_with_a_transformer_of_its_own(subject: Subject) -> None:
    other = _doubled(subject.make().transformer)
    plain = subject.make()
    plain.transformer = other
    want = subject.image(plain)
    with attach(subject.model, EverySecond) as handle:
        copied = copy.copy(subject.model)
        copied.transformer = other
        assert same(subject.image(copied), want)
        assert handle.stats.history == []
        with attach(copied, EverySecond) as its_own:
            assert not same(subject.image(copied), want)
            assert len(its_own.stats.history) == 1
        assert same(subject.image(), subject.cached)
    assert same(subject.image(copied), want)


@fault
def a_shallow_copy_with_the_same_transformer(subject: Subject) -> None:
    cls = type(subject.model)
    with attach(subject.model, EverySecond) as handle:
        copied = copy.copy(subject.model)
        assert type(copied) is cls
        assert same(subject.image(copied), subject.plain)
        assert handle.stats.history == []
        with raising(PluginError):
            attach(copied, EverySecond)
            raise AssertionError("its transformer is attached to")
    assert same(subject.image(copied), subject.plain)


@fault
def a_deep_copy_of_the_blocks(subject: Subject) -> None:
    """Where they can be copied at all: some hold functions of MLX's."""
    lists = ("transformer_blocks", "single_transformer_blocks")
    try:
        copy.deepcopy([getattr(subject.model.transformer, name) for name in lists])
    except TypeError:
        return
    with attach(subject.model, EverySecond):
        copied = subject.make()
        for name in lists:
            setattr(copied.transformer, name, copy.deepcopy(getattr(subject.model.transformer, name)))
        assert same(subject.image(copied), subject.plain)
        with attach(copied, EverySecond):
            assert same(subject.image(copied), subject.cached)
    assert same(subject.image(copied), subject.plain)


@fault
def a_pickled_block(subject: Subject) -> None:
    block = subject.model.transformer.single_transformer_blocks[0]
    cls = type(block)
    with attach(subject.model, EverySecond):
        reduced = block.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    assert cls in reduced[1]


# Parts that take another's place.


def _doubled(transformer: Any) -> Any:
    transformer.proj_out.weight = transformer.proj_out.weight * 2
    return transformer


def _block(name: str, place: int) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        blocks, others = (getattr(model.transformer, name) for model in (subject.model, subject.make()))
        block = blocks[place]
        with attach(subject.model, EverySecond):
            blocks[place] = others[place]  # of the same weights
            assert same(subject.image(), subject.cached)
            blocks[place] = block
            assert same(subject.image(), subject.cached)

    return run


for _name, _place in (("transformer_blocks", 0), ("transformer_blocks", -1), ("single_transformer_blocks", -1)):
    named(f"a_block_replaced_at_{_name}_{_place}".replace("-1", "the_end"), _block(_name, _place))


@fault
def a_block_replaced_within_an_image(subject: Subject) -> None:
    blocks, other = subject.model.transformer.single_transformer_blocks, subject.make()
    block, replacement = blocks[0], other.transformer.single_transformer_blocks[0]

    def replace(*, t: int, **_: Any) -> None:
        if t == 0:
            blocks[0] = replacement

    with attach(subject.model, EverySecond), listening(subject.model, call_in_loop=replace):
        assert same(subject.image(), subject.cached)
    blocks[0] = block


@fault
def a_block_taken_out(subject: Subject) -> None:
    blocks = subject.model.transformer.single_transformer_blocks
    with attach(subject.model, EverySecond):
        taken = blocks.pop()
        with raising(UnsupportedModel):
            subject.image()
            raise AssertionError("a body of another length is not said to be one")
    blocks.append(taken)


@fault
def the_block_list_replaced(subject: Subject) -> None:
    transformer = subject.model.transformer
    blocks, others = transformer.single_transformer_blocks, subject.make().transformer.single_transformer_blocks
    with attach(subject.model, EverySecond):
        transformer.single_transformer_blocks = others
        assert same(subject.image(), subject.cached)
    transformer.single_transformer_blocks = blocks


@fault
def a_block_whose_class_cannot_be_extended(subject: Subject) -> None:
    block = subject.model.transformer.single_transformer_blocks[0]
    cls = type(block)

    class Final(cls):  # type: ignore[misc,valid-type]
        def __init_subclass__(cls, **_: Any) -> None:
            raise TypeError("final class")

    block.__class__ = Final
    with raising(PluginError):
        attach(subject.model, EverySecond)
        raise AssertionError("attached as if nothing had been")
    assert type(block) is Final
    block.__class__ = cls


@fault
def the_transformer_replaced(subject: Subject) -> None:
    model, transformer = subject.model, subject.model.transformer
    with attach(model, EverySecond):
        model.transformer = subject.make().transformer
        with raising(UnsupportedModel):
            subject.image()
            raise AssertionError("plugins did nothing, and nobody said so")
    model.transformer = transformer


@fault
def the_transformer_freed(subject: Subject) -> None:
    """As mflux's memory saver does it; mflux's own error is no fault of the plugin."""
    model, transformer = subject.model, subject.model.transformer
    model.transformer = None
    with raising(TypeError, AttributeError):
        subject.image()
    model.transformer = transformer
    with attach(model, EverySecond):
        model.transformer = None
        with raising(TypeError, AttributeError):
            subject.image()
    model.transformer = transformer


# Wrappers.


def _signature_is_mflux_s_own(subject: Subject) -> None:
    plain = inspect.signature(subject.model.generate_image)
    with attach(subject.model, EverySecond):
        assert inspect.signature(subject.model.generate_image) == plain


named("the_signature_of_generate_image", _signature_is_mflux_s_own)


@fault
def generate_image_wrapped_restored_and_attached_again(subject: Subject) -> None:
    model = subject.model
    handle = attach(model, EverySecond)
    inner = model.generate_image
    model.generate_image = functools.wraps(inner)(lambda *args, **kwargs: inner(*args, **kwargs))
    handle.restore()
    assert same(subject.image(), subject.plain)
    with attach(model, EverySecond) as again:
        assert same(subject.image(), subject.cached)
        assert len(again.stats.history) == 1
    assert same(subject.image(), subject.plain)
    del model.generate_image


@fault
def generate_image_wrapped_before_and_after(subject: Subject) -> None:
    model = subject.model
    original = model.generate_image
    calls: list[str] = []
    model.generate_image = lambda **arguments: calls.append("before") or original(**arguments)
    with attach(model, EverySecond) as handle:
        inner = model.generate_image
        model.generate_image = lambda **arguments: calls.append("after") or inner(**arguments)
        assert same(subject.image(), subject.cached)
        assert calls == ["after", "before"]
        assert len(handle.stats.history) == 1
    assert same(subject.image(), subject.plain)
    del model.generate_image


@fault
def a_predict_function_that_was_put_back(subject: Subject) -> None:
    model = subject.model
    if not hasattr(model, "_predict"):
        return
    with attach(model, EverySecond):
        dead = model._predict
    model._predict = dead
    assert same(subject.image(), subject.plain)
    with attach(model, EverySecond):
        assert same(subject.image(), subject.cached)
    del model._predict


@fault
def a_wrapper_around_a_block_that_stays(subject: Subject) -> None:
    block = subject.model.transformer.transformer_blocks[0]
    cls = type(block)
    handle = attach(subject.model, EverySecond)

    class Timed(type(block)):  # type: ignore[misc]
        pass

    block.__class__ = Timed
    assert same(subject.image(), subject.cached)
    handle.restore()
    assert same(subject.image(), subject.plain)
    with attach(subject.model, EverySecond):
        assert same(subject.image(), subject.cached)
    block.__class__ = cls


# What attach() is given in the place of a model.

NO_MODELS: dict[str, Any] = {
    "none": None,
    "a_number": 5,
    "a_name": "dev",
    "a_dict": {},
    "a_list": [],
    "an_object": object(),
    "a_function": lambda: None,
    "an_array": mx.zeros((2,)),
}


def _no_model(given: Any) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        assert attached(given) is None
        with raising(UnsupportedModel):
            attach(given, EverySecond)
            raise AssertionError("attached as if nothing had been")

    return run


for _name, _given in NO_MODELS.items():
    named(f"{_name}_for_a_model", _no_model(_given))


@fault
def a_class_for_a_model(subject: Subject) -> None:
    with raising(UnsupportedModel):
        attach(type(subject.model), EverySecond)
        raise AssertionError("attached as if nothing had been")


@fault
def a_transformer_for_a_model(subject: Subject) -> None:
    with raising(UnsupportedModel):
        attach(subject.model.transformer, EverySecond)
        raise AssertionError("attached as if nothing had been")


@fault
def a_model_without_callbacks(subject: Subject) -> None:
    model = subject.make()
    del model.callbacks
    with raising(UnsupportedModel):
        attach(model, EverySecond)
        raise AssertionError("attached as if nothing had been")


# What a user's subclass does is its own affair.

_made = 0


@fault
def a_subclass_that_changes_globals_and_asks_for_its_class(subject: Subject) -> None:
    cls = type(subject.model)

    class Counting(cls):  # type: ignore[misc, valid-type]
        def generate_image(self, **arguments: Any) -> Any:
            global _made
            _made += 1
            assert isinstance(self, cls)
            return super().generate_image(**arguments)

    _with_class(subject, Counting)


@fault
def a_subclass_that_calls_the_base_by_its_name(subject: Subject) -> None:
    cls = type(subject.model)

    class OldStyle(cls):  # type: ignore[misc, valid-type]
        def generate_image(self, **arguments: Any) -> Any:
            global _made
            _made += 1
            return cls.generate_image(self, **arguments)

    _with_class(subject, OldStyle)


def _with_class(subject: Subject, cls: type) -> None:
    model = subject.make()
    model.__class__ = cls
    before = _made
    assert same(subject.image(model), subject.plain)
    with attach(model, EverySecond) as handle:
        assert same(subject.image(model), subject.cached)
        assert [image.pattern for image in handle.stats.history] == ["CSCS"]
    assert _made == before + 2


# Blocks that two models share.


def _sharing(subject: Subject, name: str) -> Any:
    other = subject.make()
    if name == "a_block_list":
        path = _block_list(other.transformer)
        setattr(other.transformer, path, getattr(subject.model.transformer, path))
    else:
        other.transformer = copy.copy(subject.model.transformer)
    return other


def _block_list(transformer: Any) -> str:
    return next(name for name, value in transformer.items() if isinstance(value, list) and len(value) > 0)


def _shared(name: str) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        other = _sharing(subject, name)
        want = subject.image(other)
        with attach(subject.model, EverySecond):
            with raising(AlreadyAttached):
                attach(other, EverySecond)
                raise AssertionError("its blocks are attached to")
            assert same(subject.image(), subject.cached)
            assert same(subject.image(other), want)
        with attach(other, EverySecond):
            assert same(subject.image(), subject.plain)

    return run


for _name in ("a_block_list", "all_blocks"):
    named(f"another_model_that_shares_{_name}", _shared(_name))
