"""Somebody else's module is acted on right after its import, and imported as ever."""

from __future__ import annotations

import sys

import pytest

from mflux_teacache.cli.after_import import AfterImport


def test_a_module_is_acted_on_right_after_its_import(tmp_path, monkeypatch):
    (tmp_path / "acted_on.py").write_text("value = 1")
    (tmp_path / "left_alone.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    first = AfterImport("acted_on".__eq__, lambda module: seen.append(("first", module.value)))
    second = AfterImport("acted_on".__eq__, lambda module: seen.append(("second", module.value)))
    monkeypatch.setattr(sys, "meta_path", [first, second, *sys.meta_path])

    import acted_on
    import left_alone

    assert seen == [("second", 1), ("first", 1)]
    assert type(acted_on.__loader__) is type(acted_on.__spec__.loader) is type(left_alone.__loader__)
    assert acted_on.__spec__.loader.get_source("acted_on") == "value = 1"


def test_a_module_that_fails_or_is_missing_fails_as_ever(tmp_path, monkeypatch):
    (tmp_path / "fails_on_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    finder = AfterImport({"fails_on_import", "is_not_there"}.__contains__, seen.append)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])

    with pytest.raises(ZeroDivisionError):
        import fails_on_import  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="No module named 'is_not_there'"):
        import is_not_there  # noqa: F401
    assert seen == []
