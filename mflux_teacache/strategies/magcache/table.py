"""MagCache's tables: data files with their sources, and which of them fits a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from mflux_teacache.pieces.data_files import DataFiles, Figures
from mflux_teacache.pieces.option_types import (
    AMOUNT,
    Allowed,
    is_count_from,
    is_list_of,
    is_number,
    is_window,
    whole_number_from,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Figures):
    """Ratios of a full run, and the settings that its source recommends with them.

    A file has the same fields and ``"schema": 1``.

    Attributes:
        ratios: one per step of a full run: the ratio of the residual's norm to the step before's, averaged over the
            tokens; the first is 1. The list is the same for all guidance branches.
        threshold: the recommended error threshold.
        skip_first: the recommended window at the start: steps, or a fraction of the run (the source's retention ratio).
        max_skips: the recommended cap on consecutive skips (the source's K).
        source: who published it, and where.
        always: steps of the full run that the source computes whatever the error.
    """

    ratios: tuple[float, ...]
    threshold: float
    skip_first: float
    max_skips: int
    source: str
    always: tuple[int, ...] = ()


FILES = DataFiles(
    strategy="MagCache",
    noun="table",
    option="--magcache-table",
    otherwise="--magcache-table with a name or a file of your own",
    recorder="magcache-record",
    folder=files("mflux_teacache.strategies.magcache").joinpath("tables"),
    record=Table,
    allowed={
        "ratios": Allowed(
            is_list_of(lambda x: is_number(x) and x > 0, at_least=2), "a list of numbers above 0, at least two"
        ),
        "threshold": AMOUNT,
        "skip_first": Allowed(is_window, "steps from 0, or a fraction between 0 and 1"),
        "max_skips": whole_number_from(0),
        "always": Allowed(is_list_of(is_count_from(0)), "a list of steps from 0"),
    },
)

load, find = FILES.load, FILES.nearest


def shipped() -> Mapping[str, Table]:
    """Every table of this package, by name."""
    return FILES.shipped
