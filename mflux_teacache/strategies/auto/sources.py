"""Which settings are known for a run, the best first: a preset's, the plan published for the model, or a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.few_steps import ENOUGH
from mflux_teacache.presets.nearest import nearest
from mflux_teacache.presets.preset import Preset, Setting, key_of
from mflux_teacache.presets.settings import PATTERN
from mflux_teacache.records import Target
from mflux_teacache.strategies.schedule.config import PLUGIN as SCHEDULE
from mflux_teacache.strategies.schedule.lists import FILES, Listed, Lists, of_model
from mflux_teacache.strategies.sea.plugin import SeaCache

Source = Literal["preset", "published", "rule"]

MAX_COMPUTED, _ = BUDGETS

NOT_MEASURED = "a rule, not measured on this model"

# From this share of computed steps on, the quadratic forecast of outputs is closer to the full run than the linear one
# (docs/strategies.md, "What they share").
_QUADRATIC_FROM = 0.3

# SeaCache's results are published for 64x64 tokens and more. On the 12x12 tokens of the demo's model an even spread is
# closer to the full run, by 1.4 to 2.8 dB (docs/strategies.md): a spectrum of so few says little.
_TOKENS_FROM = 32


class Run(NamedTuple):
    """What is known of an image when its settings are chosen.

    Attributes:
        computed: how many of its active steps are computed.
        fixed: that number will not change while the image is made.
        sees_picture: the rule of SeaCache can be applied, as ``sees_picture`` tells.
    """

    target: Target
    active: int
    computed: int
    fixed: bool = True
    sees_picture: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A strategy with its options.

    Attributes:
        source: where it is from.
        name: of the preset or the plan; empty for a rule.
        plugin, options: the strategy, and its options as ``attach`` takes them.
        evidence: how far it is known to be good, in words.
        lists: the lists of steps that the schedule goes by, in place of the model's.
        warning: what differs from what it was made for, in a sentence; empty where nothing does.
    """

    source: Source
    plugin: str
    options: Mapping[str, Any]
    evidence: str
    name: str = ""
    lists: Lists | None = None
    warning: str = ""

    def __str__(self) -> str:
        """Such as ``schedule reuse=output: preset mine, 31.5 dB``; the budget is not in it, which the image shows."""
        left_out = (*BUDGETS, PATTERN)
        options = [f"{name}={_spelt(value)}" for name, value in self.options.items() if name not in left_out]
        return f"{' '.join((self.plugin, *options))}: {self.evidence}"


def sees_picture(token_grid: tuple[int, int] | None) -> bool:
    """Whether it is known how the image's tokens lie, and there are enough of them, for SeaCache to look at it."""
    return token_grid is not None and min(token_grid) >= _TOKENS_FROM


def choices(run: Run, presets: Sequence[Preset]) -> Iterator[Choice]:
    """The settings for a run, the best one first. The last one can be used on any model."""
    yield from _of_preset(run, presets)
    yield from _published(run)
    yield from _by_rule(run)


# --- Presets ----------------------------------------------------------------------------------------------------------


def _of_preset(run: Run, presets: Sequence[Preset]) -> Iterator[Choice]:
    key = key_of(run.target)
    near = None if key is None else nearest(presets, key)
    if near is None:
        return
    preset, share = near.preset, run.computed / run.active
    setting = min(preset.settings, key=lambda setting: abs(setting.computed / setting.steps - share))
    options, lists = _budgeted(run, preset, setting)
    differences = " and ".join(near.differences)
    yield Choice(
        source="preset",
        name=preset.name,
        plugin=setting.plugin,
        options=options,
        lists=lists,
        evidence=_evidence(run, preset, setting, differences),
        warning=differences
        and f"auto takes its setting from the preset {preset.name}, which was made with {differences}. Compare an "
        f"image with one of a full run before you rely on it, or make a preset of this run's own: mflux-teacache tune.",
    )


