"""One strategy along a full run of a tiny random model: its errors are the right ones."""

from __future__ import annotations

from typing import Any

import cases_flux
import mlx.core as mx
import pytest
from shadowing import STEPS, observing, shadow, values
from strategies import OutputPattern, Pattern, PatternAfterFirstBlock, kept
from tiny_models import generate

from mflux_teacache import Decision, attach, hookimpl
from mflux_teacache.shadow.simulate import Simulation

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.filterwarnings("ignore::mflux_teacache.PluginWarning")]


def relative_l1(output: mx.array, computed: mx.array) -> float:
    return (mx.abs(output - computed).mean() / mx.abs(computed).mean()).item()


class KeepsBodies:
    """Beside the shadow: what the full run's bodies were, and block 0's residuals."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.firsts: list[mx.array] = []
        self.rows: int | None = None

    @hookimpl
    def mflux_post_transformer(self, step, body):
        assert body.computed
        self.bodies.append(body.branches[0])
        self.firsts.append(step.first_block_residual)
        self.rows = step.generation.target_rows


@pytest.mark.parametrize("case", ["flux2-guidance", "flux1-kontext"])
def test_errors_are_those_of_input_and_earlier_residual(case, photo, installed):
    installed(Pattern)
    plugin, instances = kept(KeepsBodies)
    _, recorded = shadow(case, photo, observing(plugin))
    [run] = values(recorded)["runs"]
    assert (run["pattern"], recorded["pattern"]) == ("CSCSCS", "CCCCCC")
    bodies, rows = instances[0].bodies, instances[0].rows
    expected = [
        relative_l1((bodies[i].input + bodies[i - 1].residual)[:, :rows], bodies[i].output[:, :rows]) for i in (1, 3, 5)
    ]
    assert run["errors"] == pytest.approx(expected, rel=1e-3)
    assert min(expected) > 1e-4


def test_a_residual_after_the_first_block_is_added_to_its_output(photo, installed):
    installed(PatternAfterFirstBlock)
    plugin, instances = kept(KeepsBodies)
    _, recorded = shadow("flux2-guidance", photo, observing(plugin))
    [run] = values(recorded)["runs"]
    bodies, firsts = instances[0].bodies, instances[0].firsts
    bases = [body.input + first for body, first in zip(bodies, firsts, strict=True)]
    expected = [relative_l1(bases[i] + (bodies[i - 1].output - bases[i - 1]), bodies[i].output) for i in (1, 3, 5)]
    assert run["errors"] == pytest.approx(expected, rel=1e-3)


def test_the_first_skipped_step_has_the_error_of_a_run_that_skips(photo, installed):
    """Up to there both runs have the same path."""
    installed(PatternAfterFirstBlock)
    plugin, instances = kept(KeepsBodies)
    _, recorded = shadow("flux2-guidance", photo, observing(plugin))
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    skips, skipping = kept(PatternAfterFirstBlock)
    with attach(model, skips):
        generate(model, num_inference_steps=STEPS, **arguments)
    reused = skipping[0].bodies[1].branches[0]
    assert reused.reused
    expected = relative_l1(reused.output, instances[0].bodies[1].output)
    assert values(recorded)["runs"][0]["errors"][0] == pytest.approx(expected, rel=1e-3)


def test_a_strategy_is_told_of_what_it_would_have_reused(photo, installed):
    told, instances = kept(Pattern)
    told.__name__ = "told"
    installed(told)
    shadow("flux2-guidance", photo)
    [simulated] = [instance for instance in instances if instance.bodies]
    assert [body.computed for body in simulated.bodies] == [True, False] * 3
    assert [len(body.branches) for body in simulated.bodies] == [2] * 6
    held, reused = (body.branches[0].residual for body in simulated.bodies[:2])
    assert reused is held


class AnotherShape(Pattern):
    """Reuses a residual of one row, which would be added to every row."""

    @hookimpl
    def mflux_pre_transformer(self, step):
        return Decision.reuse([residual[:, :1] for residual in self.residuals]) if step.index else Decision.compute()


def test_a_residual_that_does_not_fit_computes_as_in_a_real_run(photo, installed):
    installed(AnotherShape)
    _, recorded = shadow("flux2-guidance", photo)
    [run] = values(recorded)["runs"]
    assert run["pattern"] == "C" * STEPS


def test_what_is_made_here_is_evaluated_with_the_step(photo, installed, monkeypatch):
    """Residuals after block 0 are no part of the step's own result, and lazy they would keep its activations."""
    installed(PatternAfterFirstBlock)
    evaluated, evaluate = [], mx.eval
    monkeypatch.setattr(mx, "eval", lambda *arrays: (evaluated.extend(arrays), evaluate(*arrays))[1])
    follow, made = Simulation.follow, []
    monkeypatch.setattr(Simulation, "follow", lambda self, step: (follow(self, step), made.append(step))[0])
    shadow("flux2-guidance", photo)
    assert len(made) == STEPS
    residuals = [step.after(1).branches[0].residual for step in made]
    lists = [arrays for arrays in evaluated if isinstance(arrays, list)]
    assert all(any(residual is array for arrays in lists for array in arrays) for residual in residuals)


class KeepsOutputs(KeepsBodies):
    """Beside the shadow: what the full run's transformer returned."""

    @hookimpl
    def mflux_post_transformer(self, step, body):
        self.bodies.append(body.branches[0].model_output)


@pytest.mark.parametrize("case", ["flux2-guidance", "flux1-kontext"])
def test_errors_of_outputs_are_those_of_earlier_ones(case, photo, installed):
    installed(OutputPattern)
    plugin, instances = kept(KeepsOutputs)
    _, recorded = shadow(case, photo, observing(plugin))
    [run] = values(recorded)["runs"]
    assert (run["pattern"], recorded["pattern"]) == ("CSCSCS", "CCCCCC")
    outputs = instances[0].bodies
    assert run["errors"] == pytest.approx([relative_l1(outputs[i - 1], outputs[i]) for i in (1, 3, 5)], rel=1e-3)
    assert min(run["errors"]) > 1e-4


class OutputsOfAnotherShape(OutputPattern):
    @hookimpl
    def mflux_pre_transformer(self, step):
        outputs = [output[:, :1] for output in self.outputs]
        return Decision.reuse_outputs(outputs) if step.index else Decision.compute()


def test_an_output_that_does_not_fit_computes_as_in_a_real_run(photo, installed):
    installed(OutputsOfAnotherShape)
    _, recorded = shadow("flux2-guidance", photo)
    [run] = values(recorded)["runs"]
    assert run["pattern"] == "C" * STEPS
