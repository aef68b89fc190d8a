"""The recorder: ratios that can be worked out by eye, what it leaves out, and a table that ``magcache`` takes."""

import json
import math
from dataclasses import replace

import mlx.core as mx
import pytest
from scripted import DEV, Plugin, body_branch

from mflux_teacache import PluginWarning, Refused
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.strategies.magcache.plugin import MagCache
from mflux_teacache.strategies.magcache.recorder import MagCacheRecord
from mflux_teacache.strategies.magcache.table import load

PLUGIN = Loaded("magcache-record", MagCacheRecord)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.json"


def attached(path):
    return Plugin("magcache-record", MagCacheRecord, output=str(path))


def halving(step, branch):
    """Magnitudes 16, 8, 4 ... in the first branch, and 16, 16, 16 ... in the second."""
    return 16.0 if branch else 16.0 / 2**step


def test_the_ratio_is_of_each_step_over_the_one_before(path):
    attached(path).run(4, computes=halving)
    table = load(str(path))
    assert table.ratios == (1, 0.5, 0.5, 0.5)
    assert (table.model, table.pipelines, table.name) == (DEV.model, ("Flux1",), "flux.1-dev-recorded")
    assert table.note.startswith("Mean of 1 images, which are at most 0 apart")


def test_it_is_the_mean_over_the_branches_and_over_the_images(path):
    plugin = attached(path)
    plugin.run(3, branches=2, computes=halving)
    assert load(str(path)).ratios == (1, 0.75, 0.75)
    plugin.run(3, branches=2, computes=lambda step, branch: 2.0)
    table = load(str(path))
    assert table.ratios == (1, 0.875, 0.875)
    assert table.note.startswith("Mean of 2 images, which are at most 0.25 apart in a step.")


def test_it_is_the_mean_over_the_tokens_and_only_of_the_image_being_made(path):
    # Norms 5, 1, 1 and then 10, 1, 9: ratios 2 and 1, and a reference row that does not count.
    residuals = [[[3, 4], [1, 0], [1, 0]], [[6, 8], [1, 0], [0, 9]]]
    attached(path).watch([[body_branch(mx.array([rows], mx.bfloat16))] for rows in residuals], target_rows=2)
    assert load(str(path)).ratios == (1, 1.5)


def test_magcache_takes_the_table(path):
    attached(path).run(6, computes=lambda step, branch: 1.0)
    assert Plugin("magcache", MagCache, table=str(path), skip_first=1).run(6).pattern == "CSSSCS"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 5, "active": 3}, "it ran 3 of 5 steps, and a table is of whole runs"),
        ({"steps": 3, "computes": lambda step, branch: math.nan}, "or is zero or not finite"),
        ({"steps": 3, "computes": lambda step, branch: float(step)}, "or is zero or not finite"),
        ({"steps": 3, "computes": lambda step, branch: float(step < 2)}, "or is zero or not finite"),
    ],
)
def test_an_image_that_tells_nothing_is_left_out(path, arguments, message):
    with pytest.warns(PluginWarning, match=f"leaves out image 1: .*{message}"):
        attached(path).run(**arguments)
    assert not path.exists()


def test_a_run_with_skipped_steps_is_left_out(path):
    with pytest.warns(PluginWarning, match="a step was skipped"):
        attached(path).watch([[body_branch(mx.ones((1, 2, 2)), reused=reused)] for reused in (False, True)])


def test_other_steps_than_the_images_before_are_left_out(path):
    plugin = attached(path)
    plugin.run(3, computes=halving)
    with pytest.warns(PluginWarning, match="image 1: .* 4 steps, .* 3"):
        plugin.run(4, computes=halving)
    assert len(load(str(path)).ratios) == 3


def test_an_interrupted_image_is_forgotten(path):
    plugin = attached(path)
    plugin.run(3, computes=halving, status="interrupted")
    assert not path.exists()
    assert plugin.instance._images == {}


def test_where_it_may_write(tmp_path):
    for output, problem in (
        (tmp_path / "table.txt", "must end in"),
        (tmp_path / "nowhere" / "table.json", "no folder"),
    ):
        with pytest.raises(Refused, match=f"--magcache-record-output is .*{problem}"):
            MagCacheRecord().mflux_check(from_keywords(PLUGIN, {"output": output}))
    MagCacheRecord().mflux_check(from_keywords(PLUGIN, {"output": tmp_path / "table.json"}))


def test_it_says_that_it_wrote_and_how_far_the_images_are_apart(path, capsys):
    plugin = attached(path)
    plugin.run(3, computes=halving)
    plugin.run(3, computes=lambda step, branch: 2.0)
    assert capsys.readouterr().out == (
        f"magcache-record: wrote {path}, the mean of 1 image of 3 steps, which are at most 0 apart in a step.\n"
        f"magcache-record: wrote {path}, the mean of 2 images of 3 steps, which are at most 0.5 apart in a step.\n"
    )


def test_the_loras_are_recorded(path):
    target = replace(DEV, loras=("a/style.safetensors",), lora_scales=(0.5,))
    Plugin("magcache-record", MagCacheRecord, target, output=str(path)).run(3, computes=halving)
    assert load(str(path)).loras == {"style.safetensors": 0.5}


def test_an_image_of_one_step_has_no_ratio(path):
    with pytest.warns(PluginWarning, match="leaves out image 1: it has one step, and a table is of the changes"):
        attached(path).run(1, computes=halving)


def test_a_model_without_a_name(path):
    Plugin("magcache-record", MagCacheRecord, Target(pipeline="Flux1"), output=str(path)).run(2, computes=halving)
    assert json.loads(path.read_text())["model"] == "unknown"
