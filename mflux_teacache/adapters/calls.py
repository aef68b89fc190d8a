"""Calls of ``generate_image`` and the images that they make, and whether one of them still runs."""

from __future__ import annotations

import contextlib
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

    def make(self, body: Body, start: Start, finish: Finish) -> Image:
        """One of its images, as ``Image`` takes it."""
        image = self._image(body, start, finish)
        self.images.append(image)
        return image

    def _image(self, body: Body, start: Start, finish: Finish) -> Image:
        return Image(body, start, finish)

    def end(self, status: Status) -> None:
        """Of each image whose loop has not ended."""
        for image in self.images:
            image.end(status)


class LooseCall(Call):
    """A call that bypassed the pipeline object, such as ``Flux1.generate_image(model, ...)``.

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
        """An error of plugins has ended it."""
        self._failed(self, error)
        self.leave()

    def leave(self) -> None:
        """It is over."""
        self._leave(self)

    def _image(self, body: Body, start: Start, finish: Finish) -> Image:
        return LooseImage(body, start, finish, self)


def _frames_of(thread: int) -> Iterator[types.FrameType]:
    """What a thread is in the middle of, from the innermost call outwards."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        yield frame
        frame = frame.f_back


class LooseImage(Image):
    """An image of a loose call: it looks after its call itself."""

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

    def end_step(self, latents: Any) -> None:
        with self._failing():
            super().end_step(latents)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Errors of plugins end the image: nobody else sees the call fail."""
        try:
            yield
        except (HookFailed, UnsupportedModel) as error:
            self._call.fail(error)
            raise
