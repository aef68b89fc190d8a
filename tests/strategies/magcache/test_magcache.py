"""MagCache: the rule against the published one on the published tables; tables, options and refusals."""

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import DEV, Plugin, generation

from mflux_teacache import Limits, PluginWarning, Refused
from mflux_teacache.errors import OptionError
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.pieces.controller import Bounds, judge
from mflux_teacache.pieces.data_files import calibration_free
from mflux_teacache.pieces.verdict import Progress
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.strategies.magcache.plugin import MagCache
from mflux_teacache.strategies.magcache.policy import Config, decide, stretch, stretch_steps
from mflux_teacache.strategies.magcache.table import Table, find, load, shipped

PLUGIN = Loaded("magcache", MagCache)
NO_LIMITS = Limits()
QWEN = Target(pipeline="QwenImage", model="Qwen/Qwen-Image")
FILL = Target(pipeline="Flux1Fill", model="black-forest-labs/FLUX.1-Fill-dev")
KREA = Target(pipeline="Flux1", model="black-forest-labs/FLUX.1-Krea-dev")


def attached(target=DEV, **keywords):
    return Plugin("magcache", MagCache, target, **keywords)


def published(ratios, steps, threshold, most_skips, retained, never=()):
    """The authors' rule for one branch: ratio and error are accumulated since the last computed step."""
    ratios = np.array(ratios)[np.round(np.linspace(0, len(ratios) - 1, steps)).astype(int)]
    ratio, error, skips, letters = 1.0, 0.0, 0, ""
    for step in range(steps):
        skip = False
        if step >= retained:
            ratio *= ratios[step]
            skips += 1
            error += abs(1 - ratio)
            skip = error < threshold and skips <= most_skips and step not in never
            if not skip:
                ratio, error, skips = 1.0, 0.0, 0
        letters += "S" if skip else "C"
    return letters


def ours(config, steps, threshold, limits=NO_LIMITS):
    state, letters, bounds = Progress(), "", Bounds(**limits.of(steps), threshold=threshold)
    for step in range(steps):
        verdict = judge(state, decide(state.skips, step, config), step, bounds)
        state, letters = verdict.state, letters + ("S" if verdict.kind == "reuse" else "C")
    return letters


# --- the rule ----------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(sorted(shipped())),
    st.integers(2, 80),
    st.floats(0, 0.5),
    st.integers(0, 6),
    st.integers(1, 12),
)
def test_decisions_are_the_published_rule_s(name, steps, threshold, most_skips, retained):
    ratios = shipped()[name].ratios
    limits = Limits(skip_first=retained, max_skips=most_skips)
    config = Config(ratios=stretch(ratios, steps))
    assert ours(config, steps, threshold, limits) == published(ratios, steps, threshold, most_skips, retained)


@pytest.mark.parametrize(
    ("name", "steps", "retained", "expected"),
    [
        ("flux1-dev", 28, int(0.1 * 28 + 0.5), "CCCSSCSSSCSCSSSSSCSSSSSCSSCS"),
        ("flux1-kontext-dev", 28, int(0.2 * 28 + 0.5), None),
        ("qwen-image", 50, int(0.2 * 50), None),
        ("qwen-image-edit", 50, int(0.2 * 50), None),
    ],
)
def test_recommended_settings_on_the_steps_that_they_are_for(name, steps, retained, expected):
    table = shipped()[name]
    target = Target(pipeline=table.pipelines[0], model=table.model)
    letters = attached(target).run(steps).pattern
    never = {11} if name.startswith("flux1") else ()
    assert letters == published(table.ratios, steps, table.threshold, table.max_skips, retained, never)
    assert expected is None or letters == expected


def test_threshold_0_never_skips_where_the_ratio_is_1():
    assert ours(Config(ratios=(1.0,) * 9), 9, 0) == "C" * 9


def test_errors_add_up_and_a_computed_step_resets_them():
    # Ratios 1.25, 1.25: off by 0.25, then by 1.5625 - 1; the sum reaches 0.8125.
    config, bounds = Config(ratios=(1.0, 1.25, 1.25, 1.25, 1.25)), Bounds(total=5, threshold=0.75)
    first = judge(Progress(cached=True), decide(0, 1, config), 1, bounds)
    second = judge(first.state, decide(first.state.skips, 2, config), 2, bounds)
    assert (first.kind, first.prediction, first.running_sum) == ("reuse", 0.25, 0.25)
    assert (second.kind, second.prediction, second.running_sum) == ("compute", 0.5625, 0.8125)
    assert (second.state.number, second.state.skips) == (0.0, 0)


