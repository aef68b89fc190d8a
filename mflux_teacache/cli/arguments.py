"""What the command line says about plugins, read before mflux parses it. Imports no plugin machinery."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mflux_teacache.errors import OptionError

OPTION = "--plugin"
COMPILE_BLOCKS = "--plugin-compile-blocks"
NONE = "none"
SIDECAR_OPTIONS = ("-C", "--config-from-conf", "--config-from-metadata")
HELP = (
    "Attach an installed plugin, such as teacache, which skips denoising steps; repeatable. Together with --help it "
    "shows the plugin's own options. 'none' switches off the plugins that a --config-from-conf sidecar names. "
    "'mflux-teacache plugins' lists what is installed."
)
COMPILE_BLOCKS_HELP = (
    "Compile each block of the transformer on its own where mflux runs it as Python (FLUX.1, Qwen-Image, FIBO and "
    "others), with or without --plugin. Whether that is faster depends on model and chip: on one H100 it took 10 to 12 "
    "percent off the time of FLUX.1 and 8 percent off that of Qwen-Image, and added 3 percent to that of FIBO; nothing "
    "was measured on a Mac. The first image of a size takes longer. The image equals that of a run without it within "
    "rounding. Off by default; the --no form switches off what a --config-from-conf sidecar records."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which plugins a command line asks for, and whether blocks are to be compiled.

    Attributes:
        names: in the order in which they were named, each once; empty after ``--plugin none``.
        sidecar: of ``-C``; it may name plugins. ``None`` also after ``--plugin none``.
        compile_blocks: ``None`` where the command line does not say; the sidecar may.
    """

    names: tuple[str, ...] = ()
    sidecar: Path | None = None
    compile_blocks: bool | None = None


class Reader(argparse.ArgumentParser):
    """Reads some options out of a command line that has others too. Raises where argparse would print and exit."""

    def __init__(self, command: str) -> None:
        super().__init__(command, add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def asked_for(parser: argparse.ArgumentParser, argv: Sequence[str]) -> Asked:
    """Args:
        parser: mflux's.

    Raises:
        OptionError: ``--plugin`` without a name, or ``--plugin none`` together with a plugin.
    """
    reader = Reader(parser.prog)
    reader.add_argument(OPTION, action="append", default=[], dest="names")
    reader.add_argument(COMPILE_BLOCKS, action=argparse.BooleanOptionalAction, default=None, dest="compile_blocks")
    # mflux's two flags of one letter, which may stand in one word with -C: -vC run.json
    reader.add_argument("-h", "-v", action="store_true")
    if any(option in parser._option_string_actions for option in SIDECAR_OPTIONS):
        reader.add_argument(*SIDECAR_OPTIONS, type=Path, dest="sidecar")
    namespace, _ = reader.parse_known_args(argv)
    names = tuple(dict.fromkeys(namespace.names))
    if NONE not in names:
        return Asked(names, getattr(namespace, "sidecar", None), namespace.compile_blocks)
    if len(names) > 1:
        others = " and ".join(repr(name) for name in names if name != NONE)
        raise OptionError(
            f"{OPTION} {NONE} switches plugins off, and {others} was asked for too. Leave one of them out."
        )
    return Asked(compile_blocks=namespace.compile_blocks)
