"""What is printed: the tables of ``bench speed`` and ``bench quality``, with what their rows and columns mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from mflux_teacache.bench.baseline import no_better
from mflux_teacache.bench.figures import Quality, Speed, Spread, pareto
from mflux_teacache.bench.runs import COMPILED, COMPUTED, SKIPPING, Phase, TimedRun
from mflux_teacache.text_tables import aligned

# Of the variants whose name is neither a plugin's nor a package's; COMPILED goes with others.
_VARIANTS = {
    COMPUTED: "TeaCache's signal is read and compared in each step, and every step is computed",
    SKIPPING: "the signal is read and compared as well, and the steps with an S in the pattern are skipped",
    COMPILED: "each block of the transformer is compiled on its own",
}

# By the heading of a column, a field of ``Speed``.
_STEPS = {
    "first": "first_step",
    "computed": "computed_step",
    "partly reused": "partial_step",
    "skipped": "skipped_step",
}

_COLUMNS = """\
loop     seconds of the denoising loop, without encoding the prompt and decoding the image
ratio    loop seconds over those of the plain run of the same repetition
floor    computed steps over all steps: the ratio if skipped steps took no time; noise can pass it"""

_OF_PARTS = """\
partly   steps in which some guidance branches computed and the others reused: the floor counts the computed share"""

_OF_SKIPPING = """\
reached  floor over ratio: the share of the floor's speed-up that was reached
saved    (1 - ratio) over (1 - floor): the share of what could be saved"""

_ABOVE = """\
         Above 100%: computed steps were shorter than those of plain, with which the floor reckons. Compiled blocks
         can make them so, and other work on the machine can make plain's longer; "one step, ms" shows which."""

SPEED_HEADING = ("variant", "computed", "loop, s", "ratio", "floor", "reached", "saved")

_SPREAD = "[ ]      smallest to largest; before it the median"

QUALITY_HEADING = ("setting", "computed", "speed-up", "equal", "PSNR", "worst", "SSIM", "worst")

OF_QUALITY = """\
computed  steps, mean over images; speed-up is all steps over it: the gain if skipped steps took no time
equal     images that are equal to the full run of their prompt and seed
PSNR      of the other images against their full runs, in dB: mean and worst image
SSIM      structural similarity of all images, likewise; 1 = equal
*         no other row is both faster and closer to the full run in mean PSNR"""

_OF_BASELINE = "Fewer steps: the same sampler, prompts and seeds with that many steps in all, and none skipped."


def run_heading(names: Sequence[str]) -> str:
    return f"{'variant':<{_width(names)}}  {'rep':>3}  {'encode':>8}  {'loop':>8}  {'decode':>8}  {'peak':>9}  pattern"


def run_line(run: TimedRun, names: Sequence[str]) -> str:
    """One repetition; seconds, and the loop's peak memory."""
    return (
        f"{run.variant:<{_width(names)}}  {run.repetition + 1:>3}  {run.encode.seconds:>8.3f}  {run.loop.seconds:>8.3f}"
        f"  {run.decode.seconds:>8.3f}  {_gib(run.loop.peak_bytes):>9}  {run.pattern}"
        f"{'' if run.finite else '  NOT FINITE'}"
    )


def of_speed(speeds: Sequence[Speed], loads: Sequence[Phase], first_images: Sequence[TimedRun]) -> str:
    once = [_once(speeds, first_images)] if first_images else []
    notes = [note for entry in speeds for note in entry.notes]
    return "\n\n".join(
        [
            _ratios(speeds),
            *told({entry.variant: entry.told for entry in speeds}),
            *notes,
            _steps(speeds),
            *once,
            _memory(speeds, loads),
            legend(speeds),
        ]
    )


def legend(speeds: Sequence[Speed]) -> str:
    """What the rows and columns mean that are there."""
    there = {entry.variant.removesuffix(COMPILED) for entry in speeds}
    if any(entry.variant.endswith(COMPILED) for entry in speeds):
        there.add(COMPILED)
    lines = [f"{name.removeprefix(', ')}: {text}" for name, text in _VARIANTS.items() if name in there]
    lines.append(_COLUMNS)
    if any(entry.partial_step for entry in speeds):
        lines.append(_OF_PARTS)
    reached = [entry.reached for entry in speeds if entry.saved is not None]
    if reached:
        lines.append(_OF_SKIPPING)
    if any(round(share, 3) > 1 for share in reached):
        lines.append(_ABOVE)
    return "\n".join([*lines, _SPREAD])


def _ratios(speeds: Sequence[Speed]) -> str:
    pairs = [
        f"{entry.variant}, pair by pair: {'  '.join(f'{ratio:.3f}' for ratio in entry.ratios)}" for entry in speeds[1:]
    ]
    return _table(SPEED_HEADING, list(map(speed_cells, speeds)), *pairs)


