"""The images that one attached model is making, each with all that is known of it.

Images may overlap: in several threads, or one within a callback or a hook of another. So nothing that belongs to an
image is kept anywhere else.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mflux_teacache.adapters.body import Body
from mflux_teacache.adapters.branches import Branches
from mflux_teacache.adapters.forward import CompiledForward, CompiledPredict, EagerForward
from mflux_teacache.adapters.signatures import bind_all
from mflux_teacache.errors import HookFailed, UnsupportedModel
from mflux_teacache.records import Generation, Status, Target
from mflux_teacache.runtime import Runtime


class Owner(Protocol):
    """Who attached: judges images, gives each of them its plugins, and takes note of what happened."""

    def check(self, arguments: dict[str, Any]) -> Target:
        """Judge the arguments of ``generate_image``; returns what they ask for."""

    def begin(self, generation: Generation, asked: Target | None) -> Runtime:
        """What takes an image's plugins through a denoising loop that is about to start.

        Args:
            generation: its number is yet to be given.
            asked: what was judged of it; ``None`` = nothing.
        """

    def end(self, runtime: Runtime, status: Status) -> None:
        """The denoising loop is over. May be called again where an interrupt cut it off."""

    def record(self, image: Any, runtime: Runtime) -> None:
        """``generate_image`` has made this image of it. Nothing that goes wrong here costs the image."""

    def release(self, runtime: Runtime) -> None:
        """Another image may have its plugins."""

    def drop(self) -> None:
        """There will be no image any more."""


class Image:
    """One denoising loop of mflux's.

    Args:
        target: what was judged of it before; ``None`` = nothing.
        idle_steps: at the end of the schedule, in which mflux calls no transformer.
        loose: the call that makes it, if that passed by the pipeline object.
        config: mflux's, of this image.
        seed, prompt: of this image.

    Attributes:
        runtime: takes its plugins through its steps; ``None`` until the loop begins.
        over: the loop has ended, one way or another.
        asked: what the transformer was called with, where it compiles parts of itself.
    """

    def __init__(
        self,
        owner: Owner,
        body: Body,
        target: Target | None,
        idle_steps: int,
        loose: LooseCall | None = None,
        *,
        config: Any,
        seed: int,
        prompt: str,
    ) -> None:
        self.runtime: Runtime | None = None
        self.over = False
        self.asked: dict[str, Any] = {}
        self._owner = owner
        self._body = body
        self._target = target
        self._idle_steps = idle_steps
        self._loose = loose
        self._config = config
        self._seed = seed
        self._prompt = prompt
        self._branches = Branches(body.family)
        self._parts: dict[tuple[int, str], Callable[..., Any]] = {}

    @property
    def running(self) -> bool:
        """The loop is between its first step and its last."""
        if self._loose is not None and not self.over and not self._loose.is_under_way():
            self._loose.leave()
        return self.runtime is not None and not self.over

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Errors of plugins end an image whose call nobody sees fail."""
        try:
            yield
        except (HookFailed, UnsupportedModel) as error:
            if self._loose is not None:
                self._loose.fail(error)
            raise

    def begin(self, latents: Any) -> None:
        """The loop is about to take its first step."""
        with self._failing():
            self._body.install()  # also on blocks that have been replaced since the image before
            self.runtime = self._owner.begin(self._generation(latents), self._target)
            self.runtime.start()

    def _generation(self, latents: Any) -> Generation:
        config = self._config
        steps = config.num_inference_steps - self._idle_steps
        return Generation(
            number=0,
            seed=self._seed,
            prompt=self._prompt,
            width=config.width,
            height=config.height,
            guidance=config.guidance,
            num_inference_steps=steps,
            active_steps=steps - config.init_time_step,
            target_rows=latents.shape[1] if self._body.family.packed else None,
        )

    def predict(self, predict: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """A call for a prediction that runs as Python.

        Args:
            predict: what mflux calls.
            arguments: of the call, by name.
        """
        return self._ask(EagerForward(self._body, predict, arguments, self._branches))

    def predict_compiled(
        self, predict: CompiledPredict, arguments: dict[str, Any], asked: dict[str, Any] | None = None
    ) -> Any:
        """As ``predict``, of a function that mflux compiles.

        Args:
            asked: what tells it from other calls; ``None`` = its arguments.
        """
        return self._ask(CompiledForward(self._body, predict, arguments, self._branches, asked))

    def compiled_part(self, transformer: Any, method: str) -> Callable[..., Any]:
        """What the transformer is to find in the place of a method of its own that it has compiled."""
        key = id(transformer), method
        if key not in self._parts:
            predict = getattr(transformer, method)
            signature = inspect.signature(predict)
            halves = CompiledPredict(self._body, predict)
            self._parts[key] = lambda *args, **kwargs: self.predict_compiled(
                halves, bind_all(signature, args, kwargs), self.asked
            )
        return self._parts[key]

    def _ask(self, forward: EagerForward | CompiledForward) -> Any:
        assert self.runtime is not None
        with self._failing():
            return self.runtime.predict(forward)

    def end_step(self, latents: Any) -> None:
        """mflux's scheduler has taken its step; ``latents`` are the new ones, not evaluated."""
        if self.runtime is not None and not self.over:
            with self._failing():
                self.runtime.end_step(latents)
                self._branches.end_step()
                self._body.install()  # also on blocks that a callback has replaced

    def end(self, status: Status) -> None:
        """Does nothing if the loop never began, or is over. May be called again where an interrupt cut it off."""
        if self.runtime is not None and not self.over:
            self._branches, self._parts, self.asked = Branches(self._body.family), {}, {}  # they hold model and prompts
            self._body.end_image()
            self._owner.end(self.runtime, status)
            self.over = True


class Call:
    """A call of ``generate_image``, and the images that it makes: one, as a rule.

    It is made in the frame that runs the call, and kept there as ``call``.

    Args:
        asked: what was judged of it.
    """

    def __init__(self, asked: Target | None) -> None:
        self.asked = asked
        self.images: list[Image] = []
        self._thread = threading.get_ident()
        self._code = sys._getframe(1).f_code

    def is_under_way(self) -> bool:
        """Whether that frame still runs.

        Python is asked, since a note of it could be wrong: an interrupt can come between any two lines, also those that
        would take the note back.
        """
        return any(
            frame.f_code is self._code and frame.f_locals.get("call") is self for frame in _frames_of(self._thread)
        )

    def end(self, status: Status) -> None:
        """Of each image whose loop has not ended."""
        for image in self.images:
            image.end(status)


class LooseCall(Call):
    """A call that passed by the pipeline object, such as ``Flux1.generate_image(model, ...)``.

    Nobody sees it return or fail, but its frame holds the context of its image. An error that somebody keeps holds the
    frame as well, which then runs no more.

    Args:
        context: mflux's, of the image.
        failed: called with an error of plugins that ends it.
        leave: called when it is over.
    """

    def __init__(
        self, context: Any, failed: Callable[[Call, BaseException], None], leave: Callable[[Call], None]
    ) -> None:
        super().__init__(None)
        self._failed = failed
        self._leave = leave
        self._context = weakref.ref(context, lambda _: self.leave())

    def is_under_way(self) -> bool:
        """Whether there is somebody who can take the next step."""
        if self._context() is None or all(image.over for image in self.images):
            return False
        # Not held in a local of this frame, where it would be found as well.
        return any(value is self._context() for frame in _frames_of(self._thread) for value in frame.f_locals.values())

    def fail(self, error: BaseException) -> None:
        self._failed(self, error)
        self.leave()

    def leave(self) -> None:
        self._leave(self)


def _frames_of(thread: int) -> Iterator[types.FrameType]:
    """What a thread is in the middle of, from the innermost call outwards."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        yield frame
        frame = frame.f_back
