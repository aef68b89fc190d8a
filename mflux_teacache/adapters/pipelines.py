"""What mflux has: its image pipelines and whether plugins run on them, its distilled models, its commands. No mlx."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from mflux_teacache.addresses import page
from mflux_teacache.errors import UnsupportedModel
from mflux_teacache.family import Family
from mflux_teacache.records import Generation, Target

Level = Literal["full", "partial", "refused", "unknown"]

# Given the arguments of generate_image, says which of them asks for the refused thing; None if none does.
Asks = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline class of mflux.

    Attributes:
        name: class name.
        family: transformer family; ``None`` where there is no entry for it.
        level: ``full``; ``partial`` (``note`` says what is refused); ``refused`` (``note`` says why);
            ``unknown`` (in the installed mflux, but not in this table).
        note: an explanation for people.
        asks_for_refused: for a ``partial`` pipeline, tells whether an image asks for what is refused.
        deciders_only: only plugins that decide about steps are refused; others may run with it.
        idle_steps: the number of steps at the end of its schedule in which it calls no transformer.
        own_steps: its distilled models run as many steps as they were made for, whatever the user asks for.
        own_sigmas: its loop goes by noise levels of its own, and not by those of mflux's scheduler.
    """

    name: str
    family: str | None
    level: Level = "full"
    note: str = ""
    asks_for_refused: Asks | None = None
    deciders_only: bool = False
    idle_steps: int = 0
    own_steps: bool = False
    own_sigmas: bool = False


def _asks_for_step_reuse(arguments: Mapping[str, Any]) -> str | None:
    for name in ("step_cache_ratio", "teacache_ratio"):  # the second is the first one's older name
        if (ratio := arguments.get(name)) is not None:
            return f"{name}={ratio:g} asks for it"
    return None


def _asks_for_block_reuse(arguments: Mapping[str, Any]) -> str | None:
    return "use_step_cache=True asks for it" if arguments.get("use_step_cache") else None


def _with_step_reuse(name: str, family: str) -> Pipeline:
    return Pipeline(name, family, "partial", _STEP_REUSE, _asks_for_step_reuse, deciders_only=True)


_STEP_REUSE = "none that decides about steps together with mflux's own step reuse, which would reuse what it reused"
_BLOCK_REUSE = "not with mflux's own step cache, which leaves the blocks after the first one"
_CONCEPT = "its product is the attention of every block in every step, so no block may be skipped"
_ONE_STEP = "it has one denoising step, so there is nothing to skip"

PIPELINES = {
    pipeline.name: pipeline
    for pipeline in (
        Pipeline("Flux1", "flux"),
        Pipeline("Flux1Controlnet", "flux"),
        Pipeline("Flux1Depth", "flux"),
        Pipeline("Flux1Fill", "flux"),
        Pipeline("Flux1InContextDev", "flux"),
        Pipeline("Flux1InContextFill", "flux"),
        Pipeline("Flux1Kontext", "flux"),
        Pipeline("Flux1Redux", "flux"),
        Pipeline("Flux1Concept", None, "refused", _CONCEPT),
        Pipeline("Flux1ConceptFromImage", None, "refused", _CONCEPT),
        Pipeline("Flux2Klein", "flux2"),
        Pipeline("Flux2KleinEdit", "flux2"),
        Pipeline("Flux3Klein", "flux3", own_sigmas=True),
        Pipeline("Flux3KleinEdit", "flux3", own_sigmas=True),
        Pipeline("Anima", "anima"),
        Pipeline("BooguImage", "boogu", own_sigmas=True),
        Pipeline("ErnieImage", "ernie_image"),
        Pipeline("FIBO", "fibo"),
        Pipeline("FIBOEdit", "fibo"),
        _with_step_reuse("Fibo2", "fibo2"),
        _with_step_reuse("Fibo2Edit", "fibo2"),
        Pipeline("Ideogram4", "ideogram4", own_sigmas=True),
        Pipeline("Iris", "iris", own_steps=True, own_sigmas=True),
        Pipeline("Krea2", "krea2"),
        Pipeline("Krea2Controlnet", "krea2"),
        Pipeline("LensImage", "lens", own_sigmas=True),
        Pipeline("MingImage", "ming_image", idle_steps=1, own_sigmas=True),
        _with_step_reuse("MOSSImage", "moss_image"),
        Pipeline("QwenImage", "qwen"),
        Pipeline("QwenImageEdit", "qwen"),
        _with_step_reuse("QwenImage21", "qwen21"),
        Pipeline("QwenImage21Controlnet", "qwen21_edit"),
        Pipeline("QwenImage21Edit", "qwen21_edit", "partial", _BLOCK_REUSE, _asks_for_block_reuse),
        Pipeline("SeedVR2", None, "refused", _ONE_STEP),
        Pipeline("ZImage", "z_image"),
        Pipeline("ZImageTurboControlnet", "z_image"),
    )
}


