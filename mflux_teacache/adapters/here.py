"""What each thread is in the middle of, on one attached model."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mflux_teacache.adapters.body import Phase
    from mflux_teacache.adapters.images import Call, Image


class Here(threading.local):
    """One for each attachment; each thread sees its own values.

    Attributes:
        call: the ``generate_image`` that is under way.
        image: the image whose denoising loop is running.
        phase: what the blocks ask while the transformer is called on our behalf.
    """

    call: Call | None = None
    image: Image | None = None
    phase: Phase | None = None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """For as long as plugins or mflux's callbacks are at work.

        They may make another image with this model, or call its transformer, and none of that belongs to this image.
        """
        before = self.call, self.image, self.phase
        self.call = self.image = self.phase = None
        try:
            yield
        finally:
            self.call, self.image, self.phase = before
