"""``mflux-teacache completions``: a script that lets a shell complete our commands, plugins and options."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

from mflux_teacache.cli.completions.offers import of_mflux, offers_of
from mflux_teacache.cli.completions.shells import SHELLS

# mflux-completions writes those of mflux's commands for this one, and they know plugins.
_MFLUX_HAS = "zsh"


def add_parser(subparsers: argparse._SubParsersAction[Any], command: argparse.ArgumentParser) -> None:
    """Add ``completions`` to the commands of ``mflux-teacache``, whose whole parser is ``command``."""
    parser = subparsers.add_parser(
        "completions",
        help="print a script that completes commands, plugins and options in a shell",
        description="Prints a script for a shell; its first lines say where to put it. For bash and fish it completes "
        "mflux's commands as well. For zsh mflux-completions does that, and knows the installed plugins. Print it "
        "again when plugins were installed or removed.",
    )
    parser.add_argument("shell", choices=list(SHELLS), help="the shell")
    parser.set_defaults(run=partial(_run, command))


def _run(command: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    offers = list(offers_of(command, command.prog))
    if arguments.shell != _MFLUX_HAS:
        offers += of_mflux()
    sys.stdout.write(SHELLS[arguments.shell](command.prog, offers))
    return 0
