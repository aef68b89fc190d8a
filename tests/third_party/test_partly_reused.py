"""A third party's plugin that reuses the second guidance branch alone, in every other step: what is told of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from matplotlib.figure import Figure
from tiny_models import generate, same

from mflux_teacache import Body, Decision, Generation, ResidualCache, Step, Target, attach, hookimpl
from mflux_teacache.bench.variants import _attaching
from mflux_teacache.charts import steps as timeline
from mflux_teacache.demo import run as demo
from mflux_teacache.demo.model import Drawn
from mflux_teacache.image_record.read import read
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import GenerationStats
from mflux_teacache.shadow.simulate import ComputedStep, Simulation
from mflux_teacache.summary import Settings, summary, why_idle

pytestmark = pytest.mark.usefixtures("tiny")

STEPS = 6
ARGUMENTS = {"num_inference_steps": STEPS, "guidance": 4.0}
WHY = "the second branch moves little"


class SecondBranch:
    def __init__(self) -> None:
        self.cache = ResidualCache(0)

    @hookimpl
    def mflux_generation_start(self) -> None:
        self.cache.clear()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision | None:
        if step.index % 2 == 0:
            return None
        _, second = self.cache.residuals(step.sigma)
        return Decision.reuse([None, second], WHY, change=0.25, threshold=0.5)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        self.cache.store(step.sigma, body)

    @hookimpl
    def mflux_image_metadata(self) -> Mapping[str, Any]:
        return self.cache.values


PLUGIN = Loaded("second-branch", SecondBranch)


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Any, mx.array, GenerationStats]]:
    """A model, the latents of an image that is partly reused, and its records."""
    with tiny_models.float32(), tiny_models.narrow(), tiny_models.small():
        model = tiny_models.flux2()
        with attach(model, SecondBranch) as handle:
            latents = generate(model, **ARGUMENTS)
            assert handle.stats.partial_count == 3
            assert handle.stats.speedup_estimate == 6 / 4.5
        yield model, latents, handle.stats.history[0]


def test_its_records_and_counts(made: tuple[Any, mx.array, GenerationStats]) -> None:
    model, latents, stats = made
    assert not same(generate(model, **ARGUMENTS), latents)
    assert [(record.decision, record.branches, record.cost) for record in stats.decisions] == [
        ("computed", "CC", 1.0),
        ("partial", "CS", 0.5),
    ] * 3
    assert {record.reason for record in stats.decisions[1::2]} == {WHY}
    assert (stats.pattern, stats.partial_count, stats.skipped_count, stats.computed_count) == ("CPCPCP", 3, 0, 3)
    assert (stats.cost, stats.speedup_estimate) == (4.5, 6 / 4.5)


def test_the_line_after_the_image(made: tuple[Any, mx.array, GenerationStats]) -> None:
    line = summary(made[2], ["second-branch"], "second-branch", Settings())
    assert line.startswith("second-branch: computed 3 of 6 steps, skipped 0, partly reused 3 (threshold 0.5, ")
    assert why_idle(made[2], PLUGIN, {}) is None


def test_its_metadata_and_a_replay(made: tuple[Any, mx.array, GenerationStats], tmp_path: Path) -> None:
    model, latents, _ = made
    with attach(model, SecondBranch):
        image = model.generate_image(seed=1, prompt="x", height=32, width=32, **ARGUMENTS)
    entry = image._get_metadata()["mflux_plugins"]
    assert entry["pattern"] == "CPCPCP"
    assert entry["partly_reused"] == {"1": "CS", "3": "CS", "5": "CS"}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"mflux_plugins": entry}))
    decided = read(path).decided
    assert decided is not None
    assert (decided.pattern, decided.partly) == ("CPCPCP", {1: "CS", 3: "CS", 5: "CS"})
    with attach(model, "replay", **{"from": str(path)}) as handle:
        assert same(generate(model, **ARGUMENTS), latents)
    assert handle.stats.history[0].pattern == "CPCPCP"


def test_a_shadow_run(made: tuple[Any, mx.array, GenerationStats]) -> None:
    rows: list[Any] = []

    class Driving:
        @hookimpl
        def mflux_attach(self, options: argparse.Namespace, target: Target, model: Any) -> None:
            self.target = target
            self.simulation = Simulation(PLUGIN, {})
            self.simulation.attach(target, model)

        @hookimpl
        def mflux_generation_start(self, generation: Generation) -> None:
            self.simulation.start(generation, self.target)

        @hookimpl
        def mflux_pre_transformer(self, step: Step) -> Decision:
            self.simulation.decide(step)
            return Decision.compute()

        @hookimpl
        def mflux_post_transformer(self, step: Step, body: Body) -> None:
            error = self.simulation.follow(ComputedStep(step, body))
            self.simulation.note(None if error is None else float(error))

        @hookimpl
        def mflux_generation_end(self, generation: Generation) -> None:
            rows.append(self.simulation.end(generation))

    with attach(made[0], Driving):
        generate(made[0], **ARGUMENTS)
    [row] = rows
    assert (row.pattern, row.computed, row.speedup) == ("CPCPCP", 4.5, 6 / 4.5)
    assert len(row.reused) == 3
    assert row.mean > 0


def test_the_demo(made: tuple[Any, mx.array, GenerationStats]) -> None:
    import PIL.Image

    drawn = Drawn(image=PIL.Image.new("RGB", (8, 8)), seconds=2.0)
    report = demo.report(demo.Settings(plugin="second-branch"), demo.Result(plain=drawn, cached=drawn, stats=made[2]))
    assert "4.5/6" in report
    assert "0.75" in report
    assert "pattern     CPCPCP (C computed, S skipped, P partly reused: some of its guidance branches)" in report
    figure = Figure()
    timeline.draw(figure.subfigures(), made[2].decisions)
    labels = {text.get_text() for axes in figure.subfigs[0].axes for text in axes.texts}
    legends = [axes.get_legend() for axes in figure.subfigs[0].axes]
    assert labels == {"C", "P"}
    assert "partly reused (P)" in {text.get_text() for legend in legends if legend for text in legend.get_texts()}


def test_a_bench_counts_branches(made: tuple[Any, mx.array, GenerationStats]) -> None:
    with _attaching("second-branch", PLUGIN, {}).attach(made[0]) as last_image:
        generate(made[0], **ARGUMENTS)
        done = last_image()
    assert (done.pattern, done.computed, done.note) == ("CPCPCP", 4.5, None)
