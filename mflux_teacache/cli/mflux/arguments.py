"""What a command line says about plugins. Imports no plugin machinery."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mflux_teacache.errors import OptionError

if TYPE_CHECKING:
    from mflux_teacache.words import Line

OPTION = "--plugin"
COMPILE_BLOCKS = "--plugin-compile-blocks"
NO_COMPILE_BLOCKS = "--no-plugin-compile-blocks"
NONE = "none"
SIDECAR_OPTIONS = ("-C", "--config-from-conf", "--config-from-metadata")
HELP = (
    "Attach an installed plugin, such as teacache, which skips denoising steps; repeatable. Together with --help it "
    "shows the plugin's own options. 'none' switches off the plugins that a --config-from-conf sidecar names; each of "
    "their options replaces what is recorded, and its --no form, such as --no-teacache-thresh, takes that back. "
    "'mflux-teacache plugins' lists what is installed."
)
COMPILE_BLOCKS_HELP = (
    "Compile each block of the transformer on its own where mflux runs it as Python (FLUX.1, Qwen-Image, FIBO and "
    "others), with or without --plugin. Whether that is faster depends on model and chip: on one H100 it took 10 to 12 "
    "percent off the time of FLUX.1 and 8 percent off that of Qwen-Image, and added 3 percent to that of FIBO; nothing "
    "was measured on a Mac. The first image of a size takes longer. The image equals that of a run without it within "
    "rounding. Off by default; the --no form switches off what a --config-from-conf sidecar records."
)

_OURS = (OPTION, COMPILE_BLOCKS, NO_COMPILE_BLOCKS, *SIDECAR_OPTIONS[1:])


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


def may_concern_plugins(argv: Sequence[str], known: Container[str]) -> bool:
    """A quick look, in place of reading: whether a word may be an option of ours or of a plugin, also a shortened one.

    Args:
        known: the options of mflux's parser. Any other word may be of a plugin that is off.
    """
    return any(_may_be_ours(word, known) for word in argv)


def _may_be_ours(word: str, known: Container[str]) -> bool:
    if not word.startswith("--"):
        return word.startswith("-") and "C" in word  # mflux's flags of one letter may stand in one word with it: -vC
    name = word.partition("=")[0]
    return name != "--" and (name not in known or name in _OURS)


def asked_for(line: Line) -> Asked:
    """What a command line asks for.

    Raises:
        OptionError: ``--plugin none`` together with a plugin.
    """
    named: list[str] = []
    sidecar: Path | None = None
    compile_blocks: bool | None = None
    for given in line.given:
        options = given.action.option_strings
        if OPTION in options:
            named += given.words
        elif COMPILE_BLOCKS in options:
            compile_blocks = not given.option.startswith("--no-")
        elif not set(SIDECAR_OPTIONS).isdisjoint(options):
            sidecar = Path(given.words[0])
    names = tuple(dict.fromkeys(named))
    if NONE not in names:
        return Asked(names, sidecar, compile_blocks)
    if len(names) > 1:
        others = " and ".join(repr(name) for name in names if name != NONE)
        raise OptionError(
            f"{OPTION} {NONE} switches plugins off, and {others} was asked for too. Leave one of them out."
        )
    return Asked(compile_blocks=compile_blocks)
