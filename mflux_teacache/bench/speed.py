"""``mflux-teacache bench speed``: how long images take, plain and with steps skipped, run in turn.

Importing this module costs nothing; mlx and mflux load when the benchmark runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mflux_teacache.bench import model_options, patterns
from mflux_teacache.bench.extra import require
from mflux_teacache.bench.settings import (
    FAMILIES,
    INTERRUPTED_TITLE,
    PEERS,
    REPETITIONS,
    SEED,
    STEPS,
    WARM_UP,
    Settings,
)
from mflux_teacache.errors import OptionError
from mflux_teacache.messages import INTERRUPTED
from mflux_teacache.pieces.output_files import replace_file, writing
from mflux_teacache.words import add_keyword

if TYPE_CHECKING:
    from mflux_teacache.bench.measure import Measured
    from mflux_teacache.bench.runs import Run
    from mflux_teacache.bench.subjects import Subject
    from mflux_teacache.bench.summary import Summary

SCHEMA = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``speed`` to the measurements of ``mflux-teacache bench``."""
    parser = subparsers.add_parser(
        "speed",
        help="time images, plain and with steps skipped, in turn",
        description="Makes images through mflux's own pipeline: plain, with a plugin attached and every step computed, "
        "and with steps skipped, in turn. Each run is printed; then medians, the ratio pair by pair, and how much of "
        "the possible speed-up was reached.",
    )
    _add_model(parser.add_argument_group("the model (default: the demo's, which needs no download and no GPU)"))
    _add_steps(parser.add_argument_group("which steps are skipped (default: half of them, spread evenly)"))
    _add_image(parser.add_argument_group("the image"))
    _add_measuring(parser.add_argument_group("measuring"))
    parser.set_defaults(run=run, plugin_options={})


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--random-weights",
        metavar="FAMILY",
        help=f"a model of full size with random weights; no download. One of {', '.join(FAMILIES)}",
    )
    group.add_argument(
        "--blocks", type=int, metavar="INT", help="with --random-weights: at most so many blocks in each list"
    )
    model_options.add_model(group)


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


def _add_image(group: argparse._ArgumentGroup) -> None:
    model_options.add_image(group)
    group.add_argument("--prompt", help="(default: one of ours)")
    group.add_argument("--seed", type=int, default=SEED, metavar="INT", help="(default: %(default)s)")


def _add_measuring(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--repetitions", type=int, default=REPETITIONS, metavar="INT", help="of each variant (default: %(default)s)"
    )
    group.add_argument(
        "--warm-up",
        type=int,
        default=WARM_UP,
        metavar="INT",
        help="images of each variant before them (default: %(default)s)",
    )
    group.add_argument(
        "--isolated", action="store_true", help="each run in a process of its own, which loads the model"
    )
    group.add_argument(
        "--compile-blocks", action="store_true", help="once more with each block compiled, where mflux runs eagerly"
    )
    group.add_argument(
        "--compare", metavar="PACKAGE", help=f"run another package at the same pattern: {', '.join(PEERS)}"
    )
    group.add_argument("--json", metavar="FILE", help="write every run, the figures, versions and machine")
    group.add_argument("--png", metavar="FILE", help="draw the times of the steps, and the ratios")


def run(args: argparse.Namespace) -> int:
    """Measure, print and write.

    Returns:
        The command's exit code: 0, or 130 if Ctrl-C ended it after a whole repetition.

    Raises:
        Refused: an option that is not allowed, a missing package, or a model that something does not support.
        HookFailed: a plugin failed.
        NotWritten: a file could not be written.
    """
    settings = settings_of(args)
    require("tqdm", *(("matplotlib",) if settings.png else ()))
    _check_options(settings)

    from mflux_teacache.bench import compare, report, summary
    from mflux_teacache.bench.subjects import subject_of

    subject = subject_of(settings)
    _check_subject(settings, subject)
    if settings.compare is not None:
        compare.check(subject.config, subject.pipeline)
    measured = _measure(settings, subject)
    if measured.interrupted:
        print("\ninterrupted: these are the whole repetitions")
    summaries = summary.summarise(measured.runs)
    print(f"\n{report.summary_tables(summaries, measured.loads, measured.first_images)}")
    _write(settings, subject, measured, summaries)
    return INTERRUPTED if measured.interrupted else 0


