"""``mflux-teacache bench speed``: how long images take, plain and with steps skipped, run in turn."""

from __future__ import annotations

import argparse
from typing import Any

from mflux_teacache.bench import patterns
from mflux_teacache.bench.outputs import add_outputs, outputs
from mflux_teacache.bench.plugin_settings import setting_of
from mflux_teacache.bench.settings import STEPS, SpeedSettings, add_options
from mflux_teacache.errors import OptionError
from mflux_teacache.words import add_keyword


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
    add_options(parser.add_argument_group("the image"), "width", "guidance", "prompt", "seed")
    measuring = parser.add_argument_group("measuring")
    add_options(measuring, "repetitions", "warm_up", "isolated", "compile_blocks", "compare")
    add_outputs(
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
        PluginError: what is asked for is not allowed, a plugin failed, or a file could not be written.
    """
    settings, files = settings_of(args), outputs(args)
    if settings.plugin is not None:
        setting_of(settings.plugin, settings.plugin_options)  # refuses what the plugin does not allow

    # These load mlx and mflux, which takes seconds.
    from mflux_teacache.bench import results, turns
    from mflux_teacache.bench.subjects import subject_of
    from mflux_teacache.bench.variants import check

    subject = subject_of(settings)
    check(settings, subject)
    return results.of_speed(settings, subject, turns.measured(settings, subject)).tell(files)


def settings_of(args: argparse.Namespace) -> SpeedSettings:
    """From the command line; raises as ``SpeedSettings`` does."""
    pattern = None if args.pattern is None else args.pattern.upper()
    steps = args.steps if args.steps is not None else STEPS if pattern is None else len(pattern)
    if pattern is None and args.plugin is None and steps > 1:
        pattern = patterns.spread(steps, steps // 2 if args.skip is None else args.skip)
    return SpeedSettings.of(args, steps=steps, pattern=pattern, plugin_options=_plugin_options(args))


def _plugin_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``attach``, in whichever way they were given."""
    given = dict(args.plugin_options)
    for text in args.plugin_option:
        name, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"--plugin-option is {text}; it must be NAME=VALUE, such as thresh=0.2.")
        add_keyword(given, name, {"true": True, "false": False}.get(value.lower(), value), f"--plugin-option {text}")
    return given
