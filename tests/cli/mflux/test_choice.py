"""Plugins and options of a run: the command line wins over the sidecar, option by option."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path

import pytest

from mflux_teacache import hookimpl, options
from mflux_teacache.cli.mflux.choice import Asked, Chosen, asked_for, choose
from mflux_teacache.discovery import built_in
from mflux_teacache.errors import BrokenPlugin, OptionError, PluginWarning, UnknownPlugin
from mflux_teacache.image_record.read import Recorded, read_beside_mflux
from mflux_teacache.options import Declared
from mflux_teacache.pieces.output_files import is_output
from mflux_teacache.plugins import Loaded, load
from mflux_teacache.records import Target
from mflux_teacache.words import Given, read

pytestmark = pytest.mark.usefixtures("plugins_in_process")


@pytest.fixture
def sidecar(tmp_path):
    def write(**plugins: dict[str, object]) -> Path:
        path = tmp_path / "run.json"
        entries = {name: {"options": values} for name, values in plugins.items()}
        path.write_text(json.dumps({"mflux_plugins": {"schema": 1, "plugins": entries}}))
        return path

    return write


def parser_of_mflux(shortened: bool = False) -> argparse.ArgumentParser:
    """With the options that matter here. mflux up to 0.18.1 lets options be shortened."""
    parser = argparse.ArgumentParser("mflux-generate", allow_abbrev=shortened)
    parser.add_argument("--plugin", action="append", default=argparse.SUPPRESS)
    parser.add_argument("--plugin-compile-blocks", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS)
    parser.add_argument("--config-from-conf", "-C", type=Path, default=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, nargs="+", default=argparse.SUPPRESS)
    for option in ("--prompt", "--steps", "--image-path", "--image-strength", "--image", "--output"):
        parser.add_argument(option, default=argparse.SUPPRESS)
    parser.add_argument("--image-paths", nargs="+", default=argparse.SUPPRESS)
    return parser


def choice(asked: Asked, argv: str = "", parser: argparse.ArgumentParser | None = None) -> Chosen:
    """What a command line that asks for this and goes on like that comes to."""
    words = [word for name in asked.names for word in ("--plugin", name)]
    words += ["-C", str(asked.sidecar)] if asked.sidecar else []
    return choose(asked, parser or parser_of_mflux(), [*words, *argv.split()])


def chosen(asked: Asked, argv: str = "", shortened: bool = False) -> dict[str, dict[str, object]]:
    """Name and options of each plugin, after mflux has parsed the same command line."""
    parser = parser_of_mflux(shortened)
    found = choice(asked, argv, parser)
    ours = {"seed", "prompt", "steps", "output"}
    assert vars(parser.parse_args(argv.split())).keys() <= ours  # mflux sees nothing of the plugins'
    return {request.plugin.name: vars(request.options) for request in found.requests}


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


@pytest.mark.parametrize("argv", ["", "--seed 3"])
def test_recorded_decisions_are_repeated(decided, argv):
    found = choice(Asked(sidecar=decided), argv)
    assert [request.plugin.name for request in found.requests] == ["watch", "teacache"]
    replacement = found.replacement
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
    replacement = choice(Asked(sidecar=decided), argv).replacement
    assert [replacement.why_not(target(steps)) is None for steps in (4, 3, None)] == [True, False, True]
    assert "records 4 steps, and this run has 3: the steps" in replacement.why_not(target(3))


def test_a_plugin_that_is_left_out_since_others_are_named_is_told_of(decided):
    with pytest.warns(PluginWarning, match="also names teacache, left .*To have all: --plugin teacache --plugin watch"):
        assert choice(Asked(("watch",), decided)).replacement is None


def test_nobody_is_told_to_have_two_that_decide(decided):
    with pytest.warns(PluginWarning, match=r"also names watch, teacache, left out since .* names plugins itself\.$"):
        assert [request.plugin.name for request in choice(Asked(("easycache",), decided)).requests] == ["easycache"]


@pytest.mark.parametrize(
    ("argv", "changed"),
    [
        ("", None),
        ("--output again.png", None),
        ("--seed 3", "--seed"),
        ("--prompt other --seed 7 --seed 8", "--prompt and --seed"),
        ("--steps 4", "--steps"),
    ],
)
def test_what_is_repeated_for_another_image_is_told(decided, argv, changed):
    note = choice(Asked(sidecar=decided), argv).replacement.note
    assert note == (
        changed
        and f"the steps that teacache skipped in {decided} are skipped again, although {changed} may call for others. "
        "To let it decide anew, add --plugin watch --plugin teacache."
    )


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
        assert read_beside_mflux(tmp_path / "pipe") == Recorded()


def test_a_plugin_that_is_named_or_given_an_option_decides_itself(decided):
    for argv in ("--teacache-max-skips 8", "--no-teacache-max-skips"):
        assert choice(Asked(sidecar=decided), argv).replacement is None
    assert choice(Asked(("teacache", "watch"), decided)).replacement is None


def test_a_plugin_whose_reuse_is_its_own_decides_itself(sidecar):
    assert choice(Asked(sidecar=sidecar(alternate={}))).replacement is None


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
        "[--schedule-pattern CCSCS... | --schedule-every K | --schedule-ratio FLOAT]",
        "plugin schedule: --schedule-pattern CCSCS... one letter per step",
        "or a fraction of the run such as 0.2 (default: 1)",
        "skip this share of the steps, such as 0.5, spread evenly",
    ):
        assert shown in helped
    assert "--no-schedule-every" not in helped


# --- options that replace what is recorded ---------------------------------------------------------------------------


@pytest.mark.parametrize("named", [(), ("p",)])
@pytest.mark.parametrize("shortened", [False, True])
@pytest.mark.parametrize(
    ("recorded", "argv", "expected"),
    [
        ({"x": 3}, "", {"x": 3}),
        ({"x": 3}, "--p-x 4", {"x": 4}),
        ({"x": 3}, "--no-p-x", {"x": 1}),
        ({"x": 3}, "--no-p-x --p-x 4", {"x": 4}),
        ({"x": 3}, "--p-x 4 --no-p-x", {"x": 1}),
        ({"flag": True}, "", {"flag": True}),
        ({"flag": True}, "--no-p-flag", {"flag": False}),
        ({"flag": False}, "--p-flag", {"flag": True}),
        ({"both": True}, "--no-p-both", {"both": False}),
        ({"lists": ["a", "b"]}, "--p-lists c", {"lists": ["c"]}),
        ({"lists": ["a", "b"]}, "--no-p-lists", {"lists": None}),
        ({"pairs": [["a", "1"]]}, "", {"pairs": [["a", "1"]]}),
        ({"a": 1}, "--p-b 2", {"a": None, "b": 2, "c": 0}),
        ({"b": 2}, "--p-a 1", {"a": 1, "b": None}),
        ({"b": 2}, "--no-p-a", {"a": None, "b": 2}),
        ({"c": 5}, "--p-b 2", {"c": 0, "b": 2}),
        ({"b": 2, "c": 0}, "", {"b": 2, "c": 0}),
        ({"b": 2, "c": 0}, "--p-a 1", {"a": 1, "b": None, "c": 0}),
        ({"on": True, "off": True}, "", {"on": True, "off": True}),
        ({"on": True, "off": True}, "--p-off", {"on": False, "off": False}),
        ({"level": 9}, "--p-level 2", {"level": 2}),
    ],
)
def test_each_kind_of_option_replaces_what_is_recorded(
    monkeypatch, sidecar, recorded, argv, expected, shortened, named
):
    monkeypatch.setattr("mflux_teacache.cli.mflux.choice.load", lambda name: Loaded(name, OfEachKind))
    argv = argv.replace("--p-lists", "--p-li").replace("--p-flag", "--p-fl") if shortened else argv
    got = chosen(Asked(named, sidecar(p=recorded)), argv, shortened)["p"]
    assert {name: got[name] for name in expected} == expected


class OfEachKind:
    @staticmethod
    @hookimpl
    def mflux_add_options(group):
        group.add_argument("--p-x", type=int, default=1)
        group.add_argument("--p-flag", action="store_true")
        group.add_argument("--p-both", action=argparse.BooleanOptionalAction, default=False)
        group.add_argument("--p-lists", action="append")
        group.add_argument("--p-pairs", action="append", nargs=2)
        exclusive = group.add_mutually_exclusive_group()
        exclusive.add_argument("--p-a", type=int)
        exclusive.add_argument("--p-b", type=int)
        exclusive.add_argument("--p-c", type=int, default=0)
        group.add_argument("--p-on", dest="p_mode", action="store_true")
        group.add_argument("--p-off", dest="p_mode", action="store_false")
        group.add_argument("--p-level", type=int, choices=(1, 2), default=1)


def test_a_recorded_value_that_is_no_longer_allowed_can_be_replaced_or_taken_back(monkeypatch, sidecar):
    monkeypatch.setattr("mflux_teacache.cli.mflux.choice.load", lambda name: Loaded(name, OfEachKind))
    path = sidecar(p={"level": 9})
    with pytest.raises(OptionError, match=r"run.json: plugin 'p': argument --p-level: invalid choice: 9"):
        chosen(Asked(sidecar=path))
    assert chosen(Asked(sidecar=path), "--no-p-level")["p"]["level"] == 1


def test_two_options_of_the_command_line_that_exclude_each_other_are_refused(monkeypatch, sidecar):
    monkeypatch.setattr("mflux_teacache.cli.mflux.choice.load", lambda name: Loaded(name, OfEachKind))
    with pytest.raises(OptionError, match="^argument --p-b: not allowed with argument --p-a$"):
        chosen(Asked(sidecar=sidecar(p={"c": 3})), "--p-a 1 --p-b 2")


def _replaced(declared: Declared, action: argparse.Action) -> list[str]:
    """A word that is allowed, and that is not the default; ``None`` of a flag."""
    words = {"pattern": "CCSC", "calibration": "flux1-dev", "table": "flux1-dev", "strategies": "easycache"}
    for word in (words.get(declared.keyword(action)), "2", "3", "0.4", "bfloat16", "a.json", "CCSC", None):
        given = Given(action, action.option_strings[0], () if word is None else (word,))
        with contextlib.suppress(OptionError, BrokenPlugin):
            if getattr(declared.take([given], complete=False), declared.keyword(action)) not in (None, action.default):
                return list(given.words)
    raise AssertionError(action)


@pytest.mark.parametrize("name", built_in())
def test_every_option_of_every_plugin_of_ours_can_be_replaced_and_taken_back(sidecar, name):
    declared = Declared(load(name))
    for action in declared.actions:
        keyword, option = declared.keyword(action), action.option_strings[0]
        if is_output(action) or action.required:
            continue
        words = _replaced(declared, action)
        options_ = declared.take([Given(action, option, tuple(words))])
        path = sidecar(**{name: options.as_json(options_)})
        assert chosen(Asked(sidecar=path))[name] == vars(options_)
        back = chosen(Asked(sidecar=path), option.replace("--", "--no-", 1))[name]
        assert back == vars(declared.take([])), option
        for other in declared.actions:
            if other is not action and not is_output(other) and not other.required:
                argv = " ".join([other.option_strings[0], *_replaced(declared, other)])
                again = chosen(Asked(sidecar=path), argv)[name]
                exclusive = any(action in group and other in group for group in declared.exclusive)
                kept = getattr(declared.take([]) if exclusive else options_, keyword)
                assert again[keyword] == kept, argv


class OtherPlugin: ...


def test_an_option_that_takes_whatever_follows_may_not_hide_a_plugin(monkeypatch):
    class Greedy:
        @staticmethod
        @hookimpl
        def mflux_add_options(group):
            group.add_argument("--greedy-all", nargs=argparse.REMAINDER)

    monkeypatch.setattr(
        "mflux_teacache.cli.mflux.choice.load", lambda name: Loaded(name, {"greedy": Greedy}.get(name, OtherPlugin))
    )
    parser = parser_of_mflux()
    words = ["--plugin", "greedy", "--greedy-all", "--plugin", "watch"]
    asked = asked_for(read(parser, words))
    with pytest.raises(OptionError, match="stands where an option of greedy, watch takes whatever follows"):
        choose(asked, parser, words)
