"""``mflux-teacache bench quality``: strategies and settings against the full run of each prompt and seed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from mflux_teacache.bench import plugin_settings
from mflux_teacache.bench.needs import require
from mflux_teacache.bench.outputs import add_outputs, outputs
from mflux_teacache.bench.runs import JudgedRun, Setting
from mflux_teacache.bench.settings import ImageSettings, QualitySettings, add_options, check_least, check_seeds
from mflux_teacache.demo import prompts as demo_prompts
from mflux_teacache.demo import vocabulary
from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.input_files import Unreadable, read_text
from mflux_teacache.spelling import brief

PROMPTS = 8
MOST_PROMPTS = 10_000
_MOST_DIGITS = 100  # of a number of prompts: Python reads none of thousands of digits
MOST_BYTES = 16_000_000  # of their file: a page for each
SEEDS = 2
STEPS = 28
FIRST_SEED = 101  # the demo's calibration was fitted on others
PROMPT_SEED = 7


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``quality`` to the measurements of ``mflux-teacache bench``."""
    parser = subparsers.add_parser(
        "quality",
        help="compare images with skipped steps with the full run, over prompts and seeds",
        description="Draws each prompt and seed once in full, then with each setting of each strategy, and says how "
        "far from the full run the images are: PSNR and SSIM, mean and worst. The same sampler with fewer steps is "
        "compared as well: what every setting has to beat.",
    )
    _add_compared(parser.add_argument_group("what is compared (default: a grid over the built-in strategies)"))
    model = parser.add_argument_group("the model (default: the demo's, which needs no download and no GPU)")
    add_options(model, "model", "base_model", "quantize", "lora_paths", "lora_scales")
    _add_images(parser.add_argument_group("the images"))
    add_outputs(
        parser.add_argument_group("files to write"),
        json="every image's figures, versions and machine. It is written after each image: when a run was cut off, "
        "run the same command to go on from it",
        png="PSNR over speed-up, a line for each strategy",
        sheet="a contact sheet: full runs above skipping ones",
    )
    parser.set_defaults(run=run, steps=STEPS)


def _add_compared(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="'NAME KEY=VALUE ...'",
        help="a plugin with its options, such as 'teacache thresh=0.12 forecast=1', or as on a command line, such as "
        "'teacache --teacache-thresh 0.12'; may be given several times",
    )
    group.add_argument(
        "--patterns",
        nargs="*",
        metavar="CCSS...",
        help="the same skipped steps with residuals and with outputs reused, each held, and extrapolated linearly and "
        "quadratically; C computed, S skipped (default: three patterns, spread evenly)",
    )


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--prompts",
        metavar="N|FILE",
        help="how many random ones in the demo's words, none of which its calibration was fitted on; or a file with "
        f"one in each line, which --model needs (default: {PROMPTS})",
    )
    group.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="of each prompt (default: %(default)s)")
    group.add_argument(
        "--first-seed", type=int, default=FIRST_SEED, metavar="INT", help="others count up (default: %(default)s)"
    )
    add_options(group, "steps", "width", "guidance", "image_path", "image_strength")


def run(args: argparse.Namespace) -> int:
    """Measure, print and write; raises as ``speed.run`` does, and where scikit-image is missing.

    Returns:
        The command's exit code: 0; 1 where every setting was refused; 130 if Ctrl-C ended it after a whole setting.
    """
    require("skimage")
    settings, files = settings_of(args), outputs(args)

    # These load mlx and mflux, which takes seconds.
    from mflux_teacache.bench import judging, results, unfinished
    from mflux_teacache.bench.subjects import subject_of

    subject = subject_of(settings.image)
    if subject.takes_json:
        check_json(args.prompts)
    file = files.get("--json")
    drawn = unfinished.drawn(file, results.question_of(settings, subject)) if file else []
    print(f"{subject.title}; {settings.images}\n{_plan(settings, drawn, file)}", flush=True)

    def keep(judged: judging.Judged) -> None:
        if file:
            unfinished.keep(file, results.of_quality(settings, subject, judged).content_of("--json"))

    shown = settings.shown if args.sheet else []
    judged = judging.judge(subject, settings.cases, settings.settings, shown, drawn=drawn, keep=keep)
    return results.of_quality(settings, subject, judged).tell(files) or (0 if judged.runs else 1)


