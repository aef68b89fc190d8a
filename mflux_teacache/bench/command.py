"""``mflux-teacache bench``: one subcommand for each thing that can be measured."""

from __future__ import annotations

import argparse

from mflux_teacache.bench import memory, quality, speed

# A module each, with ``add_parser(subparsers)`` that sets ``run``. Importing them loads neither mlx nor mflux.
SUBCOMMANDS = (speed, quality, memory)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``bench`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "bench",
        help="measure what skipping steps gains",
        description="Measures on a real checkpoint, on a model of full size with random weights, or on the demo's.",
    )
    measurements = parser.add_subparsers(required=True)
    for subcommand in SUBCOMMANDS:
        subcommand.add_parser(measurements)
    measurements.metavar = "|".join(measurements.choices)
