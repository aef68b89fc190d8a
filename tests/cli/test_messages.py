"""One line on stderr and an exit code, for each way in which a plugin ends a command."""

from __future__ import annotations

import warnings

import pytest
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache.errors import HookFailed, NotWritten, PluginError, PluginWarning, Refused
from mflux_teacache.messages import interruptible, reported, show_warnings


@pytest.mark.parametrize("kind", [Refused, PluginError])
def test_a_refusal_is_one_line_and_exit_code_2(capsys, kind):
    with pytest.raises(SystemExit) as leaving, reported("mflux-generate"):
        raise kind("no. Do this.")
    assert leaving.value.code == 2
    assert capsys.readouterr() == ("", "mflux-generate: error: no. Do this.\n")


def test_a_file_that_could_not_be_written_is_one_line_and_exit_code_1(capsys):
    with pytest.raises(SystemExit) as leaving, reported("mflux-teacache"):
        raise NotWritten("no room.")
    assert leaving.value.code == 1
    assert capsys.readouterr() == ("", "mflux-teacache: error: no room.\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopImageGenerationException])
def test_ctrl_c_is_one_line_and_a_shell_s_exit_code(capsys, error):
    with pytest.raises(SystemExit) as leaving, interruptible("mflux-teacache"):
        raise error
    assert leaving.value.code == 130
    assert capsys.readouterr() == ("", "\nmflux-teacache: error: interrupted\n")


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_what_is_no_ctrl_c_passes_through(capsys, error):
    with pytest.raises(error), interruptible("mflux-teacache"):
        raise error
    assert capsys.readouterr() == ("", "")


def test_a_failed_hook_shows_the_plugins_traceback_first_and_exit_code_1(capsys):
    cause = RuntimeError("out of luck")
    with pytest.raises(SystemExit) as leaving, reported("mflux-generate"):
        raise HookFailed("fails", "mflux_step_start", 3, cause) from cause
    assert leaving.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    before, _, message = err.partition("mflux-generate: error: ")
    assert before.strip() == "RuntimeError: out of luck"
    assert message.startswith("plugin 'fails' failed in mflux_step_start at step 3: RuntimeError: out of luck. ")
    assert message.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_everything_else_passes_through(capsys, error):
    with pytest.raises(error), reported("mflux-generate"):
        raise error
    assert capsys.readouterr() == ("", "")


def test_warnings_of_ours_are_one_line_and_others_as_before(monkeypatch, capsys):
    others = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *place: others.append(str(message)))
    show_warnings("mflux-generate")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("look out", PluginWarning, stacklevel=1)
        warnings.warn("mflux's own", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "mflux-generate: warning: look out\n"
    assert others == ["mflux's own"]
