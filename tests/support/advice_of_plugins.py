"""What is said of plugins and packages that are broken: each is mended as it says, and then works."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advised import Case
from advised_runs import line
from advised_streams import plugins_page
from packages import among, install
from scripted import DEV

from mflux_teacache import hookimpl
from mflux_teacache.errors import PluginError
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded, PluginSet, Request, attach_all, check_all, check_fit

# What each of the plugins below is asked for where it works.
HEARD = "the step"


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for packages.
    """
    return {**_packages(folder), **_unreadable(folder), **_makers(folder), **_hooks(), **_options()}


# --- Packages ---------------------------------------------------------------------------------------------------------

GOOD = """
from mflux_teacache import hookimpl
class Plugin:
    @hookimpl
    def mflux_check(self): ...
def made(): return Plugin()
def none(): return None
VALUE = 3
"""


def _packages(folder: Path) -> dict[str, Case]:
    good, failing, both = folder / "good", folder / "failing", folder / "both"
    install(good, "skips", "1.1", {"skips": "skips_module:Plugin"}, skips_module=GOOD)
    install(failing, "skips", "1.0", {"skips": "skips_module:Plugin"}, skips_module="raise OSError('half')")
    for name in ("skips", "jumps"):
        install(both, name, "1.0", {"skips": f"{name}_module:Plugin"}, **{f"{name}_module": GOOD})
    use = line("--plugin skips")
    return {
        "a package that cannot be imported": Case(
            among(failing, use),
            "Reinstall or upgrade that package, or leave the plugin out.",
            [among(good, use), among(failing, line(""))],
        ),
        "a plugin of two packages": Case(
            among(both, use), "Uninstall all but one of them.", [among(good, use), among(both, line(""))]
        ),
    }


def _unreadable(folder: Path) -> dict[str, Case]:
    damaged, mended, without = folder / "damaged", folder / "mended", folder / "without"
    for place, points in ((damaged, "[mflux.plugins]\nlost\n"), (mended, "[mflux.plugins]\nlost = lost_module:Plugin")):
        install(place, "loses", "1.0", {}, lost_module=GOOD)
        (place / "loses-1.0.dist-info" / "entry_points.txt").write_text(points)
    without.mkdir()

    def all_known() -> None:
        _, info, said = " ".join(plugins_page()).partition("loses-1.0.dist-info")
        if info:
            raise PluginError(said[:300])

    return {
        "a plugin that a damaged package may have": Case(
            among(damaged, line("--plugin lost")),
            "These packages cannot be read, and may provide it; reinstall them: loses-1.0.dist-info (",
            [among(mended, line("--plugin lost"))],
        ),
        "a damaged package in the list of plugins": Case(
            among(damaged, all_known),
            "Reinstall or remove that package.",
            [among(mended, all_known), among(without, all_known)],
        ),
    }


def _makers(folder: Path) -> dict[str, Case]:
    def naming(name: str) -> Callable[[], None]:
        place = folder / name
        install(place, "makes", "1.0", {"makes": f"makes_module:{name}"}, makes_module=GOOD)
        return among(place, line("--plugin makes"))

    usable = [naming("Plugin"), naming("made")]
    return {
        "a factory that makes nothing": Case(
            naming("none"), "Name the plugin's class, or a function that returns an instance of it.", usable
        ),
        "an entry point that is a value": Case(
            naming("VALUE"), "its entry point must name a class or a factory.", usable
        ),
    }


# --- Hooks and options ------------------------------------------------------------------------------------------------


def used(plugin: Callable[[], Any], *, heard: bool = True, **keywords: Any) -> Callable[[], None]:
    """A plugin of the name p, up to its first step.

    Args:
        heard: it hears of the step, and gives back what it heard.
    """

    def act() -> None:
        loaded = Loaded("p", plugin)
        check_fit(loaded)
        requests = [Request(loaded, from_keywords(loaded, keywords))]
        plugins = PluginSet([loaded])
        check_all(plugins, requests, DEV)
        attach_all(plugins, requests, DEV, None)
        assert plugins.threshold in (None, 0.5)
        if heard:
            assert plugins.call("p", "mflux_step_start", step=HEARD) == HEARD

    return act


class Hears:
    @hookimpl
    def mflux_step_start(self, step: Any) -> Any:
        return step


