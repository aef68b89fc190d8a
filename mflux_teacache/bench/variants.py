"""The ways in which a model is run: each variant is a name and a way to attach something."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from mflux.utils.apple_silicon import AppleSiliconUtil

from mflux_teacache import options
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import pipeline_of
from mflux_teacache.bench.follow import FollowPattern
from mflux_teacache.bench.needs import laboratory
from mflux_teacache.bench.plugin_settings import load
from mflux_teacache.bench.runs import COMPILED, COMPUTED, PLAIN, SKIPPING, Done, Setting, by_letters
from mflux_teacache.bench.settings import SpeedSettings
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.demo.early import refuse_early
from mflux_teacache.errors import OptionError
from mflux_teacache.handle import attach_requests
from mflux_teacache.plugins import Loaded, Request
from mflux_teacache.records import GenerationStats
from mflux_teacache.summary import told_by, why_idle

# Tells of the latest image that was made with what is attached.
LastImage = Callable[[], Done]

_FOLLOW = Loaded(FollowPattern.name, FollowPattern)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the model.

    Attributes:
        name: in tables.
        attach: attaches to the loaded model for as long as its context lasts.
    """

    name: str
    attach: Callable[[Any], AbstractContextManager[LastImage]]


def with_setting(setting: Setting) -> Variant:
    """A plugin that decides, as its options say."""
    return _attaching(str(setting), load(setting.plugin), setting.options)


def compared_by_speed(settings: SpeedSettings) -> tuple[Variant, ...]:
    """Plain first, the others are compared with it."""
    everything = "C" * settings.steps
    variants = [Variant(PLAIN, lambda _: contextlib.nullcontext(lambda: by_letters(everything)))]
    for compiled in (False, True) if settings.compile_blocks else (False,):
        suffix = COMPILED if compiled else ""
        variants.append(_attaching(COMPUTED + suffix, _FOLLOW, {"pattern": everything}, compiled))
        if settings.plugin is not None:
            plugin, keywords = load(settings.plugin), settings.plugin_options
            variants.append(_attaching(settings.plugin + suffix, plugin, keywords, compiled))
        elif settings.pattern is not None and "S" in settings.pattern:
            variants.append(_attaching(SKIPPING + suffix, _FOLLOW, {"pattern": settings.pattern}, compiled))
    if settings.compare is not None and settings.pattern is not None:
        at_pattern = laboratory("peers", "--compare").at_pattern
        variants.append(Variant(settings.compare, at_pattern(settings.pattern)))
    return tuple(variants)


def check(settings: SpeedSettings, subject: Subject) -> None:
    """Refuse what cannot be measured, before any weights load.

    Raises:
        OptionError: there is nothing to compile.
        Refused: the plugin does not run on the model, or with so many steps; or the other package does not.
    """
    compiled = {family.name for family in FAMILIES if family.compiled}
    # mflux runs its compiled models as Python on the smaller M1 and M2.
    by_mflux = pipeline_of(subject.pipeline).family in compiled and not AppleSiliconUtil.is_m1_or_m2()
    if settings.compile_blocks and by_mflux:
        raise OptionError(
            f"--compile-blocks changes nothing for {subject.name}: mflux compiles this model itself. Leave it out."
        )
    if settings.plugin is not None:
        made_with = {"model_config": subject.config, "quantize": settings.quantize}
        plugin = load(settings.plugin)
        refuse_early(plugin, settings.plugin_options, subject.pipeline, made_with, subject.arguments)
    if settings.compare is not None:
        laboratory("peers", "--compare").check(subject.config, subject.pipeline)


def _attaching(name: str, plugin: Loaded, keywords: Mapping[str, Any], compile_blocks: bool = False) -> Variant:
    @contextlib.contextmanager
    def attached(model: Any) -> Iterator[LastImage]:
        request = Request(plugin, options.from_keywords(plugin, keywords))
        recorded: dict[str, Any] = {}

        def keep(_: GenerationStats, values: Mapping[str, Any]) -> None:
            recorded.update(values)

        with attach_requests(model, [request], keep, compile_blocks=compile_blocks) as handle:

            def last_image() -> Done:
                stats = handle.stats.last_generation
                assert stats is not None, "an image was made"
                note = None if plugin is _FOLLOW else why_idle(stats, plugin, keywords)
                return Done(stats.pattern, stats.cost, note, told_by(plugin, recorded.get(plugin.name)))

            yield last_image

    return Variant(name, attached)