def _plan(settings: QualitySettings, drawn: Collection[JudgedRun], file: Path | None) -> str:
    """How many images there will be, and what becomes of them after Ctrl-C."""
    from mflux_teacache.bench.baseline import most_budgets

    full, compared = len(settings.cases), len(settings.cases) * len(settings.settings)
    fewer = full * most_budgets(len(settings.settings))
    plan = (
        f"{full + compared} images to draw: {full} with every step, and {compared} with the settings. "
        f"Then at most {fewer} with fewer steps, to compare them with."
    )
    if drawn:
        plan += (
            f"\n{file} has an unfinished run of this, which goes on: {len(drawn)} of these images are there. "
            "Those with every step are drawn again, to compare the others with."
        )
    end = (
        "keeps the settings that are done."
        if file is None
        else f"keeps what is done in {file}. Run the same command to go on."
    )
    return f"{plan}\nCtrl-C ends it and {end}"


def settings_of(args: argparse.Namespace) -> QualitySettings:
    """From the command line.

    Raises:
        OptionError: a value that is not allowed.
        UnknownPlugin, BrokenPlugin: of a setting.
    """
    check_least("--seeds", args.seeds, 1)
    check_seeds("--first-seed", args.first_seed, args.seeds)
    image = ImageSettings.of(args, seed=args.first_seed)
    return QualitySettings(
        image=image,
        settings=_compared(args.setting, args.patterns, image.active_steps),
        prompts=_prompts(args.prompts, demo=args.model is None),
        seeds=tuple(range(args.first_seed, args.first_seed + args.seeds)),
    )


def _compared(texts: Sequence[str], patterns: Sequence[str] | None, steps: int) -> tuple[Setting, ...]:
    named = [plugin_settings.parse(text) for text in texts]
    if patterns is not None:
        named += plugin_settings.at_patterns(patterns, steps)
    by_name = {str(setting): setting for setting in named or plugin_settings.default_grid()}
    return tuple(by_name.values())


def _prompts(text: str | None, *, demo: bool) -> tuple[str, ...]:
    """Raises ``OptionError``: a file that is missing or empty, a count below 1, a prompt that the demo cannot draw."""
    if text is None or is_count(text):
        if not demo:
            raise OptionError("--model needs prompts of its own: give --prompts a file with one prompt in a line.")
        return _random_prompts(PROMPTS if text is None else int(text))
    return prompts_in(text, demo=demo)


def is_count(text: str) -> bool:
    """Whether ``--prompts`` gives a number of prompts, and no file."""
    return text.removeprefix("-").isdecimal() and len(text) <= _MOST_DIGITS


def prompts_in(text: str, *, demo: bool) -> tuple[str, ...]:
    """The prompts in the file that ``--prompts`` names, each once, of which the demo must be able to draw each.

    Raises:
        OptionError: it is missing, or has none or too many, or one that the demo cannot draw.
    """
    lines = _lines(text)
    if not lines:
        raise OptionError(f"--prompts is {text}, which has no prompt in it. Write one in a line.")
    if len(lines) > MOST_PROMPTS:
        raise OptionError(f"--prompts is {text}, which has {len(lines)}; {MOST_PROMPTS} are allowed. Take some out.")
    if demo:
        _check_each(text, vocabulary.parse)
    return tuple(lines)


def check_json(text: str | None) -> None:
    """Refuse a file with a prompt that is no JSON, for a model that takes no other.

    Raises:
        OptionError: there is one.
    """
    if text is not None and not is_count(text):
        _check_each(text, _parse_json)


def _parse_json(prompt: str) -> None:
    try:
        json.loads(prompt)  # as mflux does once its weights are loaded
    except ValueError as error:
        raise OptionError(
            f"this model takes prompts as JSON, and {brief(prompt)} is none. Write an object, such as "
            f'{{"short_description": "a lighthouse"}}.'
        ) from error


def _check_each(text: str, check: Callable[[str], object]) -> None:
    for prompt, line in _lines(text).items():
        try:
            check(prompt)
        except OptionError as error:
            raise OptionError(f"--prompts is {text}, line {line}: {error}") from error


def _lines(text: str) -> dict[str, int]:
    """Each prompt of a file, with the first line that has it, from 1."""
    try:
        lines = read_text(Path(text), MOST_BYTES).splitlines()
    except Unreadable as error:
        raise OptionError(
            f"--prompts is {text}, which cannot be read: {error}. "
            f"Give a number, or a text file with one prompt in a line."
        ) from error
    prompts: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if line:
            prompts.setdefault(line, number)
    return prompts


def _random_prompts(count: int) -> tuple[str, ...]:
    if not 1 <= count <= MOST_PROMPTS:
        raise OptionError(f"--prompts is {count}; it must be a whole number from 1 to {MOST_PROMPTS}, or a file.")
    return tuple(demo_prompts.held_out(count, seed=PROMPT_SEED, without=demo_prompts.FITTED))
