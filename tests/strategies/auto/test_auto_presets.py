"""The presets of the user, of which ``auto`` takes the nearest one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from auto_dreams import DEV, KEY, OWN, PATTERN, Auto, check, made
from dreams import Dreams
from preset_files import PROVENANCE, preset
from tiny_models import generate

from mflux_teacache import attach
from mflux_teacache.errors import OptionError, PluginWarning
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import Setting

pytestmark = pytest.mark.usefixtures("data")


def test_a_preset_comes_first(dreams: Dreams) -> None:
    store.save(preset("mine", key=KEY, settings=(OWN,)))
    [image], [values] = made(dreams, speedup=2.4)
    assert image.pattern == PATTERN
    assert (values["source"], values["from"]) == ("preset", "mine")
    assert values["setting"] == "schedule reuse=output: preset mine, not checked by images"
    [other], [values] = made(dreams, speedup=2)
    assert other.pattern.count("C") == 6
    assert values["setting"].endswith("preset mine, not checked by images, at 5 of 12 steps")


def test_the_difference_from_a_preset_is_said_once(dreams: Dreams) -> None:
    store.save(preset("mine", key=replace(KEY, bits=4), settings=(OWN,)))
    with pytest.warns(PluginWarning) as caught:
        made(dreams, images=2)
    said = [str(each.message) for each in caught if "preset" in str(each.message)]
    assert len(said) == 1
    assert "the preset mine, which was made with 4 bits in place of no quantisation" in said[0]


def test_differences_are_said_before_the_weights_load() -> None:
    key = replace(KEY, pipeline="Flux1", guidance=4.0, scheduler="LinearScheduler")
    store.save(preset("mine", key=key, settings=(OWN,), provenance=PROVENANCE))
    with pytest.warns(PluginWarning, match=r"made with guidance 4 in place of guidance 3\.5\. Compare"):
        check(replace(DEV, guidance=3.5, width=64, height=64))


def test_a_preset_of_another_model_is_not_taken(dreams: Dreams) -> None:
    store.save(preset("other", key=replace(KEY, model="me/other"), settings=(OWN,)))
    assert made(dreams)[1][0]["source"] == "rule"


def test_an_adaptive_setting_and_what_it_lets_run(dreams: Dreams) -> None:
    setting = Setting(plugin="first-block-cache", options={"max_computed": 5, "forecast": 1}, computed=5, steps=12)
    store.save(preset("mine", key=KEY, settings=(setting,)))
    with attach(dreams, Auto) as handle:
        generate(dreams, num_inference_steps=12)
    assert handle.stats.history[0].pattern.count("C") == 6
    assert handle._lifecycle._body._residual_after == 1
    dreams.model_config.model_name = "me/other"
    with attach(dreams, Auto) as handle:
        assert handle._lifecycle._body._residual_after == 0


def test_a_setting_that_reuses_outputs_needs_no_block_in_skipped_steps(dreams: Dreams) -> None:
    setting = Setting(plugin="first-block-cache", options={"max_computed": 5, "reuse": "output"}, computed=5, steps=12)
    store.save(preset("mine", key=KEY, settings=(setting,)))
    with attach(dreams, Auto) as handle:
        assert handle._lifecycle._body._residual_after == 0
        generate(dreams, num_inference_steps=12)
    assert handle.stats.history[0].pattern.count("C") == 6


def test_a_preset_that_cannot_be_used_is_named_and_the_next_setting_taken(dreams: Dreams) -> None:
    setting = Setting(plugin="magcache", options={"max_computed": 6}, computed=6, steps=12)
    store.save(preset("mine", key=KEY, settings=(setting,)))
    with pytest.warns(PluginWarning, match=r"setting of mine cannot be used here: MagCache has no .* next best one\."):
        [image], [values] = made(dreams)
    assert values["source"] == "rule"
    assert image.pattern.count("C") == 6


def test_a_foreign_file_among_the_presets(dreams: Dreams, data: Path) -> None:
    store.save(preset("mine", key=KEY, settings=(OWN,)))
    (data / "bad.json").write_text("{")
    with pytest.warns(PluginWarning, match=r"bad\.json is not JSON.* It is left out\.") as caught:
        _, values = made(dreams, images=2)
    assert [each["from"] for each in values] == ["mine", "mine"]
    assert sum("bad.json" in str(each.message) for each in caught) == 1


def test_presets_that_cannot_be_listed(dreams: Dreams, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OptionError("The presets cannot be listed.")

    monkeypatch.setattr(store, "stored", refuse)
    with pytest.warns(PluginWarning, match=r"cannot be listed\. auto goes on without presets\."):
        assert made(dreams)[1][0]["source"] == "rule"
