"""Files that were tampered with: each is read and can be used, or is refused by an error of ours, in bounded memory."""

from __future__ import annotations

import json
import random
import tracemalloc
import warnings
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import scripted
from mutated import texts
from scripted import DEV, Plugin, level

from mflux_teacache.cli.mflux.session import naming
from mflux_teacache.errors import PluginError, PluginWarning
from mflux_teacache.image_record import read as recorded
from mflux_teacache.image_record.keys import ENTRY
from mflux_teacache.image_record.read import MOST_BYTES, read, read_beside_mflux
from mflux_teacache.options import from_keywords
from mflux_teacache.pieces import data_files
from mflux_teacache.plugins import Loaded
from mflux_teacache.strategies.magcache.plugin import MagCache
from mflux_teacache.strategies.replay import Replay
from mflux_teacache.teacache.plugin import TeaCache

pytestmark = pytest.mark.slow

COUNT = 500


def shipped(package: str, folder: str, name: str) -> dict[str, Any]:
    return json.loads(files(package).joinpath(folder, name).read_text())


CALIBRATION = shipped("mflux_teacache.teacache", "calibrations", "demo-emoji.json") | {"loras": {"a": 0.5}}
CALIBRATION["changes"] = CALIBRATION["changes"][:4]  # hundreds more would take most of the blows
TABLE = shipped("mflux_teacache.strategies.magcache", "tables", "flux1-dev.json") | {"loras": {"a": 0.5}}
TEACACHE = {
    "package": "mflux-teacache-plugin",
    "version": "0.1.0",
    "options": {"thresh": 0.5, "calibration": "flux1-dev", "coefficients": [1.0, 0.0]},
    "values": {"forecast": 1, "cache_dtype": None, "threshold": 0.5, "coefficients": [1.0, 0.0]},
}
SIDECAR = {
    "model": "dev",
    "prompt": "x",
    "mflux_plugins": {
        "schema": 1,
        "pattern": "CSCSCC",
        "decider": "replay",
        "residual_after": 1,
        "compile_blocks": True,
        "plugins": {
            "watch": {"options": {}},
            "replay": {
                "options": {"from": "a.json"},
                "values": {"forecast": 1, "replays": {"plugin": "teacache", **TEACACHE}},
            },
        },
    },
}
SIGNALS = [level(value) for value in accumulate([1.0, *[1.1] * 5], lambda value, rate: value * rate)]


