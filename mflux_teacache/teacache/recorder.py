"""The plugin ``teacache-record`` measures full runs, and writes the calibration that ``teacache`` takes.

``--plugin teacache-record --teacache-record-output mine.json`` beside any model, then
``--plugin teacache --teacache-calibration mine.json``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mflux_teacache.about import About
from mflux_teacache.pieces.recorder import Recording, counted
from mflux_teacache.records import Generation
from mflux_teacache.teacache.calibration import FILES
from mflux_teacache.teacache.fitting import unfit
from mflux_teacache.teacache.recorded import FEWEST_CHANGES, Observed, Run, calibration_of, told


class TeaCacheRecord(Recording[Observed, Run]):
    """Observes full runs, and after each image fits a polynomial to all images so far."""

    name = "teacache-record"
    about = About(
        kind="recorder",
        description="Measures full runs, and writes the calibration that teacache takes.",
        keeps_images_apart=True,
    )
    default = "teacache-calibration.json"
    what = "fitted to"
    noun = "calibration"
    image = Observed
    files = FILES

    _said_what_is_missing = False

    def run_of(self, image: Observed, generation: Generation) -> Run:
        target = self._target.for_run(generation)
        return Run(target=target, prompt=generation.prompt, changes=tuple(image.changes))

    def write(self, runs: Sequence[Run]) -> None:
        changes = [change for run in runs for change in run.changes]
        if len(changes) < FEWEST_CHANGES:
            self._say_what_is_missing(len(changes), len(runs[-1].changes))
        elif problem := unfit(changes):
            self.warn(f"has written nothing: {problem}")
        else:
            found = calibration_of(runs, self.name)
            self.write_file(found, told(found, len(runs)))

    def _say_what_is_missing(self, changes: int, of_each: int) -> None:
        # Only once, since the next image of the run may well bring it.
        if not self._said_what_is_missing:
            more = math.ceil((FEWEST_CHANGES - changes) / of_each)
            self.say(
                f"nothing written yet: a fit takes {FEWEST_CHANGES} changes from step to step, and this run has "
                f"{changes} so far. It takes {counted(more)} more, such as with --seed 1 2 3; or more steps"
            )
        self._said_what_is_missing = True
