"""Plugins for the tests of the command line, each with one property. ``entry_points.txt`` names them as installed."""

from __future__ import annotations

import argparse

from mflux_teacache import Decision, Refused, hookimpl

ENTRY_POINTS = """
[mflux.plugins]
alternate = cli_plugins:Alternate
other-decider = cli_plugins:OtherDecider
watch = cli_plugins:Watch
fails = cli_plugins:FailsInStep
fails-at-attach = cli_plugins:FailsAtAttach
refuses-at-image = cli_plugins:RefusesAtImage
broken = cli_plugins:DoesNotExist
clash = cli_plugins:Clash
needs-size = cli_plugins:NeedsSize
"""


class Alternate:
    """Computes every ``every``-th step and reuses between."""

    @staticmethod
    @hookimpl
    def mflux_add_options(group: argparse._ArgumentGroup) -> None:
        group.add_argument("--alternate-every", type=int, choices=(1, 2, 3), default=2, help="of the steps")
        group.add_argument("--alternate-label", action="append", help="a text to record; repeatable")
        group.add_argument("--alternate-names", nargs="+", help="texts to record")
        group.add_argument("--alternate-noted", action=argparse.BooleanOptionalAction, default=False)

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace) -> None:
        self.every = options.every
        self.residuals = ()

    @hookimpl
    def mflux_pre_transformer(self, step):
        if step.index % self.every:
            return Decision.reuse(self.residuals, threshold=0.5)
        return Decision.compute(change=0.75, threshold=0.5)

    @hookimpl
    def mflux_post_transformer(self, body):
        self.residuals = body.residuals


class OtherDecider:
    @hookimpl
    def mflux_pre_transformer(self):
        return None


class Watch:
    """Only observes."""

    @hookimpl
    def mflux_step_start(self, step):
        assert step.index >= 0


class FailsInStep:
    @hookimpl
    def mflux_step_start(self, step):
        if step.index == 1:
            raise RuntimeError("out of luck")


class FailsAtAttach:
    @hookimpl
    def mflux_attach(self):
        raise RuntimeError("cannot build state")


class RefusesAtImage:
    """Takes any model; refuses what is known only when the image is made."""

    @hookimpl
    def mflux_check(self, target):
        if target.width is not None and target.width < 64:
            raise Refused(f"width {target.width} is under 64. Use --width 64.")


class Clash:
    @staticmethod
    @hookimpl
    def mflux_add_options(group):
        group.add_argument("--clashing", help="lacks the prefix")


class NeedsSize:
    @staticmethod
    @hookimpl
    def mflux_add_options(group):
        group.add_argument("--needs-size-size", type=int, required=True)
