"""Reading a preset: everything in it is checked, since a file may come from anywhere.

It holds plain values only. It can name built-in strategies and those of their options that cannot name a file, so that
no preset runs code, reads or writes a file, or leads anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.input_files import parse_json
from mflux_teacache.pieces.option_types import (
    AMOUNT,
    LARGEST_SEED,
    NAME,
    TEXT,
    Allowed,
    check_fields,
    is_amount,
    is_count_from,
    is_list_of,
    is_number,
    is_table_of,
    is_text,
    tests_of,
    whole_number_from,
)
from mflux_teacache.presets.preset import SCHEMA, Evidence, Preset, PresetKey, Provenance, Setting, is_name
from mflux_teacache.presets.settings import check_setting
from mflux_teacache.spelling import brief

MOST_BYTES = 1_000_000  # one of 32 settings with the prompts of a hundred images has 100 kB
MOST_SETTINGS = 64
MOST_PROMPTS = 1000
MOST_STEPS = 1000
MOST_LORAS = 64

EXPORTED = "Name a file that `mflux-teacache presets export` has written, as it was written."

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")

_OF_ANY = {"key", "provenance"}  # what tells a preset of any schema from the other files of this package
_OF_AN_IMAGE = {"mflux_version", "mflux_plugins"}

_OBJECT = Allowed(lambda value: isinstance(value, dict), "an object")
_PROMPTS = Allowed(is_list_of(is_text, at_most=MOST_PROMPTS), f"a list of at most {MOST_PROMPTS} texts")
_SEEDS = Allowed(
    is_list_of(is_count_from(0, LARGEST_SEED), at_most=MOST_PROMPTS),
    f"a list of at most {MOST_PROMPTS} whole numbers below 2^64",
)
_SHARE = Allowed(lambda value: is_number(value) and -1 <= value <= 1, "a number from -1 to 1")
_STEPS = whole_number_from(1, MOST_STEPS)


def is_preset_name(text: object) -> bool:
    """Whether a text can be the name of a preset, and of its file."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


PRESET_NAME = Allowed(
    is_preset_name, "at most 100 small letters, digits, dots, hyphens and underscores, the first a letter or digit"
)
_MODEL = Allowed(lambda value: NAME.test(value) and is_name(value), "a model's id or the name of a folder, and no path")
_LORAS = Allowed(
    lambda value: (
        is_table_of(is_number)(value)
        and len(value) <= MOST_LORAS
        and all(NAME.test(lora) and is_name(lora, parts=4) for lora in value)
    ),
    f"an object with the scale of each LoRA by the name of its file, at most {MOST_LORAS} and no path",
)
_VERSIONS = Allowed(
    lambda value: isinstance(value, dict) and len(value) <= 64 and all(map(NAME.test, (*value, *value.values()))),
    "an object with a version for each name, at most 64",
)

_TESTS: Mapping[type, Mapping[str, Allowed]] = {
    record: tests_of(record, allowed)
    for record, allowed in (
        (
            Preset,
            {
                "name": PRESET_NAME,
                "key": _OBJECT,
                "settings": Allowed(
                    is_list_of(_OBJECT.test, at_least=1, at_most=MOST_SETTINGS),
                    f"a list of 1 to {MOST_SETTINGS} objects",
                ),
                "provenance": _OBJECT,
                "sigmas": Allowed(
                    is_list_of(is_amount, at_least=1, at_most=MOST_STEPS), "a list of noise levels, one for each step"
                ),
            },
        ),
        (
            PresetKey,
            {
                **dict.fromkeys(("model", "base_model"), _MODEL),
                **dict.fromkeys(("pipeline", "scheduler"), NAME),
                "bits": whole_number_from(1, 64),
                "loras": _LORAS,
                "steps": _STEPS,
                "guidance": AMOUNT,
            },
        ),
        (
            Setting,
            {"plugin": NAME, "options": _OBJECT, "evidence": _OBJECT, "computed": _STEPS, "steps": _STEPS},
        ),
        (Evidence, {"how": TEXT, **dict.fromkeys(("ssim_mean", "ssim_worst"), _SHARE)}),
        (
            Provenance,
            {
                "made": NAME,
                "versions": _VERSIONS,
                **dict.fromkeys(("machine", "license"), NAME),
                **dict.fromkeys(("fitted_prompts", "checked_prompts"), _PROMPTS),
                **dict.fromkeys(("fitted_seeds", "checked_seeds"), _SEEDS),
            },
        ),
    )
}


