"""``python -m mflux_teacache.bench``: the command ``mflux-teacache bench`` for a package that is only on the path."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from mflux_teacache.bench import command
from mflux_teacache.messages import reported
from mflux_teacache.words import PluginParser

PROGRAM = "python -m mflux_teacache.bench"


def main() -> None:
    parser = PluginParser(prog=PROGRAM, allow_abbrev=False)
    command.add_measurements(parser)
    with reported(PROGRAM):
        arguments = parser.parse_args()
        run: Callable[[argparse.Namespace], int] = arguments.run
        sys.exit(run(arguments))


if __name__ == "__main__":
    main()
