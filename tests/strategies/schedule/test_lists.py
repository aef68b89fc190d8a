"""The lists of computed steps: what is shipped, against what was published and mflux's own schedules; a user's own."""

import json

import numpy as np
import pytest
from installed import MFLUX
from mflux.models.common.config.config import Config as MfluxConfig
from mflux.models.common.config.model_config import ModelConfig
from mutated import texts
from scripted import DEV

from mflux_teacache.errors import OptionError, PluginError
from mflux_teacache.records import Target
from mflux_teacache.strategies.schedule.budgeted import Run
from mflux_teacache.strategies.schedule.config import Config
from mflux_teacache.strategies.schedule.lists import FILES, of_model, shipped
from mflux_teacache.strategies.schedule.plans import shifted

ALL = [(lists, listed) for lists in shipped().values() for listed in lists.lists]
each = pytest.mark.parametrize(("lists", "listed"), ALL, ids=lambda value: getattr(value, "name", str(value)))

# The Golden Path Hypothesis publishes its lists so: 0 computed, 1 reused.
STRINGS = {
    "flux1-dev": (
        "00000000000010101010111101111101111111011111110110",
        "00000101010111011110111111111101111111111110111110",
        "00001011011110111111111111101111111111111111111110",
    ),
    "qwen-image": (
        "00000000000010010110111101110111111011111110111110",
        "00000001010111011111111011111111111110111111111110",
        "00001011101111111011111111111110111111111111111110",
    ),
}


@each
def test_a_list_has_its_provenance(lists, listed):
    assert listed.computed == tuple(sorted(set(listed.computed)))
    assert (listed.computed[0], listed.computed[-1], listed.steps) == (0, 49, 50)
    assert listed.license in ("Apache-2.0", "MIT")
    assert listed.license in lists.license
    assert "https://github.com/" in listed.source
    assert listed.search
    assert listed.reuse in ("held residual", "mean velocity")
    assert lists.note


def test_the_budgets_of_each_model():
    assert {name: [len(listed.computed) for listed in lists.lists] for name, lists in shipped().items()} == {
        "flux1-dev": [9, 10, 13, 15, 20, 21, 26],
        "qwen-image": [9, 10, 13, 17, 21, 25],
        "qwen-image-2512": [10, 17, 25],
        "z-image": [13, 15, 17, 20, 25],
    }


@pytest.mark.parametrize("name", STRINGS)
def test_the_searched_lists_are_those_of_their_source(name):
    lists = {"".join("0" if step in listed.computed else "1" for step in range(50)) for listed in shipped()[name].lists}
    assert lists >= set(STRINGS[name])


# mflux's name of each model, and the scheduler that it takes where none is named.
MODELS = {
    "flux1-dev": ("dev", "linear"),
    "qwen-image": ("qwen-image", "linear"),
    "qwen-image-2512": ("qwen-image", "linear"),
    "z-image": ("z-image", "flow_match_euler_discrete"),
}


def mflux_sigmas(name, size, steps):
    """Of mflux's own scheduler, as float32 has them."""
    model, scheduler = MODELS[name]
    width, height = map(int, size.split("x"))
    config = MfluxConfig(
        ModelConfig.from_name(model), num_inference_steps=steps, width=width, height=height, scheduler=scheduler
    )
    return tuple(config.scheduler.sigmas.tolist()[:steps])


@pytest.mark.skipif(MFLUX < (0, 24), reason="the figures are those of mflux 0.24")
@each
def test_on_mflux_s_own_schedule_a_list_comes_back_as_it_was_published(lists, listed):
    sigmas = mflux_sigmas(lists.name, listed.size, listed.steps)
    assert shifted(listed.steps, listed.shift, listed.terminal) == pytest.approx(sigmas, abs=1e-5)
    count = len(listed.computed)
    plan = Config(max_computed=count, own=lists).plan(Run(50, 50, sigmas))
    assert tuple(step for step, letter in enumerate(plan.letters) if letter == "C") == listed.computed
    assert plan.values == {
        "plan": lists.name,
        "plan_lists": [{"list": f"{count} of 50", "source": listed.source}],
    }
    # So it does where the noise levels are not known, and at other sizes.
    assert Config(max_computed=count, own=lists).plan(Run(50, 50)).letters == plan.letters


@pytest.mark.skipif(MFLUX < (0, 24), reason="the figures are those of mflux 0.24")
@pytest.mark.parametrize("name", MODELS)
def test_with_more_steps_it_is_computed_at_the_same_noise(name):
    listed = shipped()[name].lists[-1]
    sigmas = mflux_sigmas(name, listed.size, 100)
    letters = Config(max_computed=len(listed.computed), own=shipped()[name]).plan(Run(100, 100, sigmas)).letters
    ours = [step for step, letter in enumerate(letters) if letter == "C"]
    theirs = np.interp(
        [-level for level in listed.places(listed.computed, by_sigma=True)], np.negative(sigmas), range(100)
    )
    assert ours[:-1] == pytest.approx(theirs[:-1], abs=1)
    assert ours[-1] == 99


