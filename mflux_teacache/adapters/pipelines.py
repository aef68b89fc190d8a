"""Every image pipeline of mflux: its family, and whether plugins run on it. Data, no mlx."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mflux_teacache.errors import UnsupportedModel

Level = Literal["full", "partial", "refused", "unknown"]

# From the arguments of generate_image to what asks for the thing that is refused.
Asks = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline class of mflux.

    Attributes:
        name: class name.
        family: transformer family; ``None`` where there is no entry for it.
        level: ``full``; ``partial`` (``note`` says what is refused); ``refused`` (``note`` says why);
            ``unknown`` (in the installed mflux, but not in this table).
        note: for people.
        asks_for_refused: of a ``partial`` pipeline.
        deciders_only: what it asks for is refused to plugins that decide about steps; others may run with it.
        idle_steps: at the end of its schedule, in which it calls no transformer.
        own_steps: its distilled models run as many steps as they were made for, whatever is asked.
    """

    name: str
    family: str | None
    level: Level = "full"
    note: str = ""
    asks_for_refused: Asks | None = None
    deciders_only: bool = False
    idle_steps: int = 0
    own_steps: bool = False


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
        Pipeline("Flux3Klein", "flux3"),
        Pipeline("Flux3KleinEdit", "flux3"),
        Pipeline("Anima", "anima"),
        Pipeline("BooguImage", "boogu"),
        Pipeline("ErnieImage", "ernie_image"),
        Pipeline("FIBO", "fibo"),
        Pipeline("FIBOEdit", "fibo"),
        _with_step_reuse("Fibo2", "fibo2"),
        _with_step_reuse("Fibo2Edit", "fibo2"),
        Pipeline("Ideogram4", "ideogram4"),
        Pipeline("Iris", "iris", own_steps=True),
        Pipeline("Krea2", "krea2"),
        Pipeline("Krea2Controlnet", "krea2"),
        Pipeline("LensImage", "lens"),
        Pipeline("MingImage", "ming_image", idle_steps=1),
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


def pipeline_of(cls: type) -> Pipeline:
    """The table's entry for a pipeline class or one of its base classes; level ``unknown`` without one."""
    for base in cls.__mro__:
        if base.__name__ in PIPELINES:
            return PIPELINES[base.__name__]
    return Pipeline(cls.__name__, None, "unknown", "no entry for its transformer yet")


def refuse_unsupported(pipeline: Pipeline) -> None:
    """Raises:
    UnsupportedModel: plugins do not run on this pipeline; says why and what they do run on.
    """
    if pipeline.level == "refused" or (pipeline.level == "unknown" and pipeline.family is None):
        supported = ", ".join(entry.name for entry in PIPELINES.values() if entry.family is not None)
        raise UnsupportedModel(
            f"plugins do not run on the pipeline {pipeline.name}: {pipeline.note}. Supported: {supported}. "
            f"Run it without --plugin and --plugin-compile-blocks; `mflux-teacache plugins` lists every pipeline."
        )


def refuse_partly(pipeline: Pipeline, arguments: Mapping[str, Any], *, deciding: bool) -> None:
    """Args:
        arguments: of ``generate_image``, as far as they are known.
        deciding: one of the plugins decides which steps are skipped.

    Raises:
        UnsupportedModel: they ask for what plugins do not run with on this pipeline.
    """
    if pipeline.asks_for_refused is None or (pipeline.deciders_only and not deciding):
        return
    if asking := pipeline.asks_for_refused(arguments):
        raise UnsupportedModel(
            f"plugins run on the pipeline {pipeline.name}, but {pipeline.note}: {asking}. "
            f"Turn it off, use a model without it, or run without plugins."
        )


@cache
def in_installed_mflux() -> tuple[Pipeline, ...]:
    """The table for the installed mflux: every class with ``generate_image``, found without importing any."""
    names = sorted(set(_classes_that_generate()))
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
