"""What a preset's file may hold, and what is said of one that holds something else."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from mutated import texts
from preset_files import EVIDENCE, KEY, PROVENANCE, SETTINGS, preset

from mflux_teacache.errors import OptionError
from mflux_teacache.presets.preset import Setting, as_text
from mflux_teacache.presets.reading import parse
from mflux_teacache.presets.settings import options_of, strategies

GOOD = json.loads(as_text(preset(sigmas=(1.0, 0.5))))


def changed(where: str, value: object) -> str:
    """The file with one value in place of another, such as at ``settings.0.options``."""
    *parents, last = [int(part) if part.isdigit() else part for part in where.split(".")]
    data = place = copy.deepcopy(GOOD)
    for part in parents:
        place = place[part]
    place[last] = value
    return json.dumps(data)


def test_what_is_written_is_read() -> None:
    made = preset(sigmas=(1.0, 0.5), provenance=replace(PROVENANCE, license="Apache-2.0", note="x"))
    assert parse(as_text(made), "x") == made


@pytest.mark.parametrize("key", [replace(KEY, bits=None, loras={}), replace(KEY, base_model="a/b", image_input=True)])
def test_what_may_be_missing(key: object) -> None:
    made = preset(key=key, settings=(replace(SETTINGS[0], evidence=replace(EVIDENCE, psnr_mean=None)),))
    assert parse(as_text(made), "x") == made


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("schema", 2, 'The preset x is not a JSON object with "schema": 1'),
        ("schema", True, "is not a JSON object with"),
        ("name", "../mine", r"name = '\.\./mine'; it must be at most 100 small letters"),
        ("name", "Mine", "it must be at most 100 small letters"),
        ("extra", 1, "has the unknown fields extra. Its fields are schema, name, key"),
        ("key", [], r"key = \[\]; it must be an object"),
        ("key.model", "/home/me/model", "its key has model = '/home/me/model'; it must be a model's id or the name"),
        ("key.model", "~/model", "no path"),
        ("key.model", "..", "no path"),
        ("key.model", "a/../b", "no path"),
        ("key.model", "C:model", "no path"),
        ("key.model", "a\\b", "no path"),
        ("key.loras", {"/tmp/a": 1.0}, "the name of its file, at most 64 and no path"),
        ("key.loras", {"a": "1"}, "an object with the scale of each LoRA"),
        ("key.steps", 0, "it must be a whole number from 1 to 1000"),
        ("key.image_input", 1, "true or false"),
        ("key.width", 10**40, "key has width = 1000.*; it must be a whole number from 1 to 1000000"),
        ("key.bits", 65, "it must be a whole number from 1 to 64"),
        ("settings.0.evidence.images", 10**7, "a whole number from 1 to 1000000"),
        ("provenance.fitted_seeds", [2**64], r"at most 1000 whole numbers below 2\^64"),
        ("settings.0.options.skip_first", 10**30, "skip_first = 10*; a whole number must be at most 1000000"),
        ("settings", [], "a list of 1 to 64 objects"),
        ("settings.0.plugin", "shadow", "setting 1, has plugin = 'shadow'; it must be one of easycache, first-block"),
        ("settings.0.plugin", "auto", "must be one of"),
        ("settings.0.plugin", "os:system", "must be one of"),
        ("settings.0.computed", 5, "computes 5 of 10 steps, and its options do not say so: they are"),
        ("settings.0.computed", 11, "it cannot compute more than it has"),
        ("settings.0.steps", 11, "must have max_computed = 4, or a pattern of 11 letters with 4 C"),
        ("settings.0.options.plan", "mine.json", "gives schedule the option 'plan'; a preset may give cache_dtype, "),
        ("settings.0.options.force", True, "gives schedule the option 'force'"),
        ("settings.0.options.pattern", "CXSCSCSCSC", "cannot be used: schedule: .*'CXSCSCSCSC' is not a pattern"),
        ("settings.0.options.forecast", None, "forecast = None; it must be a text, a number"),
        ("settings.0.options.forecast", {"a": 1}, "it must be a text, a number"),
        ("settings.0.options.ratio", 0.5, "cannot be used: schedule: .*not allowed with argument"),
        ("settings.1.options.calibration", "/etc/passwd", "gives teacache the option 'calibration'"),
        ("settings.1.options.max_computed", 7, "its options do not say so"),
        ("settings.1.options.coefficients", [math.nan], "must be a text, a number"),
        ("settings", GOOD["settings"][::-1], "settings of 6, 4 computed steps; the numbers must not fall"),
        ("settings.0.evidence", 3, "evidence = 3; it must be an object or null"),
        ("settings.0.evidence.ssim_mean", 1.5, "a number from -1 to 1"),
        ("settings.0.evidence.psnr_mean", math.inf, "a number or null"),
        ("provenance.versions", {"mlx": 1}, "an object with a version for each name"),
        ("provenance.fitted_prompts", "a fox", "a list of at most 1000 texts"),
        ("provenance.checked_seeds", [-1], "a list of at most 1000 whole numbers"),
        ("sigmas", [0.5, 0.5], "noise levels must fall from step to step"),
    ],
)
def test_what_no_preset_may_hold(where: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message) as refused:
        parse(changed(where, value), "x")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema": 1, "schema": 1}', "[" * 5000])
def test_files_that_are_no_presets(text: str) -> None:
    with pytest.raises(OptionError, match="^(The preset x is not |x is no preset: it holds ).*Name a file"):
        parse(text, "x")


def test_options_that_are_too_much() -> None:
    much = Setting(plugin="schedule", options={"pattern": "C" * 4001}, computed=1000, steps=1000)
    with pytest.raises(OptionError, match=r"has options of \d+ characters; 4000 are allowed. Leave some out."):
        parse(as_text(preset(settings=(much,))), "x")


def test_the_options_that_a_preset_may_give() -> None:
    """None of them names a file or overrules a refusal. A new option has to be thought about before it is listed."""
    common = {"cache_dtype", "forecast", "reuse", "skip_first", "skip_last"}
    adaptive = {*common, "max_computed", "max_skips", "speedup", "thresh"}
    assert {name: set(options_of(name)) for name in strategies()} == {
        **dict.fromkeys(("easycache", "first-block-cache", "magcache", "sea"), adaptive),
        "teacache": {*adaptive, "coefficients"},
        "taylorseer": {*common, "interval"},
        "schedule": {*common, "every", "max_computed", "pattern", "ratio", "speedup"},
    }


@settings(max_examples=20)
@given(seed=some.integers(0, 10**6))
def test_a_tampered_file_is_read_or_refused_in_one_line(seed: int) -> None:
    for text in texts(GOOD, 5, seed):
        try:
            made = parse(text, "x")
        except OptionError as refused:
            said = str(refused)
        else:
            said = ""
            assert parse(as_text(made), "x") == made
        assert "\n" not in said
        assert len(said) < 5000
