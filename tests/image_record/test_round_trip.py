"""What is written with an image is what is read from it: the keys and the form are the same on both ways."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mflux_teacache.image_record.read import Recorded, parse
from mflux_teacache.image_record.write import record_in
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import PluginSet, Request, load
from mflux_teacache.records import Generation, StepRecord

STEPS = [("computed", "CC"), ("skipped", "SS"), ("partial", "CS"), ("computed", "CC")]


def written(options: dict[str, dict[str, Any]], values: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What is recorded of an image with these plugins."""
    image = SimpleNamespace(_get_metadata=dict, generation_parameters={"mflux": "own"})
    plugins = {name: load(name) for name in options}
    requests = [Request(plugin, from_keywords(plugin, options[name])) for name, plugin in plugins.items()]
    records = [
        StepRecord(index=index, sigma=None, decision=decision, reason="", branches=branches)
        for index, (decision, branches) in enumerate(STEPS)
    ]
    image_s = {"number": 0, "seed": 1, "prompt": "x", "width": 64, "height": 64, "guidance": 4.0}
    generation = Generation(**image_s, num_inference_steps=len(STEPS), active_steps=len(STEPS), records=records)
    record_in(image, PluginSet(list(plugins.values())), requests, generation, values, **more)
    assert image.generation_parameters.keys() == {"mflux", "mflux_plugins"}
    return image.generation_parameters["mflux_plugins"]


VALUES = {"forecast": 1, "cache_dtype": "float16", "threshold": 0.3}


@pytest.mark.parametrize("compile_blocks", [False, True])
def test_a_strategy_s_image(compile_blocks: bool) -> None:
    options = {"first-block-cache": {"thresh": 0.3, "skip_first": 2}, "teacache-record": {"output": "a.json"}}
    entry = written(options, {"first-block-cache": VALUES}, compile_blocks=compile_blocks)
    found = parse(entry, "theirs")
    assert found.compile_blocks is compile_blocks
    assert list(found.options) == list(options)
    assert found.options["first-block-cache"].items() >= {"thresh": 0.3, "skip_first": 2}.items()
    decided = found.decided
    assert decided is not None
    assert (decided.plugin, decided.model, decided.pattern) == ("first-block-cache", "theirs", "CSPC")
    assert (decided.partly, decided.residual_after) == ({2: "CS"}, 1)
    assert (decided.forecast, decided.cache_dtype) == (1, "float16")
    assert decided.entry == entry["plugins"]["first-block-cache"]


def test_an_image_of_one_that_only_observes() -> None:
    entry = written({"teacache-record": {"output": "a.json"}}, {}, compile_blocks=False)
    assert entry["plugins"]["teacache-record"]["values"] == {}
    assert parse(entry).decided is None


def test_an_image_without_plugins_whose_blocks_were_compiled() -> None:
    assert parse(written({}, {}, compile_blocks=True)) == Recorded(compile_blocks=True)
