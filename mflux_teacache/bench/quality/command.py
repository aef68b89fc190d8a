"""``mflux-teacache bench quality``: strategies and settings against the full run of each prompt and seed.

Importing this module costs nothing; mlx and mflux load when the benchmark runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mflux_teacache.bench import model_options
from mflux_teacache.bench.extra import require
from mflux_teacache.bench.quality.runs import Case, Setting
from mflux_teacache.bench.settings import INTERRUPTED_TITLE
from mflux_teacache.bench.settings import Settings as ModelSettings
from mflux_teacache.errors import OptionError
from mflux_teacache.messages import INTERRUPTED
from mflux_teacache.pieces.input_files import Unreadable, read_text
from mflux_teacache.pieces.option_types import file_path
from mflux_teacache.pieces.output_files import check_output, replace_file, writing

if TYPE_CHECKING:
    from mflux_teacache.bench.quality.measure import Measured
    from mflux_teacache.bench.quality.summary import Summary
    from mflux_teacache.bench.subjects import Subject

SCHEMA = 1
PROMPTS = 8
MOST_PROMPTS = 10_000
MOST_BYTES = 16_000_000  # of their file: a page for each
SEEDS = 2
STEPS = 28
FIRST_SEED = 101  # the demo's calibration was fitted on others
PROMPT_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``bench quality`` is to do.

    Attributes:
        model: which one, its steps and the image's size and guidance.
        settings: different ones.
        prompts: one or more.
        seeds: one or more.
        json, png, sheet: files to write.
    """

    model: ModelSettings
    settings: tuple[Setting, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    json: Path | None = None
    png: Path | None = None
    sheet: Path | None = None

    def __post_init__(self) -> None:
        for option, path, suffix in (
            ("--json", self.json, ".json"),
            ("--png", self.png, ".png"),
            ("--sheet", self.sheet, ".png"),
        ):
            if path is not None:
                check_output(option, path, suffix)
        if self.png is not None and self.sheet is not None and self.png.resolve() == self.sheet.resolve():
            raise OptionError(f"--png and --sheet both are {self.png}. Give each a file of its own.")

    @property
    def cases(self) -> list[Case]:
        return [Case(prompt, seed) for seed, prompt in product(self.seeds, self.prompts)]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``quality`` to the measurements of ``mflux-teacache bench``."""
    parser = subparsers.add_parser(
        "quality",
        help="compare images with skipped steps with the full run, over prompts and seeds",
        description="Draws each prompt and seed once in full, then with each setting of each strategy, and says how "
        "far from the full run the images are: PSNR and SSIM, mean and worst.",
    )
    _add_compared(parser.add_argument_group("what is compared (default: a grid over the built-in strategies)"))
    model_options.add_model(
        parser.add_argument_group("the model (default: the demo's, which needs no download and no GPU)")
    )
    _add_images(parser.add_argument_group("the images"))
    _add_output(parser.add_argument_group("files to write"))
    parser.set_defaults(run=run)


def _add_compared(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="'NAME KEY=VALUE ...'",
        help="a plugin with its options, such as 'teacache thresh=0.12 forecast=1', or as on a command line, such as "
        "'teacache --teacache-thresh 0.12'; may be given several times",
    )
    group.add_argument(
        "--patterns",
        nargs="*",
        metavar="CCSS...",
        help="the same skipped steps with residuals held, and extrapolated linearly and quadratically; "
        "C computed, S skipped (default: three patterns, spread evenly)",
    )


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--prompts",
        metavar="N|FILE",
        help="so many random ones in the demo's words, none that its calibration was fitted on; or a file, one in a "
        f"line, which --model needs (default: {PROMPTS})",
    )
    group.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="of each prompt (default: %(default)s)")
    group.add_argument(
        "--first-seed", type=int, default=FIRST_SEED, metavar="INT", help="others count up (default: %(default)s)"
    )
    group.add_argument("--steps", type=int, default=STEPS, metavar="INT", help="denoising steps (default: %(default)s)")
    model_options.add_image(group)


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", type=file_path, metavar="FILE", help="every image's figures, versions and machine")
    group.add_argument("--png", type=file_path, metavar="FILE", help="PSNR over speed-up, a line for each strategy")
    group.add_argument("--sheet", type=file_path, metavar="FILE", help="a contact sheet: full runs above skipping ones")


def run(args: argparse.Namespace) -> int:
    """Measure, print and write.

    Returns:
        The command's exit code: 0; 1 where every setting was refused; 130 if Ctrl-C ended it after a whole setting.

    Raises:
        Refused: an option that is not allowed, a missing package, or a model that the benchmark does not know.
        HookFailed: a plugin failed.
        NotWritten: a file could not be written.
    """
    require("tqdm", "skimage", *(("matplotlib",) if args.png or args.sheet else ()))
    settings = settings_of(args)

    from mflux_teacache.bench.quality import measure, report, summary
    from mflux_teacache.bench.subjects import subject_of

    subject = subject_of(settings.model)
    print(f"{_title(settings, subject)}\n{_amount(settings)}", flush=True)
    shown = _shown(settings) if settings.sheet is not None else []
    measured = measure.measure(subject, settings.cases, settings.settings, shown)
    summaries = summary.summarise(settings.settings, measured.runs)
    if measured.interrupted:
        print("\ninterrupted: these are the settings that were drawn whole")
    if measured.refusals:
        print(f"\n{report.refused(measured.refusals)}")
    if measured.idle:
        print(f"\n{report.skipped_nothing(measured.idle)}")
    print(f"\n{report.table(summaries)}")
    _write(settings, subject, measured, summaries)
    if measured.interrupted:
        return INTERRUPTED
    return 0 if summaries else 1


def settings_of(args: argparse.Namespace) -> Settings:
    """From the command line.

    Raises:
        OptionError: a value that is not allowed.
        UnknownPlugin, BrokenPlugin: of a setting.
    """
    if args.seeds < 1:
        raise OptionError(f"--seeds is {args.seeds}; it must be a whole number from 1.")
    if args.first_seed < 0:
        raise OptionError(f"--first-seed is {args.first_seed}; it must be a whole number from 0.")
    model = ModelSettings(
        **model_options.read(args),
        steps=args.steps,
        pattern="C" * args.steps,  # of the full runs
        seed=args.first_seed,
    )
    return Settings(
        model=model,
        settings=_compared(args.setting, args.patterns, args.steps),
        prompts=_prompts(args.prompts, demo=args.model is None),
        seeds=tuple(range(args.first_seed, args.first_seed + args.seeds)),
        json=args.json,
        png=args.png,
        sheet=args.sheet,
    )


def _compared(texts: Sequence[str], patterns: Sequence[str] | None, steps: int) -> tuple[Setting, ...]:
    from mflux_teacache.bench.quality import settings

    named = [settings.parse(text) for text in texts]
    if patterns is not None:
        named += settings.at_patterns(patterns, steps)
    by_name = {str(setting): setting for setting in named or settings.default_grid()}
    return tuple(by_name.values())


def _prompts(text: str | None, *, demo: bool) -> tuple[str, ...]:
    """Raises ``OptionError``: a file that is missing or empty, a count below 1, a prompt that the demo cannot draw."""
    if text is None or text.removeprefix("-").isdecimal():
        if not demo:
            raise OptionError("--model needs prompts of its own: give --prompts a file with one prompt in a line.")
        return _random_prompts(PROMPTS if text is None else int(text))
    prompts = tuple(dict.fromkeys(filter(None, map(str.strip, _lines(Path(text))))))
    if not prompts:
        raise OptionError(f"--prompts is {text}, which has no prompt in it. Write one in a line.")
    if len(prompts) > MOST_PROMPTS:
        raise OptionError(f"--prompts is {text}, which has {len(prompts)}; {MOST_PROMPTS} are allowed. Take some out.")
    if demo:
        from mflux_teacache.demo import vocabulary

        for prompt in prompts:
            vocabulary.parse(prompt)
    return prompts


def _lines(path: Path) -> list[str]:
    try:
        return read_text(path, MOST_BYTES).splitlines()
    except Unreadable as error:
        raise OptionError(
            f"--prompts is {path}, which cannot be read: {error}. "
            f"Give a number, or a text file with one prompt in a line."
        ) from error


def _random_prompts(count: int) -> tuple[str, ...]:
    if not 1 <= count <= MOST_PROMPTS:
        raise OptionError(f"--prompts is {count}; it must be a whole number from 1 to {MOST_PROMPTS}, or a file.")
    from mflux_teacache.demo import fit, prompts

    return tuple(prompts.held_out(count, seed=PROMPT_SEED, without=fit.PROMPTS + fit.HELD_OUT))


def _shown(settings: Settings) -> list[Case]:
    from mflux_teacache.bench.quality.sheet import COLUMNS

    return settings.cases[:COLUMNS]


def _title(settings: Settings, subject: Subject) -> str:
    return (
        f"{subject.title}; prompts: {len(settings.prompts)}, seeds of each: {len(settings.seeds)}, "
        f"settings: {len(settings.settings)}"
    )


def _amount(settings: Settings) -> str:
    """How much is to be done; the bar then tells how long that takes on this machine."""
    full, compared = len(settings.cases), len(settings.cases) * len(settings.settings)
    return (
        f"{full + compared} images to draw: {full} with every step, and {compared} with the settings. "
        f"Ctrl-C ends it and keeps the settings that are done."
    )


def _write(settings: Settings, subject: Subject, measured: Measured, summaries: list[Summary]) -> None:
    title = f"{_title(settings, subject)}{INTERRUPTED_TITLE if measured.interrupted else ''}"
    if settings.json is not None:
        content = as_json(settings, subject, measured, summaries)
        with writing("--json", settings.json):
            replace_file(settings.json, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    if settings.png is not None:
        from mflux_teacache.bench.quality import picture

        with writing("--png", settings.png):
            picture.draw(settings.png, title=title, summaries=summaries)
    if settings.sheet is not None:
        from mflux_teacache.bench.quality import sheet

        with writing("--sheet", settings.sheet):
            sheet.draw(
                settings.sheet,
                title=title,
                cases=_shown(settings),
                summaries=sheet.chosen(summaries),
                runs=measured.runs,
                thumbnails=measured.thumbnails,
            )


def as_json(settings: Settings, subject: Subject, measured: Measured, summaries: list[Summary]) -> dict[str, Any]:
    """Everything that another person needs to compare figures of their own."""
    from mflux_teacache.bench.machine import machine, versions

    shared = {name: value for name, value in subject.arguments.items() if name not in ("prompt", "seed")}
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "interrupted": measured.interrupted,
        "model": subject.name,
        "arguments": shared,
        "prompts": settings.prompts,
        "seeds": settings.seeds,
        "settings": [asdict(setting) for setting in settings.settings],
        "versions": versions(),
        "machine": machine(),
        "refusals": [asdict(refusal) for refusal in measured.refusals],
        "skipped_nothing": dict(measured.idle),
        "runs": [run.as_json() for run in measured.runs],
        "summary": [entry.as_json() for entry in summaries],
    }
