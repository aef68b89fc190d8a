"""``python -m mflux_teacache mflux-generate ...``: mflux's commands with ``--plugin``, without the start-up files."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

from mflux_teacache.cli import startup
from mflux_teacache.cli.messages import reported
from mflux_teacache.errors import Refused

PROGRAM = "python -m mflux_teacache"


def commands() -> dict[str, EntryPoint]:
    """The installed commands that take plugins, by name."""
    scripts = entry_points(group="console_scripts")
    return {script.name: script for script in scripts if startup.is_mflux_command([script.name])}


def main() -> None:
    known = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name in ("-h", "--help"):
        print(
            f"usage: {PROGRAM} COMMAND ...\n\nRuns one of mflux's commands with --plugin, also where the package's "
            f"start-up files are not installed.\nIts commands are: {', '.join(sorted(known))}"
        )
        return
    with reported(PROGRAM):
        if name not in known:
            raise Refused(
                f"{'no command given' if name is None else f'unknown command {name!r}'}. "
                f"mflux's commands are: {', '.join(sorted(known)) or 'none; pip install mflux'}. "
                f"For example: {PROGRAM} mflux-generate --plugin teacache --help"
            )
    del sys.argv[0]  # as if the command had been called by its name
    startup.install()
    sys.exit(known[name].load()())


if __name__ == "__main__":
    main()
