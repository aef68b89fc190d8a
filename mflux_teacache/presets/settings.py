"""What a setting of a preset may say: which strategies it may name, which of their options, and of which budget."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from functools import cache

from mflux_teacache.errors import OptionError
from mflux_teacache.options import Declared
from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.option_types import LARGEST_COUNT, file_path
from mflux_teacache.plugins import load, our_own
from mflux_teacache.presets.preset import Setting
from mflux_teacache.spelling import brief
from mflux_teacache.words import as_words, is_json

MAX_COMPUTED, _ = BUDGETS
PATTERN = "pattern"  # the keyword of the schedule's option that names every step

MOST_CHARACTERS = 4000  # of one setting's options as JSON; a pattern of 1000 steps has 1000


@cache
def strategies() -> frozenset[str]:
    """The built-in strategies that decide by a rule of their own."""
    return frozenset(name for name, about in our_own() if about.kind == "strategy")


@cache
def options_of(plugin: str) -> Mapping[str, argparse.Action]:
    """The options of a strategy that a preset may give, by keyword."""
    return {name: action for name, action in Declared(load(plugin)).by_keyword.items() if _may_be_given(action)}


def check_setting(setting: Setting, what: str) -> None:
    """Refuse a plugin, an option or a value that no preset may have; ``what`` begins the message.

    Raises:
        OptionError: it says which, and what is allowed.
    """
    if setting.plugin not in strategies():
        known = ", ".join(sorted(strategies()))
        raise OptionError(f"{what} has plugin = {brief(setting.plugin)}; it must be one of {known}.")
    allowed = options_of(setting.plugin)
    for name, value in setting.options.items():
        if name not in allowed:
            known = ", ".join(sorted(allowed))
            raise OptionError(f"{what} gives {setting.plugin} the option {brief(name)}; a preset may give {known}.")
        if not is_json(value) or value is None:
            raise OptionError(
                f"{what} has {name} = {brief(value)}; it must be a text, a number, true, false, or a list of those."
            )
        if type(value) is int and abs(value) > LARGEST_COUNT:
            raise OptionError(f"{what} has {name} = {brief(value)}; a whole number must be at most {LARGEST_COUNT}.")
    if (characters := len(json.dumps(dict(setting.options)))) > MOST_CHARACTERS:
        raise OptionError(
            f"{what} has options of {characters} characters; {MOST_CHARACTERS} are allowed. Leave some out."
        )
    _check_values(setting, what)
    _check_budget(setting, what)


def on_a_command_line(setting: Setting) -> str:
    """A setting as mflux's commands take it, such as ``--plugin schedule --schedule-pattern=CSCSC``."""
    given = Declared(load(setting.plugin)).given(setting.options)
    return " ".join(("--plugin", setting.plugin, *as_words(given)))


def _check_values(setting: Setting, what: str) -> None:
    """As the strategy itself checks its options on a command line."""
    declared = Declared(load(setting.plugin))
    try:
        declared.take(declared.given(setting.options))
    except OptionError as error:
        raise OptionError(f"{what} cannot be used: {setting.plugin}: {error}") from error


def _check_budget(setting: Setting, what: str) -> None:
    """A setting says how many steps it computes, so that its time is known beforehand."""
    pattern = str(setting.options.get(PATTERN, "")).upper()
    by_pattern = len(pattern) == setting.steps and pattern.count("C") == setting.computed
    if not (by_pattern if pattern else setting.options.get(MAX_COMPUTED) == setting.computed):
        raise OptionError(
            f"{what} computes {setting.computed} of {setting.steps} steps, and its options do not say so: they are "
            f"{brief(dict(setting.options))}. They must have {MAX_COMPUTED} = {setting.computed}, or a {PATTERN} of "
            f"{setting.steps} letters with {setting.computed} C."
        )


def _may_be_given(action: argparse.Action) -> bool:
    """Whether no value of an option can name a file, or make a strategy run where it refuses to."""
    # Where there are neither choices nor a type of its own, such as a number, any text may be given: a path too. Flags
    # have neither, and those of strategies overrule a refusal.
    return action.choices is not None or action.type not in (None, str, file_path)
