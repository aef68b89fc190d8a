"""``mflux-generate --plugin every-second``: skips every second denoising step after the first."""

from mflux_teacache import Body, Decision, Step, hookimpl


class EverySecond:
    @hookimpl
    def mflux_generation_start(self) -> None:
        self.residuals = ()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        return Decision.reuse(self.residuals) if step.index % 2 else Decision.compute()

    @hookimpl
    def mflux_post_transformer(self, body: Body) -> None:
        self.residuals = body.residuals

    @hookimpl
    def mflux_generation_end(self) -> None:
        self.residuals = ()
