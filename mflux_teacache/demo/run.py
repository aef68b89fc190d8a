"""``mflux-teacache demo``: one prompt drawn plain and with a plugin, as a table and a picture.

Importing this module costs nothing; mlx, mflux and matplotlib load when the demo runs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mflux_teacache.demo import vocabulary
from mflux_teacache.errors import OptionError
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces.option_types import file_path
from mflux_teacache.pieces.output_files import check_output, png_of, replace_file, writing
from mflux_teacache.records import GenerationStats
from mflux_teacache.step import Body, Decision, Step
from mflux_teacache.text_tables import aligned

if TYPE_CHECKING:
    import mlx.core as mx

    from mflux_teacache.demo.model import DemoKlein, Drawn
    from mflux_teacache.plugins import Loaded, Request

PROMPT = "a fox on the left and a rocket top right on grass at sunset"
STEPS = 28
SEED = 27
PLUGIN = "teacache"
OUTPUT = Path("mflux-teacache-demo.png")

FEWEST_STEPS = 3
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the demo is to do.

    Attributes:
        prompt: in the words of ``vocabulary.GRAMMAR``.
        thresh: short for the plugin's threshold; ``None`` = its default.
        steps: of the denoising loop.
        seed: of the noise that the image starts from.
        plugin: an installed plugin's name.
        plugin_options: keywords of ``attach``.
        output: the picture, a PNG in a folder that exists.

    Raises:
        OptionError: a value that is not allowed.
    """

    prompt: str = PROMPT
    thresh: float | None = None
    steps: int = STEPS
    seed: int = SEED
    plugin: str = PLUGIN
    plugin_options: Mapping[str, Any] = field(default_factory=dict)
    output: Path = OUTPUT

    def __post_init__(self) -> None:
        vocabulary.parse(self.prompt)
        if self.thresh is not None and not (math.isfinite(self.thresh) and self.thresh >= 0):
            raise OptionError(
                f"--thresh is {self.thresh:g}; it must be a finite number from 0, which skips nothing. "
                f"Leave it out for the plugin's own default."
            )
        if self.steps < FEWEST_STEPS:
            raise OptionError(
                f"--steps is {self.steps}; it must be a whole number from {FEWEST_STEPS}: with the first and the last "
                f"step computed, fewer leave nothing to skip. Try --steps {STEPS}."
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            raise OptionError(
                f"--seed is {self.seed}; it must be a whole number from 0 to {LARGEST_SEED}. Try --seed {SEED}."
            )
        check_output("--output", self.output, ".png")

    def keywords(self, plugin: Loaded) -> dict[str, Any]:
        """For ``attach``; raises ``OptionError`` for a threshold that is given twice, or to a plugin without one."""
        if self.thresh is None:
            return dict(self.plugin_options)
        own = plugin.about.threshold
        if own is None:
            raise OptionError(
                f"plugin {plugin.name!r} has no option 'thresh', nor another threshold. Leave out --thresh."
            )
        if own in self.plugin_options:
            raise OptionError(
                f"--thresh {self.thresh:g} and --{plugin.name}-{own} {self.plugin_options[own]} are the same option. "
                f"Leave one of them out."
            )
        return {**self.plugin_options, own: self.thresh}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Both runs.

    Attributes:
        stats: the cached one's.
        told: what the plugin has chosen, in its own words.
        idle: where it skipped nothing: why, and what to try.
    """

    plain: Drawn
    cached: Drawn
    stats: GenerationStats
    told: str | None = None
    idle: str | None = None

    @property
    def steps(self) -> int:
        return len(self.stats.decisions)

    @property
    def computed(self) -> float:
        """In steps, for whatever reason: of a partly reused one the share of its branches that was computed."""
        return self.stats.cost

    @property
    def floor(self) -> float:
        """What the time ratio would be if reuse took no time."""
        return self.computed / self.steps

    @property
    def time_ratio(self) -> float:
        return self.cached.seconds / self.plain.seconds


class WarmUp:
    """Computes, reuses, computes: on its first use of an operation MLX's CPU backend calls a compiler.

    Args:
        residual_after: that of the plugin which will be timed.
    """

    def __init__(self, residual_after: int) -> None:
        self.residual_after = residual_after
        self._residuals: tuple[mx.array | None, ...] = ()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        signal = step.modulated_input
        change = step.relative_l1(signal, signal)
        return Decision.reuse(self._residuals, change=change) if step.index == 1 else Decision.compute(change=change)

    @hookimpl
    def mflux_post_transformer(self, body: Body) -> None:
        self._residuals = body.residuals


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``demo`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "demo",
        help="draw a scene with and without skipping steps; needs no download and no GPU",
        description="Draws one prompt twice with a tiny FLUX.2 that comes with this package, through mflux's own\n"
        "pipeline: plain, and with a plugin that skips steps. Prints a table and writes a picture. The plugin's own\n"
        "options are taken as well: demo --plugin schedule --schedule-every 2",
        epilog=vocabulary.GRAMMAR,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prompt", default=PROMPT, help="what to draw, in the words below (default: %(default)s)")
    parser.add_argument(
        "--thresh",
        type=float,
        metavar="FLOAT",
        help="short for the plugin's own threshold, such as --teacache-thresh (default: its own)",
    )
    parser.add_argument(
        "--steps", type=int, default=STEPS, metavar="INT", help="denoising steps (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=SEED, metavar="INT", help="of the noise (default: %(default)s)")
    parser.add_argument(
        "--plugin", default=PLUGIN, metavar="NAME", help="`mflux-teacache plugins` lists them (default: %(default)s)"
    )
    parser.add_argument(
        "--output",
        type=file_path,
        default=OUTPUT,
        metavar="PNG",
        help="the picture (default: %(default)s in the current folder)",
    )
    parser.set_defaults(run=run, plugin_options={})


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Returns:
        The command's exit code, 0.

    Raises:
        Refused: an option that is not allowed, or a plugin that is not installed or turns the model down.
        HookFailed: the plugin failed.
        NotWritten: the picture could not be written.
    """
    settings = Settings(
        prompt=args.prompt,
        thresh=args.thresh,
        steps=args.steps,
        seed=args.seed,
        plugin=args.plugin,
        plugin_options=args.plugin_options,
        output=args.output,
    )
    ready = checked(settings)
    print(f"Drawing {vocabulary.parse(settings.prompt)}", flush=True)
    result = compare(settings, ready)
    print(report(settings, result), flush=True)
    _write_picture(settings, result)
    print(f"picture     {settings.output.absolute()}", flush=True)
    return 0


def checked(settings: Settings) -> Request:
    """The plugin with its options, which takes the demo's model and image; raises as ``run`` does."""
    from mflux_teacache import options, plugins

    plugin = plugins.load(settings.plugin)
    keywords = settings.keywords(plugin)
    request = plugins.Request(
        plugin, options.from_keywords(plugin, keywords)
    )  # before mflux loads, which takes seconds

    from mflux_teacache.demo.early import refuse_early
    from mflux_teacache.demo.model import DemoKlein, image_arguments, model_config

    image = image_arguments(prompt=settings.prompt, steps=settings.steps, seed=settings.seed)
    refuse_early(plugin, keywords, DemoKlein, {"model_config": model_config()}, image)
    return request


def compare(settings: Settings, request: Request) -> Result:
    """Draw plain and cached; raises as ``run`` does."""
    from mflux_teacache.demo.model import tiny_klein

    with tiny_klein() as model:
        _warm_up(model, request.plugin.about.residual_after)
        return _timed(model, request, settings)


def _warm_up(model: DemoKlein, residual_after: int) -> None:
    from mflux_teacache import attach
    from mflux_teacache.demo.model import draw

    warm = partial(draw, model, "warm-up", prompt=PROMPT, steps=FEWEST_STEPS, seed=SEED, keep_bar=False)
    warm()
    with attach(model, partial(WarmUp, residual_after)):
        warm()


def _timed(model: DemoKlein, request: Request, settings: Settings) -> Result:
    from mflux_teacache.demo.model import draw
    from mflux_teacache.handle import attach_requests
    from mflux_teacache.summary import told_by, why_idle

    recorded: dict[str, Any] = {}
    timed = partial(draw, model, prompt=settings.prompt, steps=settings.steps, seed=settings.seed)
    plain = timed("plain")
    with attach_requests(model, [request], lambda _, values: recorded.update(values)) as handle:
        cached = timed(settings.plugin)
    stats = handle.stats.last_generation
    assert stats is not None, "one image was made"
    plugin = request.plugin
    return Result(
        plain=plain,
        cached=cached,
        stats=stats,
        told=told_by(plugin, recorded.get(plugin.name)),
        idle=why_idle(stats, plugin, settings.keywords(plugin)),
    )


def _write_picture(settings: Settings, result: Result) -> None:
    from mflux_teacache.charts.comparison import Block, Panel, compared, drawn

    plain = Panel(_label("plain", result.steps, result.plain, result), result.plain.image)
    cached = Panel(_label(settings.plugin, result.computed, result.cached, result), result.cached.image)
    block = Block(compared(plain, cached), result.stats.decisions)
    with writing("--output", settings.output):
        replace_file(settings.output, png_of(drawn(settings.prompt, [block])))


def _label(name: str, computed: float, drawn: Drawn, result: Result) -> str:
    return f"{name}\n{computed:.4g} of {result.steps} steps, {drawn.seconds:.1f} s"


def report(settings: Settings, result: Result) -> str:
    """The table, and below it what its columns mean."""
    from mflux_teacache.charts.comparison import distance, spell

    partly = ", P partly reused: some of its guidance branches" if result.stats.partial_count else ""
    rows = (
        ("run", "seconds", "steps", "PSNR", "time ratio", "floor"),
        ("plain", f"{result.plain.seconds:.2f}", f"{result.steps}/{result.steps}", "", "1.00", "1.00"),
        (
            settings.plugin,
            f"{result.cached.seconds:.2f}",
            f"{result.computed:.4g}/{result.steps}",
            spell(distance(result.plain.image, result.cached.image)),
            f"{result.time_ratio:.2f}",
            f"{result.floor:.2f}",
        ),
    )
    return "\n".join(
        (
            "",
            *aligned(rows),
            "",
            "seconds     of the denoising loop, one run each after a warm-up; other work on the machine shows in them",
            "steps       computed of all, whoever decided: the plugin's judgement or a rule such as its first steps",
            "PSNR        of the image with skipped steps against the plain one; infinite = equal",
            "time ratio  seconds over plain's; floor: what it would be if skipped ones took no time; noise can pass it",
            "",
            f"pattern     {result.stats.pattern} (C computed, S skipped{partly})",
            *((f"setting     {result.told}",) if result.told else ()),
            *((f"note        {result.idle}",) if result.idle else ()),
        )
    )
