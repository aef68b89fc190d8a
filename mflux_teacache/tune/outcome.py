"""What is said of a tuning before it begins, and what is printed and written when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mflux_teacache.bench.subjects import Subject
from mflux_teacache.errors import NotWritten, OptionError
from mflux_teacache.pieces.data_files import as_text
from mflux_teacache.pieces.input_files import reason
from mflux_teacache.pieces.output_files import replace_file
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import Preset, Setting
from mflux_teacache.teacache.calibration import FILES, Calibration
from mflux_teacache.teacache.fitting import Change, unfit
from mflux_teacache.teacache.recorded import FEWEST_CHANGES, Run, calibration_of, told
from mflux_teacache.text_tables import aligned
from mflux_teacache.tune.folder import Folder
from mflux_teacache.tune.settings import TuneSettings
from mflux_teacache.tune.tuning import Tuned, asked_work

COMMAND = "mflux-teacache tune"


def plan(settings: TuneSettings, subject: Subject, folder: Folder) -> str:
    """What will be drawn, and what becomes of it after Ctrl-C."""
    work = asked_work(settings)
    *others, last = map(str, work.budgets)
    budgets = f"{', '.join(others)} and {last}" if others else last
    return (
        f"{subject.title}\n"
        f"Looking for the best settings that compute {budgets} of {work.steps} steps. That takes up to {work.images} "
        f"images: {len(work.cases)} with every step and the others with fewer, together about as long as "
        f"{work.computed / work.steps:.0f} with every step.\n"
        f"Ctrl-C ends it and keeps the finished images in {folder.path}. Run the same command to go on."
    )


def keep(tuned: Tuned, preset: Preset) -> str:
    """Write preset and calibration; returns where they are, and how good the calibration is.

    Raises:
        NotWritten: one of them could not be written.
    """
    path = store.save(preset)
    return (
        f"{_best(preset)}\n{''.join(_beaten(tuned, preset))}\n"
        f"preset       {path}\n             --plugin auto takes it for this model\n"
        f"calibration  {_keep_calibration(tuned, preset.name)}"
    )


def _best(preset: Preset) -> str:
    """The first setting of each budget."""
    rows = [("best setting", "computed", "speed-up", "PSNR", "fewer steps")]
    for best in _best_of(preset):
        evidence = best.evidence
        assert evidence is not None, "it was checked"
        told = " ".join([best.plugin, *(f"{name}={value}" for name, value in best.options.items())])
        levels = (_decibels(evidence.psnr_mean), _decibels(evidence.fewer_steps_psnr))
        rows.append((told, f"{best.computed} of {best.steps}", f"{best.speedup:.2f}x", *levels))
    return "\n".join(aligned(rows))


def _best_of(preset: Preset) -> Iterator[Setting]:
    for budget in sorted({setting.computed for setting in preset.settings}, reverse=True):
        yield next(setting for setting in preset.settings if setting.computed == budget)


def _beaten(tuned: Tuned, preset: Preset) -> Iterator[str]:
    """In lines: where the best setting is not worth having."""
    asked = {row.computed: row.asked for row in tuned.fewer}
    for setting in _best_of(preset):
        if setting.evidence is not None and setting.evidence.is_beaten:
            yield (
                f"Skipping does not pay at {setting.speedup:.2f}x: draw with --steps {asked[setting.computed]} and "
                f"without plugins, which takes as long and comes as close or closer.\n"
            )


def _decibels(level: float | None) -> str:
    return "equal" if level is None else f"{level:.1f}"


def _keep_calibration(tuned: Tuned, name: str) -> str:
    """Of TeaCache, by all full runs. Returns its file and how good it is, or why there is none."""
    runs = [
        Run(target=run.target, prompt=case.prompt, changes=tuple(Change(*change) for change in run.changes))
        for case, run in zip(tuned.work.cases, tuned.runs, strict=True)
        if run.changes
    ]
    changes = [change for run in runs for change in run.changes]
    if len(changes) < FEWEST_CHANGES:
        return f"none: it takes {FEWEST_CHANGES} changes from step to step, and these runs have {len(changes)}"
    if problem := unfit(changes):
        return f"none: {problem}"
    found = calibration_of(runs, COMMAND)
    return f"{_written(found, name)}\n             {told(found, len(runs))}"


def _written(calibration: Calibration, name: str) -> Path:
    path, content = store.folder().with_name("calibrations") / f"{name}.json", as_text(calibration)
    try:
        FILES.parse(content, str(path))  # what TeaCache would refuse must not be written
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.encode())
    except (OSError, OptionError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise NotWritten(
            f"TeaCache's calibration could not be written to {path}: {why}. The preset is there."
        ) from error
    return path
