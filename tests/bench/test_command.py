"""The command and its measurements."""

from __future__ import annotations

import argparse
import subprocess
import sys

from mflux_teacache.bench import command


def test_importing_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, mflux_teacache.bench.command; "
        "print(sorted({'mlx', 'mflux', 'matplotlib', 'numpy', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_measurement_has_its_options() -> None:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    runs = [parser.parse_args(["bench", name]).run for name in ("speed", "quality", "memory")]
    assert runs == [module.run for module in command.SUBCOMMANDS]
