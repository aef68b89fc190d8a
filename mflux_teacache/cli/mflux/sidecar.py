"""``-C run.json``: which of the recorded options still hold, and whether the recorded decisions are repeated."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mflux_teacache import options
from mflux_teacache.errors import PluginError, PluginWarning
from mflux_teacache.image_record.read import Decided, Recorded
from mflux_teacache.options import Declared, Said
from mflux_teacache.pieces.output_files import is_output
from mflux_teacache.plugins import PluginSet, Request, load, our_own
from mflux_teacache.records import Target
from mflux_teacache.words import Given, Line

# mflux's options that decide how many steps of the schedule run: image-to-image starts late.
_STEPS = {"steps", "image", "image_strength", "image_path", "image_paths"}

# Its options that ask for another image of the same kind, in which other steps may matter.
_OTHER_IMAGE = _STEPS | {
    "auto_seeds", "guidance", "lora", "lora_paths", "lora_scales", "lora_style", "negative_prompt", "prompt",
    "prompt_file", "seed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replacement:
    """A plugin that repeats recorded decisions, in the place of the one that made them.

    Attributes:
        path: the sidecar, which names the plugins ``names`` and records what was ``decided``.
        request: the request for the plugin that repeats them.
        steps_given: the command line itself decides how many steps run.
        changed: the options by which the command line asks for another image.
    """

    path: Path
    decided: Decided
    names: Sequence[str]
    request: Request
    steps_given: bool
    changed: Sequence[str]

    def why_not(self, target: Target) -> str | None:
        """Why the decisions are not repeated; ``None`` if they are."""
        # If the steps are not from the command line, the file contradicts itself, and the repeating plugin refuses it.
        if self.decided.is_of_another(target.model):
            other = f"an image of {self.decided.model}, and this is {target.model}"
        elif self.steps_given and self.decided.has_other_steps(target):
            other = f"{len(self.decided.pattern)} steps, and this run has {target.active_steps}"
        else:
            return None
        return (
            f"{self.path} records {other}: the steps to skip are not repeated; {self.decided.plugin} decides anew, "
            f"with the recorded options."
        )

    @property
    def note(self) -> str | None:
        """A note that the steps are repeated although another image is asked for; ``None`` if none is."""
        if not self.changed:
            return None
        return (
            f"the steps that {self.decided.plugin} skipped in {self.path} are skipped again, although "
            f"{' and '.join(self.changed)} may call for others. To let it decide anew, add "
            f"{' '.join(f'--plugin {name}' for name in self.names)}."
        )


def replacement(path: Path, recorded: Recorded, plugins: Sequence[Declared], line: Line) -> Replacement | None:
    """What repeats a sidecar's decisions on this command line; ``None`` if the plugin that made them decides anew."""
    decided = recorded.decided
    # It decides anew if its record lacks what a repetition needs, or if the command line gives it an option, which the
    # recorded decisions would ignore.
    decider = next((each for each in plugins if decided is not None and each.plugin.name == decided.plugin), None)
    if decided is None or decider is None or not decider.plugin.about.replay_values or decider.said_in(line.given):
        return None
    repeats, option = next((load(name), about.source) for name, about in our_own() if about.source)
    request = Request(repeats, options.from_keywords(repeats, {option: path}))
    changed = dict.fromkeys(given.option for given in line.given if given.action.dest in _OTHER_IMAGE)
    steps_given = any(given.action.dest in _STEPS for given in line.given)
    return Replacement(path, decided, list(recorded.options), request, steps_given, list(changed))


def restored(plugin: Declared, recorded: dict[str, Any], said: Said) -> list[Given]:
    """The recorded options that still hold. Those that name files to write are never among them.

    Args:
        said: what the command line says about the plugin, which takes precedence.

    Raises:
        OptionError: an option does not exist, or a value is not allowed.
    """
    plugin.given(recorded)  # refuses unknown options, which the next lines could not look up
    lifted = _lifted(plugin, said)
    kept = {
        name: value
        for name, value in recorded.items()
        if (action := plugin.by_keyword[name]).dest not in lifted and not is_output(action)
    }
    given = plugin.given(_without_idle_alternatives(plugin, kept))
    plugin.take(given, complete=False)  # without the command line's, so that the file is blamed only for its own faults
    return given


def _lifted(plugin: Declared, said: Said) -> set[str]:
    """The destinations of the options that the command line replaces: those it gives, and all that they exclude."""
    given = {given.action.dest for given in said.given}
    groups = [{action.dest for action in group} for group in plugin.exclusive]
    return given.union({action.dest for action in said.taken_back}, *(group for group in groups if group & given))


def _without_idle_alternatives(plugin: Declared, recorded: dict[str, Any]) -> dict[str, Any]:
    """Leave out options with their default value that exclude an option which was really given."""
    # Both of a pair may be in the file, and together they would be refused as if both had been given.
    defaults = options.as_json(plugin.take((), complete=False))
    idle: set[str] = set()
    for group in plugin.exclusive:
        names = [name for name in map(plugin.keyword, group) if recorded.get(name) is not None]
        if len(names) > 1:
            idle.update(name for name in names if recorded[name] == defaults.get(name))
    return {name: value for name, value in recorded.items() if name not in idle}


def warn_of_left_out(path: Path, recorded: Recorded, named: Sequence[str]) -> None:
    """Warn of plugins in a sidecar that are left out because the command line names plugins itself."""
    if left_out := [name for name in recorded.options if name not in named]:
        warnings.warn(
            f"{path} also names {', '.join(left_out)}, left out since the command line names plugins itself."
            f"{_together([*left_out, *named])}",
            PluginWarning,
            stacklevel=3,
        )


def _together(names: Sequence[str]) -> str:
    """How to have all of these plugins; empty if that is impossible, as with two that both decide."""
    try:
        PluginSet([load(name) for name in names])
    except PluginError:
        return ""
    return f" To have all: {' '.join(f'--plugin {name}' for name in names)}."
