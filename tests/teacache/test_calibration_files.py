"""Calibrations in files of one's own."""

import json
import math
from importlib.resources import files

import pytest

from mflux_teacache.errors import OptionError
from mflux_teacache.options import Declared
from mflux_teacache.plugins import load as load_plugin
from mflux_teacache.teacache.calibration import (
    FILES,
    Calibration,
    load,
    shipped,
)

MINE = {
    "schema": 1,
    "name": "mine",
    "model": "somebody/finetune",
    "pipelines": ["Flux1"],
    "signal": "first_block_residual",
    "rows": "image",
    "polynomial": [-1.0, 2.0, 0.0],
    "source": "measured here",
}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "mine.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return write


def test_load_a_shipped_name():
    assert load("flux1-dev") is shipped()["flux1-dev"]


def test_load_a_file_with_the_least_that_it_needs(write):
    mine = load(write(MINE))
    assert mine.polynomial == (-1.0, 2.0, 0.0)
    assert (mine.pipelines, mine.stand_in_for, mine.distilled, mine.r2) == (("Flux1",), (), False, None)
    assert mine.derived_upper == pytest.approx(1.0)  # computed where the file does not say


def test_load_a_file_with_everything(write):
    shipped_file = files("mflux_teacache.teacache").joinpath("calibrations", "flux1-kontext-dev.json")
    content = shipped_file.read_text("utf-8")
    assert load(write(content)) == shipped()["flux1-kontext-dev"]


def test_a_range_needs_no_derived_bound(write):
    mine = load(write(MINE | {"range": [0.1, 1.5]}))
    assert (mine.derived_upper, mine.lower, mine.upper) == (None, 0.1, 1.5)


def test_a_name_without_separator_or_suffix_is_not_a_file(write, monkeypatch):
    path = write(MINE)
    monkeypatch.chdir(path.parent)
    path.rename(path.parent / "mine")
    with pytest.raises(OptionError, match=r"no calibration 'mine'. It has: .*flux1-dev, .*\./mine\.json"):
        load("mine")
    assert load("./mine").name == "mine"


def test_a_bare_file_name_and_a_home_directory_are_paths(write, monkeypatch):
    path = write(MINE)
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    assert load("mine.json") == load("~/mine.json") == load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OptionError, match=r"cannot read the calibration .*none\.json.*or one of the names .*flux1-dev"):
        load(tmp_path / "none.json")


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "mine.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match="cannot read the calibration"):
        load(tmp_path / "mine.json")


def test_a_file_that_is_not_json(write):
    with pytest.raises(OptionError, match=r"mine\.json is not JSON: .*line 1"):
        load(write("{'name': 1}"))


@pytest.mark.parametrize("content", [[], 1, {}, MINE | {"schema": 2}, MINE | {"schema": "1"}], ids=repr)
def test_a_file_of_another_schema(write, content):
    with pytest.raises(OptionError, match=r'mine\.json is not a JSON object with "schema": 1'):
        load(write(content))


@pytest.mark.parametrize("field", [name for name in MINE if name != "schema"])
def test_a_file_that_lacks_a_field(write, field):
    with pytest.raises(OptionError, match=rf"mine\.json lacks {field}\. Its fields are schema, name, "):
        load(write({name: value for name, value in MINE.items() if name != field}))


def test_a_file_with_a_misspelt_field(write):
    with pytest.raises(OptionError, match=r"has the unknown fields treshold\."):
        load(write(MINE | {"treshold": 0.2}))


