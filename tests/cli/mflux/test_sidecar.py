"""``-C run.json``: which recorded options still hold, and whether recorded decisions are repeated."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path

import pytest
from chosen import choice, chosen

from mflux_teacache import hookimpl, options
from mflux_teacache.cli.mflux.session import Asked
from mflux_teacache.discovery import built_in
from mflux_teacache.errors import BrokenPlugin, OptionError, PluginWarning
from mflux_teacache.image_record.read import Recorded, read_beside_mflux
from mflux_teacache.options import Declared
from mflux_teacache.pieces.output_files import is_output
from mflux_teacache.plugins import Loaded, load
from mflux_teacache.records import Target
from mflux_teacache.words import Given

pytestmark = pytest.mark.usefixtures("plugins_in_process")


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


def test_a_plugin_whose_record_promises_nothing_to_a_replay_decides_itself(decided):
    content = json.loads(decided.read_text())
    entry = content["mflux_plugins"]
    entry["decider"] = "alternate"
    entry["plugins"] = {"alternate": {"options": {}, "values": {"forecast": 0}}}
    decided.write_text(json.dumps(content))
    found = choice(Asked(sidecar=decided))
    assert [request.plugin.name for request in found.requests] == ["alternate"]
    assert found.replacement is None


def test_a_plugin_whose_reuse_is_its_own_decides_itself(sidecar):
    assert choice(Asked(sidecar=sidecar(alternate={}))).replacement is None


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
    monkeypatch.setattr("mflux_teacache.cli.mflux.session.load", lambda name: Loaded(name, OfEachKind))
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
    monkeypatch.setattr("mflux_teacache.cli.mflux.session.load", lambda name: Loaded(name, OfEachKind))
    path = sidecar(p={"level": 9})
    with pytest.raises(OptionError, match=r"run.json: plugin 'p': argument --p-level: invalid choice: 9"):
        chosen(Asked(sidecar=path))
    assert chosen(Asked(sidecar=path), "--no-p-level")["p"]["level"] == 1


def test_two_options_of_the_command_line_that_exclude_each_other_are_refused(monkeypatch, sidecar):
    monkeypatch.setattr("mflux_teacache.cli.mflux.session.load", lambda name: Loaded(name, OfEachKind))
    with pytest.raises(OptionError, match="^argument --p-b: not allowed with argument --p-a$"):
        chosen(Asked(sidecar=sidecar(p={"c": 3})), "--p-a 1 --p-b 2")


def _replaced(declared: Declared, action: argparse.Action) -> list[str]:
    """A word that is allowed, and that is not the default; ``None`` of a flag."""
    words = {
        "pattern": "CCSC",
        "calibration": "flux1-dev",
        "table": "flux1-dev",
        "strategies": "easycache",
        "level": "fast",
    }
    tried = ("2", "3", "0.4", "bfloat16", "output", "body", "a.json", "CCSC", None)
    for word in (words.get(declared.keyword(action)), *tried):
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
