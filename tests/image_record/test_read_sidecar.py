"""A sidecar brings plain values for installed plugins, or is refused by name; anything else is mflux's affair."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mflux_teacache.cli.mflux.session import naming
from mflux_teacache.errors import PluginWarning, Refused, UnknownPlugin
from mflux_teacache.image_record.read import MOST_BYTES, Recorded, read_beside_mflux


def read(path: Path) -> Recorded:
    """As a command with ``-C`` does."""
    with naming(path):
        return read_beside_mflux(path)


PLAIN = "a text, a number, true, false, null, or a list of those"


def entry(plugins: object, schema: object = 1) -> dict[str, object]:
    return {"prompt": "x", "mflux_plugins": {"schema": schema, "pattern": "CS", "plugins": plugins}}


def written(folder: Path, content: object) -> Path:
    path = folder / "run.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"prompt": "x"}, {}),
        (entry({}), {}),
        (entry({"watch": {"options": {}}}), {"watch": {}}),
        (
            entry({"b": {"package": "p", "options": {"x": 1.5, "y": None, "z": ["1", 2]}}, "a": {"options": {}}}),
            {"b": {"x": 1.5, "z": ["1", 2]}, "a": {}},
        ),
        ("not json", {}),
        ("[" * 100_000, {}),
        ("[1, 2]", {}),
        ('"mflux_plugins"', {}),
    ],
)
def test_what_a_sidecar_names(tmp_path, content, expected):
    options = read(written(tmp_path, content)).options
    assert options == expected
    assert list(options) == list(expected)  # in the order of recording


def test_a_file_that_cannot_be_read_is_left_to_mflux(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert read(tmp_path / "missing.json") == read(tmp_path) == read(tmp_path / "binary") == Recorded()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mflux_plugins": ["teacache"]}, "mflux_plugins is ['teacache'], and it must be an object"),
        ({"mflux_plugins": None}, "mflux_plugins is None, and it must be an object"),
        ({"mflux_plugins": {}}, "mflux_plugins is {}, and it must be an object with 'schema' and 'plugins'"),
        (
            {"mflux_plugins": {"schema": 1}},
            "mflux_plugins is {'schema': 1}, and it must be an object with 'schema' and 'plugins'",
        ),
        (entry({}, schema=2), "mflux_plugins.schema is 2, and this version reads 1"),
        (entry({}, schema="1"), "mflux_plugins.schema is '1', and this version reads 1"),
        (entry({}, schema=True), "mflux_plugins.schema is True, and this version reads 1"),
        (entry(["teacache"]), "mflux_plugins.plugins is ['teacache'], and it must be an object"),
        (entry({"t": "0.2"}), "mflux_plugins.plugins.t is '0.2', and it must be an object"),
        (entry({"t": {}}), "mflux_plugins.plugins.t is {}, and it must be an object with 'options'"),
        (entry({"t": {"options": [1]}}), "mflux_plugins.plugins.t.options is [1], and it must be an object"),
        (
            entry({"t": {"options": {"x": {"y": 1}}}}),
            f"mflux_plugins.plugins.t.options.x is {{'y': 1}}, and it must be {PLAIN}",
        ),
        (
            entry({"t": {"options": {"x": [[[1]]]}}}),
            f"mflux_plugins.plugins.t.options.x is [[[1]]], and it must be {PLAIN}",
        ),
    ],
)
def test_a_malformed_entry_is_refused_with_its_file(tmp_path, content, message):
    assert_refused(written(tmp_path, content), f"{message}.")


def assert_refused(path, message):
    """With its name, and the way out."""
    with pytest.raises(Refused) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"{path}: {message}")
    assert str(refusal.value).endswith(". Or run without the plugins of this file: --plugin none.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"mflux_plugins": 1, "mflux_plugins": 2}', "it has 'mflux_plugins' twice in one object"),
        (f'{{"mflux_plugins": {"9" * 2000}}}', "it has a whole number of 2000 digits"),
    ],
)
def test_what_mflux_would_read_and_we_do_not_is_refused(tmp_path, content, message):
    assert_refused(written(tmp_path, content), message)


@pytest.mark.parametrize(
    "content",
    [
        '{"prompt": "x", "prompt": "y"}',
        f'{{"note": {"9" * 2000}}}',
        f'{{"note": "{"a" * MOST_BYTES}"}}',
    ],
    ids=["a field twice", "a long number", "a large file"],
)
def test_what_says_nothing_of_plugins_is_left_to_mflux(tmp_path, content):
    assert read(written(tmp_path, content)) == Recorded()


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_cannot_be_read_twice_is_not_read_once(tmp_path, kind):
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.warns(PluginWarning, match="is no file that can be read twice"):
        assert read(path) == Recorded()


@pytest.mark.parametrize("name", ["a" * 300, "missing/run.json", "binary/run.json"])
def test_a_name_that_no_file_has_is_left_to_mflux(tmp_path, name):
    (tmp_path / "binary").touch()
    assert read(tmp_path / name) == Recorded()


def test_a_huge_value_is_not_repeated_in_the_message(tmp_path):
    with pytest.raises(Refused) as refusal:
        read(written(tmp_path, entry("x" * 10_000)))
    assert len(str(refusal.value)) < 400


def test_naming_keeps_the_kind_of_refusal_and_names_no_file_without_one():
    with pytest.raises(UnknownPlugin, match=r"^run.json: no such plugin\. Or run without"), naming(Path("run.json")):
        raise UnknownPlugin("no such plugin.")
    with pytest.raises(UnknownPlugin, match=r"^no such plugin\.$"), naming(None):
        raise UnknownPlugin("no such plugin.")
