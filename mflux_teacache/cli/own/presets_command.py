"""``mflux-teacache presets``: the settings that were found best for a model, to look at, share and remove."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mflux_teacache.errors import OptionError
from mflux_teacache.messages import say
from mflux_teacache.pieces.data_files import spelt
from mflux_teacache.pieces.option_types import file_path
from mflux_teacache.pieces.output_files import check_output, replace_file, writing
from mflux_teacache.presets import store
from mflux_teacache.presets.nearest import bits_of
from mflux_teacache.presets.preset import Preset, Setting, as_text
from mflux_teacache.presets.reading import is_preset_name
from mflux_teacache.presets.settings import on_a_command_line
from mflux_teacache.spelling import visible
from mflux_teacache.text_tables import aligned

COMMAND = "mflux-teacache"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``presets`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "presets",
        help="list, show, share and remove the settings that were found best for a model",
        description="The presets that `mflux-teacache tune` makes and `--plugin auto` uses: plain JSON files in the "
        f"user's data directory, or in that which {store.VARIABLE} names.",
    )
    acts = parser.add_subparsers(required=True)
    listing = acts.add_parser("list", help="list the presets, and the files among them that are none")
    listing.add_argument("--json", action="store_true", help="print the same as JSON")
    listing.set_defaults(run=list_all)
    showing = acts.add_parser("show", help="show what a preset was made for, and its settings")
    showing.add_argument("name", metavar="NAME")
    showing.add_argument("--json", action="store_true", help="print its file")
    showing.set_defaults(run=show)
    exporting = acts.add_parser("export", help="write a preset to a file, to be shared")
    exporting.add_argument("name", metavar="NAME")
    exporting.add_argument("file", metavar="FILE", type=file_path)
    exporting.add_argument("--replace", action="store_true", help="in place of a file that is there")
    exporting.set_defaults(run=export)
    importing = acts.add_parser("import", help="take in a preset that somebody has shared, after checking all of it")
    importing.add_argument("file", metavar="FILE", type=file_path)
    importing.add_argument("--name", help="the name that it gets (default: its own)")
    importing.add_argument("--replace", action="store_true", help="in place of one of the same name")
    importing.set_defaults(run=import_file)
    removing = acts.add_parser("remove", help="delete presets")
    removing.add_argument("names", metavar="NAME", nargs="+")
    removing.set_defaults(run=remove)
    acts.metavar = "|".join(acts.choices)


def list_all(arguments: argparse.Namespace) -> int:
    """Print every preset in one line; returns the exit code."""
    entries = store.stored()
    presets = [entry.preset for entry in entries if entry.preset is not None]
    if arguments.json:
        print(json.dumps([{"name": preset.name, "key": asdict(preset.key)} for preset in presets], indent=2))
    elif presets:
        print("\n".join(aligned([_HEADING, *map(_row, presets)], left=len(_HEADING))))
    else:
        print(f"There are no presets in {store.folder()}. `{COMMAND} tune` makes one.")
    for entry in entries:
        if entry.preset is None:
            say(COMMAND, "warning", f"{entry.problem}{_how_to_delete(entry.name)}")
    return 0


def _how_to_delete(name: str) -> str:
    can_be_named = is_preset_name(name) and not store.path_of(name).is_dir()
    return f" `{COMMAND} presets remove {name}` deletes it." if can_be_named else ""


def show(arguments: argparse.Namespace) -> int:
    """Print one preset in full; returns the exit code."""
    preset = store.load(arguments.name)
    print(as_text(preset) if arguments.json else "\n".join(described(preset)), end="" if arguments.json else "\n")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write a preset to a file; returns the exit code.

    Raises:
        OptionError: there is no such preset, or the file cannot be written or is there already.
        NotWritten: the file could not be written.
    """
    preset = store.load(arguments.name)
    check_output("FILE", arguments.file, store.SUFFIX, inputs=[store.path_of(arguments.name)])
    if arguments.file.exists() and not arguments.replace:
        raise OptionError(f"There is a file {arguments.file} already. Give --replace to replace it, or another name.")
    with writing("FILE", arguments.file):
        replace_file(arguments.file, as_text(preset).encode())
    print(f"{preset.name} is in {arguments.file.absolute()}")
    return 0


