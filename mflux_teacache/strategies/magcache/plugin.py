"""The plugin ``magcache``: MagCache's rule and tables on the hooks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces import forecast, limits
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.option_types import count, threshold, window
from mflux_teacache.pieces.policy_run import PolicyRun
from mflux_teacache.records import Body, Decision, Generation, Step, Target
from mflux_teacache.strategies.magcache import table as tables
from mflux_teacache.strategies.magcache.policy import Config, State, decide, stretch, stretch_steps
from mflux_teacache.strategies.magcache.table import Table

PLUGIN = "magcache"


class MagCache:
    """Skips the transformer's body while a table says that the cached residual's magnitude is still right.

    The source keeps one table and one sum per guidance branch. Its tables for models with two branches are the same
    for both to 0.008, so here one table decides for all branches.
    """

    _table: Table
    _limits: Limits
    _threshold: float
    _config: Config
    _run: PolicyRun[State]
    _from_file: Table | None = None

    @staticmethod
    @hookimpl
    def mflux_add_options(group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--magcache-thresh",
            type=threshold,
            metavar="FLOAT",
            help="skip while the summed error of the residual's magnitude is less than this; higher = faster, further "
            "from the full run; 0 never skips (default: the table's own)",
        )
        group.add_argument(
            "--magcache-skip-first",
            type=window,
            metavar="STEPS",
            help="always compute these first steps: a number, or a fraction of the run such as 0.2 "
            "(default: the table's own)",
        )
        group.add_argument(
            "--magcache-skip-last",
            type=window,
            default=0,
            metavar="STEPS",
            help="always compute these last steps, as above (default: %(default)s)",
        )
        group.add_argument(
            "--magcache-max-skips",
            type=count,
            metavar="N",
            help="at most this many skipped steps in a row; 0 never skips (default: the table's own)",
        )
        group.add_argument(
            "--magcache-table",
            metavar="NAME|FILE",
            help=f"use this table: a .json file, or one of {', '.join(tables.shipped())} (default: the model's)",
        )
        forecast.add_options(group, PLUGIN)

    @hookimpl
    def mflux_check(self, options: argparse.Namespace, target: Target) -> None:
        if target.model is None and target.base_model is None:
            return  # nothing to judge yet; mflux_attach knows the model
        limits.refuse_short_run(
            "MagCache", PLUGIN, _limits(options, self._chosen(options, target)), target.active_steps
        )

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target) -> None:
        self._table = self._chosen(options, target)
        self._limits = _limits(options, self._table)
        self._threshold = self._table.threshold if options.thresh is None else options.thresh
        self._run = PolicyRun(State(), forecast.from_options(options), self._threshold)
        tables.FILES.warn_if_made_elsewhere(self._table, target)

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self._config = self._configure(generation)
        self._run.reset()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        return self._run.follow(decide(self._run.state, step.index, step.active_steps, self._config), step)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        self._run.keep(step, body)

    @hookimpl
    def mflux_generation_end(self) -> None:
        self._run.reset()

    @hookimpl
    def mflux_image_metadata(self) -> Mapping[str, Any]:
        return {
            "table": self._table.name,
            "threshold": self._threshold,
            "skip_first": self._limits.skip_first,
            "skip_last": self._limits.skip_last,
            "max_skips": self._limits.max_skips,
            **self._run.cache.values,
        }

    def _chosen(self, options: argparse.Namespace, target: Target) -> Table:
        """What the option names, else the model's. A file is read once: it may be gone while images are made."""
        if options.table is None:
            return tables.find(target)
        if self._from_file is None:
            self._from_file = tables.load(options.table)
        return self._from_file

    def _configure(self, generation: Generation) -> Config:
        """The table stretched to the whole schedule, of which image-to-image runs the end."""
        steps, active = generation.num_inference_steps, generation.active_steps
        late = steps - active
        always = stretch_steps(self._table.always, len(self._table.ratios), steps)
        return Config(
            ratios=stretch(self._table.ratios, steps)[late:],
            threshold=self._threshold,
            limits=self._limits,
            always=frozenset(step - late for step in always if step >= late),
        )


def _limits(options: argparse.Namespace, table: Table) -> Limits:
    return Limits(
        skip_first=table.skip_first if options.skip_first is None else options.skip_first,
        skip_last=options.skip_last,
        max_skips=table.max_skips if options.max_skips is None else options.max_skips,
    )