ILL_TYPED = {
    "name": [1, "", " ", None, "a" * 201],
    "model": [1, "", None, "a" * 10_001],
    "pipelines": ["Flux1", [], [1], None],
    "signal": ["modulated", 1, None],
    "rows": ["all", None],
    "polynomial": [[], 1.0, ["1"], [1.0, None], [True], [math.nan], [math.inf], None, [1.0] * 18],
    "source": ["", None],
    "revision": [1],
    "stand_in_for": ["a", [1], None],
    "range": [[0.1], [0.2, 0.1], [0.1, 0.1], [-0.1, 0.1], [0.1, math.inf], [0.1, 0.2, 0.3], 0.1, ["a", "b"]],
    "derived_upper": [-1.0, "1"],
    "threshold": [-0.1, "0.2", True, math.nan],
    "window": [[0.2], [0.2, 1.0], [-1, 1], [1, 2, 3], 0.2, [True, 1]],
    "steps": [0, 1.5, "25", True],
    "guidance": ["3.5"],
    "quantize": [0, 1.5],
    "loras": [["a"], {"a": "1"}, {"a": math.nan}],
    "size": [[512, 512]],
    "prompts": ["a red apple", [1]],
    "mflux_version": [0.24],
    "date": [20260905],
    "r2": ["0.5", math.nan],
    "r2_held_out": [True],
    "distilled": [1, None],
    "changes": [[], [[0.1]], [[0.1, -0.1]], [["a", 0.1]], 0.1, [[0.1, 0.2]] * 2001],
    "license": [1],
    "note": [["a"]],
}


def test_every_field_has_an_ill_typed_example():
    assert set(ILL_TYPED) == set(Calibration.__dataclass_fields__)


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in ILL_TYPED.items() for value in values])
def test_a_file_with_an_ill_typed_field(write, field, value):
    with pytest.raises(OptionError, match=rf"mine\.json has {field} = .*; it must be "):
        load(write(MINE | {field: value}))


def test_a_bound_that_the_polynomial_does_not_give(write):
    with pytest.raises(OptionError, match=r"has derived_upper = 1\.5, but its polynomial and range give 1\.0"):
        load(write(MINE | {"derived_upper": 1.5}))
    with pytest.raises(OptionError, match="has derived_upper = None, but"):
        load(write(MINE | {"derived_upper": None}))
    with pytest.raises(OptionError, match=r"has derived_upper = 1\.0, but its polynomial and range give None"):
        load(write(MINE | {"derived_upper": 1.0, "range": [0.1, 0.2]}))


def test_a_polynomial_that_could_never_skip(write):
    negative = MINE | {"polynomial": [1.0, -0.1]}
    with pytest.raises(OptionError, match=r"negative from the start.*Record the range"):
        load(write(negative))
    assert load(write(negative | {"range": [0.2, 0.9]})).upper == 0.9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "is not JSON"),
        (json.dumps(MINE | {"schema": True}), 'is not a JSON object with "schema": 1'),
        (json.dumps(MINE | {"schema": 1.0}), 'is not a JSON object with "schema": 1'),
        (json.dumps(MINE | {"polynomial": [10**400, 1.0]}), "it must be a list of 1 to 17 numbers"),
        (json.dumps(MINE | {"r2": -(10**400)}), "r2 = -1000.*it must be a number"),
        (json.dumps(MINE | {"polynomial": [1e-320, 1.0, 1.0, 0.1]}), "too small beside the others"),
        (json.dumps(MINE | {"polynomial": [1e308, 1e308, 1e308, 1.0]}), "some are too large"),
    ],
)
def test_what_a_float_cannot_hold_is_refused(write, content, message):
    with pytest.raises(OptionError, match=message):
        load(write(content))


def test_the_home_of_nobody():
    with pytest.raises(OptionError, match=r"cannot read the calibration ~nobody-here/x\.json"):
        load("~nobody-here/x.json")


def test_help_lists_the_shipped_ones_without_reading_any(monkeypatch):
    def refuse(*_):
        raise AssertionError("a calibration was read")

    monkeypatch.setattr(FILES, "_parsed", {})
    monkeypatch.setattr(FILES, "parse", refuse)
    [option] = [action for action in Declared(load_plugin("teacache")).actions if action.dest.endswith("calibration")]
    assert ", ".join(FILES.names) in option.help
    assert "flux1-dev" in FILES.names


def test_a_shipped_one_is_called_as_its_file():
    assert [entry.name for entry in shipped().values()] == list(FILES.names)
