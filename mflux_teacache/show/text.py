"""What an image says about how it was made, as lines of text. Pure.

All of it comes from a file that anybody may have written, so every value is made harmless and short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mflux_teacache.image_record import keys
from mflux_teacache.image_record.account import Account
from mflux_teacache.records import StepRecord, speedup
from mflux_teacache.spelling import shortened, visible, without_folder
from mflux_teacache.text_tables import aligned

_LONGEST = 160  # characters of a value
_LABEL = 10
_WIDTH = 120

_MEANING = {"C": "computed", "S": "skipped", "P": "partly reused: some of its guidance branches"}

Column = tuple[str, Callable[[StepRecord], str]]


def as_text(account: Account) -> str:
    """Settings, sums, and a table of the steps, below the file as it was named."""
    return "\n".join([visible(account.path), *lines(account)])


def lines(account: Account) -> list[str]:
    """The same without the file."""
    about = [
        f"{label:<{_LABEL}}{value}" for label, value in (*_made(account.made), *_plugins(account), *_sums(account))
    ]
    return [*about, *_steps(account)]


# --- How it was made --------------------------------------------------------------------------------------------------


def _made(made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not made:
        yield "mflux", "the file says nothing about how it was made"
        return
    bits = made.get(keys.QUANTIZE)
    yield (
        "model",
        ", ".join([_name(made.get(keys.MODEL) or "not recorded"), *([f"{_short(bits)} bits"] if bits else [])]),
    )
    if loras := _loras(made):
        yield "LoRAs", loras
    yield "image", image_of(made)
    if made.get(keys.INPUT):
        yield "input", f"{_name(made[keys.INPUT])} at strength {_short(made.get(keys.STRENGTH))}"
    for label, key in (("prompt", keys.PROMPT), ("negative", keys.NEGATIVE_PROMPT)):
        if made.get(key):
            yield label, _short(made[key])
    yield "mflux", _short(made.get(keys.MFLUX_VERSION) or "version not recorded")


def image_of(made: Mapping[str, Any]) -> str:
    """Such as ``1024x1024, seed 42, 25 steps, guidance 3.5``: what is recorded of it."""
    width, height = made.get(keys.WIDTH), made.get(keys.HEIGHT)
    size = [f"{_short(width)}x{_short(height)}"] if width and height else []
    named = (("seed", keys.SEED), ("steps", keys.STEPS_ASKED), ("guidance", keys.GUIDANCE))
    return ", ".join([*size, *(f"{name} {_short(made[key])}" for name, key in named if made.get(key) is not None)])


def _loras(made: Mapping[str, Any]) -> str:
    paths, scales = made.get(keys.LORAS), made.get(keys.LORA_SCALES)
    names = [_name(path) for path in paths] if isinstance(paths, list) else []
    at = [f" at {_short(scale)}" for scale in scales] if isinstance(scales, list) else []
    return ", ".join(f"{name}{scale}" for name, scale in zip(names, [*at, *[""] * len(names)], strict=False))


def _name(path: Any) -> str:
    """The name alone: the folders are those of whoever made the image."""
    return _short(without_folder(path))


# --- What plugins did -------------------------------------------------------------------------------------------------


def _plugins(account: Account) -> Iterator[tuple[str, str]]:
    if account.made and not account.plugins:
        yield "plugins", "none recorded: every step was computed, or the image was made without this package"
    for name, entry in account.plugins.items():
        package = f" {_short(entry['version'])} of {_short(entry.get('package'))}" if entry.get("version") else ""
        role = "" if name == account.decider else " (decided nothing)"
        yield "plugin", f"{_short(name)}{package}{role}"
        options = _table(entry.get(keys.OPTIONS))
        if options:
            yield "options", _pairs(options)
        # A plugin often records what it used under its option's name.
        values = {key: value for key, value in _table(entry.get(keys.VALUES)).items() if options.get(key) != value}
        if values:
            yield "used", _pairs(values)
    if account.compile_blocks:
        yield "blocks", "compiled one by one"


def _table(value: Any) -> dict[str, Any]:
    """What is known of a table; a stranger's may be anything."""
    return {key: known for key, known in value.items() if known is not None} if isinstance(value, dict) else {}


