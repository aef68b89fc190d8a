"""MagCache's tables: data files with their source, and which of them fits a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mflux_teacache.pieces.data_files import DataFiles
from mflux_teacache.pieces.json_fields import (
    AMOUNT,
    CLASS_NAMES,
    LORAS,
    MODEL_IDS,
    NAME,
    TEXT,
    Allowed,
    count_from,
    is_count_from,
    is_list_of,
    is_number,
)
from mflux_teacache.pieces.matching import distance
from mflux_teacache.pieces.option_types import is_window
from mflux_teacache.records import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Ratios of a full run, and the settings that its source recommends with them.

    A file has the same fields and ``"schema": 1``.

    Attributes:
        name: what ``--magcache-table`` calls it.
        model: Hugging Face id of the model it was made on.
        pipelines: class names of the mflux pipelines it was made on.
        ratios: one per step of a full run: mean over the tokens of the residual's norm over that of the step
            before; the first is 1. One list for all guidance branches.
        threshold: recommended error threshold.
        skip_first: recommended window at the start: steps, or a fraction of the run (the source's retention ratio).
        max_skips: recommended cap on consecutive skips (the source's K).
        source: who published it, and where.
        stand_in_for: ids of models that share the transformer and have no table of their own.
        loras: LoRAs and scales of that run, as ``matching.loras_of`` has them; ``None`` = as published, without one.
        always: steps of the full run that the source computes whatever the error.
        license: SPDX expression of the source.
        note: what else a user should know.
    """

    name: str
    model: str
    pipelines: tuple[str, ...]
    ratios: tuple[float, ...]
    threshold: float
    skip_first: float
    max_skips: int
    source: str
    stand_in_for: tuple[str, ...] = ()
    loras: Mapping[str, float] | None = None
    always: tuple[int, ...] = ()
    license: str | None = None
    note: str | None = None

    def distance(self, target: Target) -> int | None:
        """How far off a target is, as ``matching.distance`` has it."""
        return distance(target, model=self.model, pipelines=self.pipelines, stand_in_for=self.stand_in_for)


FILES = DataFiles(
    strategy="MagCache",
    noun="table",
    option="--magcache-table",
    recorder="magcache-record",
    folder=files("mflux_teacache.strategies.magcache").joinpath("tables"),
    record=Table,
    allowed={
        "name": NAME,
        "model": TEXT,
        "pipelines": CLASS_NAMES,
        "ratios": Allowed(
            is_list_of(lambda x: is_number(x) and x > 0, at_least=2), "a list of numbers above 0, at least two"
        ),
        "threshold": AMOUNT,
        "skip_first": Allowed(is_window, "steps from 0, or a fraction between 0 and 1"),
        "max_skips": count_from(0),
        "source": TEXT,
        "stand_in_for": MODEL_IDS,
        "loras": LORAS,
        "always": Allowed(is_list_of(is_count_from(0)), "a list of steps from 0"),
        "license": TEXT,
        "note": TEXT,
    },
)


def shipped() -> Mapping[str, Table]:
    """Every table of this package, by name."""
    return FILES.shipped


def load(name_or_path: str | Path) -> Table:
    """A shipped table by name, or a file of one's own; see ``DataFiles.load``."""
    return FILES.load(name_or_path)


def find(target: Target) -> Table:
    """The shipped table that is nearest to a target; raises as ``DataFiles.nearest`` does."""
    return FILES.nearest(target, "--magcache-table with a name or a file of your own")