# mflux's names of the models that are distilled to a few steps. mflux itself has no mark for them.
DISTILLED = frozenset(
    {
        "anima-turbo",
        "boogu-image-turbo",
        "ernie-image-turbo",
        "fibo-edit-rmbg",
        "fibo-lite",
        "fibo2-edit-turbo",
        "flux2-klein-4b",
        "flux2-klein-9b",
        "flux2-klein-9b-kv",
        "flux3-image-klein",
        "iris-3b",
        "krea-2",
        "krea-2-controlnet-depth",
        "lens-turbo",
        "ming-image-design",
        "qwen-image-2.1-turbo",
        "qwen-image-2.1-turbo-controlnet-union",
        "schnell",
        "schnell-controlnet-canny",
        "z-image-turbo",
        "z-image-turbo-controlnet-union-2.1",
    }
)

# The beginnings of the names of mflux's commands that make images.
_IMAGE_COMMANDS = ("mflux-generate", "mflux-upscale", "mflux-concept")


def pipeline_of(cls: type) -> Pipeline:
    """The table's entry for a pipeline class or one of its base classes; level ``unknown`` without one."""
    # By name: importing all pipelines to compare classes would take seconds.
    for base in cls.__mro__:
        if base.__name__ in PIPELINES:
            return PIPELINES[base.__name__]
    return Pipeline(cls.__name__, None, "unknown", "no entry for its transformer yet")


def family_of(transformer: object, families: Iterable[Family]) -> Family:
    """The first entry for a transformer's class or one of its base classes.

    Raises:
        UnsupportedModel: names the class and what is supported.
    """
    families = list(families)
    for cls in type(transformer).__mro__:
        path = f"{cls.__module__}:{cls.__qualname__}"
        for family in families:
            if family.transformer == path:
                return family
    cls = type(transformer)
    known = ", ".join(f"{family.name} ({family.transformer.partition(':')[2]})" for family in families)
    raise UnsupportedModel(
        f"the transformer {cls.__module__}:{cls.__qualname__} is not supported. Supported: {known}. "
        f"A plugin can add it, as {page('adding-a-model')} says; `mflux-teacache plugins` lists every pipeline."
    )


def refuse_unsupported(pipeline: Pipeline) -> None:
    """Refuse a pipeline that plugins do not run on.

    Raises:
        UnsupportedModel: it says why, and on which pipelines plugins run.
    """
    if pipeline.level == "refused" or (pipeline.level == "unknown" and pipeline.family is None):
        supported = ", ".join(entry.name for entry in PIPELINES.values() if entry.family is not None)
        raise UnsupportedModel(
            f"plugins do not run on the pipeline {pipeline.name}: {pipeline.note}. Supported: {supported}. "
            f"Run it without --plugin and --plugin-compile-blocks; `mflux-teacache plugins` lists every pipeline."
        )


def refuse_partly(pipeline: Pipeline, arguments: Mapping[str, Any], *, deciding: bool) -> None:
    """Refuse an image that asks for something with which plugins do not run on this pipeline.

    Args:
        arguments: those of ``generate_image``, as far as they are known.
        deciding: one of the plugins decides which steps are skipped.

    Raises:
        UnsupportedModel: the arguments ask for it.
    """
    if pipeline.asks_for_refused is None or (pipeline.deciders_only and not deciding):
        return
    if asking := pipeline.asks_for_refused(arguments):
        raise UnsupportedModel(
            f"plugins run on the pipeline {pipeline.name}, but {pipeline.note}: {asking}. "
            f"Turn it off, or run without plugins."
        )


@cache
def in_installed_mflux() -> tuple[Pipeline, ...]:
    """The table for the installed mflux: every class with ``generate_image``, found without importing any."""
    names = sorted(set(_classes_that_generate()))
    # A class of that name stands in for one that the table lacks, which gives it the level ``unknown``.
    return tuple(PIPELINES.get(name) or pipeline_of(type(name, (), {})) for name in names)


def _classes_that_generate() -> Iterator[str]:
    spec = importlib.util.find_spec("mflux")
    if spec is None or not spec.submodule_search_locations:
        return
    for folder in spec.submodule_search_locations:
        for path in Path(folder, "models").glob("*/variants/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and any(
                    isinstance(member, ast.FunctionDef) and member.name == "generate_image" for member in node.body
                ):
                    yield node.name


def is_distilled(config: Any) -> bool:
    """Whether an mflux ``ModelConfig`` describes a model that is distilled to a few steps."""
    return bool(DISTILLED & set(getattr(config, "aliases", None) or ()))


@cache
def commands_of(pipeline: str) -> tuple[str, ...]:
    """The commands whose module imports a pipeline class."""
    return tuple(name for name, imported in _imported_by_commands() if pipeline in imported)


@cache
def _imported_by_commands() -> tuple[tuple[str, frozenset[str]], ...]:
    pipelines = {pipeline.name for pipeline in in_installed_mflux()}
    return tuple((name, frozenset(pipelines & set(_imported(path)))) for name, path in _command_modules())