def used(plugin: str, factory: type, path: Path, option: str) -> None:
    """As a run does: checked, attached, and asked in each step."""
    keywords = {option: str(path)}
    options = from_keywords(Loaded(plugin, factory), keywords)
    factory().mflux_check(options=options, target=DEV)
    run = Plugin(plugin, factory, **keywords)
    steps = len(run.instance._decided.pattern) if factory is Replay else 6
    run.run(steps, signals=(SIGNALS * (steps // 6 + 1))[:steps], sigmas=[1 - step / steps for step in range(steps)])
    assert json.dumps(run.call("mflux_image_metadata", generation=scripted.generation(6)))


@pytest.mark.parametrize(
    ("plugin", "factory", "option", "content", "seed"),
    [
        ("teacache", TeaCache, "calibration", CALIBRATION, 1),
        ("magcache", MagCache, "table", TABLE, 2),
        ("replay", Replay, "from", SIDECAR, 3),
    ],
)
@pytest.mark.filterwarnings("ignore::mflux_teacache.PluginWarning")
def test_a_file_is_used_or_refused(plugin, factory, option, content, seed, tmp_path):
    path = tmp_path / "file.json"
    outcomes, longest = {"used": 0, "refused": 0}, 0
    for text in texts(content, COUNT, seed):
        path.write_text(text, "utf-8", "surrogatepass")
        try:
            used(plugin, factory, path, option)
            outcomes["used"] += 1
        except PluginError as refusal:
            outcomes["refused"] += 1
            longest = max(longest, len(str(refusal)))
    assert min(outcomes.values()) > COUNT / 20, outcomes
    assert longest < 5000


def test_a_sidecar_brings_plugins_back_or_is_refused(tmp_path):
    path = tmp_path / "run.json"
    outcomes = {"read": 0, "refused": 0}
    for text in texts(SIDECAR, COUNT, 4):
        path.write_text(text, "utf-8", "surrogatepass")
        try:
            found = read_beside_mflux(path)
            outcomes["read"] += 1
        except PluginError:
            outcomes["refused"] += 1
        else:
            assert found.decided is None or len(json.dumps(found.decided.entry)) < 65_000
    assert min(outcomes.values()) > COUNT / 20, outcomes


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_an_image_is_read_or_refused(suffix, tmp_path):
    import piexif

    path, chance, outcomes = tmp_path / f"image{suffix}", random.Random(5), {"read": 0, "refused": 0}
    comment = b"ASCII\x00\x00\x00" + json.dumps(SIDECAR).encode()
    PIL.Image.new("RGB", (8, 8)).save(path, exif=piexif.dump({"Exif": {0x9286: comment}}))
    good = path.read_bytes()
    assert read(path).decided.plugin == "teacache"
    for _ in range(COUNT):
        broken = bytearray(good)
        for _ in range(chance.choice((1, 2, 20))):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        path.write_bytes(broken[: chance.choice((len(broken), len(broken), chance.randrange(len(broken))))])
        try:
            read(path)
            outcomes["read"] += 1
        except PluginError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > COUNT / 50, outcomes


# --- as large as they may be ----------------------------------------------------------------------------------------


def filled(before: str, entry: str, after: str, size: int) -> str:
    """A text of about this size, of many times the same."""
    return before + ",".join([entry] * ((size - len(before) - len(after)) // (len(entry) + 1))) + after


LARGE = [
    *(("[", entry, "]") for entry in ("1", "1.5", "[]", "{}", '""', "9" * 900, '{"a":[0]}')),
    *(('{"polynomial": [', entry, "]}") for entry in ("1", "[]")),
    ('{"mflux_plugins": {"schema": 1, "plugins": {"a": {"options": {"b": [', "1", "]}}}}}"),
    ('{"mflux_plugins": {"schema": 1, "plugins": {"a": {"options": {"b": "', "aaaaaaaaa", '"}}}}}'),
    ('{"mflux_plugins": {"schema": 1, "pattern": "C', "S" * 9, '", "plugins": {}}}'),
    ('{"mflux_plugins": [', "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", "]}"),
    ("", "[", ""),
    ('"', "\\u0041", '"'),
]


@pytest.mark.parametrize("parts", LARGE, ids=range(len(LARGE)))
@pytest.mark.parametrize(
    ("plugin", "factory", "option"), [("teacache", TeaCache, "calibration"), ("replay", Replay, "from")]
)
def test_the_largest_that_are_read_take_bounded_memory(plugin, factory, option, parts, tmp_path, monkeypatch):
    """At most fifty times what the file has: its smallest entries are empty objects. Allowed is a share of the real."""
    most = 200_000
    monkeypatch.setattr(data_files, "MOST_BYTES", most)
    monkeypatch.setattr(recorded, "MOST_BYTES", most)
    path = tmp_path / "file.json"
    path.write_text(filled(*parts, most))
    options = from_keywords(Loaded(plugin, factory), {option: str(path)})
    tracemalloc.start()
    try:
        with pytest.raises(PluginError) as refusal:
            factory().mflux_check(options=options, target=DEV)
        assert tracemalloc.get_traced_memory()[1] < 50 * most
    finally:
        tracemalloc.stop()
    assert len(str(refusal.value)) < 2000


@pytest.mark.parametrize(("content", "size"), [(b"", 50 * 10**9), (ENTRY.encode(), MOST_BYTES + 1)])
def test_a_larger_one_is_not_read(content, size, tmp_path):
    """Whatever is in a file of that size; and of what names plugins, less."""
    path = tmp_path / "run.json"
    with path.open("wb") as file:
        file.write(content)
        file.truncate(size)
    with (
        pytest.raises(PluginError, match=r"run\.json: it cannot be a sidecar: it has .*, and at most 6?4 MB are read"),
        naming(path),
    ):
        read_beside_mflux(path)
    with pytest.raises(PluginError, match="at most 4 MB are read"):
        read(path)
    for factory, plugin, option in ((TeaCache, "teacache", "calibration"), (MagCache, "magcache", "table")):
        options = from_keywords(Loaded(plugin, factory), {option: str(path)})
        with pytest.raises(PluginError, match=f"cannot read the {option} .*at most 1 MB are read"):
            factory().mflux_check(options=options, target=DEV)


def test_warnings_are_of_ours_alone(tmp_path):
    """Numbers that overflow while they are judged are no affair of the user's terminal."""
    path = tmp_path / "file.json"
    for number in (1e308, 1e-308, 5e-324):
        path.write_text(json.dumps(CALIBRATION | {"polynomial": [number, -number, number, 1.0, 0.1], "range": None}))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", PluginWarning)
            try:
                used("teacache", TeaCache, path, "calibration")
            except PluginError:
                continue
