"""A check for authors of a family's entry: it tells from a few small images whether the entry describes the model."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import mlx.core as mx
from mlx import nn

from mflux_teacache.demo.clock import listening
from mflux_teacache.entry_fields import (
    WrongFunctionError,
    check_fields,
    first_line,
    with_checked_functions,
    wrong_function,
)
from mflux_teacache.errors import Refused, UnsupportedModel
from mflux_teacache.family import Arguments, Family
from mflux_teacache.handle import attach_requests, refuse_what_is_no_pipeline
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.plugins import Loaded, Request
from mflux_teacache.step import Body, Decision, Step

# The step in which a residual is reused. It is not the first, in which a key/value cache may have to be filled.
REUSED = 1

# Putting a body's own residual in its place may be off, by rounding, by this share of what leaving it out changes.
ROUNDING = 0.1

_PURE_NOISE = 1.001  # 1, with room for rounding


def check_family(model: Any, family: Family, **image: Any) -> None:
    """Make images with every step computed and with a body reused, and compare them with those of the plain model.

    Args:
        model: a loaded pipeline, without plugins. Random weights will do, since nobody looks at the images.
        family: the entry for its transformer.
        image: arguments of ``generate_image``, such as a small size and 4 steps.

    Raises:
        UnsupportedModel: the model is no pipeline, or the entry does not describe it. The message says what is wrong,
            and which of the entry's fields to look at.
    """
    check_fields(family)
    refuse_what_is_no_pipeline(model)
    plain, checked = _latents(model, image), with_checked_functions(family)
    if len(plain) < REUSED + 2:
        raise UnsupportedModel(f"the image has {len(plain) - 1} steps; it takes {REUSED + 1} at least to reuse one.")
    try:
        _check(model, checked, image, plain)
    except Exception as error:
        if (explained := _explained(model, checked, image, error)) is error:
            raise
        raise explained from error


def _check(model: Any, family: Family, image: dict[str, Any], plain: list[mx.array]) -> None:
    observed = _observe(model, family, image, plain)
    _check_latents(family, observed, plain)
    _check_signals(family, observed)
    _check_grid(family, observed)
    _check_noise(family, observed.sigmas)
    _check_branches(family, observed.branches)
    for residual_after in (0, 1):  # those that our strategies use
        _check_residual(model, family, image, plain, residual_after)
    _check_block_0(model, family, image, observed.block)  # last, since it leaves mx.compile switched on


def _explained(model: Any, family: Family, image: dict[str, Any], error: Exception) -> Exception:
    """What a check has raised, as one line that names the fields to look at; plain images are known to work."""
    if (wrong := wrong_function(error)) is not None:
        return _off(family, str(wrong), wrong.field)
    cause = error.__cause__ or error  # of a hook that failed, what failed in it
    what = str(error).partition(". ")[0] if isinstance(error, Refused) else first_line(cause)
    if _passes_as_python(model, family, image):
        return _off(
            family,
            f"with mx.compile switched off it does, and otherwise not: {what}",
            "predict and compiles: they must name every mx.compile around the body, and must_compute must not look at "
            "an array's value",
        )
    if isinstance(error, Refused):
        return error
    return _off(
        family,
        f"an image of the plain model works, and with plugins attached it fails: {what}",
        "body: the kind of each list, its streams, methods, image_rows and returns_more; and at predict and caller",
    )


def _passes_as_python(model: Any, family: Family, image: dict[str, Any]) -> bool:
    with _eager(), contextlib.suppress(Exception):
        _check(model, family, image, _latents(model, image))
        return True
    return False


class _Observing:
    """Reads every signal in every step, and computes all of them."""

    def __init__(self, family: Family) -> None:
        self.block: Any = None
        self.sigmas: list[float | None] = []
        self.signals: list[tuple[mx.array, mx.array]] = []
        self.parts: list[tuple[int, ...]] = []
        self.grid: tuple[int, int] | None = None
        self.latents: list[mx.array] = []
        self.streams: list[mx.array] = []
        self.branches: list[set[int]] = []
        self._family = replace(family, modulated_input=self._modulated_input)
        self._read = family.modulated_input

    def _modulated_input(self, block: Any, call: Arguments) -> mx.array:
        if isinstance(block, nn.Module):  # at attach, the entry is tried with a stand-in for the block
            self.block = block
        return self._read(block, call)

    @hookimpl
    def mflux_families(self) -> list[Family]:
        return [self._family]

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        mx.eval(step.latents, step.modulated_input, step.first_block_residual)
        self.signals.append((step.modulated_input, step.first_block_residual))
        self.parts.append(step.target_part(step.modulated_input).shape)
        self.grid = step.generation.token_grid
        rows = step.modulated_input.shape[1]
        if self.grid is not None and math.prod(self.grid) <= rows:
            try:
                step.on_grid(step.modulated_input)
            except ValueError as error:
                what = f"after its function token_grid.after, the signal's {rows} rows are too few for the tokens"
                raise WrongFunctionError(what, "token_grid") from error
        self.latents.append(step.latents)
        self.sigmas.append(step.sigma)

    @hookimpl
    def mflux_post_transformer(self, body: Body) -> None:
        self.streams.append(body.branches[0].input)
        self.branches.append({branch.index for branch in body.branches})


class _Reusing:
    """Reuses ``residuals`` in one step and computes all others. Without any, ``kept`` gets that step's own."""

    def __init__(self, family: Family, residual_after: int, residuals: Sequence[mx.array | None] = ()) -> None:
        self.residual_after = residual_after
        self.kept: list[mx.array | None] = []
        self._family = family
        self._residuals = residuals

    @hookimpl
    def mflux_families(self) -> list[Family]:
        return [self._family]

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision | None:
        return Decision.reuse(self._residuals) if self._residuals and step.index == REUSED else None

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        if step.index == REUSED:
            self.kept = list(body.residuals)