def test_a_computed_step_of_the_table_is_forced_and_resets():
    config = Config(ratios=(1.0,) * 6, always=frozenset({3}))
    assert ours(config, 6, 1, Limits(max_skips=9)) == "CSSCSS"
    forced = judge(Progress(skips=2, number=0.5, cached=True), decide(2, 3, config), 3, Bounds(total=6, threshold=1))
    assert (forced.kind, forced.prediction, forced.running_sum) == ("force", 0.0, 0.5)


@pytest.mark.parametrize(
    ("steps", "places"), [(5, [0, 1, 2, 3, 4]), (3, [0, 2, 4]), (1, [4]), (2, [0, 4]), (9, [0, 0, 1, 2, 2, 2, 3, 4, 4])]
)
def test_a_table_is_stretched_by_nearest_neighbour(steps, places):
    assert stretch([10, 11, 12, 13, 14], steps) == tuple(10 + place for place in places)
    assert stretch_steps({2}, 5, steps) == {step for step, place in enumerate(places) if place == 2}


@pytest.mark.parametrize("ratios", [(1.0, 0.0), (1.0, math.nan)])
def test_config_refuses(ratios):
    with pytest.raises(OptionError, match="MagCache's"):
        Config(ratios=ratios)


# --- the hooks ---------------------------------------------------------------------------------------------------


def test_all_branches_follow_and_each_reuses_its_own():
    image = attached(QWEN, thresh=9, skip_first=1, max_skips=1).run(4, branches=2, refusing={(3, 0)})
    assert image.pattern == "CSCS"
    assert image.residuals == [[0, 1], [0, 1], [20, 21], [30, 21]]


def test_image_to_image_takes_the_end_of_the_table():
    """Qwen's ratios fall in the last quarter, so the end skips less than the start of a run would."""
    whole = attached(QWEN).run(50)
    late = attached(QWEN, skip_first=1).run(50, active=20)
    ratios = shipped()["qwen-image"].ratios[30:]
    assert late.pattern == published(ratios, 20, 0.1, 2, 1)
    assert late.decisions[-1].running_sum == whole.decisions[-1].running_sum


def test_a_step_that_is_always_computed_keeps_its_place_in_image_to_image():
    image = attached(thresh=9, skip_first=1, max_skips=20).run(28, active=20)
    assert [step for step, reason in enumerate(image.reasons) if reason == "a step that is always computed"] == [3]


def test_a_forecast_goes_on_in_sigma():
    plugin = attached(thresh=9, skip_first=2, forecast=1)
    assert plugin.run(3, sigmas=[1.0, 0.8, 0.7]).residuals[2] == pytest.approx([15])


def test_what_is_recorded():
    assert attached().call("mflux_image_metadata", generation=generation(28)) == {
        "table": "flux1-dev",
        "threshold": 0.24,
        "skip_first": 0.1,
        "skip_last": 0,
        "max_skips": 5,
        "forecast": 0,
        "reuse": "body",
        "cache_dtype": None,
    }


def test_each_image_starts_afresh_and_leaves_nothing():
    plugin = attached()
    assert plugin.run(28).pattern == plugin.run(28).pattern
    assert plugin.instance.cache.empty


# --- tables ------------------------------------------------------------------------------------------------------


def test_the_shipped_tables():
    assert {name: len(table.ratios) for name, table in shipped().items()} == {
        "demo-emoji": 28,
        "flux1-dev": 28,
        "flux1-kontext-dev": 28,
        "qwen-image": 50,
        "qwen-image-edit": 50,
    }
    for name, table in shipped().items():
        assert table.name == name
        assert table.ratios[0] == 1
        assert table.license == "Apache-2.0"
        assert "https://github.com/Zehong-Ma/MagCache" in table.source or name == "demo-emoji"


def own_file(tmp_path, **changes):
    content = {
        "schema": 1,
        "name": "mine",
        "model": "me/mine",
        "pipelines": ["Flux1"],
        "ratios": [1, 1.5, 0.5],
        "threshold": 0.1,
        "skip_first": 1,
        "max_skips": 2,
        "source": "me",
        **changes,
    }
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "leave out"}))
    return str(path)