def _command_modules() -> Iterator[tuple[str, Path]]:
    spec = importlib.util.find_spec("mflux")
    folders = spec.submodule_search_locations if spec is not None else None
    for point in sorted(importlib.metadata.distribution("mflux").entry_points, key=lambda point: point.name):
        if point.group == "console_scripts" and ".cli." in point.module and point.name.startswith(_IMAGE_COMMANDS):
            _, *parts = point.module.split(".")
            for folder in folders or ():
                if (path := Path(folder, *parts).with_suffix(".py")).exists():
                    yield point.name, path


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def of_class(cls: type, arguments: Mapping[str, Any]) -> Target:
    """The target that a pipeline class and the arguments of its ``__init__`` describe, before any weights load."""
    return _with_config(
        Target(
            pipeline=cls.__name__,
            family=pipeline_of(cls).family,
            model_path=_text(arguments.get("model_path")),
            loras=_texts(arguments.get("lora_paths")),
            lora_scales=_numbers(arguments.get("lora_scales")),
            quantize=arguments.get("quantize"),
        ),
        arguments.get("model_config"),
    )


def of_model(model: Any, family: str) -> Target:
    """The target that a loaded pipeline object is."""
    return _with_config(
        Target(
            pipeline=type(model).__name__,
            family=family,
            loras=_texts(getattr(model, "lora_paths", None)),
            lora_scales=_numbers(getattr(model, "lora_scales", None)),
            quantize=getattr(model, "bits", None),
        ),
        getattr(model, "model_config", None),
    )


def for_image(target: Target, arguments: Mapping[str, Any]) -> Target:
    """The same target, with what the arguments of ``generate_image`` or of the command line say about one image.

    Values that are not known yet, such as a size to be taken from an input image, stay ``None``.
    """
    pipeline = PIPELINES.get(target.pipeline)
    steps = _number(arguments.get("num_inference_steps"))
    if pipeline is not None and pipeline.own_steps and target.distilled:
        steps = None
    idle_steps = 0 if pipeline is None else pipeline.idle_steps
    guidance = arguments.get("guidance")
    return replace(
        target,
        steps=steps,
        active_steps=None if steps is None else steps - _first_step(steps, arguments) - idle_steps,
        guidance=float(guidance) if isinstance(guidance, int | float) else None,
        width=_number(arguments.get("width")),
        height=_number(arguments.get("height")),
    )


def generation_of(
    pipeline: Pipeline, family: Family, latents: Any, *, config: Any, seed: int, prompt: str
) -> Generation:
    """The generation for an image whose denoising loop begins. Its caller sets its number.

    Args:
        config: mflux's configuration of this image.
    """
    steps = config.num_inference_steps - pipeline.idle_steps
    target_rows = latents.shape[1] if family.packed else None
    return Generation(
        number=0,
        seed=seed,
        prompt=prompt,
        width=config.width,
        height=config.height,
        guidance=config.guidance,
        num_inference_steps=steps,
        active_steps=steps - config.init_time_step,
        target_rows=target_rows,
        token_grid=_token_grid(family, config.height, config.width, target_rows),
        sigmas=None if pipeline.own_sigmas else _sigmas(config, steps),
        scheduler=None if pipeline.own_sigmas or not hasattr(config, "scheduler") else type(config.scheduler).__name__,
    )


def _token_grid(family: Family, height: int, width: int, target_rows: int | None) -> tuple[int, int] | None:
    """Lines and columns of an image's tokens; ``None`` if that does not come to the number of the latents' rows."""
    if family.token_grid is None:
        return None
    lines, columns = height // family.token_grid.pixels, width // family.token_grid.pixels
    return (lines, columns) if target_rows in (None, lines * columns) else None


def _sigmas(config: Any, steps: int) -> tuple[float, ...] | None:
    """The noise levels of the active steps; ``None`` if a third party's pipeline or scheduler has none."""
    levels = getattr(getattr(config, "scheduler", None), "sigmas", None)
    active = () if levels is None else tuple(map(float, levels.tolist()))[config.init_time_step : steps]
    return active if len(active) == steps - config.init_time_step else None


def _first_step(steps: int, arguments: Mapping[str, Any]) -> int:
    """The step of the schedule at which image-to-image starts."""
    # Imported here, since it imports MLX. mflux's own rule is called, so that there is no second one to keep in step.
    from mflux.models.common.config.config import Config

    path = arguments.get("image_path") or next(iter(arguments.get("image_paths") or ()), None)
    config = SimpleNamespace(_image_path=path, _image_strength=_image_strength(arguments), _num_inference_steps=steps)
    return int(Config.init_time_step.fget(config))


def _image_strength(arguments: Mapping[str, Any]) -> Any:
    """How much of the schedule the input image replaces."""
    # Some pipelines take ``strength``, which is how much is painted anew, in place of mflux's ``image_strength``.
    strength = arguments.get("strength")
    return arguments.get("image_strength") if strength is None or strength >= 1 else 1 - strength


def _with_config(target: Target, config: Any) -> Target:
    if config is None:
        return target
    return replace(
        target,
        model=config.model_name,
        base_model=getattr(config, "base_model", None),
        distilled=is_distilled(config),
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())


def _numbers(values: Any) -> tuple[float, ...]:
    """The values as numbers; an empty tuple if any of them is something else."""
    numbers = tuple(value for value in values or () if isinstance(value, int | float))
    return tuple(map(float, numbers)) if len(numbers) == len(values or ()) else ()
