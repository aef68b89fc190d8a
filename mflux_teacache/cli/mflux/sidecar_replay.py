"""``-C run.json`` repeats the recorded decisions themselves, if they fit the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mflux_teacache import options
from mflux_teacache.image_record.keys import REPLAY
from mflux_teacache.image_record.read import Decided
from mflux_teacache.plugins import Request, load
from mflux_teacache.records import Target
from mflux_teacache.words import Line

# mflux's options that say how many steps of the schedule run: image-to-image starts late.
_STEPS = {"steps", "image", "image_strength", "image_path", "image_paths"}

# Its options that ask for another image of the same kind, in which other steps may matter.
_OTHER_IMAGE = _STEPS | {
    "auto_seeds", "guidance", "lora", "lora_paths", "lora_scales", "lora_style", "negative_prompt", "prompt",
    "prompt_file", "seed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replacement:
    """A request of ``replay`` that stands in for the plugin that decided.

    Attributes:
        path: the sidecar, which names the plugins ``names`` and records what was ``decided``.
        request: the one of ``replay``.
        steps_given: the command line itself says something of how many steps run.
        changed: options by which it asks for another image.
    """

    path: Path
    decided: Decided
    names: Sequence[str]
    request: Request
    steps_given: bool
    changed: Sequence[str]

    def why_not(self, target: Target) -> str | None:
        """Why the decisions are not repeated; ``None`` if they are.

        A file that is at odds with itself is left to ``replay`` to refuse.
        """
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
        """What is repeated although another image than the recorded one is asked for; ``None`` if that is not so."""
        if not self.changed:
            return None
        return (
            f"the steps that {self.decided.plugin} skipped in {self.path} are skipped again, although "
            f"{' and '.join(self.changed)} may call for others. To let it decide anew, add "
            f"{' '.join(f'--plugin {name}' for name in self.names)}."
        )


def replacement(path: Path, decided: Decided, names: Sequence[str], line: Line) -> Replacement:
    """What repeats the recorded decisions on this command line of mflux's."""
    plugin = load(REPLAY)
    request = Request(plugin, options.from_keywords(plugin, {"from": path}))
    changed = dict.fromkeys(given.option for given in line.given if given.action.dest in _OTHER_IMAGE)
    steps_given = any(given.action.dest in _STEPS for given in line.given)
    return Replacement(path, decided, names, request, steps_given, list(changed))
