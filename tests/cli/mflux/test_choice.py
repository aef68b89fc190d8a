"""Plugins and options of a run: the command line wins over the sidecar, option by option."""

from __future__ import annotations

import argparse
import json

import pytest
from chosen import choice, chosen, parser_of_mflux

from mflux_teacache import hookimpl, options
from mflux_teacache.cli.mflux.session import Asked, asked_for, choose
from mflux_teacache.errors import OptionError, PluginWarning, UnknownPlugin
from mflux_teacache.plugins import Loaded
from mflux_teacache.words import read

pytestmark = pytest.mark.usefixtures("plugins_in_process")


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
    said = {None: "", True: "--plugin-compile-blocks", False: "--no-plugin-compile-blocks"}[asked]
    chosen = choice(Asked(sidecar=path, compile_blocks=asked), said)
    assert (chosen.compile_blocks, bool(chosen)) == (expected, expected)
    named = choice(Asked(("watch",), path, asked), said)
    assert (named.compile_blocks, bool(named)) == (expected, True)


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


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--alternate-every 5", "argument --alternate-every: invalid choice: 5 (choose from 1, 2, 3)"),
        ("--alternate-every", "argument --alternate-every: expected one argument"),
        ("--alternate-noted=1", "argument --alternate-noted/--no-alternate-noted: ignored explicit argument '1'"),
        (
            "--alternate-evry 2",
            "the plugin alternate has no option --alternate-evry. Did you mean --alternate-every? `--plugin alternate "
            "--help` lists its options.",
        ),
        ("--alterate-every 2", "unknown option --alterate-every. Did you mean --alternate-every?"),
        (
            "--watch-x",
            "the plugin watch has no option --watch-x. `--plugin watch --help` lists its options.",
        ),
        (
            "--easycache-thresh 1",
            "--easycache-thresh is for the plugin easycache, which is off. Add --plugin easycache, or leave it out.",
        ),
        (
            "--easycache-tresh 1",
            "the plugin easycache has no option --easycache-tresh. Did you mean --easycache-thresh? "
            "`--plugin easycache --help` lists its options.",
        ),
        (
            "--no-clash-x",
            "--no-clash-x is for the plugin clash, which is off. Add --plugin clash, or leave it out.",
        ),
    ],
)
def test_what_is_wrong_is_refused_before_mflux_parses(argv, message):
    with pytest.raises(OptionError) as refusal:
        choice(Asked(("alternate",)), argv)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "argv", ["--nonsense", "--seed", "--plugin alternate --seed --alternate-every 9", "--guidence 3"]
)
def test_what_is_mflux_s_own_mistake_is_left_to_it(argv):
    parser = parser_of_mflux()
    choice(Asked(("alternate",)), argv, parser)
    with pytest.raises(SystemExit):
        parser.parse_args(argv.split())


def test_help_needs_nothing_that_is_required_and_judges_what_is_given():
    assert not choice(Asked(("needs-size",)), "--help")
    with pytest.raises(OptionError, match="invalid int value: 'big'"):
        choice(Asked(("needs-size",)), "--help --needs-size-size big")
    with pytest.raises(OptionError, match="the following arguments are required: --needs-size-size"):
        choice(Asked(("needs-size",)))


def test_help_shows_a_plugin_s_options_as_they_are(capsys):
    parser = parser_of_mflux()
    parser.prog = "mflux-generate"
    choice(Asked(("alternate", "schedule")), "--help", parser)
    helped = " ".join(parser.format_help().split())
    for shown in (
        "--alternate-every {1,2,3} of the steps",
        "--alternate-names ALTERNATE_NAMES [ALTERNATE_NAMES ...]",
        "--alternate-noted, --no-alternate-noted",
        "[--alternate-noted | --no-alternate-noted]",
        "[--schedule-pattern CCSCS... | --schedule-every K | --schedule-ratio FLOAT | --schedule-speedup FACTOR | "
        "--schedule-max-computed N]",
        "plugin schedule: --schedule-pattern CCSCS... one letter per step",
        "or a fraction of the run such as 0.2 (default: 1)",
        "skip this share of the steps, such as 0.5, spread evenly",
    ):
        assert shown in helped
    assert "--no-schedule-every" not in helped


class OtherPlugin: ...


def test_an_option_that_takes_whatever_follows_may_not_hide_a_plugin(monkeypatch):
    class Greedy:
        @staticmethod
        @hookimpl
        def mflux_add_options(group):
            group.add_argument("--greedy-all", nargs=argparse.REMAINDER)

    monkeypatch.setattr(
        "mflux_teacache.cli.mflux.session.load", lambda name: Loaded(name, {"greedy": Greedy}.get(name, OtherPlugin))
    )
    parser = parser_of_mflux()
    words = ["--plugin", "greedy", "--greedy-all", "--plugin", "watch"]
    asked = asked_for(read(parser, words))
    with pytest.raises(OptionError, match="stands where an option of greedy or watch takes whatever follows"):
        choose(asked, parser, words)
