"""``mflux-teacache doctor``: one page that says what is installed and whether it works."""

from __future__ import annotations

import argparse

from mflux_teacache.cli.own.doctor.mflux_commands import mflux_commands
from mflux_teacache.cli.own.doctor.mlx_device import mlx_device
from mflux_teacache.cli.own.doctor.page import as_json, as_text
from mflux_teacache.cli.own.doctor.plugin_states import plugin_states
from mflux_teacache.cli.own.doctor.start_up import start_up
from mflux_teacache.cli.own.doctor.user_presets import user_presets
from mflux_teacache.cli.own.doctor.versions import versions
from mflux_teacache.messages import FAILED


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``doctor`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "doctor",
        help="check the installation, and print a page to paste into an issue",
        description="Checks that mflux's commands get --plugin, that plugins and presets can be loaded, and that MLX "
        "works. Prints the versions too, so that the page can be pasted into an issue; paths in your home directory "
        "begin with ~. The exit code is 1 if something is broken.",
    )
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the page; returns the exit code."""
    mlx = mlx_device()
    parts = [versions(), mlx, start_up(mlx), plugin_states(mlx), mflux_commands(), user_presets()]
    print(as_json(parts) if arguments.json else as_text(parts))
    return FAILED if any(part.broken for part in parts) else 0
