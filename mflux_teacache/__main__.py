"""``python -m mflux_teacache mflux-generate ...``: mflux's commands with ``--plugin``, without the start-up files."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

from mflux_teacache.cli import startup
from mflux_teacache.discovery import entry_points
from mflux_teacache.errors import Refused
from mflux_teacache.messages import Output, did_you_mean, reported, tell
from mflux_teacache.spelling import visible

PROGRAM = "python -m mflux_teacache"


def commands() -> dict[str, EntryPoint]:
    """The installed commands that take plugins, by name."""
    scripts, _ = entry_points("console_scripts")
    return {script.point.name: script.point for script in scripts if startup.is_mflux_command([script.point.name])}


def main() -> None:
    known = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name in ("-h", "--help"):
        usage = (
            f"usage: {PROGRAM} COMMAND ...\n\nRuns one of mflux's commands with --plugin, also where the package's "
            f"start-up files are not installed.\nIts commands are: {', '.join(map(visible, sorted(known)))}"
        )
        with Output(PROGRAM) as output:
            tell(usage, sys.stdout)
            code = output.exit_code(0)
        if code:
            sys.exit(code)
        return
    with reported(PROGRAM):
        if name not in known:
            problem = "no command given." if name is None else f"unknown command {name!r}.{did_you_mean(name, known)}"
            raise Refused(
                f"{problem} "
                f"mflux's commands are: {', '.join(sorted(known)) or 'none; pip install mflux'}. "
                f"For example: {PROGRAM} mflux-generate --plugin teacache --help"
            )
    del sys.argv[0]  # as if the command had been called by its name
    startup.install()
    sys.exit(known[name].load()())


if __name__ == "__main__":
    main()
