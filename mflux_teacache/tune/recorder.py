"""The plugin that observes the full runs of ``mflux-teacache tune``."""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mflux_teacache.about import About
from mflux_teacache.bench.plugin_settings import load
from mflux_teacache.bench.runs import Setting
from mflux_teacache.errors import PluginError, PluginWarning
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.records import Generation, Target
from mflux_teacache.shadow.simulate import ComputedStep, Simulation
from mflux_teacache.step import Body, Step
from mflux_teacache.teacache.recorded import Observed
from mflux_teacache.tune.products import inner_products
from mflux_teacache.tune.recorded import Recorded


class Recorder:
    """Measures full runs, and lets strategies decide along them as if they had skipped steps.

    Strategies are asked while the run is there, and not afterwards by numbers that were noted, since the numbers of
    some depend on what they decided before: how far they are from the last step that they computed.

    Args:
        settings: of strategies that decide; one that refuses the model is left out.

    Attributes:
        recorded: the last image that is finished; ``None`` until there is one.
    """

    about = About(kind="recorder", description="Measures full runs, to find the best settings for a model.")

    recorded: Recorded | None = None
    _target: Target
    _simulations: dict[str, Simulation]
    _left_out: dict[str, str]
    _image: _Image

    def __init__(self, settings: Sequence[Setting]) -> None:
        self._settings = settings

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target, model: Any) -> None:
        self._target, self._simulations, self._left_out = target, {}, {}
        for setting in self._settings:
            try:
                simulation = Simulation(load(setting.plugin), setting.options)
                with _quiet():
                    simulation.attach(target, model)
            except PluginError as refusal:
                self._left_out[str(setting)] = str(refusal)
            else:
                self._simulations[str(setting)] = simulation

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self.recorded, self._image = None, _Image()
        target = self._target.for_run(generation)
        for simulation in self._simulations.values():
            simulation.start(generation, target)

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        self._image.latents.append(_of_image(step, step.latents))
        for simulation in self._simulations.values():
            simulation.decide(step)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        computed = ComputedStep(step, body)
        errors = [(simulation, simulation.follow(computed)) for simulation in self._simulations.values()]
        self._image.take(step, body)
        mx.eval(computed.made, [error for _, error in errors if error is not None])
        for simulation, error in errors:
            simulation.note(None if error is None else float(error))

    @hookimpl
    def mflux_generation_end(self, generation: Generation) -> None:
        rows = {name: simulation.end(generation) for name, simulation in self._simulations.items()}
        faults = {name: str(self._simulations[name].fault) for name, row in rows.items() if row is None}
        if generation.status == "finished":
            patterns = {name: row.pattern for name, row in rows.items() if row is not None}
            target = self._target.for_run(generation)
            self.recorded = self._image.recorded(target, patterns, self._left_out | faults, generation.seconds)
        self._image = _Image()  # the arrays go before the image is decoded


class _Image:
    """What was seen of the image in the making. Arrays are of the latents' size."""

    def __init__(self) -> None:
        self.latents: list[mx.array] = []
        self.observed = Observed()
        self._outputs: list[list[mx.array]] = []
        self._sigmas: list[float | None] = []

    def take(self, step: Step, body: Body) -> None:
        self.observed.measure(step, body)
        outputs = [branch.model_output for branch in body.branches]
        self._outputs.append([_of_image(step, output) for output in outputs if output is not None])
        self._sigmas.append(step.sigma)
        mx.eval(self._outputs[-1], self.latents[-1])  # lazy ones would hold all activations of the step

    def recorded(
        self, target: Target, patterns: Mapping[str, str], left_out: Mapping[str, str], seconds: float
    ) -> Recorded:
        sigmas = tuple(sigma for sigma in self._sigmas if sigma is not None and math.isfinite(sigma))
        known = sigmas if len(sigmas) == len(self._sigmas) else None
        outputs = [[_as_numpy(output) for output in step] for step in self._outputs]
        products = inner_products(outputs, list(map(_as_numpy, self.latents)), known)
        return Recorded(
            target=target,
            sigmas=known,
            products=tuple(map(tuple, products.tolist())),
            changes=()
            if self.observed.problem
            else tuple((change.signal, change.residual) for change in self.observed.changes),
            patterns=patterns,
            left_out=left_out,
            seconds=seconds,
        )


def _of_image(step: Step, array: mx.array) -> mx.array:
    """Without reference images that may follow the rows of the image being made."""
    return step.target_part(array) if step.generation.target_rows and array.ndim == 3 else array


def _as_numpy(array: mx.array) -> np.ndarray[Any, np.dtype[Any]]:
    return np.array(array.astype(mx.float32))


def _quiet() -> warnings.catch_warnings[None]:
    """What strategies warn of as they are attached is for runs that they decide."""
    quiet = warnings.catch_warnings(action="ignore", category=PluginWarning)
    return quiet