def _observe(model: Any, family: Family, image: dict[str, Any], plain: list[mx.array]) -> _Observing:
    observing = _Observing(family)
    with _attached(model, observing):
        observed = _latents(model, image)
    if not _equal(observed, plain):
        raise _off(
            family,
            "with every step computed and every signal read, the latents are not those of the plain model, bit for bit",
            "body: are all its lists named, with their streams and methods?",
        )
    if not _equal(_latents(model, image), plain):
        raise _off(
            family,
            "after plugins were attached and taken off again, the latents are no longer those of the plain model",
            "predict",
        )
    return observing


def _check_latents(family: Family, observed: _Observing, plain: list[mx.array]) -> None:
    """Check that the latents of a step begin with those of mflux's loop."""
    # A pipeline may extend them before it calls its transformer: by a mask, an image, or a second batch.
    for seen, entering in zip(observed.latents, plain, strict=False):
        if seen.ndim != entering.ndim or not mx.array_equal(seen[tuple(map(slice, entering.shape))], entering):
            raise _off(
                family,
                f"the latents of a step, {seen.shape}, do not begin with those of the loop, {entering.shape}",
                "latents",
            )
    rows = observed.streams[0].shape[1]
    if family.packed and (plain[0].ndim != 3 or plain[0].shape[1] > rows):
        raise _off(
            family, f"latents of shape {plain[0].shape} have no row for each of the image stream's {rows}", "packed"
        )


def _check_signals(family: Family, observed: _Observing) -> None:
    """Check what can be said about signals without knowing the model."""
    for (modulated, first), part, stream in zip(observed.signals, observed.parts, observed.streams, strict=True):
        if modulated.shape != first.shape or stream.shape not in (modulated.shape, part):
            raise _off(
                family,
                f"the signals have the shapes {modulated.shape} and {first.shape}, and the body's image stream has "
                f"{stream.shape}",
                "modulated_input, and of the body's first list image_rows and image_first",
            )
        if not mx.isfinite(modulated).all().item() or not mx.abs(first).max().item():
            raise _off(
                family, "a signal is not finite, or block 0 adds nothing to its stream", "modulated_input and body"
            )


def _check_grid(family: Family, observed: _Observing) -> None:
    """Check that the image has as many tokens as the entry says. Their order cannot be checked from here."""
    if family.token_grid is None:
        return
    pixels = family.token_grid.pixels
    rows = min(signal.shape[1] for signal, _ in observed.signals)
    if observed.grid is None or observed.grid[0] * observed.grid[1] > rows:
        raise _off(
            family,
            f"with tokens of {pixels}x{pixels} pixels, the image has not as many as its latents have rows, or more "
            f"than the signal's {rows}",
            "token_grid",
        )


def _check_noise(family: Family, sigmas: list[float | None]) -> None:
    known = [sigma for sigma in sigmas if sigma is not None]
    falling = all(later < earlier for earlier, later in pairwise(known))
    if len(known) not in (0, len(sigmas)) or not falling or not all(0 <= sigma <= _PURE_NOISE for sigma in known):
        spelt = ", ".join("None" if sigma is None else f"{sigma:.4g}" for sigma in sigmas)
        raise _off(
            family,
            f"the noise levels are {spelt}; they must fall from step to step, from at most 1 = pure noise to at least "
            f"0, or be None in all steps",
            "sigma",
        )


def _check_branches(family: Family, branches: list[set[int]]) -> None:
    """Check that a step runs a guidance branch of the step before it: else nothing could ever be reused."""
    if not branches[REUSED] & branches[REUSED - 1]:
        raise _off(
            family,
            f"step {REUSED} has no guidance branch of the step before, so it could reuse nothing: branches are known "
            f"again by the arguments of their calls, which must be the same objects in each step",
            "made_anew: it names the arguments that the pipeline makes anew for each step",
        )