def _budgeted(run: Run, preset: Preset, setting: Setting) -> tuple[dict[str, Any], Lists | None]:
    """The options of a setting for the budget of a run, and the lists of steps that they go by, if any."""
    if PATTERN not in setting.options:
        return {**setting.options, MAX_COMPUTED: run.computed}, None
    if run.fixed and (setting.steps, setting.computed) == (run.active, run.computed):
        return dict(setting.options), None
    others = {name: value for name, value in setting.options.items() if name != PATTERN}
    return {**others, MAX_COMPUTED: run.computed}, _lists(preset, others)


def _lists(preset: Preset, others: Mapping[str, Any]) -> Lists:
    """The lists of a preset with these other options, one for each budget, to be carried over to another one."""
    found: dict[int, Listed] = {}
    # With its last step added, a pattern must not take the place of one that was made for as many steps.
    for setting in sorted(preset.settings, key=_skips_last):
        if {**others, PATTERN: setting.options.get(PATTERN)} == setting.options:
            # A plan computes both ends of a run.
            ends = {0, setting.steps - 1}
            steps = {step for step, letter in enumerate(setting.options[PATTERN]) if letter in "Cc"} | ends
            listed = Listed(computed=tuple(sorted(steps)), steps=setting.steps, sigmas=_sigmas(preset, setting))
            found.setdefault(len(steps), listed)
    return Lists(
        name=preset.name,
        model=preset.key.model,
        pipelines=(preset.key.pipeline,),
        lists=tuple(found[budget] for budget in sorted(found)),
    )


def _skips_last(setting: Setting) -> bool:
    return str(setting.options.get(PATTERN, "")).upper().endswith("S")


def _sigmas(preset: Preset, setting: Setting) -> tuple[float, ...] | None:
    return preset.sigmas if preset.sigmas is not None and len(preset.sigmas) == setting.steps else None


def _evidence(run: Run, preset: Preset, setting: Setting, differences: str) -> str:
    found = setting.evidence
    told = f"preset {preset.name}"
    if found is None:
        told += ", not checked by images"
    else:
        mean, worst = (_decibels(value) for value in (found.psnr_mean, found.psnr_worst))
        levels = mean if found.images == 1 else f"{mean} in the mean, {worst} at worst"
        told += f", measured on {found.images} image{'' if found.images == 1 else 's'}: {levels}"
        if found.is_beaten:
            told += f", where fewer steps have {_decibels(found.fewer_steps_psnr)}"
    if not run.fixed or (setting.computed, setting.steps) != (run.computed, run.active):
        told += f", at {setting.computed} of {setting.steps} steps"
    return f"{told}, with {differences}" if differences else told


def _decibels(value: float | None) -> str:
    return "no difference" if value is None else f"{value:.1f} dB"


# --- Published plans, and rules ---------------------------------------------------------------------------------------


def _published(run: Run) -> Iterator[Choice]:
    lists = of_model(run.target)
    if lists is None:
        return
    difference = FILES.difference(lists, run.target)
    yield Choice(
        source="published",
        name=lists.name,
        plugin=SCHEDULE,
        options={**_reuse(run), MAX_COMPUTED: run.computed},
        lists=lists,
        evidence=f"plan {lists.name}, published{', for another run' if difference else ''}",
        warning=f"{difference}. Compare an image with one of a full run before you rely on it." if difference else "",
    )


def _by_rule(run: Run) -> Iterator[Choice]:
    options = {**_reuse(run), MAX_COMPUTED: run.computed}
    if run.sees_picture:
        yield Choice(source="rule", plugin=SeaCache.name, options=options, evidence=NOT_MEASURED)
    yield Choice(source="rule", plugin=SCHEDULE, options=options, evidence=NOT_MEASURED)


def _reuse(run: Run) -> dict[str, Any]:
    """What skipped steps reuse, where nobody has measured it on the model."""
    if run.active < ENOUGH:  # whose steps are too far apart to be extrapolated
        return {"reuse": "body", "forecast": 0}
    return {"reuse": "output"} if run.computed >= run.active * _QUADRATIC_FROM else {"reuse": "output", "forecast": 1}


def _spelt(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
