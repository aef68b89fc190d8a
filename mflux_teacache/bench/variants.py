"""What is measured on the model: each variant is a name and a way to attach something."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from mflux.utils.apple_silicon import AppleSiliconUtil

from mflux_teacache import attach
from mflux_teacache.adapters.about import ABOUT
from mflux_teacache.adapters.pipelines import pipeline_of
from mflux_teacache.bench.follow import FollowPattern
from mflux_teacache.bench.settings import Settings
from mflux_teacache.bench.summary import PLAIN

COMPUTED = "all computed"
SKIPPING = "skipping"
COMPILED = ", blocks compiled"

# What was done in the steps of the latest image, C computed, S skipped.
LastPattern = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the model.

    Attributes:
        name: in tables.
        attach: attaches to the loaded model for as long as its context lasts.
    """

    name: str
    attach: Callable[[Any], AbstractContextManager[LastPattern]]


def compiled_by_mflux(pipeline: type) -> bool:
    """On this machine: mflux runs its compiled models as Python on the smaller M1 and M2."""
    about = ABOUT.get(str(pipeline_of(pipeline).family))
    return about is not None and about.compiled and not AppleSiliconUtil.is_m1_or_m2()


def variants_of(settings: Settings) -> tuple[Variant, ...]:
    """Plain first, the others are compared with it."""
    everything = "C" * settings.steps
    variants = [Variant(PLAIN, lambda _: contextlib.nullcontext(lambda: everything))]
    for compile_blocks in (False, True) if settings.compile_blocks else (False,):
        suffix = COMPILED if compile_blocks else ""
        variants.append(Variant(COMPUTED + suffix, _following(everything, compile_blocks)))
        if settings.plugin is not None:
            attached = _attached(settings.plugin, compile_blocks, **settings.plugin_options)
            variants.append(Variant(settings.plugin + suffix, attached))
        elif settings.pattern is not None and "S" in settings.pattern:
            variants.append(Variant(SKIPPING + suffix, _following(settings.pattern, compile_blocks)))
    if settings.compare is not None and settings.pattern is not None:
        from mflux_teacache.bench import compare

        variants.append(Variant(settings.compare, compare.at_pattern(settings.pattern)))
    return tuple(variants)


def _following(pattern: str, compile_blocks: bool) -> Callable[[Any], AbstractContextManager[LastPattern]]:
    return _attached(partial(FollowPattern, pattern), compile_blocks)


def _attached(
    plugin: str | Callable[[], Any], compile_blocks: bool, **options: str | bool
) -> Callable[[Any], AbstractContextManager[LastPattern]]:
    @contextlib.contextmanager
    def attached(model: Any) -> Iterator[LastPattern]:
        with attach(model, plugin, compile_blocks=compile_blocks, **options) as handle:

            def last_pattern() -> str:
                stats = handle.stats.last_generation
                assert stats is not None, "an image was made"
                return stats.pattern

            yield last_pattern

    return attached
