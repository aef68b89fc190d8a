"""What is recorded with an image, read back: whole and checked, or refused by name."""

from __future__ import annotations

import copy
import json
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.errors import OptionError
from mflux_teacache.image_record.read import parse, read

TEACACHE: dict[str, Any] = {
    "package": "mflux-teacache-plugin",
    "version": "0.1.0",
    "options": {"thresh": 0.5, "skip_first": None},
    "values": {"forecast": 1, "threshold": 0.5},
}
ENTRY: dict[str, Any] = {
    "schema": 1,
    "pattern": "CSCC",
    "decider": "teacache",
    "residual_after": 0,
    "plugins": {"watch": {"options": {}}, "teacache": TEACACHE},
}
REPLAYED: dict[str, Any] = {
    **ENTRY,
    "decider": "replay",
    "plugins": {
        "watch": {"options": {}},
        "replay": {
            "package": "mflux-teacache-plugin",
            "options": {"from": "gone.json"},
            "values": {"forecast": 1, "replays": {"plugin": "teacache", **TEACACHE}},
        },
    },
}


def changed(entry: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy in which one place, such as ``plugins.teacache.values``, has another value."""
    entry = copy.deepcopy(entry)
    *path, last = place.split(".")
    table = entry
    for key in path:
        table = table[key]
    if value is MISSING:
        del table[last]
    else:
        table[last] = value
    return entry


MISSING = object()


def test_who_decided_and_how_to_repeat_it():
    recorded = parse(ENTRY)
    assert recorded.options == {"watch": {}, "teacache": {"thresh": 0.5}}
    decided = recorded.decided
    assert decided is not None
    assert (decided.plugin, decided.pattern, decided.residual_after, decided.forecast) == ("teacache", "CSCC", 0, 1)
    assert decided.entry == TEACACHE


def test_the_dtype_of_the_cache():
    for entry, dtype in (
        (ENTRY, None),  # of a version that did not record it
        (changed(ENTRY, "plugins.teacache.values.cache_dtype", None), None),
        (changed(ENTRY, "plugins.teacache.values.cache_dtype", "float16"), "float16"),
    ):
        assert parse(entry).decided.cache_dtype == dtype


def test_a_replayed_image_gives_what_it_replays():
    assert parse(REPLAYED) == parse(ENTRY)
    assert list(parse(REPLAYED).options) == ["watch", "teacache"]


@pytest.mark.parametrize("entry", [ENTRY, REPLAYED, changed(ENTRY, "decider", None)])
def test_compiled_blocks(entry):
    assert not parse(entry).compile_blocks
    compiled = parse(changed(entry, "compile_blocks", True))
    assert compiled.compile_blocks
    assert (compiled.options, compiled.decided) == (parse(entry).options, parse(entry).decided)


@pytest.mark.parametrize(
    "entry",
    [
        changed(ENTRY, "decider", None),
        changed(ENTRY, "decider", MISSING),  # of a version that did not record it
        changed(ENTRY, "plugins.teacache.values.forecast", MISSING),  # a strategy with a reuse of its own
        changed(ENTRY, "plugins.teacache.values", MISSING),
        changed(ENTRY, "pattern", ""),
    ],
)
def test_decisions_that_cannot_be_repeated(entry):
    recorded = parse(entry)
    assert recorded.decided is None
    assert recorded.options == {"watch": {}, "teacache": {"thresh": 0.5}}


PATTERN = "one C, S or P per step, the first of them C"
TAMPERED = [
    ("decider", "nobody", "decider is 'nobody', and it must be one of watch, teacache, or null"),
    ("decider", "os.system", "decider is 'os.system'"),
    ("decider", 1, "decider is 1"),
    ("decider", ["teacache"], r"decider is \['teacache'\]"),
    ("pattern", "SCCC", f"pattern is 'SCCC', and it must be {PATTERN}"),
    ("pattern", "CXCC", f"pattern is 'CXCC', and it must be {PATTERN}"),
    ("pattern", "cscc", "pattern is 'cscc'"),
    ("pattern", ["C", "S"], r"pattern is \['C', 'S'\]"),
    ("pattern", None, "pattern is None"),
    ("pattern", MISSING, "pattern is None"),
    ("residual_after", -1, "residual_after is -1, and it must be a whole number from 0 to 64"),
    ("residual_after", 65, "residual_after is 65, and it must be a whole number from 0 to 64"),
    ("residual_after", True, "residual_after is True"),
    ("residual_after", 1.0, r"residual_after is 1\.0"),
    ("residual_after", "0", "residual_after is '0'"),
    ("residual_after", MISSING, "residual_after is None"),
    ("plugins.teacache.values", [], r"teacache\.values is \[\], and it must be an object"),
    ("plugins.teacache.values.forecast", 7, r"teacache\.values\.forecast is 7, and it must be one of 0, 1, 2"),
    ("plugins.teacache.values.forecast", -1, r"teacache\.values\.forecast is -1"),
    ("plugins.teacache.values.forecast", True, r"teacache\.values\.forecast is True"),
    ("plugins.teacache.values.forecast", 1.0, r"teacache\.values\.forecast is 1\.0"),
    ("plugins.teacache.values.forecast", "1", r"teacache\.values\.forecast is '1'"),
    ("plugins.teacache.values.forecast", None, r"teacache\.values\.forecast is None"),
    (
        "plugins.teacache.values.cache_dtype",
        "float64",
        r"teacache\.values\.cache_dtype is 'float64', and it must be one of bfloat16, float16, or null",
    ),
    ("plugins.teacache.values.cache_dtype", 16, r"teacache\.values\.cache_dtype is 16"),
    ("plugins.teacache.values.cache_dtype", ["float16"], r"teacache\.values\.cache_dtype is \['float16'\]"),
    ("plugins.teacache", "0.5", "teacache is '0.5', and it must be an object"),
    ("schema", 2, "schema is 2"),
    ("compile_blocks", "yes", "compile_blocks is 'yes', and it must be true or false"),
    ("compile_blocks", 1, "compile_blocks is 1"),
    ("compile_blocks", None, "compile_blocks is None"),
]


@pytest.mark.parametrize(("place", "value", "message"), TAMPERED)
def test_what_does_not_fit_is_refused_by_its_place(place, value, message):
    with pytest.raises(OptionError, match=rf"^mflux_plugins\.(plugins\.)?{message}"):
        parse(changed(ENTRY, place, value))


WHERE = "plugins.replay.values.replays"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (WHERE, MISSING, r"replays is None, and it must be an object"),
        (WHERE, [], r"replays is \[\], and it must be an object"),
        (f"{WHERE}.plugin", MISSING, r"and it must be an object with 'plugin' and 'values'"),
        (f"{WHERE}.plugin", 3, r"replays\.plugin is 3, and it must be the name of a plugin that is not in the list"),
        (f"{WHERE}.plugin", "watch", r"replays\.plugin is 'watch'"),
        (f"{WHERE}.plugin", "replay", r"replays\.plugin is 'replay'"),
        (f"{WHERE}.options", MISSING, r"and it must be an object with 'options'"),
        (f"{WHERE}.options", {"thresh": {"a": 1}}, r"replays\.options\.thresh is {'a': 1}"),
        (f"{WHERE}.values", "x", r"replays\.values is 'x', and it must be an object"),
    ],
)
def test_a_replayed_image_is_held_to_the_same_rules(place, value, message):
    with pytest.raises(OptionError, match=message):
        parse(changed(REPLAYED, place, value))


PLACES = [place for place, _, _ in TAMPERED] + ["plugins", "plugins.teacache.options", "plugins.watch"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(PLACES), ANYTHING)
def test_anything_at_all_is_read_or_refused(place, value):
    try:
        recorded = parse(changed(ENTRY, place, value))
    except OptionError:
        return
    decided = recorded.decided
    assert decided is None or (decided.plugin in recorded.options and decided.pattern.startswith("C"))


# --- files -------------------------------------------------------------------------------------------------------


def test_from_a_sidecar(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"prompt": "x", "mflux_plugins": ENTRY}))
    assert read(path) == parse(ENTRY)


@pytest.mark.parametrize("name", ["missing.json", "missing.png"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(OptionError, match=f"{name} cannot be read: .*No such file"):
        read(tmp_path / name)


@pytest.mark.parametrize("content", [b"not json", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_file_that_is_no_sidecar(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(OptionError, match=r"run\.json cannot be read"):
        read(tmp_path / "run.json")


LARGE_VALUES = {**TEACACHE["values"], "x": "a" * 64_000}
DEEP_VALUES = {**TEACACHE["values"], "x": json.loads("[" * 16 + "]" * 16)}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            "plugins.teacache.values",
            LARGE_VALUES,
            r"^What .* records of teacache is .* at most 64000 characters of JSON",
        ),
        ("plugins.teacache.values", DEEP_VALUES, r"nested at most 16 levels deep, and has 18"),
        ("plugins.teacache.package", "a" * 64_000, "at most 64000 characters of JSON, and has 64"),
        ("plugins.watch.options", {"x": "a" * 64_000}, r"watch\.options is .* at most 64000 characters of JSON"),
        ("plugins.watch.options", {"x": [0] * 64_000}, r"watch\.options is .* at most 64000 characters of JSON"),
        ("plugins", {"a" * 201: {"options": {}}}, "at most 64, with names of at most 200 characters"),
        ("plugins", {f"a{number}": {"options": {}} for number in range(65)}, "at most 64, with names of at most 200"),
    ],
    ids=range(7),
)
def test_what_the_next_image_would_record_again_is_bounded(place, value, message):
    with pytest.raises(OptionError, match=message) as refusal:
        parse(changed(changed(ENTRY, "decider", "teacache"), place, value))
    assert len(str(refusal.value)) < 1000


def test_what_is_not_recorded_again_is_not():
    """A shadow run's table may be long."""
    plugins = {**ENTRY["plugins"], "shadow": {"options": {}, "values": LARGE_VALUES}}
    assert parse({**ENTRY, "plugins": plugins}).decided.plugin == "teacache"


def test_an_image_of_a_replay_of_the_most_that_may_be_recorded_can_be_replayed():
    values = {**TEACACHE["values"], "x": "a" * 63_700}
    recorded = parse(changed(REPLAYED, "plugins.replay.values.replays.values", values))
    assert recorded.decided.entry["values"] == values


def test_a_model_s_name_that_no_model_has_is_none():
    assert parse(ENTRY, "a" * 10_001).decided.model is None
    assert parse(ENTRY, "a" * 10_000).decided.model == "a" * 10_000


@pytest.mark.parametrize("name", ["fifo.json", "fifo.png", "/dev/zero", "folder.png", "a\0.json", "a" * 300 + ".png"])
def test_what_is_no_file(tmp_path, name):
    import os

    os.mkfifo(tmp_path / "fifo.json")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(
        OptionError, match="cannot be read: (it is a (pipe|device|folder)|(stat: )?embedded null|File name too lo)"
    ):
        read(tmp_path / name)


@pytest.mark.parametrize("content", ["[]", "{}", '"mflux_plugins"'])
def test_a_file_without_plugins(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(OptionError, match=r"run\.json records no plugins"):
        read(tmp_path / "run.json")


def test_an_image_without_metadata_or_with_a_broken_block(tmp_path):
    plain, broken, none = tmp_path / "plain.png", tmp_path / "broken.png", tmp_path / "none.png"
    image = PIL.Image.new("RGB", (8, 8))
    image.save(plain)
    image.save(broken, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x05")
    none.write_bytes(b"no image")
    for path in (plain, broken, none):
        with pytest.raises(OptionError, match=f"{path.name} records no plugins"):
            read(path)