def speed_cells(entry: Speed) -> tuple[str, ...]:
    """A row of the table, below ``SPEED_HEADING``."""
    return (
        entry.variant,
        f"{entry.computed:g}/{len(entry.pattern)}",
        _spell(entry.loop),
        _spell(entry.ratio),
        f"{entry.floor:.3f}",
        "-" if entry.saved is None else f"{entry.reached:.1%}",
        "-" if entry.saved is None else f"{entry.saved:.1%}",
    )


def _steps(speeds: Sequence[Speed]) -> str:
    shown = [name for name in _STEPS if name != "partly reused" or any(entry.partial_step for entry in speeds)]
    rows = [
        (entry.variant, *(_spell(getattr(entry, _STEPS[name]), scale=1e3, digits=1) for name in shown))
        for entry in speeds
    ]
    return _table(("one step, ms", *shown), rows)


def _once(speeds: Sequence[Speed], first_images: Sequence[TimedRun]) -> str:
    loops = {entry.variant: entry.loop.median for entry in speeds}
    firsts = {name: median(run.loop.seconds for run in first_images if run.variant == name) for name in loops}
    rows = [(name, f"{first:.3f}", f"{first - loops[name]:+.3f}") for name, first in firsts.items()]
    why = "beyond: kernels are built once, for the first variant that needs them, and MLX may keep them on disk"
    return _table(("the first image, to warm up", "loop, s", "beyond the others"), rows, why)


def _memory(speeds: Sequence[Speed], loads: Sequence[Phase]) -> str:
    rows = [(entry.variant, *map(_gib, (*entry.peak_bytes.values(), entry.active_bytes["loop"]))) for entry in speeds]
    load = (
        f"loading the model took {max(phase.seconds for phase in loads):.1f} s, "
        f"peak {_gib(max(phase.peak_bytes for phase in loads))}, "
        f"{_gib(max(phase.active_bytes for phase in loads))} after it"
    )
    return _table(("peak memory", *speeds[0].peak_bytes, "after the loop"), rows, load)


def told(chosen: Mapping[str, Sequence[str]]) -> list[str]:
    """In lines: what plugins that choose their setting have chosen, by variant or setting."""
    return [f"{name} chose {choice}" for name, choices in chosen.items() for choice in choices]


def of_quality(qualities: Sequence[Quality], refusals: Mapping[str, str], idle: Mapping[str, str]) -> str:
    """Args:
    refusals, idle: by setting, why it was refused, or skipped nothing.
    """
    best = pareto(qualities)
    rows = [("*" if entry in best else "", *quality_cells(entry)) for entry in qualities]
    heading = ("", *QUALITY_HEADING)
    before = (
        "\n".join(f"refused: {setting}: {reason}" for setting, reason in refusals.items()),
        "\n".join(f"no image skipped anything: {setting}: {reason}" for setting, reason in idle.items()),
        "\n".join(told({entry.setting: entry.told for entry in qualities})),
    )
    said = "\n".join(verdict(qualities)) if any(entry.is_baseline for entry in qualities) else ""
    return "\n\n".join(filter(None, [*before, _table(heading, rows, left=2), said, OF_QUALITY]))


def quality_cells(entry: Quality) -> tuple[str, ...]:
    """A row of the table, below ``QUALITY_HEADING``."""
    return (
        entry.setting,
        f"{entry.computed:.1f}/{entry.steps}",
        f"{entry.speed_up:.2f}x",
        f"{entry.equal}/{entry.images}",
        *("-" if level is None else f"{level:.1f}" for level in (entry.psnr, entry.worst_psnr)),
        f"{entry.ssim:.4f}",
        f"{entry.worst_ssim:.4f}",
    )


def verdict(qualities: Sequence[Quality]) -> list[str]:
    """Which settings do not beat fewer steps at the same cost, in lines."""
    settings = [entry for entry in qualities if not entry.is_baseline]
    bars = no_better(qualities)
    if not bars:
        return [_OF_BASELINE, "Every setting beats them at the same number of computed steps, by mean PSNR."]
    lines = [
        f"  {entry.setting}: {entry.height:.1f} dB, where fewer steps have {bars[entry.setting]:.1f} dB"
        for entry in settings
        if entry.setting in bars
    ]
    said = (
        f"{len(bars)} of {len(settings)} settings do not beat them at the same number of computed steps, by mean PSNR:"
    )
    return [_OF_BASELINE, said, *lines]


def duration(seconds: float) -> str:
    """For people: ``1.4 s``, ``25 min`` or ``3 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]], *below: str, left: int = 1) -> str:
    return "\n".join([*aligned([heading, *rows], left=left), *below])


def _spell(spread: Spread | None, *, scale: float = 1, digits: int = 3) -> str:
    if spread is None:
        return "-"
    median, low, high = (f"{scale * value:.{digits}f}" for value in (spread.median, spread.low, spread.high))
    return f"{median} [{low} to {high}]"


def _gib(number: int) -> str:
    return f"{number / 2**30:.2f} GiB"


def _width(names: Sequence[str]) -> int:
    return max(len("variant"), *map(len, names))