def _pairs(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{_short(name)} {_value(value)}" for name, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):  # such as what a replay repeats: a name says enough
        return _short(value.get(keys.PLUGIN, f"({len(value)} entries)"))
    if isinstance(value, list):
        return _short(" ".join(map(_value, value[:12])) + (f" ... ({len(value)} in all)" if len(value) > 12 else ""))
    if value is None:
        return "unknown"
    return f"{value:g}" if isinstance(value, float) else _name(value)


def _sums(account: Account) -> Iterator[tuple[str, str]]:
    if not account.records:
        return
    yield "steps", sums(account)
    times = [record.seconds for record in account.records if record.seconds is not None]
    if times:
        yield "time", f"{sum(times):.3g} s of denoising: {_mean_times(account.records)}"
    there = [f"{letter} {meaning}" for letter, meaning in _MEANING.items() if letter in account.pattern]
    yield "pattern", f"{account.pattern} ({', '.join(there)})"


def sums(account: Account) -> str:
    """Such as ``computed 7 of 12, skipped 5: at best 1.71x``."""
    steps, skipped, partly = len(account.pattern), account.pattern.count("S"), account.pattern.count("P")
    also = f", partly reused {partly}" if partly else ""
    best = f": at best {speedup(steps, account.computed):.2f}x" if skipped or partly else ""
    return f"computed {steps - skipped - partly} of {steps}, skipped {skipped or 'none'}{also}{best}"


def _mean_times(records: Sequence[StepRecord]) -> str:
    """Of each outcome. The first step is told apart, since mflux compiles and encodes the prompt in it."""
    first, *others = [(record.decision, record.seconds) for record in records if record.seconds is not None]
    of: dict[str, list[float]] = {}
    for decision, seconds in others:
        of.setdefault(_outcome(decision), []).append(seconds)
    means = [f"{sum(seconds) / len(seconds):.3g} s per {outcome} step" for outcome, seconds in of.items()]
    return ", ".join([f"{first[1]:.3g} s for the first step", *means])


# --- Step by step -----------------------------------------------------------------------------------------------------

_COLUMNS: tuple[Column, ...] = (
    ("SIGMA", lambda record: _number(record.sigma, ".3f")),
    ("CHANGE", lambda record: _number(record.change)),
    ("PREDICTED", lambda record: _number(record.prediction)),
    ("SUM", lambda record: _number(record.running_sum)),
    ("THRESHOLD", lambda record: _number(record.threshold)),
    ("SECONDS", lambda record: _number(record.seconds, ".3f")),
)


def _steps(account: Account) -> list[str]:
    if not account.records:
        return []
    if not account.told:
        why = "an earlier version made it, or there was too much of it"
        return ["", f"Of each step only the outcome above is recorded: {why}."]
    known = [(title, cell) for title, cell in _COLUMNS if any(map(cell, account.records))]
    lines = [["STEP", "OUTCOME", *(title for title, _ in known), "REASON"]]
    for record in account.records:
        cells = [str(record.index), _outcome(record.decision), *(cell(record) or "-" for _, cell in known)]
        lines.append([*cells, _short(record.reason)])
    width = max(len(line[-1]) for line in lines)
    return ["", *aligned([[*cells, reason.ljust(width)] for *cells, reason in lines], left=2)]


def _outcome(decision: str) -> str:
    return {"forced": "computed", "partial": "partly"}.get(decision, decision)


def _number(value: float | None, form: str = ".4g") -> str:
    return "" if value is None else format(value, form)


def _short(value: Any) -> str:
    return shortened(visible(value), _LONGEST)