@pytest.mark.skipif(MFLUX < (0, 24), reason="the figures are those of mflux 0.24")
def test_with_fewer_steps_and_another_start():
    sigmas = mflux_sigmas("flux1-dev", "1024x1024", 28)
    half = Config(speedup=2, own=shipped()["flux1-dev"])
    assert half.plan(Run(28, 28, sigmas)).letters == "CCCCCCSCSCSCSSSCSSSCSSSCSSCC"
    # Image-to-image runs the end, for which a list has fewer.
    assert half.plan(Run(14, 28, sigmas[14:])).letters == "CSSCSSCSSCSCCC"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (DEV, "flux1-dev"),
        (Target(pipeline="Flux1Fill", model="black-forest-labs/FLUX.1-Fill-dev"), "flux1-dev"),
        (Target(pipeline="QwenImage", model="Qwen/Qwen-Image-2512"), "qwen-image-2512"),
        (Target(pipeline="QwenImage", model="me/mine", base_model="Qwen/Qwen-Image-2512"), "qwen-image-2512"),
        (Target(pipeline="ZImage", model="Tongyi-MAI/Z-Image"), "z-image"),
        (Target(pipeline="ZImage", model="Tongyi-MAI/Z-Image-Turbo"), None),
        (Target(pipeline="Flux1"), None),
    ],
)
def test_which_model_has_lists(target, name):
    lists = of_model(target)
    assert (lists and lists.name) == name


MINE = {
    "schema": 1,
    "name": "mine",
    "model": "me/mine",
    "pipelines": ["Flux1"],
    "lists": [{"computed": [0, 1, 4, 7], "steps": 8}, {"computed": [0, 1, 2, 5, 7], "steps": 8, "shift": 0.5}],
}


def read(tmp_path, **changes):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(MINE | changes))
    return FILES.load(path)


def test_a_file_of_one_s_own(tmp_path):
    lists = read(tmp_path)
    assert [listed.computed for listed in lists.lists] == [(0, 1, 4, 7), (0, 1, 2, 5, 7)]
    # One of its lists has no noise levels, so both go by the share of the steps, whatever the run's are.
    plan = Config(max_computed=4, named=lists).plan(Run(8, 8, [0.9**step for step in range(8)]))
    assert plan.letters == "CCSSCSSC"
    assert plan.values == {"plan": "mine", "plan_lists": [{"list": "4 of 8", "source": None}]}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"steps": 8}, r"mine\.json, list 1, lacks computed\. Its fields are computed, steps, shift, "),
        ({"computed": [0, 7], "steps": 8, "step": 8}, r"list 1, has the unknown fields step\. Its fields are"),
        ({"computed": "CSSC", "steps": 4}, r"computed = 'CSSC'; it must be a list of steps from 0, at least two\."),
        ({"computed": [0, 3.0], "steps": 4}, r"computed = \[0, 3\.0\]; it must be a list of steps from 0"),
        ({"computed": [0, 3], "steps": 4.0}, r"steps = 4\.0; it must be a whole number from 3 to 1000\."),
        ({"computed": [0, 10**9], "steps": 10**9 + 1}, r"steps = 1000000001; it must be a whole number from 3 to 1000"),
        ({"computed": [0, 3], "steps": None}, r"steps = None; it must be a whole number"),
        (
            {"computed": [0, 3], "steps": 4, "shift": 1e300},
            r"shift = 1e\+300; it must be a number from -10 to 10 or null\.",
        ),
        (
            {"computed": [0, 3], "steps": 4, "terminal": 0},
            r"terminal = 0; it must be a number between 0 and 1 or null\.",
        ),
        ({"computed": [0, 2, 1, 3], "steps": 4}, r"they must rise, begin with 0 and end with 3, the last of its 4"),
        ({"computed": [0, 1, 1, 3], "steps": 4}, "they must rise"),
        ({"computed": [1, 3], "steps": 4}, "begin with 0"),
        ({"computed": [0, 3], "steps": 5}, "end with 4, the last of its 5 steps: both ends of a run are always comp"),
    ],
)
def test_files_that_are_no_plans(tmp_path, entry, message):
    with pytest.raises(OptionError, match=message):
        read(tmp_path, lists=[entry])


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([], "it must be a list of objects, at least one"),
        ([[0, 1, 4]], "it must be a list of objects"),
        (MINE["lists"][::-1], "lists of 5, 4 computed steps; the numbers must rise from list to list"),
        (MINE["lists"][:1] * 2, "lists of 4, 4 computed steps; the numbers must rise"),
    ],
)
def test_files_whose_lists_are_none(tmp_path, lists, message):
    with pytest.raises(OptionError, match=message):
        read(tmp_path, lists=lists)


def test_a_file_that_was_tampered_with_is_read_or_refused(tmp_path):
    path = tmp_path / "mine.json"
    read_well = 0
    for text in texts(MINE, 300, 7):
        path.write_text(text)
        try:
            lists = FILES.load(path)
        except PluginError:
            continue
        read_well += 1
        assert Config(max_computed=3, named=lists).plan(Run(6, 6, [1, 0.8, 0.6, 0.4, 0.2, 0.1])).letters.count("C") == 3
    assert read_well > 0
