"""``python -m mflux_teacache mflux-generate ...``."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, distribution

import pytest

from mflux_teacache import __main__ as module_form
from mflux_teacache.cli import startup
from mflux_teacache.cli.startup import AfterImport


def test_mfluxs_commands_are_known_and_ours_is_not():
    mflux = {script.name for script in distribution("mflux").entry_points if script.group == "console_scripts"}
    assert mflux <= module_form.commands().keys()
    assert "mflux-teacache" not in module_form.commands()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no command given."),
        (["flux-generate", "-h"], "unknown command 'flux-generate'. Did you mean mflux-generate?"),
    ],
)
def test_an_unknown_command_is_refused_with_those_that_exist(monkeypatch, capsys, argv, said):
    monkeypatch.setattr(sys, "argv", ["-m", *argv])
    with pytest.raises(SystemExit) as leaving:
        module_form.main()
    assert leaving.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    first = min(module_form.commands())
    assert err.startswith(f"python -m mflux_teacache: error: {said} mflux's commands are: {first}, mflux-")
    assert "mflux-generate-flux2, " in err


def test_a_command_runs_as_if_called_by_its_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-m", "mflux-anything", "--plugin", "watch"])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(startup, "PARSERS", "nothing")
    seen = []
    monkeypatch.setattr(sys, "ran_by_test", lambda: seen.append((list(sys.argv), sys.meta_path[0])) or 7, raising=False)
    command = EntryPoint("mflux-anything", "sys:ran_by_test", "console_scripts")
    monkeypatch.setattr(module_form, "commands", lambda: {"mflux-anything": command})
    with pytest.raises(SystemExit) as leaving:
        module_form.main()
    assert leaving.value.code == 7
    [(arguments, finder)] = seen
    assert arguments == ["mflux-anything", "--plugin", "watch"]
    assert isinstance(finder, AfterImport)


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help(monkeypatch, capsys, word):
    monkeypatch.setattr(sys, "argv", ["-m", word])
    module_form.main()
    out, err = capsys.readouterr()
    assert out.startswith("usage: python -m mflux_teacache COMMAND ...\n")
    assert "mflux-generate-flux2, " in out
    assert err == ""