def import_file(arguments: argparse.Namespace) -> int:
    """Take a file into the store; returns the exit code.

    Raises:
        OptionError: it is no preset, or there is another one of its name.
    """
    preset = store.read_file(arguments.file)
    preset = preset if arguments.name is None else replace(preset, name=arguments.name)
    if not arguments.replace and store.is_there(store.path_of(preset.name)):
        raise OptionError(
            f"There is a preset {preset.name} already. Give --replace to put {arguments.file} in its place, or --name "
            f"with another name for it."
        )
    path: Path = store.save(preset)
    print(f"{preset.name} is in {path}. It was made for {_made_for(preset)}.")
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Delete presets by their names, all or none; returns the exit code."""
    for name in arguments.names:
        store.check_there(name)
    for name in dict.fromkeys(arguments.names):
        store.remove(name)
        print(f"{name} is removed")
    return 0


# --- What is printed --------------------------------------------------------------------------------------------------

_HEADING = ("NAME", "MODEL", "BITS", "LORAS", "SIZE", "STEPS", "GUIDANCE", "COMPUTED", "MADE")


def _row(preset: Preset) -> tuple[str, ...]:
    key = preset.key
    loras = spelt(key.loras) if key.loras else "-"
    computed = ",".join(dict.fromkeys(str(setting.computed) for setting in preset.settings))
    bits = "-" if key.bits is None else str(key.bits)
    numbers = (bits, loras, f"{key.width}x{key.height}", str(key.steps), f"{key.guidance:g}", computed)
    return tuple(map(visible, (preset.name, key.model, *numbers, preset.provenance.made)))


def described(preset: Preset) -> list[str]:
    """Lines about a preset: what it was made for, its settings with what is known of them, where it comes from."""
    origin = preset.provenance
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    facts = {
        "preset": preset.name,
        "made for": _made_for(preset),
        "made": ", ".join(filter(None, (origin.made, origin.machine, versions))),
        "fitted on": _counted(origin.fitted_prompts, origin.fitted_seeds),
        "checked on": _counted(origin.checked_prompts, origin.checked_seeds),
        "license": origin.license,
        "note": origin.note,
    }
    width = max(map(len, facts))
    return [
        *(f"{name.ljust(width)}  {visible(fact)}" for name, fact in facts.items() if fact is not None),
        "",
        *aligned([_OF_SETTINGS, *map(_of_setting, preset.settings)], left=len(_OF_SETTINGS)),
        "",
        "PSNR and SSIM are those of images against their full runs: mean, and worst. FEWER STEPS is the mean PSNR of",
        "runs without plugins that take as many steps as the setting computes. Each setting is given as on a command",
        "line; `--plugin auto` chooses among them.",
    ]


_OF_SETTINGS = ("COMPUTED", "SPEED-UP", "PSNR", "SSIM", "IMAGES", "FEWER STEPS", "SETTING")


def _of_setting(setting: Setting) -> tuple[str, ...]:
    found = setting.evidence
    known: Sequence[str] = ("-", "-", "-", "-")
    if found is not None:
        known = (
            f"{_decibels(found.psnr_mean)}, {_decibels(found.psnr_worst)}",
            f"{found.ssim_mean:.4f}, {found.ssim_worst:.4f}",
            str(found.images),
            "-" if found.fewer_steps_psnr is None else _decibels(found.fewer_steps_psnr),
        )
    words = visible(on_a_command_line(setting))
    return (f"{setting.computed} of {setting.steps}", f"{setting.speedup:.2f}x", *known, words)


def _counted(prompts: Sequence[str], seeds: Sequence[int]) -> str:
    return f"prompts: {len(prompts)}, seeds: {len(seeds)}"


def _decibels(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.1f}"


def _made_for(preset: Preset) -> str:
    key = preset.key
    parts = (
        f"{key.model} ({key.pipeline}{f', based on {key.base_model}' if key.base_model else ''})",
        bits_of(key),
        spelt(key.loras),
        f"{key.width}x{key.height} pixels",
        f"{key.steps} steps{' from an input image' if key.image_input else ''}",
        f"guidance {key.guidance:g}",
        key.scheduler,
    )
    return visible(", ".join(filter(None, parts)))
