"""The plugin ``magcache``: MagCache's rule and tables on the common base of strategies."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.data_files import Chosen
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.strategy import COMMON, Settings, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Generation, Target
from mflux_teacache.step import Step
from mflux_teacache.strategies.magcache.policy import Config, active_part, decide, stretch, stretch_steps
from mflux_teacache.strategies.magcache.table import FILES, Table

_OWN = "the table's own"


class MagCache(Strategy):
    """Skips the transformer's body while a table says that the cached residual's magnitude is still right."""

    name = "magcache"
    title = "MagCache"
    about = replace(
        COMMON,
        description="Skips while a table, recorded on the model, says that the residual's magnitude is still right.",
        threshold="thresh",
        budgets=BUDGETS,
        needs_calibration=True,
        grid={"thresh": (0.03, 0.06, 0.12, 0.24), "forecast": (0, 1)},
    )
    defaults = Limits(skip_last=0, max_skips=3)
    models_own: ClassVar[Mapping[str, str]] = {"thresh": _OWN, "skip_first": _OWN, "max_skips": _OWN}
    skips_while = "the summed error of the residual's magnitude is less than this"

    _config: Config
    # The source has a table and a sum for each guidance branch. Its tables for models with two branches agree to within
    # 0.008, so here one table decides for all branches.
    _table: Table

    def __init__(self) -> None:
        self._tables = Chosen(FILES)

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        FILES.add_option(group)

    def settings(self, options: argparse.Namespace, target: Target) -> Settings:
        table = self._tables.get(options.table, target)
        limits = Limits(skip_first=table.skip_first, skip_last=self.defaults.skip_last, max_skips=table.max_skips)
        return replace(self.settings_from(options, limits, table.threshold), always=partial(_always, table))

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        self._table = self._tables.get(options.table, target)
        FILES.warn_if_made_elsewhere(self._table, target)

    def start(self, generation: Generation) -> None:
        """Stretch the table to the image's number of steps."""
        # To that of the whole schedule, since image-to-image runs only the end of it.
        steps, active = generation.num_inference_steps, generation.active_steps
        ratios = stretch(self._table.ratios, steps)[steps - active :]
        self._config = Config(ratios=ratios, always=_always(self._table, steps, active))

    def judge(self, step: Step) -> Verdict:
        return decide(self.progress.skips, step.index, self._config)

    def values(self, generation: Generation) -> Mapping[str, Any]:
        return {
            "table": self._table.name,
            "threshold": self.threshold,
            "skip_first": self.limits.skip_first,
            "skip_last": self.limits.skip_last,
            "max_skips": self.limits.max_skips,
        }


def _always(table: Table, steps: int, active: int) -> frozenset[int]:
    """The steps that the table computes whatever the error, in an image of this many steps."""
    return active_part(stretch_steps(table.always, len(table.ratios), steps), steps, active)
