"""The user's data directory, and the presets in it."""

from __future__ import annotations

import os
from pathlib import Path

from mflux_teacache.cli.own.doctor.page import Part
from mflux_teacache.errors import OptionError
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import Preset
from mflux_teacache.spelling import as_word


def user_presets() -> Part:
    facts: dict[str, str] = {}
    try:
        data = store.folder().parent
        facts = {"data directory": f"{as_word(data)}{_state(data)}"}
        stored = store.stored()
    except OptionError as error:
        return Part("presets", facts, [str(error)])
    facts |= {entry.name: "broken" if entry.preset is None else _of(entry.preset) for entry in stored}
    broken = [entry.problem for entry in stored if entry.preset is None]
    return Part("presets", facts, broken)


def _state(data: Path) -> str:
    named = f", named by {store.VARIABLE}" if os.environ.get(store.VARIABLE) else ""
    return f"{'' if store.is_there(data) else ', which is not there yet'}{named}"


def _of(preset: Preset) -> str:
    key = preset.key
    weights = "" if key.bits is None else f", {key.bits} bits"
    return f"{key.model}{weights}, {key.width}x{key.height}, {key.steps} steps: {len(preset.settings)} settings"
