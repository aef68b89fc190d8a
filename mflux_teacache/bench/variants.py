"""What is measured on the model: each variant is a name and a way to attach something."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from mflux.utils.apple_silicon import AppleSiliconUtil

from mflux_teacache import Handle, attach, plugins
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import pipeline_of
from mflux_teacache.bench.follow import FollowPattern
from mflux_teacache.bench.runs import Done, LastImage
from mflux_teacache.bench.settings import Settings
from mflux_teacache.bench.summary import COMPILED, COMPUTED, PLAIN, SKIPPING
from mflux_teacache.records import GenerationStats
from mflux_teacache.summary import why_idle


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the model.

    Attributes:
        name: in tables.
        attach: attaches to the loaded model for as long as its context lasts.
    """

    name: str
    attach: Callable[[Any], AbstractContextManager[LastImage]]


def compiled_by_mflux(pipeline: type) -> bool:
    """On this machine: mflux runs its compiled models as Python on the smaller M1 and M2."""
    compiled = {family.name for family in FAMILIES if family.compiled}
    return pipeline_of(pipeline).family in compiled and not AppleSiliconUtil.is_m1_or_m2()


def variants_of(settings: Settings) -> tuple[Variant, ...]:
    """Plain first, the others are compared with it."""
    everything = "C" * settings.steps
    variants = [Variant(PLAIN, lambda _: contextlib.nullcontext(lambda: Done(everything)))]
    for compile_blocks in (False, True) if settings.compile_blocks else (False,):
        suffix = COMPILED if compile_blocks else ""
        variants.append(Variant(COMPUTED + suffix, _following(everything, compile_blocks)))
        if settings.plugin is not None:
            attached = _deciding(settings.plugin, compile_blocks, settings.plugin_options)
            variants.append(Variant(settings.plugin + suffix, attached))
        elif settings.pattern is not None and "S" in settings.pattern:
            variants.append(Variant(SKIPPING + suffix, _following(settings.pattern, compile_blocks)))
    if settings.compare is not None and settings.pattern is not None:
        from mflux_teacache.bench import compare

        variants.append(Variant(settings.compare, compare.at_pattern(settings.pattern)))
    return tuple(variants)


def _following(pattern: str, compile_blocks: bool) -> Callable[[Any], AbstractContextManager[LastImage]]:
    @contextlib.contextmanager
    def attached(model: Any) -> Iterator[LastImage]:
        with attach(model, partial(FollowPattern, pattern), compile_blocks=compile_blocks) as handle:
            yield lambda: Done(_last(handle).pattern)

    return attached


def _deciding(
    name: str, compile_blocks: bool, keywords: Mapping[str, Any]
) -> Callable[[Any], AbstractContextManager[LastImage]]:
    plugin = plugins.load(name)

    @contextlib.contextmanager
    def attached(model: Any) -> Iterator[LastImage]:
        with attach(model, name, compile_blocks=compile_blocks, **keywords) as handle:
            yield lambda: Done(_last(handle).pattern, why_idle(_last(handle), plugin, keywords))

    return attached


def _last(handle: Handle) -> GenerationStats:
    stats = handle.stats.last_generation
    assert stats is not None, "an image was made"
    return stats