def _write(settings: Settings, subject: Subject, measured: Measured, summaries: list[Summary]) -> None:
    if settings.json is not None:
        content = as_json(settings, subject, measured, summaries)
        with writing("--json", Path(settings.json)):
            replace_file(Path(settings.json), (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    if settings.png is not None:
        from mflux_teacache.bench import picture

        with writing("--png", Path(settings.png)):
            title = f"{subject.title}{INTERRUPTED_TITLE if measured.interrupted else ''}"
            picture.draw(Path(settings.png), title=title, summaries=summaries)


def settings_of(args: argparse.Namespace) -> Settings:
    """From the command line; raises as ``Settings`` does."""
    steps = STEPS if args.steps is None else args.steps
    pattern = None if args.pattern is None else args.pattern.upper()
    if pattern is not None:
        steps = len(pattern) if args.steps is None else args.steps
        patterns.checked(pattern, steps)
    elif args.plugin is None and steps > 0:
        pattern = patterns.spread(steps, steps // 2 if args.skip is None else args.skip)
    return Settings(
        **model_options.read(args),
        random_weights=args.random_weights,
        blocks=args.blocks,
        steps=steps,
        pattern=pattern,
        plugin=args.plugin,
        plugin_options=_plugin_options(args),
        seed=args.seed,
        prompt=args.prompt,
        repetitions=args.repetitions,
        warm_up=args.warm_up,
        isolated=args.isolated,
        compile_blocks=args.compile_blocks,
        compare=args.compare,
        json=args.json,
        png=args.png,
    )


def _plugin_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``attach``, in whichever way they were given."""
    given = dict(args.plugin_options)
    for text in args.plugin_option:
        name, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"--plugin-option is {text}; it must be NAME=VALUE, such as thresh=0.2.")
        add_keyword(given, name, {"true": True, "false": False}.get(value.lower(), value), f"--plugin-option {text}")
    return given


def _check_options(settings: Settings) -> None:
    """Of the plugin, before the seconds that importing mflux takes."""
    if settings.plugin is not None:
        from mflux_teacache import options, plugins

        options.from_keywords(plugins.load(settings.plugin), settings.plugin_options)


def _check_subject(settings: Settings, subject: Subject) -> None:
    """Before any weights load.

    Raises:
        OptionError: there is nothing to compile.
        Refused: the plugin does not run on the model, or with so many steps.
    """
    from mflux_teacache import plugins
    from mflux_teacache.bench.variants import compiled_by_mflux
    from mflux_teacache.demo.early import refuse_early

    if settings.compile_blocks and compiled_by_mflux(subject.pipeline):
        raise OptionError(
            f"--compile-blocks changes nothing for {subject.name}: mflux compiles this model itself. Leave it out."
        )
    if settings.plugin is not None:
        made_with = {"model_config": subject.config, "quantize": settings.quantize}
        plugin = plugins.load(settings.plugin)
        refuse_early(plugin, settings.plugin_options, subject.pipeline, made_with, subject.arguments)


def _measure(settings: Settings, subject: Subject) -> Measured:
    from tqdm import tqdm

    from mflux_teacache.bench import isolated, measure, report
    from mflux_teacache.bench.variants import variants_of

    variants = variants_of(settings)
    names = [variant.name for variant in variants]
    runs = settings.repetitions * len(variants)
    images = runs + settings.warm_up * (runs if settings.isolated else len(variants))
    print(
        f"{subject.title}\n{settings.repetitions} of each variant in turn"
        f"{', each in a process of its own' if settings.isolated else ''}, after {settings.warm_up} to warm up: "
        f"{images} images in all\n"
    )
    print(report.run_heading(names), flush=True)

    def show(run: Run) -> None:
        tqdm.write(report.run_line(run, names))
        sys.stdout.flush()

    if settings.isolated:
        return isolated.in_processes(variants, settings, show)
    return measure.interleaved(subject, variants, settings, show)


def as_json(settings: Settings, subject: Subject, measured: Measured, summaries: list[Summary]) -> dict[str, Any]:
    """Everything that another person needs to compare figures of their own."""
    from dataclasses import asdict

    from mflux_teacache.bench.machine import machine, versions

    more = () if settings.compare is None else (settings.compare,)
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "interrupted": measured.interrupted,
        "model": subject.name,
        "settings": settings.as_json(),
        "arguments": subject.arguments,
        "versions": versions(*more),
        "machine": machine(),
        "loads": [asdict(load) for load in measured.loads],
        "first_images": [run.as_json() for run in measured.first_images],
        "runs": [run.as_json() for run in measured.runs],
        "summary": [entry.as_json() for entry in summaries],
    }
