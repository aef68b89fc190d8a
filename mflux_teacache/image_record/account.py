"""Everything that an image says about how it was made, for people. Nothing is loaded, and no plugin need be installed.

``read`` is stricter, since a run is brought back from what it returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mflux_teacache.image_record import keys, steps
from mflux_teacache.image_record.read import metadata, outcomes, parse
from mflux_teacache.records import StepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a file says.

    Attributes:
        path: the file, an image or a sidecar.
        made: mflux's own metadata, as they are in the file; empty if there are none.
        plugins: what is recorded of each plugin: ``package``, ``version``, ``options``, ``values``.
        decider: the name of the one that decided; ``None`` if none did.
        pattern: one letter per step; empty if no plugin was at work.
        records: one per step.
        told: the record has more of the steps than their outcomes.
        compile_blocks: the model's blocks were compiled one by one.
    """

    path: Path
    made: Mapping[str, Any] = field(default_factory=dict)
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decider: str | None = None
    pattern: str = ""
    records: tuple[StepRecord, ...] = ()
    told: bool = False
    compile_blocks: bool = False

    @property
    def computed(self) -> float:
        """In steps; a partly reused one counts with the share of its branches that it computed."""
        return sum(record.cost for record in self.records)


def account(path: Path) -> Account:
    """What an image or a sidecar says; an image without metadata says nothing.

    Raises:
        OptionError: it cannot be read, or its record is not one that this version writes.
    """
    content = metadata(path) or {}
    made = {name: value for name, value in content.items() if name != keys.ENTRY}
    if keys.ENTRY not in content:
        return Account(path=path, made=made)
    entry = content[keys.ENTRY]
    recorded = parse(entry, made.get(keys.MODEL))
    pattern, partly = outcomes(entry)
    told = entry.get(keys.STEPS, {})
    return Account(
        path=path,
        made=made,
        plugins=entry[keys.PLUGINS],
        decider=entry.get(keys.DECIDER),
        pattern=pattern,
        records=steps.parse(f"{path}: {keys.ENTRY}.{keys.STEPS}", told, pattern, partly),
        told=bool(told),
        compile_blocks=recorded.compile_blocks,
    )
