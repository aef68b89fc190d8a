"""What each file is that ``mflux-teacache report`` is given, and the sections that they come to."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mflux_teacache.errors import OptionError, PluginWarning
from mflux_teacache.image_record import keys
from mflux_teacache.image_record.account import Account, account
from mflux_teacache.image_record.read import is_image
from mflux_teacache.pieces.input_files import Unreadable, parse_json, read_text
from mflux_teacache.presets import reading
from mflux_teacache.report import calibrations, facts, full_runs, images, measurements, presets, shadow, tuning
from mflux_teacache.report.page import Section
from mflux_teacache.show.files import check_told
from mflux_teacache.show.text import image_of
from mflux_teacache.spelling import without_folders
from mflux_teacache.teacache.calibration import FILES

MOST_BYTES = 64_000_000  # of a JSON file: 100 000 images of bench quality
MOST_IMAGES = 12  # each is in the page, with up to some megabytes

_PROMPTS = ("prompt", "prompts", "fitted_prompts", "checked_prompts")  # which may have any words

_KINDS = (
    "Name images that mflux wrote or their .metadata.json, what bench quality, bench speed, tune or --shadow-json has "
    "written, a preset, or a calibration of teacache-record."
)


def sections_of(paths: Sequence[Path]) -> list[Section]:
    """Images first, each beside its full run; then a section for each other file, in their order.

    Raises:
        OptionError: a file cannot be read, or is none of those that this is for.
    """
    contents = {path: _content(path) for path in paths if not is_image(path)}
    accounts = [account(path) for path in paths if is_image(path) or keys.ENTRY in contents[path]]
    if len(accounts) > MOST_IMAGES:
        raise OptionError(f"{len(accounts)} images are named; a page takes at most {MOST_IMAGES}. Name fewer.")
    check_told(accounts)
    if (doubt := full_runs.doubt(accounts)) is not None:
        warnings.warn(doubt, PluginWarning, stacklevel=2)
    made = [*images.sections(accounts), *_shadows(accounts)]
    return made + [_section(path, content) for path, content in contents.items() if keys.ENTRY not in content]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(path, MOST_BYTES))
    except (Unreadable, ValueError, RecursionError) as error:
        raise OptionError(f"{path} cannot be read: {error}. {_KINDS}") from error
    if not isinstance(content, dict):
        raise OptionError(f"{path} is none of the files that a report is made of. {_KINDS}")
    return {name: _without_folders(value, name) for name, value in content.items()}


def _without_folders(value: Any, name: str) -> Any:
    """A value of a file, without the folders of whoever wrote it. Prompts stay as they were drawn."""
    if name in _PROMPTS:
        return value
    if isinstance(value, dict):
        return {without_folders(key): _without_folders(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each, name) for each in value]
    return without_folders(value) if isinstance(value, str) else value


def _section(path: Path, content: dict[str, Any]) -> Section:
    """By what is in it: a file's name may be anything."""
    if "settings" in content and "provenance" in content:
        return presets.of_preset(reading.parse(json.dumps(content), str(path)))
    if "polynomial" in content:
        return calibrations.of_calibration(FILES.parse(json.dumps(content), str(path)))
    if shadow.is_of_shadow(content):
        return shadow.of_shadow(content, path.name, [])
    if isinstance(content.get("runs"), list) and (_entries_have(content, "setting") or _was_cut_off(content)):
        tuned = isinstance(content.get("candidates"), list)
        return (tuning.of_tuning if tuned else measurements.of_quality)(content, path.name)
    if isinstance(content.get("runs"), list) and _entries_have(content, "variant"):
        return measurements.of_speed(content, path.name)
    raise OptionError(f"{path} is none of the files that a report is made of. {_KINDS}")


def _entries_have(content: Mapping[str, Any], field: str) -> bool:
    summary = content.get("summary")
    return isinstance(summary, list) and bool(summary) and isinstance(summary[0], dict) and field in summary[0]


def _was_cut_off(content: Mapping[str, Any]) -> bool:
    """Whether it is of a comparison that ended before a setting was measured whole."""
    return content.get("interrupted") is True and content.get("summary") == [] and "fewer_steps" in content


def _shadows(accounts: Sequence[Account]) -> list[Section]:
    """Of images that were made with a shadow run."""
    made = []
    for each in accounts:
        about = [*facts.named("model", each.made.get(keys.MODEL)), *facts.named("image", image_of(each.made))]
        values = [entry.get(keys.VALUES) for entry in each.plugins.values()]
        found = [value for value in values if isinstance(value, dict) and shadow.is_of_shadow(value)]
        made += [shadow.of_shadow(value, each.path.name, about) for value in found]
    return made
