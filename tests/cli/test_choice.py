"""Plugins and options of a run: the command line wins over the sidecar, option by option."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

from mflux_teacache import options
from mflux_teacache.cli import sidecar as sidecars
from mflux_teacache.cli.arguments import Asked
from mflux_teacache.cli.choice import choose
from mflux_teacache.cli.replay import Replacement
from mflux_teacache.errors import OptionError, PluginWarning, UnknownPlugin
from mflux_teacache.recorded import Recorded
from mflux_teacache.records import Target

pytestmark = pytest.mark.usefixtures("plugins_in_process")


@pytest.fixture
def sidecar(tmp_path):
    def write(**plugins: dict[str, object]) -> Path:
        path = tmp_path / "run.json"
        entries = {name: {"options": values} for name, values in plugins.items()}
        path.write_text(json.dumps({"mflux_plugins": {"schema": 1, "plugins": entries}}))
        return path

    return write


def chosen(asked: Asked, argv: str = "") -> dict[str, dict[str, object]]:
    """Name and options of each plugin, after mflux has parsed the same command line."""
    parser = argparse.ArgumentParser("mflux-generate", allow_abbrev=False)
    parser.add_argument("--seed", type=int, nargs="+")
    chosen = choose(asked, parser, argv.split())
    namespace = parser.parse_args(argv.split())
    requests = [choice.request(namespace) for choice in chosen.plugins]
    assert vars(namespace).keys() == {"seed"}  # mflux sees nothing of ours
    return {request.plugin.name: vars(request.options) for request in requests}


DEFAULTS = {"every": 2, "label": None, "names": None, "noted": False}


def test_options_come_from_the_command_line():
    argv = (
        "--alternate-every 3 --seed 1 2 --alternate-label a --alternate-label b --alternate-names x y --alternate-noted"
    )
    given = {"every": 3, "label": ["a", "b"], "names": ["x", "y"], "noted": True}
    assert chosen(Asked(("alternate", "watch")), argv) == {"alternate": given, "watch": {}}


def test_options_come_from_the_sidecar_where_the_command_line_is_silent(sidecar):
    recorded = {"every": 3, "label": ["a", "b"], "names": ["x", "y"], "noted": True}
    path = sidecar(watch={}, alternate=recorded)
    assert list(chosen(Asked(sidecar=path))) == ["watch", "alternate"]
    assert chosen(Asked(sidecar=path))["alternate"] == recorded
    assert chosen(Asked(sidecar=path), "--alternate-every 2")["alternate"] == {**recorded, "every": 2}
    assert chosen(Asked(sidecar=path), "--alternate-label c")["alternate"] == {**recorded, "label": ["c"]}
    assert chosen(Asked(sidecar=path), "--alternate-names z")["alternate"] == {**recorded, "names": ["z"]}
    assert chosen(Asked(sidecar=path), "--no-alternate-noted")["alternate"] == {**recorded, "noted": False}


def test_a_recorded_null_means_not_given(sidecar):
    path = sidecar(alternate={"every": None, "label": None, "names": None, "noted": None})
    assert chosen(Asked(sidecar=path)) == {"alternate": DEFAULTS}


def test_what_options_record_can_be_restored(sidecar):
    argv = "--alternate-every 1 --alternate-label a,b --alternate-label c --alternate-names x"
    given = chosen(Asked(("alternate",)), argv)["alternate"]
    path = sidecar(alternate=options.as_json(argparse.Namespace(**given)))
    assert chosen(Asked(sidecar=path)) == {"alternate": given}


def test_plugins_of_the_command_line_replace_those_of_the_sidecar(sidecar):
    path = sidecar(alternate={"every": 3}, not_installed={"x": 1})
    with pytest.warns(PluginWarning, match="also names alternate, not_installed, left out"):
        assert chosen(Asked(("watch",), path)) == {"watch": {}}
    with pytest.warns(PluginWarning, match="also names not_installed, left out"):
        assert chosen(Asked(("watch", "alternate"), path)) == {"watch": {}, "alternate": {**DEFAULTS, "every": 3}}


def test_an_option_of_the_command_line_drives_out_those_that_it_excludes(sidecar):
    path = sidecar(teacache={"thresh": 0.2, "skip_first": 3})
    budget = chosen(Asked(sidecar=path), "--teacache-speedup 1.6")["teacache"]
    assert (budget["thresh"], budget["speedup"], budget["skip_first"]) == (None, 1.6, 3)
    path = sidecar(teacache={"speedup": 1.6})
    threshold = chosen(Asked(sidecar=path), "--teacache-thresh 0.2")["teacache"]
    assert (threshold["thresh"], threshold["speedup"]) == (0.2, None)


def test_a_sidecar_with_options_that_exclude_each_other_is_refused(sidecar):
    path = sidecar(teacache={"thresh": 0.2, "speedup": 1.6})
    with pytest.raises(OptionError, match=r"argument --teacache-speedup: not allowed with argument --teacache-thresh"):
        chosen(Asked(sidecar=path))


@pytest.mark.parametrize(
    ("recorded", "asked", "expected"),
    [
        (None, None, False),
        (None, True, True),
        (None, False, False),
        (True, None, True),
        (True, True, True),
        (True, False, False),
        (False, None, False),
        (False, True, True),
    ],
)
def test_compiled_blocks_are_restored_unless_the_command_line_says_otherwise(sidecar, recorded, asked, expected):
    path = sidecar()
    if recorded is not None:
        content = json.loads(path.read_text())
        content["mflux_plugins"]["compile_blocks"] = recorded
        path.write_text(json.dumps(content))
    chosen = choose(Asked(sidecar=path, compile_blocks=asked), argparse.ArgumentParser(), [])
    assert (chosen.compile_blocks, bool(chosen)) == (expected, expected)
    named = choose(Asked(("watch",), path, asked), argparse.ArgumentParser(), [])
    assert (named.compile_blocks, bool(named)) == (expected, True)


# --- decisions that are repeated ---------------------------------------------------------------------------------


@pytest.fixture
def decided(tmp_path):
    """A sidecar of an image of four steps of which TeaCache skipped one."""
    path = tmp_path / "run.json"
    plugins = {"watch": {"options": {}}, "teacache": {"options": {"thresh": 0.2}, "values": {"forecast": 0}}}
    entry = {"schema": 1, "pattern": "CSCC", "decider": "teacache", "residual_after": 0, "plugins": plugins}
    path.write_text(json.dumps({"model": "theirs", "mflux_plugins": entry}))
    return path


def target(steps: int | None, model: str | None = "theirs") -> Target:
    return Target(pipeline="Flux1", model=model, active_steps=steps)


def replacements(asked: Asked, argv: str = "") -> dict[str, Replacement | None]:
    parser = argparse.ArgumentParser("mflux-generate", allow_abbrev=False)
    for option in ("--steps", "--seed", "--image-path", "--image-strength", "--image"):
        parser.add_argument(option)
    parser.add_argument("--image-paths", nargs="+")
    return {choice.plugin.name: choice.replacement for choice in choose(asked, parser, argv.split()).plugins}


@pytest.mark.parametrize("argv", ["", "--seed 3"])
def test_recorded_decisions_are_repeated(decided, argv):
    found = replacements(Asked(sidecar=decided), argv)
    assert found["watch"] is None
    replacement = found["teacache"]
    decision = replacement.decided
    assert (decision.plugin, len(decision.pattern), replacement.steps_given) == ("teacache", 4, False)
    assert (replacement.request.plugin.name, vars(replacement.request.options)) == ("replay", {"from": decided})
    # Without a word on steps, a pattern that does not fit is a fault of the file: replay refuses it.
    for steps in (4, 5, None):
        assert replacement.why_not(target(steps)) is None
    assert replacement.why_not(target(4, None)) is None
    assert "records an image of theirs, and this is another: the steps" in replacement.why_not(target(4, "another"))


@pytest.mark.parametrize(
    "argv", ["--steps 4", "--image a.png", "--image-strength 0.5", "--image-path a.png", "--image-paths a.png b.png"]
)
def test_the_command_line_may_ask_for_steps_that_the_pattern_does_not_fit(decided, argv):
    replacement = replacements(Asked(sidecar=decided), argv)["teacache"]
    assert [replacement.why_not(target(steps)) is None for steps in (4, 3, None)] == [True, False, True]
    assert "records 4 steps, and this run has 3: the steps" in replacement.why_not(target(3))


def test_a_plugin_that_is_left_out_since_others_are_named_is_told_of(decided):
    with pytest.warns(PluginWarning, match="also names teacache, left .*To have all: --plugin teacache --plugin watch"):
        assert list(replacements(Asked(("watch",), decided))) == ["watch"]


def test_a_sidecar_does_not_say_which_files_are_written(sidecar):
    path = sidecar(shadow={"json": "mine.json", "plot": "mine.png", "strategies": "easycache"})
    assert chosen(Asked(sidecar=path))["shadow"] == {
        "json": None,
        "plot": None,
        "strategies": ("easycache",),
        "thresholds": None,
    }
    path = sidecar(**{"teacache-record": {"output": "mine.json"}})
    assert chosen(Asked(sidecar=path))["teacache-record"] == {"output": Path("teacache-calibration.json")}


def test_a_pipe_is_left_to_mflux(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.warns(PluginWarning, match="pipe is no file that can be read twice"):
        assert sidecars.read(tmp_path / "pipe") == Recorded()


def test_a_plugin_that_is_named_or_given_an_option_decides_itself(decided):
    assert replacements(Asked(sidecar=decided), "--teacache-max-skips 8")["teacache"] is None
    assert replacements(Asked(("teacache", "watch"), decided))["teacache"] is None


def test_a_plugin_whose_reuse_is_its_own_decides_itself(sidecar):
    assert replacements(Asked(sidecar=sidecar(alternate={})))["alternate"] is None


# --- required and refused ----------------------------------------------------------------------------------------


def test_a_required_option_may_come_from_the_sidecar(sidecar):
    path = sidecar(**{"needs-size": {"size": 3}})
    assert chosen(Asked(sidecar=path)) == {"needs-size": {"size": 3}}
    assert chosen(Asked(sidecar=path), "--needs-size-size 4") == {"needs-size": {"size": 4}}


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ({"every": 5}, "plugin 'alternate': argument --alternate-every: invalid choice: 5 (choose from 1, 2, 3)"),
        ({"every": "two"}, "plugin 'alternate': argument --alternate-every: invalid int value: 'two'"),
        ({"every": True}, "plugin 'alternate': --alternate-every takes a value; True says only on or off"),
        ({"often": 2}, "plugin 'alternate' has no option 'often'. It has: every, label, names, noted"),
    ],
)
def test_a_recorded_value_is_held_to_the_options_own_rules(sidecar, recorded, message):
    path = sidecar(alternate=recorded)
    for asked in (Asked(sidecar=path), Asked(("alternate",), path)):
        with pytest.raises(OptionError) as refusal:
            chosen(asked)
        assert str(refusal.value) == f"{path}: {message}. Or run without the plugins of this file: --plugin none."


@pytest.mark.parametrize("name", ["os.path", "cli_plugins:Watch", "none", ""])
def test_a_sidecar_cannot_name_what_is_not_installed(sidecar, name):
    path = sidecar(**{name: {}})
    with pytest.raises(UnknownPlugin, match=f"^{path}: unknown plugin {name!r}"):
        chosen(Asked(sidecar=path))


def test_a_plugin_that_the_command_line_names_wrongly_is_not_blamed_on_the_sidecar(sidecar):
    with pytest.raises(UnknownPlugin, match=r"^unknown plugin 'alternat'\. "):
        chosen(Asked(("alternat",), sidecar(alternate={})))


def test_a_value_that_is_not_allowed_is_refused_before_mflux_parses():
    parser = argparse.ArgumentParser("mflux-generate")
    with pytest.raises(OptionError, match=r"^argument --alternate-every: invalid choice: 5 \(choose from 1, 2, 3\)$"):
        choose(Asked(("alternate",)), parser, ["--alternate-every", "5"])