def _hooks() -> dict[str, Case]:
    class Generates:
        @hookimpl
        def mflux_step_start(self, step: Any) -> Any:
            yield step

    class Waits:
        @hookimpl
        async def mflux_step_start(self, step: Any) -> Any:
            return step

    class Bare:
        @hookimpl
        def mflux_post_transformer(step: Any, body: Any) -> Any:
            return step, body

    class Whole:
        @hookimpl
        def mflux_post_transformer(self, step: Any, body: Any) -> Any:
            return step, body

    class Unmarked:
        def mflux_step_start(self, step: Any) -> Any:
            return step

    class Fails(Hears):
        @hookimpl
        def mflux_check(self) -> None:
            raise OSError("no luck")

    class Unreadable(Hears):
        @property
        def threshold(self) -> float:
            raise OSError("not known yet")

        @hookimpl
        def mflux_pre_transformer(self) -> None: ...

    class Misspelt:
        @hookimpl
        def mflux_step_strat(self, step: Any) -> Any:
            return step

    class Demanding(Hears):
        def __init__(self, share: float) -> None:
            self.share = share

    class Attached(_share(type=float)):  # type: ignore[misc]
        @hookimpl
        def mflux_attach(self, options: argparse.Namespace) -> None:
            self.share = options.share

    def both_parameters() -> None:
        assert PluginSet([Loaded("p", Whole)]).call("p", "mflux_post_transformer", step=1, body=2) == (1, 2)

    return {
        "a hook that is a generator": Case(used(Generates), "Write it without yield.", [used(Hears)]),
        "a hook that waits": Case(used(Waits), "Write it without async.", [used(Hears)]),
        "a hook without self": Case(
            used(Bare),
            "Write it as def mflux_post_transformer(self, step, body).",
            [used(Whole, heard=False), both_parameters],
        ),
        "a hook without its marker": Case(used(Unmarked), "Put @hookimpl (from mflux_teacache", [used(Hears)]),
        "a hook that is misspelt": Case(used(Misspelt), "Did you mean mflux_step_start?", [used(Hears)]),
        "a class that takes arguments": Case(
            used(Demanding),
            "Its class is called without arguments; options come with mflux_attach.",
            [used(Attached, share=2)],
        ),
        "a hook that fails before the image": Case(
            used(Fails), "Leave out --plugin p, or report this to its authors.", [line(""), used(Hears)]
        ),
        "a threshold that cannot be read": Case(
            used(Unreadable), "Leave out --plugin p, or report this to its authors.", [line(""), used(Hears)]
        ),
    }


def _options() -> dict[str, Case]:
    class OnTheInstance(Hears):
        @hookimpl
        def mflux_add_options(self, group: Any) -> None:
            group.add_argument("--p-share", type=float)

    class OnTheClass(Hears):
        @classmethod
        @hookimpl
        def mflux_add_options(cls, group: Any) -> None:
            group.add_argument("--p-share", type=float)

    class Inverse(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
            setattr(namespace, self.dest, 1 / float(values))

    def inverse(text: str) -> float:
        return 1 / float(text)

    failing, acting, default = _share(type=inverse), _share(action=Inverse), _share(type=inverse, default="0")
    return {
        "options that only an instance could declare": Case(
            used(OnTheInstance, share=2),
            "so it must be a staticmethod or classmethod, and it may do nothing but add options to its group. Leave "
            "out --plugin p, or report this to its authors.",
            [used(_share(type=float), share=2), used(OnTheClass, share=2), line("")],
        ),
        "a value at which an option fails": Case(
            used(failing, share=0),
            "Give another value, leave it out, or report this to the plugin's authors",
            [used(failing, share=2), used(failing)],
        ),
        "a value at which an option's own action fails": Case(
            used(acting, share=0), "Give other values, leave them out, or", [used(acting, share=2), used(acting)]
        ),
        "a default at which an option fails": Case(
            used(default), "failed to read the default of --p-share '0'", [used(default, share=2)]
        ),
        "such a default, given": Case(
            used(default, share=0),
            "Give another value, or report this to the plugin's authors",
            [used(default, share=2)],
        ),
    }


def _share(**details: Any) -> type:
    class P(Hears):
        @staticmethod
        @hookimpl
        def mflux_add_options(group: Any) -> None:
            group.add_argument("--p-share", **details)

    return P
