"""The ``mflux-teacache`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from mflux_teacache.addresses import SITE
from mflux_teacache.bench import command as bench
from mflux_teacache.cli.own import completions_command, plugins_command, presets_command, tune_command
from mflux_teacache.cli.own.doctor import command as doctor
from mflux_teacache.cli.own.parser import PluginParser
from mflux_teacache.demo import run as demo
from mflux_teacache.messages import FAILED, Output, interruptible, reported, say, show_warnings
from mflux_teacache.report import command as report
from mflux_teacache.show import command as show
from mflux_teacache.spelling import described

COMMAND = "mflux-teacache"
DISTRIBUTION = "mflux-teacache-plugin"


def build_parser() -> argparse.ArgumentParser:
    parser = PluginParser(
        COMMAND, description="Step skipping for mflux as plugins.", epilog=f"Documentation: {SITE}", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True)
    for command in (demo, plugins_command, presets_command, doctor, show, report, bench, tune_command):
        command.add_parser(commands)
    completions_command.add_parser(commands, parser)
    commands.metavar = "|".join(commands.choices)  # so that a line without one is told which there are
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    show_warnings(COMMAND)
    with Output(COMMAND) as output:
        code = _run(argv, output)
        sys.exit(output.exit_code(code))


def _run(argv: Sequence[str] | None, output: Output) -> int:
    try:
        with interruptible(COMMAND), reported(COMMAND):
            arguments = build_parser().parse_args(argv)
            run: Callable[[argparse.Namespace], int] = arguments.run
            return run(arguments)
    except (OSError, ValueError) as error:  # a full or closed standard output, which ``Output`` reports at the end
        if error is not output.problem:
            raise
        return FAILED
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "mlx":
            raise
        say(COMMAND, "error", f"MLX does not work: {described(error)}. `{COMMAND} doctor` says what to do.")
        return FAILED
    # Its code may be a text or missing, and ``exit_code`` has still to see whether all output was printed.
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else FAILED if leaving.code else 0


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # the package is on the path, but was never installed
        return "(not installed)"


if __name__ == "__main__":
    main()