def _check_block_0(model: Any, family: Family, image: dict[str, Any], block: Any) -> None:
    """Check that block 0 hands the signal to a part of it: its attention, or what projects the attention's input."""
    reading = _Observing(family)
    with _eager(), _calls_within(block) as called, _attached(model, reading):
        _latents(model, image)
    [signal, _], *_ = reading.signals
    rows = signal.shape[1]
    # Where the attention takes image and text in one array, the image's rows are at one of its ends.
    parts = (part for array in called if array.ndim == 3 for part in (array[:, :rows], array[:, -rows:]))
    alike = (part for part in parts if part.shape == signal.shape)
    if not any(mx.allclose(part, signal, rtol=1e-3, atol=1e-5).item() for part in alike):
        raise _off(
            family,
            f"modulated_input is not what {type(block).__name__} hands to any of its parts "
            f"({', '.join(name for name, _ in block.named_modules() if name)})",
            "modulated_input",
        )


def _check_residual(
    model: Any, family: Family, image: dict[str, Any], plain: list[mx.array], residual_after: int
) -> None:
    """Check that a body's own residual in its place gives the step's result, and that leaving it out does not."""
    computing = _Reusing(family, residual_after)
    with _attached(model, computing):
        _latents(model, image)
    nothing = [None if residual is None else mx.zeros_like(residual) for residual in computing.kept]
    without = _distance(model, family, image, plain, residual_after, nothing)
    if not without:
        raise _off(
            family,
            f"step {REUSED} runs in full, or its body (after {residual_after} blocks) changes nothing, so nothing can "
            f"be reused",
            "must_compute and body",
        )
    own = _distance(model, family, image, plain, residual_after, computing.kept)
    if not own <= ROUNDING * without:
        raise _off(
            family,
            f"with its own residual in place of the body (after {residual_after} blocks), step {REUSED} is off by "
            f"{own:.2g} of its change; with none at all by {without:.2g}",
            "image_first of its lists, image_rows of the first one, returns_more, and the order of the lists in body",
        )


def _distance(
    model: Any,
    family: Family,
    image: dict[str, Any],
    plain: list[mx.array],
    residual_after: int,
    residuals: Sequence[mx.array | None],
) -> float:
    """How far a step that reuses these residuals is from the computed one, as a share of the step's whole change."""
    with _attached(model, _Reusing(family, residual_after, residuals)):
        reused = _latents(model, image)
    before, after = plain[REUSED].astype(mx.float32), plain[REUSED + 1].astype(mx.float32)
    distance = mx.abs(reused[REUSED + 1].astype(mx.float32) - after).mean() / mx.abs(after - before).mean()
    return float(distance)


def _off(family: Family, what: str, fields: str) -> UnsupportedModel:
    return UnsupportedModel(f"the entry for {family.name} does not describe the model: {what}. Look at {fields}.")


def _attached(model: Any, plugin: Any) -> Any:
    request = Request(Loaded("check-family", lambda: plugin), argparse.Namespace())
    return attach_requests(model, [request])


def _latents(model: Any, image: dict[str, Any]) -> list[mx.array]:
    """The latents that enter the loop, and those after each step."""
    loop = _Loop()
    with listening(model, loop):
        model.generate_image(**image)
    return loop.latents


class _Loop:
    """A callback of mflux."""

    def __init__(self) -> None:
        self.latents: list[mx.array] = []

    def call_before_loop(self, *, latents: mx.array, **_: Any) -> None:
        self._keep(latents)

    def call_in_loop(self, *, latents: mx.array, **_: Any) -> None:
        self._keep(latents)

    def _keep(self, latents: mx.array) -> None:
        copy = mx.array(latents)  # a scheduler may go on to write into the same array
        mx.eval(copy)
        self.latents.append(copy)


def _equal(one: list[mx.array], other: list[mx.array]) -> bool:
    return len(one) == len(other) and all(map(mx.array_equal, one, other))


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Run as Python what mflux would compile."""
    # While a function is traced, its arrays have no values that could be compared.
    mx.disable_compile()
    try:
        yield
    finally:
        mx.enable_compile()


@contextlib.contextmanager
def _calls_within(block: Any) -> Iterator[list[mx.array]]:
    """Collect the arrays that the parts of a block are called with."""
    called: list[mx.array] = []
    parts = [part for name, part in block.named_modules() if name and callable(part)]
    classes = [type(part) for part in parts]
    for part, cls in zip(parts, classes, strict=True):
        part.__class__ = _noting(cls, called)  # Python looks up ``__call__`` on the class, never on the instance
    try:
        yield called
    finally:
        for part, cls in zip(parts, classes, strict=True):
            part.__class__ = cls


def _noting(cls: type, called: list[mx.array]) -> type:
    """A subclass that notes the arrays that it is called with."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # As copies, since a block may go on to write into them.
        called.extend(mx.array(value) for value in (*args, *kwargs.values()) if isinstance(value, mx.array))
        return cls.__call__(self, *args, **kwargs)

    return type(cls.__name__, (cls,), {"__call__": call})
