"""``mflux-teacache bench speed``: how long images take, plain and with steps skipped, run in turn.

Importing this module costs nothing; mlx and mflux load when the benchmark runs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from mflux_teacache.bench import arguments, patterns
from mflux_teacache.bench.needs import laboratory, require
from mflux_teacache.bench.settings import STEPS, SpeedSettings, add_options
from mflux_teacache.errors import OptionError
from mflux_teacache.words import add_keyword

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mflux_teacache.bench.results import Result
    from mflux_teacache.bench.runs import TimedRun
    from mflux_teacache.bench.subjects import Subject
    from mflux_teacache.bench.turns import Timed


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``speed`` to the measurements of ``mflux-teacache bench``."""
    parser = subparsers.add_parser(
        "speed",
        help="time images, plain and with steps skipped, in turn",
        description="Makes images through mflux's own pipeline: plain, with a plugin attached and every step computed, "
        "and with steps skipped, in turn. Each run is printed; then medians, the ratio pair by pair, and how much of "
        "the possible speed-up was reached.",
    )
    model = parser.add_argument_group("the model (default: the demo's, which needs no download and no GPU)")
    add_options(model, "random_weights", "blocks", "model", "base_model", "quantize")
    _add_steps(parser.add_argument_group("which steps are skipped (default: half of them, spread evenly)"))
    image = parser.add_argument_group("the image")
    arguments.add_size(image)
    add_options(image, "guidance", "prompt", "seed")
    measuring = parser.add_argument_group("measuring")
    add_options(measuring, "repetitions", "warm_up", "isolated", "compile_blocks", "compare")
    arguments.add_outputs(
        measuring,
        json="write every run, the figures, versions and machine",
        png="draw the times of the steps, and the ratios",
    )
    parser.set_defaults(run=run, plugin_options={})


def _add_steps(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--steps", type=int, metavar="INT", help=f"denoising steps (default: {STEPS}, or the pattern's)")
    choice = group.add_mutually_exclusive_group()
    choice.add_argument("--skip", type=int, metavar="INT", help="skip so many of the steps, spread evenly")
    choice.add_argument("--pattern", metavar="CCSS...", help="a letter for each step: C computed, S skipped")
    choice.add_argument(
        "--plugin",
        metavar="NAME",
        help="let an installed plugin decide, such as teacache, with its own options, such as --teacache-thresh 0.2",
    )
    group.add_argument(
        "--plugin-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another way to give an option of the plugin, such as thresh=0.2; may be given several times",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print and write.

    Returns:
        The command's exit code: 0, or 130 if Ctrl-C ended it after a whole repetition.

    Raises:
        Refused: an option that is not allowed, a missing package, or a model that something does not support.
        HookFailed: a plugin failed.
        NotWritten: a file could not be written.
    """
    settings, outputs = settings_of(args), arguments.outputs(args)
    require("tqdm", *(("matplotlib",) if args.png else ()))
    _check_options(settings)

    from mflux_teacache.bench.subjects import subject_of

    if args.png:
        import mflux_teacache.bench.pictures  # noqa: F401  what is wrong with matplotlib shows before the first image

    subject = subject_of(settings)
    _check_subject(settings, subject)
    return _result(settings, subject, _measure(settings, subject)).tell(outputs)


def _result(settings: SpeedSettings, subject: Subject, timed: Timed) -> Result:
    from mflux_teacache.bench import figures, tables
    from mflux_teacache.bench.results import Result

    speeds = figures.speeds(timed.runs)

    def draw(title: str) -> Figure:
        from mflux_teacache.bench import pictures

        return pictures.of_speed(title, speeds)

    return Result(
        title=subject.title,
        table=tables.of_speed(speeds, timed.loads, timed.first_images),
        content={
            "model": subject.name,
            "settings": asdict(settings),
            "arguments": subject.arguments,
            "loads": [asdict(load) for load in timed.loads],
            "first_images": [asdict(run) for run in timed.first_images],
            "runs": [asdict(run) for run in timed.runs],
            "summary": [asdict(entry) for entry in speeds],
        },
        pictures={"--png": draw},
        interrupted="these are the whole repetitions" if timed.interrupted else None,
        packages=(settings.compare,) if settings.compare else (),
    )


def settings_of(args: argparse.Namespace) -> SpeedSettings:
    """From the command line; raises as ``SpeedSettings`` does."""
    steps = STEPS if args.steps is None else args.steps
    pattern = None if args.pattern is None else args.pattern.upper()
    if pattern is not None:
        steps = len(pattern) if args.steps is None else args.steps
        patterns.checked(pattern, steps)
    elif args.plugin is None and steps > 0:
        pattern = patterns.spread(steps, steps // 2 if args.skip is None else args.skip)
    known = {field.name for field in fields(SpeedSettings)}
    given = {name: value for name, value in vars(args).items() if name in known}
    made = {"steps": steps, "pattern": pattern, "plugin_options": _plugin_options(args), **arguments.size(args.size)}
    return SpeedSettings(**{**given, **made})


def _plugin_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``attach``, in whichever way they were given."""
    given = dict(args.plugin_options)
    for text in args.plugin_option:
        name, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"--plugin-option is {text}; it must be NAME=VALUE, such as thresh=0.2.")
        add_keyword(given, name, {"true": True, "false": False}.get(value.lower(), value), f"--plugin-option {text}")
    return given


def _check_options(settings: SpeedSettings) -> None:
    """Of the plugin, before the seconds that importing mflux takes."""
    if settings.plugin is not None:
        from mflux_teacache import options
        from mflux_teacache.bench.plugin_settings import load

        options.from_keywords(load(settings.plugin), settings.plugin_options)


def _check_subject(settings: SpeedSettings, subject: Subject) -> None:
    """Before any weights load.

    Raises:
        OptionError: there is nothing to compile.
        Refused: the plugin does not run on the model, or with so many steps; or the other package does not.
    """
    from mflux_teacache.bench.plugin_settings import load
    from mflux_teacache.bench.variants import compiled_by_mflux
    from mflux_teacache.demo.early import refuse_early

    if settings.compile_blocks and compiled_by_mflux(subject.pipeline):
        raise OptionError(
            f"--compile-blocks changes nothing for {subject.name}: mflux compiles this model itself. Leave it out."
        )
    if settings.plugin is not None:
        made_with = {"model_config": subject.config, "quantize": settings.quantize}
        plugin = load(settings.plugin)
        refuse_early(plugin, settings.plugin_options, subject.pipeline, made_with, subject.arguments)
    if settings.compare is not None:
        laboratory("peers", "--compare").check(subject.config, subject.pipeline)


def _measure(settings: SpeedSettings, subject: Subject) -> Timed:
    from tqdm import tqdm

    from mflux_teacache.bench import tables, turns
    from mflux_teacache.bench.variants import compared_by_speed

    variants = compared_by_speed(settings)
    names = [variant.name for variant in variants]
    runs = settings.repetitions * len(variants)
    images = runs + settings.warm_up * (runs if settings.isolated else len(variants))
    print(
        f"{subject.title}\n{settings.repetitions} of each variant in turn"
        f"{', each in a process of its own' if settings.isolated else ''}, after {settings.warm_up} to warm up: "
        f"{images} images in all\n"
    )
    print(tables.run_heading(names), flush=True)

    def show(run: TimedRun) -> None:
        tqdm.write(tables.run_line(run, names))
        sys.stdout.flush()

    if settings.isolated:
        return turns.in_processes(variants, settings, show)
    return turns.interleaved(subject, variants, settings, show)