def parse(text: str, where: str, remedy: str = EXPORTED) -> Preset:
    """The preset in the text of a file.

    Args:
        where: the file's name in messages.
        remedy: what to do about a file that is none, at the end of a message.

    Raises:
        OptionError: it is not a preset, or holds something that is not allowed.
    """
    what = f"The preset {where}"
    try:
        data = parse_json(text)
    except json.JSONDecodeError as error:
        raise OptionError(f"{what} is not JSON: {error}. {remedy}") from error
    except (ValueError, RecursionError) as error:  # with a field that is given twice, say, or nested too deeply
        raise OptionError(f"{what} is not read: {error}. {remedy}") from error
    if not isinstance(data, dict) or not (_OF_ANY & data.keys()):
        raise OptionError(f"{where} is no preset: {_instead(data)}. {remedy}")
    schema = data.pop("schema", None)
    if type(schema) is not int or schema != SCHEMA:  # True equals 1
        raise OptionError(
            f'{what} is not a JSON object with "schema": {SCHEMA}, the only one that this version reads. '
            f"Make it anew, or upgrade mflux-teacache-plugin."
        )
    return _preset(data, what)


def _instead(data: Any) -> str:
    if not isinstance(data, dict):
        return f"it holds {brief(data)}, and no JSON object"
    if not _OF_AN_IMAGE.isdisjoint(data):
        return "it is what mflux records of an image"
    return f"it has none of the fields {', '.join(sorted(_OF_ANY))}"


def _preset(data: dict[str, Any], what: str) -> Preset:
    fields = _fields(Preset, data, what, also=("schema",))
    settings = tuple(_setting(entry, f"{what}, setting {place},") for place, entry in enumerate(data["settings"], 1))
    computed = [setting.computed for setting in settings]
    if any(later < earlier for earlier, later in pairwise(computed)):
        raise OptionError(
            f"{what} has settings of {', '.join(map(str, computed))} computed steps; the numbers must not fall from "
            f"one to the next. Sort them."
        )
    fields["key"] = PresetKey(**_fields(PresetKey, data["key"], f"{what}: its key"))
    fields["provenance"] = Provenance(**_fields(Provenance, data["provenance"], f"{what}: its provenance"))
    _check_sigmas(fields.get("sigmas"), what)
    return Preset(**{**fields, "settings": settings})


def _setting(data: dict[str, Any], what: str) -> Setting:
    fields = _fields(Setting, data, what)
    if (evidence := fields.get("evidence")) is not None:
        fields["evidence"] = Evidence(**_fields(Evidence, evidence, f"{what} its evidence"))
    setting = Setting(**fields)
    if not setting.computed <= setting.steps:
        raise OptionError(
            f"{what} has computed = {setting.computed} and steps = {setting.steps}; it cannot compute more than it has."
        )
    check_setting(setting, what)
    return setting


def _fields(record: type, data: dict[str, Any], what: str, also: tuple[str, ...] = ()) -> dict[str, Any]:
    check_fields(record, data, what, _TESTS[record], also)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _check_sigmas(sigmas: tuple[float, ...] | None, what: str) -> None:
    if any(later >= earlier for earlier, later in pairwise(sigmas or ())):
        raise OptionError(f"{what} has sigmas = {brief(list(sigmas or ()))}; noise levels must fall from step to step.")
