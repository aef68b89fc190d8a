"""``mflux-teacache tune``: finds the best settings for one model, and keeps them as a preset."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mflux_teacache.bench.needs import require
from mflux_teacache.bench.outputs import add_outputs, outputs
from mflux_teacache.bench.quality import check_json
from mflux_teacache.bench.settings import add_options
from mflux_teacache.errors import PluginWarning, Refused, is_interruption
from mflux_teacache.pieces import option_types
from mflux_teacache.tune.settings import FIRST_SEED, SPEED_UPS, STEPS, USUAL_PROMPTS, settings_of, spelt

if TYPE_CHECKING:
    from mflux_teacache.bench.subjects import Subject
    from mflux_teacache.tune.folder import Folder


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tune`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "tune",
        help="find the best settings for your model, and keep them as a preset",
        description="Draws a few prompts in full, works out which steps can be skipped for each speed-up, and checks "
        "the best settings on prompts that were kept apart. What it finds becomes a preset.",
    )
    model = parser.add_argument_group("the model")
    model.add_argument("--demo", action="store_true", help="the small one that comes with this package")
    add_options(model, "model", "base_model", "quantize", "lora_paths", "lora_scales")
    images = parser.add_argument_group("the images: tune with the size and the steps that you use")
    images.add_argument(
        "--prompts",
        metavar="N|FILE",
        help=f"how many of the built-in ones, or a file with one in each line (default: {USUAL_PROMPTS}); half of "
        "them, rounded down, are kept apart for the check",
    )
    images.add_argument(
        "--first-seed", type=int, default=FIRST_SEED, metavar="INT", help="others count up (default: %(default)s)"
    )
    add_options(images, "steps", "width", "guidance", "image_path", "image_strength")
    work = parser.add_argument_group("the work")
    work.add_argument(
        "--speedups",
        type=_speed_ups,
        default=SPEED_UPS,
        metavar="FACTOR,...",
        help=f"all steps over computed steps; the best settings are found for each (default: {spelt(SPEED_UPS)})",
    )
    work.add_argument(
        "--minutes",
        type=float,
        metavar="FLOAT",
        help="about how long all may take: settings and prompts are left out for it",
    )
    add_outputs(parser.add_argument_group("files to write"), json="every figure, versions and machine")
    parser.set_defaults(run=run, steps=STEPS)


def run(args: argparse.Namespace) -> int:
    """Tune, print, and write the preset.

    Returns:
        The command's exit code, 0.

    Raises:
        Refused: there is nothing to tune, or an option is not allowed, or nothing can be kept.
        NotWritten: an image, the preset or a file could not be written.
    """
    require("skimage")
    settings, files = settings_of(args), outputs(args)

    # These load mlx and mflux, which takes seconds.
    from mflux_teacache.bench.results import asked_of, made_with
    from mflux_teacache.bench.subjects import subject_of
    from mflux_teacache.tune import outcome
    from mflux_teacache.tune.folder import Folder
    from mflux_teacache.tune.found import preset_of, result_of
    from mflux_teacache.tune.ranks import Ranks
    from mflux_teacache.tune.tuning import tuned

    subject, ranks = subject_of(settings.image), Ranks()
    _refuse_distilled(subject)
    if subject.takes_json:
        check_json(args.prompts)
        settings = settings.with_json
    folder = Folder({**made_with(()), **asked_of(subject, settings.image)})
    if ranks.speaks:
        print(outcome.plan(settings, subject, folder), flush=True)
    with _saying_what_is_kept(folder, speaks=ranks.speaks):
        found = tuned(settings, subject, folder, ranks)
    if ranks.speaks:
        preset = preset_of(found)
        try:
            kept = outcome.keep(found, preset)  # first of all: it is what the work was for
        finally:  # also where the preset or the calibration could not be written
            result_of(settings, subject, found, preset).tell(files)
        print(f"\n{kept}", flush=True)
    return 0


def _refuse_distilled(subject: Subject) -> None:
    from mflux_teacache.adapters.pipelines import of_class

    target = of_class(subject.pipeline, {"model_config": subject.config})
    if target.distilled:
        raise Refused(
            f"{target.model} is distilled to a few steps, which differ too much to be skipped: there is nothing to "
            f"tune. Tune the base model that it was distilled from, with more steps."
        )


@contextmanager
def _saying_what_is_kept(folder: Folder, *, speaks: bool) -> Iterator[None]:
    try:
        with warnings.catch_warnings(action="ignore", category=PluginWarning):  # for runs that are not measured
            yield
    except BaseException as error:
        if speaks and is_interruption(error):
            error.add_note(folder.kept)
        raise


def _speed_ups(text: str) -> tuple[float, ...]:
    return tuple(map(option_types.factor, text.split(",")))
