"""Finding, loading and judging plugins."""

from __future__ import annotations

import functools
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import packages
import pytest

from mflux_teacache import Decision, hookimpl, hookspecs
from mflux_teacache.errors import BrokenPlugin, HookFailed, Refused, UnknownPlugin
from mflux_teacache.plugins import GROUP, Hooks, Loaded, PluginSet, check_fit, installed, load
from mflux_teacache.runtime import ask, tell

HOOKS = [name for name in vars(hookspecs) if name.startswith("mflux_")]


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Any]:
    """Puts a distribution with entry points on the path, as pip would."""
    with packages.on_path(tmp_path):
        yield functools.partial(packages.install, tmp_path)


def test_ours_are_installed() -> None:
    ours = {plugin.name: plugin.package for plugin in installed() if plugin.package == "mflux-teacache-plugin"}
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(ours) == set(project["entry-points"][GROUP])
    assert set(ours) >= {
        "teacache",
        "first-block-cache",
        "easycache",
        "magcache",
        "sea",
        "taylorseer",
        "schedule",
        "magcache-record",
        "teacache-record",
    }
    assert {point.name for point in entry_points(group=GROUP)} >= set(ours)


def test_only_the_named_plugin_is_imported(package: Any) -> None:
    package(
        "skips", "1.2", {"good": "skips_good:Good", "bad": "skips_bad:Bad"},
        skips_good="class Good: pass\n", skips_bad="raise RuntimeError('never import me')\n",
    )  # fmt: skip
    assert (load("good").package, load("good").version) == ("skips", "1.2")
    with pytest.raises(
        BrokenPlugin, match=r"plugin 'bad' of package skips 1\.2 cannot be imported: RuntimeError: never"
    ):
        load("bad")


def test_a_module_that_leaves_python_is_named(package: Any) -> None:
    package("mac", "1.0", {"mac": "only_mac:Plugin"}, only_mac="import sys\nsys.exit('I need macOS')\n")
    with pytest.raises(BrokenPlugin, match=r"plugin 'mac' of package mac 1\.0 cannot be imported: SystemExit: I need"):
        load("mac")
    with pytest.raises(BrokenPlugin, match="plugin 'leaves' cannot be made: SystemExit: 3"):
        PluginSet([Loaded("leaves", lambda: sys.exit(3))])


def test_a_package_that_is_half_removed_does_not_hide_the_others(package: Any, tmp_path: Path) -> None:
    package("whole", "1.0", {"watch-two": "nowhere:Nothing"})
    package("half", "1.0", {"watch-two": "nowhere:Nothing"})
    (tmp_path / "half-1.0.dist-info" / "METADATA").unlink()
    found = [(plugin.package, plugin.version) for plugin in installed() if plugin.name == "watch-two"]
    assert found == [("half", "1.0"), ("whole", "1.0")]


def test_unknown_names_list_what_is_installed(package: Any) -> None:
    package("skips", "1.2", {"myskip": "nowhere:Nothing"})
    with pytest.raises(
        UnknownPlugin,
        match=r"unknown plugin 'mysikp'\. Did you mean myskip\? Installed: .*first-block-cache, .*myskip, .*teacache",
    ):
        load("mysikp")


def test_two_packages_with_one_name_are_both_named(package: Any) -> None:
    package("skips", "1.2", {"myskip": "a:A"})
    package("jumps", "3.4", {"myskip": "b:B"})
    with pytest.raises(
        BrokenPlugin, match=r"plugin 'myskip' is provided by jumps 3\.4 and skips 1\.2\. Uninstall all but one"
    ):
        load("myskip")


def test_something_that_cannot_be_called_is_no_plugin(package: Any) -> None:
    package("skips", "1.2", {"myskip": "skips_value:VALUE"}, skips_value="VALUE = 3\n")
    with pytest.raises(BrokenPlugin, match="its entry point must name a class or a factory"):
        load("myskip")


class Misspelt:
    @hookimpl
    def mflux_step_strat(self, step: Any) -> None: ...


class WrongArgument:
    @hookimpl
    def mflux_step_start(self, stepp: Any) -> None: ...


class Unmarked:
    def mflux_step_start(self, step: Any) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (Misspelt, "unknown hook 'mflux_step_strat'.*The hooks are mflux_add_options"),
        (WrongArgument, r"(?s)stepp.*can not be found in the hookspec.*help\('mflux_teacache\.hookspecs'\)"),
        (Unmarked, "mflux_step_start is not marked. Put @hookimpl"),
    ],
)
def test_a_plugin_that_does_not_fit_is_refused_right_away(plugin: type, message: str) -> None:
    with pytest.raises(BrokenPlugin, match=message):
        check_fit(Loaded("p", plugin))


