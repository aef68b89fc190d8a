"""Finding plugins among packages of which some are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import damaged
import pytest

from mflux_teacache import attach
from mflux_teacache.discovery import Unreadable, entry_points, named, search
from mflux_teacache.errors import BrokenPlugin, OptionError, UnknownPlugin
from mflux_teacache.plugins import load


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def package(path: Path, name: str, version: str, points: str, folder: str | None = None) -> None:
    info = path / (folder or f"{name}-{version}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[mflux.plugins]\n{points}\n")


def test_damaged_packages_cost_only_themselves(path: Path) -> None:
    before = search().plugins
    unreadable = damaged.install(path)
    found = search()
    assert [package.package for package in found.unreadable] == unreadable
    assert all(package.problem for package in found.unreadable)
    assert set(before) < set(found.plugins)
    others = {(plugin.name, plugin.package, plugin.version) for plugin in set(found.plugins) - set(before)}
    assert others == {
        ("half", "half", "1.0"),
        ("no-module", "no_module", "1.0"),
        ("none", "odd_names", "1.0"),
        ("-x", "odd_names", "1.0"),
        ("\u202ex", "odd_names", "1.0"),
    }
    assert load("teacache").package == "mflux-teacache-plugin"


def test_an_unknown_name_says_where_it_may_be(path: Path) -> None:
    damaged.install(path)
    with pytest.raises(UnknownPlugin) as refusal:
        load("lost")
    assert "These packages cannot be read, and may provide it; reinstall them: " in str(refusal.value)
    assert "not_utf8-1.0.dist-info (UnicodeDecodeError: " in str(refusal.value)
    assert " none, " not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "none",
            "plugin 'none' of package odd_names 1.0 cannot be used: --plugin none switches plugins off. Its authors",
        ),
        (
            "-x",
            "plugin '-x' of package odd_names 1.0 cannot be used: no option can name it. Its authors must rename it.",
        ),
        ("no-module", "plugin 'no-module' of package no_module 1.0 cannot be imported: "),
    ],
)
def test_names_that_nobody_could_use_are_said_to_be_so(path: Path, name: str, why: str) -> None:
    damaged.install(path)
    with pytest.raises(BrokenPlugin) as refusal:
        load(name)
    assert str(refusal.value).startswith(why)


def test_a_package_that_is_there_twice_counts_once_unless_it_says_two_things(path: Path) -> None:
    package(path, "twice", "1.0", "same = twice_module:P\nother = twice_old:P")
    package(path, "twice", "2.0", "same = twice_module:P\nother = twice_module:P")
    (path / "twice_module.py").write_text("class P: pass\n")
    assert load("same").package == "twice"
    with pytest.raises(
        BrokenPlugin, match=r"'other' is provided by twice \d\.0 and twice \d\.0\. Uninstall all but one"
    ):
        load("other")


def test_a_package_without_a_folder_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoFolder:
        @property
        def entry_points(self) -> Any:
            raise RuntimeError("gone")

    monkeypatch.setattr("mflux_teacache.discovery.distributions", lambda: [NoFolder()])
    assert entry_points("mflux.plugins") == ([], [Unreadable("", "RuntimeError: gone")])


# --- keywords of attach ------------------------------------------------------------------------------------------


def test_a_keyword_is_the_plugin_of_that_name_with_underscores_or_with_hyphens(path: Path) -> None:
    assert named("first_block_cache") == "first-block-cache"
    assert named("first-block-cache") == "first-block-cache"
    assert named("every_second") == "every-second"  # which load() then refuses
    package(path, "under", "1.0", "every_second = under_module:P\nmixed-up_name = under_module:P")
    assert named("every_second") == "every_second"
    assert named("mixed_up_name") == "mixed-up_name"
    assert named("every-second") == "every-second"


def test_a_keyword_for_two_plugins_is_refused_with_what_works(path: Path) -> None:
    package(path, "under", "1.0", "every_second = under_module:P")
    package(path, "hyphen", "1.0", "every-second = under_module:Q")
    (path / "under_module.py").write_text("class P: pass\nclass Q: pass\n")
    with pytest.raises(OptionError) as refusal:
        named("every_second")
    assert str(refusal.value) == (
        "every_second={...} could be each of the plugins 'every-second' and 'every_second', which are all installed. "
        "Attach it by its name, attach(model, 'every-second'), or as attach(model, **{'every-second': {...}}) beside "
        "others."
    )
    assert named("every-second") == "every-second"
    assert load("every_second").factory.__name__ == "P"


def test_a_plugin_that_is_named_twice_is_refused() -> None:
    with pytest.raises(OptionError, match="^plugin 'first-block-cache' is named twice. Give all of its options in one"):
        attach(object(), first_block_cache={"thresh": 0.1}, **{"first-block-cache": {"thresh": 0.9}})
