"""What each file is that ``mflux-teacache report`` is given, and the sections that they come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mflux_teacache.errors import OptionError
from mflux_teacache.image_record import keys
from mflux_teacache.image_record.account import Account, account
from mflux_teacache.image_record.read import is_image
from mflux_teacache.pieces.input_files import Unreadable, parse_json, read_text
from mflux_teacache.presets import reading
from mflux_teacache.report import calibrations, facts, images, measurements, presets, shadow, tuning
from mflux_teacache.report.page import Section
from mflux_teacache.show.comparison import seen
from mflux_teacache.show.text import image_of
from mflux_teacache.teacache.calibration import FILES

MOST_BYTES = 64_000_000  # of a JSON file: 100 000 images of bench quality
MOST_IMAGES = 12  # each is in the page, with up to some megabytes

_KINDS = (
    "Name images that mflux wrote or their .metadata.json, what bench quality, bench speed, tune or --shadow-json has "
    "written, a preset, or a calibration of teacache-record."
)


def sections_of(paths: Sequence[Path]) -> list[Section]:
    """Images first, each beside the first of them; then a section for each other file, in their order.

    Raises:
        OptionError: a file cannot be read, or is none of those that this is for.
    """
    contents = {path: _content(path) for path in paths if not is_image(path)}
    accounts = [account(path) for path in paths if is_image(path) or keys.ENTRY in contents[path]]
    if len(accounts) > MOST_IMAGES:
        raise OptionError(f"{len(accounts)} images are named; a page takes at most {MOST_IMAGES}. Name fewer.")
    made = [*(images.sections(seen(accounts)) if accounts else []), *_shadows(accounts)]
    return made + [_section(path, content) for path, content in contents.items() if keys.ENTRY not in content]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(path, MOST_BYTES))
    except (Unreadable, ValueError, RecursionError) as error:
        raise OptionError(f"{path} cannot be read: {error}. {_KINDS}") from error
    if not isinstance(content, dict):
        raise OptionError(f"{path} is none of the files that a report is made of. {_KINDS}")
    return content


def _section(path: Path, content: dict[str, Any]) -> Section:
    """By what is in it: a file's name may be anything."""
    if "settings" in content and "provenance" in content:
        return presets.of_preset(reading.parse(json.dumps(content), str(path)))
    if "polynomial" in content:
        return calibrations.of_calibration(FILES.parse(json.dumps(content), str(path)))
    if shadow.is_of_shadow(content):
        return shadow.of_shadow(content, path.name, [])
    if isinstance(content.get("runs"), list) and _entries_have(content, "setting"):
        tuned = isinstance(content.get("candidates"), list)
        return (tuning.of_tuning if tuned else measurements.of_quality)(content, path.name)
    if isinstance(content.get("runs"), list) and _entries_have(content, "variant"):
        return measurements.of_speed(content, path.name)
    raise OptionError(f"{path} is none of the files that a report is made of. {_KINDS}")


def _entries_have(content: Mapping[str, Any], field: str) -> bool:
    summary = content.get("summary")
    return isinstance(summary, list) and bool(summary) and isinstance(summary[0], dict) and field in summary[0]


def _shadows(accounts: Sequence[Account]) -> list[Section]:
    """Of images that were made with a shadow run."""
    made = []
    for each in accounts:
        about = [*facts.named("model", each.made.get(keys.MODEL)), *facts.named("image", image_of(each.made))]
        values = [entry.get(keys.VALUES) for entry in each.plugins.values()]
        found = [value for value in values if isinstance(value, dict) and shadow.is_of_shadow(value)]
        made += [shadow.of_shadow(value, each.path.name, about) for value in found]
    return made