def test_a_constructor_that_fails_is_named() -> None:
    class Demanding:
        def __init__(self, threshold: float) -> None: ...

    with pytest.raises(BrokenPlugin, match="plugin 'p' cannot be made: TypeError"):
        PluginSet([Loaded("p", Demanding)])


class Decides:
    @hookimpl
    def mflux_pre_transformer(self) -> Decision | None:
        return None


class Observes:
    def __init__(self) -> None:
        self.told: list[str] = []

    @hookimpl
    def mflux_generation_start(self, generation: Any) -> None:
        generation.append(self)


def test_one_decides_any_number_observe() -> None:
    plugins = PluginSet([Loaded("a", Observes), Loaded("b", Decides), Loaded("c", Observes)])
    assert plugins.decider == "b"
    with pytest.raises(Refused, match="plugins 'b' and 'd' both decide"):
        PluginSet([Loaded("b", Decides), Loaded("a", Observes), Loaded("d", Decides)])
    assert PluginSet([Loaded("a", Observes)]).decider is None


def test_plugins_are_told_in_the_order_in_which_they_were_named() -> None:
    plugins = PluginSet([Loaded(name, Observes) for name in ("z", "a", "m")])
    told: list[Observes] = []
    tell(plugins, "mflux_generation_start", generation=told)
    assert told == [plugins._instances[name] for name in ("z", "a", "m")]


def test_each_attachment_has_instances_of_its_own() -> None:
    loaded = Loaded("a", Observes)
    assert PluginSet([loaded])._instances["a"] is not PluginSet([loaded])._instances["a"]


@pytest.mark.parametrize("value", [-1, 1.5, "1", True, None])
def test_residual_after_is_a_whole_number(value: Any) -> None:
    plugin = type("P", (Decides,), {"residual_after": value})
    with pytest.raises(BrokenPlugin, match=f"residual_after is {value!r}"):
        _ = PluginSet([Loaded("p", plugin)]).residual_after
    assert PluginSet([Loaded("p", Decides)]).residual_after == 0
    assert PluginSet([Loaded("p", Observes)]).residual_after == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_reaches_a_plugin_with_all_its_arguments_or_none(hook: str) -> None:
    names = [name for name in getattr(hookspecs, hook).__code__.co_varnames if name != "self"]
    taken, given = "".join(f", {name}" for name in names), ", ".join(names)
    source = f"class P:\n    @hookimpl\n    def {hook}(self{taken}): return ({given}{', ' if given else ''}1)\n"
    source += f"class Q:\n    @hookimpl\n    def {hook}(self): return 'none needed'\n"
    made: dict[str, Any] = {"hookimpl": hookimpl}
    exec(source, made)
    hooks = Hooks({"p": made["P"](), "q": made["Q"](), "o": object()})
    arguments = {name: object() for name in names}
    assert hooks.call("p", hook, **arguments) == ((*arguments.values(), 1) if arguments else 1)
    assert hooks.call("q", hook, **arguments) == "none needed"
    assert hooks.call("o", hook, **arguments) is None
    assert hooks.implementers(hook) == ["p", "q"]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_says_what_its_readers_ask(hook: str) -> None:
    text = " ".join((getattr(hookspecs, hook).__doc__ or "").split())
    assert "When: " in text
    assert "Returns " in text
    assert "Raising" in text or "raise" in text
    assert "arrays" in text
    for name in getattr(hookspecs, hook).__code__.co_varnames:
        assert f"{name}: " in text


def test_a_fault_names_plugin_hook_and_step() -> None:
    class Breaks:
        @hookimpl
        def mflux_step_start(self) -> None:
            raise ValueError("no")

    hooks = Hooks({"fine": Observes(), "breaks": Breaks()})
    with pytest.raises(
        HookFailed, match="plugin 'breaks' failed in mflux_step_start at step 4: ValueError: no"
    ) as caught:
        tell(hooks, "mflux_step_start", 4, step=None)
    assert (caught.value.plugin, caught.value.hook, caught.value.step) == ("breaks", "mflux_step_start", 4)
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_first_answer_counts_and_ctrl_c_passes() -> None:
    class Answers:
        @hookimpl
        def mflux_pre_transformer(self, step: Any) -> Any:
            if step is None:
                raise KeyboardInterrupt
            return step

    hooks = Hooks({"decides": Decides(), "answers": Answers()})
    assert ask(hooks, "mflux_pre_transformer", 0, step="answer") == "answer"
    with pytest.raises(KeyboardInterrupt):
        ask(hooks, "mflux_pre_transformer", 0, step=None)
