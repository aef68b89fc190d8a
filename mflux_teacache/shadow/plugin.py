"""The plugin ``shadow`` computes every step, and reports what strategies would have skipped and at what error."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from mflux_teacache.about import About
from mflux_teacache.errors import NotWritten, PluginWarning
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.messages import tell
from mflux_teacache.pieces import option_types
from mflux_teacache.pieces.output_files import add_output, check_output, png_of, replace_file, writing
from mflux_teacache.records import Generation, Target
from mflux_teacache.shadow.plan import Plan, check, plan
from mflux_teacache.shadow.report import Report, as_json, as_text
from mflux_teacache.shadow.simulate import ComputedStep
from mflux_teacache.spelling import visible_lines
from mflux_teacache.step import Body, Decision, Step

_MOST_THRESHOLDS = 64


class Shadow:
    """Computes every step, and reports what strategies would have skipped and how far off they would have been.

    It drives private instances of deciding plugins along the run. It is itself a deciding plugin that always computes,
    so no other plugin can skip steps in the same run. Each simulated strategy keeps what it always keeps
    (residuals are shared between them, signals are not) and waits for the device as often as it does on its own. The
    errors of a step are read together, in one further wait.
    """

    about = About(
        kind="tool",
        description="Computes every step, and shows what strategies would have skipped, and at what error.",
        simulated=False,
        alone="computes every step, to show what the plugins of --shadow-strategies would skip",
    )

    _target: Target
    _plan: Plan
    _report: Report | None = None

    @staticmethod
    @hookimpl
    def mflux_add_options(group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--shadow-strategies",
            type=_names,
            metavar="NAME,...",
            help="look at these plugins (default: every installed one that skips steps)",
        )
        group.add_argument(
            "--shadow-thresholds",
            type=_thresholds,
            metavar="FLOAT,...",
            help="try these thresholds on the strategies that have one (default: multiples of each one's own)",
        )
        add_output(
            group,
            "--shadow-plot",
            help="draw the result as a PNG; further images of a run get a number in its name",
        )
        add_output(
            group,
            "--shadow-json",
            help="write the result as JSON, as it is in the image's metadata; further images are numbered likewise",
        )

    @hookimpl
    def mflux_check(self, options: argparse.Namespace, target: Target) -> None:
        for option, path, suffix in (("plot", options.plot, ".png"), ("json", options.json, ".json")):
            if path is not None:
                check_output(f"--shadow-{option}", path, suffix)
        check(options.strategies, options.thresholds, target)

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target, model: Any) -> None:
        self._plot, self._json = options.plot, options.json
        self._target = target
        self._plan = plan(options.strategies, options.thresholds, target, model)

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self._report = None
        target = self._target.for_run(generation)
        for simulation in self._plan.simulations:
            simulation.start(generation, target)

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        # Their decisions are noted but not followed, since errors can only be measured on computed steps.
        for simulation in self._plan.simulations:
            simulation.decide(step)
        return Decision.compute("a shadow run")

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        computed = ComputedStep(step, body)
        errors = [(simulation, simulation.follow(computed)) for simulation in self._plan.simulations]
        # All at once: a wait for each strategy would make the run as slow as there are strategies.
        mx.eval(computed.made, [error for _, error in errors if error is not None])
        for simulation, error in errors:
            simulation.note(None if error is None else float(error))

    @hookimpl
    def mflux_generation_end(self, generation: Generation) -> None:
        rows = [(simulation, simulation.end(generation)) for simulation in self._plan.simulations]
        if generation.status != "finished":
            return
        faults = {simulation.title: simulation.fault for simulation, _ in rows if simulation.fault is not None}
        self._report = Report([row for _, row in rows if row], self._plan.left_out | faults, self._plan.notes)
        tell(visible_lines(as_text(self._report)), sys.stdout)
        # Only after both files are written: with ``-W error`` the first warning ends this method.
        for problem in self._write(generation, self._report):
            warnings.warn(problem, PluginWarning, stacklevel=2)

    @hookimpl
    def mflux_image_metadata(self) -> Mapping[str, Any] | None:
        return None if self._report is None else as_json(self._report)

    def _write(self, generation: Generation, report: Report) -> list[str]:
        """Write the files that were asked for; returns a message for each that could not be written."""
        problems = []  # collected, so that a failure of one file does not cost the other
        for option, path, content in (("--shadow-json", self._json, _json_of), ("--shadow-plot", self._plot, _plot_of)):
            if path is not None and (report.rows or content is _json_of):
                try:
                    with writing(option, file := _numbered(path, generation)):
                        replace_file(file, content(report))
                except NotWritten as problem:
                    problems.append(str(problem))
        return problems


def _json_of(report: Report) -> bytes:
    return (json.dumps(as_json(report), indent=2) + "\n").encode()


def _plot_of(report: Report) -> bytes:
    from mflux_teacache.shadow.picture import drawn  # matplotlib takes a second to import

    return png_of(drawn(report))


def _numbered(path: Path, generation: Generation) -> Path:
    """The file of an image; from the second image of a run on, its name has a number."""
    # There is only one pipe or device of a name, and it gets all of them.
    one = path.exists() and not path.is_file()
    return path.with_stem(f"{path.stem}_{generation.number + 1}") if generation.number and not one else path


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no plugin; such as teacache,first-block-cache")
    return tuple(dict.fromkeys(names))


def _thresholds(text: str) -> tuple[float, ...]:
    thresholds = text.split(",")
    # For each threshold an instance of each strategy is driven along the run, with all the memory that it takes.
    if len(thresholds) > _MOST_THRESHOLDS:
        raise argparse.ArgumentTypeError(
            f"{len(thresholds)} thresholds are given; at most {_MOST_THRESHOLDS} are taken"
        )
    return tuple(map(option_types.threshold, thresholds))
