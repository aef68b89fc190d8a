"""The tables of ``bench speed``."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from mflux_teacache.bench.runs import Phase, Run
from mflux_teacache.bench.summary import COMPILED, COMPUTED, SKIPPING, Spread, Summary
from mflux_teacache.bench.tables import table

_GIB = 2**30

# Of the variants whose name is neither a plugin's nor a package's; COMPILED goes with others.
_VARIANTS = {
    COMPUTED: "TeaCache's signal is read and compared in each step, and every step is computed",
    SKIPPING: "the signal is read and compared as well, and the steps with an S in the pattern are skipped",
    COMPILED: "each block of the transformer is compiled on its own",
}

_COLUMNS = """\
loop     seconds of the denoising loop, without encoding the prompt and decoding the image
ratio    loop seconds over those of the plain run of the same repetition
floor    computed steps over all steps: the ratio if skipped steps took no time"""

_OF_SKIPPING = """\
reached  floor over ratio: the share of the floor's speed-up that was reached
saved    (1 - ratio) over (1 - floor): the share of what could be saved"""

_ABOVE = """\
         Above 100%: computed steps were shorter than those of plain, with which the floor reckons. Compiled blocks
         can make them so, and other work on the machine can make plain's longer; "one step, ms" shows which."""

_SPREAD = "[ ]      smallest to largest; before it the median"


def run_heading(names: Sequence[str]) -> str:
    return f"{'variant':<{_width(names)}}  {'rep':>3}  {'encode':>8}  {'loop':>8}  {'decode':>8}  {'peak':>9}  pattern"


def run_line(run: Run, names: Sequence[str]) -> str:
    """One repetition; seconds, and the loop's peak memory."""
    return (
        f"{run.variant:<{_width(names)}}  {run.repetition + 1:>3}  {run.encode.seconds:>8.3f}  {run.loop.seconds:>8.3f}"
        f"  {run.decode.seconds:>8.3f}  {_gib(run.loop.peak_bytes):>9}  {run.pattern}"
        f"{'' if run.finite else '  NOT FINITE'}"
    )


def summary_tables(summaries: Sequence[Summary], loads: Sequence[Phase], first_images: Sequence[Run]) -> str:
    once = [_once(summaries, first_images)] if first_images else []
    notes = [note for entry in summaries for note in entry.notes]
    parts = [_ratios(summaries), *notes, _steps(summaries), *once, _memory(summaries, loads), legend(summaries)]
    return "\n\n".join(parts)


def legend(summaries: Sequence[Summary]) -> str:
    """What the rows and columns mean that are there."""
    there = {part for entry in summaries for part in (entry.variant.removesuffix(COMPILED), _suffix(entry))}
    variants = [f"{name.removeprefix(', ')}: {text}" for name, text in _VARIANTS.items() if name in there]
    reached = [entry.reached for entry in summaries if _skips(entry)]
    of_skipping = [_OF_SKIPPING] if reached else []
    above = [_ABOVE] if any(round(share, 3) > 1 for share in reached) else []
    return "\n".join([*variants, _COLUMNS, *of_skipping, *above, _SPREAD])


def _suffix(entry: Summary) -> str:
    return COMPILED if entry.variant.endswith(COMPILED) else ""


def _skips(entry: Summary) -> bool:
    return "S" in entry.pattern


def _ratios(summaries: Sequence[Summary]) -> str:
    heading = ("variant", "computed", "loop, s", "ratio", "floor", "reached", "saved")
    rows = [
        (
            entry.variant,
            f"{entry.pattern.count('C')}/{len(entry.pattern)}",
            _spell(entry.loop),
            _spell(entry.ratio),
            f"{entry.floor:.3f}",
            f"{entry.reached:.1%}" if _skips(entry) else "-",
            "-" if entry.saved is None else f"{entry.saved:.1%}",
        )
        for entry in summaries
    ]
    pairs = [
        f"{entry.variant}, pair by pair: {'  '.join(f'{ratio:.3f}' for ratio in entry.ratios)}"
        for entry in summaries[1:]
    ]
    return "\n".join([*table(heading, rows), *pairs])


def _steps(summaries: Sequence[Summary]) -> str:
    heading = ("one step, ms", "first", "computed", "skipped")
    rows = [
        (
            entry.variant,
            *(_spell_milliseconds(step) for step in (entry.first_step, entry.computed_step, entry.skipped_step)),
        )
        for entry in summaries
    ]
    return "\n".join(table(heading, rows))


def _once(summaries: Sequence[Summary], first_images: Sequence[Run]) -> str:
    heading = ("the first image, to warm up", "loop, s", "beyond the others")
    loops = {entry.variant: entry.loop.median for entry in summaries}
    firsts = {name: median(run.loop.seconds for run in first_images if run.variant == name) for name in loops}
    rows = [(name, f"{first:.3f}", f"{first - loops[name]:+.3f}") for name, first in firsts.items()]
    why = "beyond: kernels are built once, for the first variant that needs them, and MLX may keep them on disk"
    return "\n".join([*table(heading, rows), why])


def _memory(summaries: Sequence[Summary], loads: Sequence[Phase]) -> str:
    heading = ("peak memory", *summaries[0].peak_bytes, "after the loop")
    rows = [
        (entry.variant, *map(_gib, entry.peak_bytes.values()), _gib(entry.active_bytes["loop"])) for entry in summaries
    ]
    load = (
        f"loading the model took {max(phase.seconds for phase in loads):.1f} s, "
        f"peak {_gib(max(phase.peak_bytes for phase in loads))}, "
        f"{_gib(max(phase.active_bytes for phase in loads))} after it"
    )
    return "\n".join([*table(heading, rows), load])


def _spell(spread: Spread) -> str:
    return f"{spread.median:.3f} [{spread.low:.3f} to {spread.high:.3f}]"


def _spell_milliseconds(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{1e3 * spread.median:.1f} [{1e3 * spread.low:.1f} to {1e3 * spread.high:.1f}]"


def _gib(number: int) -> str:
    return f"{number / _GIB:.2f} GiB"


def _width(names: Sequence[str]) -> int:
    return max(len("variant"), *map(len, names))
