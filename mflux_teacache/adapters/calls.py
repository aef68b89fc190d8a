"""Calls of ``generate_image`` and the images that they make, and whether one of them still runs."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from mflux_teacache.adapters.seam.image import Body, Finish, Image, Start
from mflux_teacache.errors import HookFailed, UnsupportedModel
from mflux_teacache.forward import Forward
from mflux_teacache.records import Status, Target


class Call:
    """A call of ``generate_image``, and the images that it makes: one, as a rule.

    It must be made in the frame that runs the call, and kept there as ``call``.

    Args:
        asked: what was checked before it began; ``None`` if nothing was.
    """

    def __init__(self, asked: Target | None) -> None:
        self.asked = asked
        self.images: list[Image] = []
        self._thread = threading.get_ident()
        self._code = sys._getframe(1).f_code  # the code and not the frame, which would hold the image and the model

    def is_under_way(self) -> bool:
        """Whether the frame that made it still runs."""
        # A flag could be wrong: an interrupt can come between any two lines, also right before the flag is cleared.
        return any(
            frame.f_code is self._code and frame.f_locals.get("call") is self for frame in _frames_of(self._thread)
        )

    def make(self, body: Body, start: Start, finish: Finish) -> Image:
        """Make one of its images; the arguments are those of ``Image``."""
        image = self._image(body, start, finish)
        self.images.append(image)
        return image

    def _image(self, body: Body, start: Start, finish: Finish) -> Image:
        return Image(body, start, finish)

    def end(self, status: Status) -> None:
        """End each image whose loop has not ended."""
        for image in self.images:
            image.end(status)


class LooseCall(Call):
    """A call that bypassed the pipeline object, such as ``Flux1.generate_image(model, ...)``.

    Nothing of ours sees it return or fail, so it is followed by the context of its image, which its frame holds.

    Args:
        context: mflux's context of the image.
        failed: called with an error of plugins that ends the call.
        leave: called when the call is over.
    """

    def __init__(
        self, context: Any, failed: Callable[[Call, BaseException], None], leave: Callable[[Call], None]
    ) -> None:
        super().__init__(None)
        self._failed = failed
        self._leave = leave
        # Weak, since the end of the context is how the end of the call becomes known.
        self._context = weakref.ref(context, lambda _: self.leave())

    def is_under_way(self) -> bool:
        """Whether some running frame can take the next step."""
        if self._context() is None or all(image.over for image in self.images):
            return False
        # That the context lives is not enough: an error that somebody keeps holds a frame that runs no more. It is not
        # put into a local here, since it would then be found in this very frame.
        return any(value is self._context() for frame in _frames_of(self._thread) for value in frame.f_locals.values())

    def fail(self, error: BaseException) -> None:
        """End the call with an error of plugins."""
        self._failed(self, error)
        self.leave()

    def leave(self) -> None:
        """End the call."""
        self._leave(self)

    def _image(self, body: Body, start: Start, finish: Finish) -> Image:
        return LooseImage(body, start, finish, self)


def _frames_of(thread: int) -> Iterator[types.FrameType]:
    """The frames that a thread is running, from the innermost call outwards."""
    # Python 3.11 holds a lock meanwhile that a garbage collection may wait for, and then for ever (CPython gh-106883).
    collects = gc.isenabled()
    try:
        gc.disable()
        frame = sys._current_frames().get(thread)
    finally:
        if collects:
            gc.enable()
    while frame is not None:
        yield frame
        frame = frame.f_back


class LooseImage(Image):
    """An image of a loose call, which must watch over its call because no wrapper does."""

    def __init__(self, body: Body, start: Start, finish: Finish, call: LooseCall) -> None:
        super().__init__(body, start, finish)
        self._call = call

    @property
    def is_waiting(self) -> bool:
        if not self.over and not self._call.is_under_way():
            self._call.leave()
        return super().is_waiting

    def begin(self, latents: Any) -> None:
        with self._failing():
            super().begin(latents)

    def answer(self, forward: Forward) -> Any:
        with self._failing():
            return super().answer(forward)

    def end_step(self, latents: Any, bar: Any) -> None:
        with self._failing():
            super().end_step(latents, bar)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """End the call if a plugin fails, since nothing else sees the call fail."""
        try:
            yield
        except (HookFailed, UnsupportedModel) as error:
            self._call.fail(error)
            raise