def test_a_file_of_one_s_own(tmp_path):
    assert load(own_file(tmp_path)) == Table(
        name="mine", model="me/mine", pipelines=("Flux1",), ratios=(1, 1.5, 0.5), threshold=0.1, skip_first=1,
        max_skips=2, source="me",
    )  # fmt: skip
    with pytest.warns(PluginWarning, match="no table of Flux1 on .*-Krea-dev; .* mine"):
        assert attached(KREA, table=own_file(tmp_path), thresh=9).run(3).pattern == "CSS"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, '"schema": 1'),
        ({"ratios": "leave out"}, "lacks ratios"),
        ({"ratio": [1]}, "has the unknown fields ratio"),
        ({"ratios": [1]}, r"ratios = \[1\]; it must be a list of numbers above 0, at least two"),
        ({"ratios": [1, 0]}, "a list of numbers above 0"),
        ({"ratios": [1, True]}, "a list of numbers above 0"),
        ({"threshold": -1}, "threshold = -1"),
        ({"threshold": None}, "threshold = None"),
        ({"skip_first": 1.5}, "skip_first = 1.5"),
        ({"max_skips": -1}, "max_skips = -1"),
        ({"pipelines": []}, "a list of class names, at least one"),
        ({"always": [-1]}, "a list of steps from 0"),
        ({"source": " "}, "it must be text"),
    ],
)
def test_files_that_are_no_tables(tmp_path, changes, message):
    with pytest.raises(OptionError, match=message):
        load(own_file(tmp_path, **changes))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(OptionError, match=r"cannot read the table .*nowhere\.json.* names demo-emoji"):
        load(str(tmp_path / "nowhere.json"))
    (tmp_path / "text.json").write_text("no")
    with pytest.raises(OptionError, match="is not JSON"):
        load(str(tmp_path / "text.json"))
    with pytest.raises(OptionError, match=r"no table 'flux1-krea'. It has: demo-emoji, .* \./flux1-krea\.json"):
        load("flux1-krea")


def test_a_file_is_read_once(tmp_path):
    """It may change, or be gone, while images are made."""
    plugin, given = MagCache(), from_keywords(PLUGIN, {"table": own_file(tmp_path, model=DEV.model)})
    plugin.mflux_check(given, DEV)
    (tmp_path / "mine.json").unlink()
    plugin.mflux_attach(given, DEV)
    plugin.mflux_check(given, replace(DEV, active_steps=20))


def test_other_loras_than_the_table_was_made_with_are_told(tmp_path):
    style = replace(DEV, loras=("/home/me/style.safetensors",), lora_scales=(0.8,))
    table = own_file(tmp_path, model=DEV.model, loras={"style.safetensors": 0.8})
    attached(style, table=table)
    with pytest.warns(PluginWarning, match="table mine .* style.safetensors at 0.8.* no LoRA.* magcache-record"):
        attached(DEV, table=table)


def test_a_long_list_of_steps_is_looked_up_and_not_searched():
    """A file has room for 300 000 of them, and a run may have a thousand steps."""
    always = Counted(range(300_000))
    assert stretch_steps(always, 2, 1000) == frozenset(range(1000))
    assert always.searched == 0


class Counted(tuple):
    searched = 0

    def __contains__(self, step):
        Counted.searched += 1
        return super().__contains__(step)


# --- options and refusals ----------------------------------------------------------------------------------------


def check(target, steps=None, **keywords):
    MagCache().mflux_check(from_keywords(PLUGIN, keywords), replace(target, active_steps=steps))


def test_a_model_without_a_table_is_refused_with_the_alternatives():
    with pytest.raises(Refused) as refusal:
        check(KREA)
    message = str(refusal.value)
    assert message.startswith(f"MagCache has no table for {KREA.model} (Flux1). It has: ")
    assert DEV.model in message
    assert f"({', '.join(calibration_free())})" in message
    assert "; or --magcache-table with a name or a file of your own. " in message
    check(KREA, table="flux1-dev")
    check(Target(pipeline="Flux1"))  # nothing is known yet


def test_a_checkpoint_that_is_based_on_a_model_uses_its_table():
    assert find(Target(pipeline="Flux1", model="./mine", base_model=DEV.model)).name == "flux1-dev"
    assert find(FILL).name == "flux1-dev"


def test_windows_that_leave_nothing_are_refused():
    with pytest.raises(Refused, match="MagCache .* first 0.1 .* of 1 "):
        check(DEV, 1)
    check(DEV, 2)


def test_figures_made_elsewhere_are_said_to_be():
    with pytest.warns(PluginWarning, match="no table of Flux1Fill .* flux1-dev"):
        attached(FILL)
    with pytest.warns(PluginWarning, match=r"flux1-dev .* without a\.safetensors"):
        attached(replace(DEV, loras=("a.safetensors",)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attached(DEV)
        attached(replace(DEV, model_path=DEV.model))  # as mflux says it with -C


def test_the_options():
    given = {
        "thresh": 0.3,
        "skip_first": 3,
        "skip_last": 0.1,
        "max_skips": 1,
        "table": "qwen-image",
        "forecast": 2,
        "reuse": "body",
        "cache_dtype": "float16",
    }
    assert as_json(from_keywords(PLUGIN, given)) == {**given, "max_computed": None, "speedup": None, "force": False}
    with pytest.warns(PluginWarning):
        recorded = attached(**given).call("mflux_image_metadata", generation=generation(28))
    assert recorded == {**{name: given[name] for name in given if name != "thresh"}, "threshold": 0.3}
