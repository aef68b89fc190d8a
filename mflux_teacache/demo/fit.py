"""Fits the demo's TeaCache calibration: ``python -m mflux_teacache.demo.fit`` writes it (10 minutes on 2 cores).

Records, on mflux's own schedule, how much TeaCache's signal and the body's residual change from step to step,
and fits a polynomial from the one to the other. Needs nothing that a third party's plugin does not have.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path

import mlx.core as mx
from tqdm import tqdm

from mflux_teacache import attach
from mflux_teacache.demo.model import GUIDANCE, MODEL, SIDE, DemoKlein, draw, tiny_klein
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces.data_files import as_text
from mflux_teacache.pieces.output_files import replace_file
from mflux_teacache.records import Body, Step
from mflux_teacache.teacache.calibration import Calibration
from mflux_teacache.teacache.fitting import Change, change, fit, observed, r_squared

STEPS = 28
SEEDS = (11, 12)
THRESHOLD = 0.12

_SHIPPED = Path(__file__).parents[1] / "teacache" / "calibrations" / "demo-tinyflux.json"

PROMPTS = (
    "small red plain circle top left on white",
    "large blue striped ring middle center on yellow",
    "large green dotted cross bottom right on purple",
    "small orange plain triangle top center and large white dotted square bottom left on black",
    "large purple plain diamond middle left and small green striped ring middle right on orange",
    "large black striped triangle bottom center and large yellow plain cross top right on green",
    "small white plain ring top left and small red striped square middle center and small blue dotted circle "
    "bottom right on orange",
    "large yellow dotted diamond top right and large green plain circle middle left and large orange striped cross "
    "bottom center on blue",
)
HELD_OUT = (
    "large purple striped circle bottom left on white",
    "small yellow dotted square middle right and large black plain ring top center on red",
    "large blue plain cross top left and small orange dotted diamond bottom center on green",
    "large red plain triangle top right and small white striped diamond middle center and large green plain square "
    "bottom left on black",
)


class Recorder:
    """Lets every step compute, and adds its changes to a list."""

    def __init__(self, changes: list[Change]) -> None:
        self._changes = changes
        self._now: tuple[mx.array, ...] = ()  # the signal, then one residual per guidance branch

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        before, self._now = self._now, observed(step, body)
        if before:
            self._changes.append(change(step, self._now, before))


def record(model: DemoKlein, prompt: str, seed: int) -> list[Change]:
    """One image's changes, step by step."""
    changes: list[Change] = []
    with attach(model, partial(Recorder, changes)):
        draw(model, "recording", prompt=prompt, steps=STEPS, seed=seed, keep_bar=False)
    return changes


def calibration(fitted: Sequence[Change], held_out: Sequence[Change]) -> Calibration:
    """The fit with its provenance."""
    polynomial = fit(fitted)
    signals = [change.signal for change in fitted]
    return Calibration(
        name="demo-tinyflux",
        model=MODEL,
        pipelines=(DemoKlein.__name__,),
        signal="modulated_input",
        rows="target",
        polynomial=polynomial,
        source="fitted by python -m mflux_teacache.demo.fit",
        range=(min(signals), max(signals)),
        threshold=THRESHOLD,
        steps=STEPS,
        guidance=GUIDANCE,
        size=f"{SIDE}x{SIDE}",
        prompts=PROMPTS,
        mflux_version=version("mflux"),
        date=date.today().isoformat(),
        r2=round(r_squared(polynomial, fitted), 4),
        r2_held_out=round(r_squared(polynomial, held_out), 4),
        license="Apache-2.0",
        note=f"The body residual's change is the mean over the two guidance branches. Seeds {SEEDS}; "
        f"held out: {len(HELD_OUT)} other prompts with the same seeds.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mflux_teacache.demo.fit", description=__doc__)
    parser.add_argument("--output", type=Path, default=_SHIPPED, help="JSON file to write (default: %(default)s)")
    output: Path = parser.parse_args().output

    with tiny_klein() as model, tqdm(total=len(SEEDS) * len(PROMPTS + HELD_OUT), unit="image") as bar:

        def record_all(prompts: Sequence[str]) -> list[Change]:
            changes = []
            for prompt, seed in product(prompts, SEEDS):
                changes += record(model, prompt, seed)
                bar.update()
            return changes

        result = calibration(record_all(PROMPTS), record_all(HELD_OUT))

    replace_file(output, as_text(result).encode())
    print(f"R2 {result.r2} on the fitting prompts, {result.r2_held_out} on others; written to {output}")


if __name__ == "__main__":
    main()
