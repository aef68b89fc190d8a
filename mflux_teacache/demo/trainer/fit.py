"""``python -m mflux_teacache.demo.trainer.fit`` fits the demo's TeaCache calibration (10 minutes on 2 cores).

The plugin ``teacache-record`` observes the images and fits, as it does for any other model. What is added here is the
name under which the file ships, a threshold that was tried, and the licence.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path

from tqdm import tqdm

from mflux_teacache import attach
from mflux_teacache.demo.model import draw, tiny_klein
from mflux_teacache.demo.prompts import FITTED
from mflux_teacache.pieces.data_files import as_text
from mflux_teacache.pieces.output_files import replace_file
from mflux_teacache.teacache import calibration as calibrations
from mflux_teacache.teacache.calibration import Calibration

STEPS = 28
SEEDS = (11, 12)
THRESHOLD = 0.12

_SHIPPED = Path(calibrations.__file__).with_name("calibrations") / "demo-emoji.json"


def record(output: Path) -> Calibration:
    """What ``teacache-record`` makes of each fitting prompt with each seed, in the file that it writes."""
    images = list(product(FITTED, SEEDS))
    with tiny_klein() as model, attach(model, "teacache-record", output=output):
        for prompt, seed in tqdm(images, unit="image"):
            draw(model, "recording", prompt=prompt, steps=STEPS, seed=seed, keep_bar=False)
    return calibrations.load(output)


def shipped(recorded: Calibration) -> Calibration:
    """A recorded calibration as it ships."""
    return replace(
        recorded,
        name="demo-emoji",
        source="fitted by python -m mflux_teacache.demo.trainer.fit",
        threshold=THRESHOLD,
        license="Apache-2.0",
        note=f"The body residual's change is the mean over the two guidance branches. Seeds {SEEDS}; r2_held_out "
        f"predicts each image from the others.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mflux_teacache.demo.trainer.fit", description=__doc__)
    parser.add_argument("--output", type=Path, default=_SHIPPED, help="JSON file to write (default: %(default)s)")
    output: Path = parser.parse_args().output
    result = shipped(record(output))
    replace_file(output, as_text(result).encode())
    print(f"R2 {result.r2} over all images, {result.r2_held_out} each from the others; written to {output}")


if __name__ == "__main__":
    main()
