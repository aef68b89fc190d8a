"""The README's plugin as it was before strategies had a base class. Kept: plugins like it are in use."""

from mflux_teacache import Decision, hookimpl


class EverySecond:
    @hookimpl
    def mflux_generation_start(self):
        self.residuals = None

    @hookimpl
    def mflux_pre_transformer(self, step):
        if self.residuals is not None and step.index % 2 == 1:
            return Decision.reuse(self.residuals)

    @hookimpl
    def mflux_post_transformer(self, body):
        if body.computed:
            self.residuals = body.residuals
