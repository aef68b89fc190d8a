"""The processes among which images are spread, on one machine or several, as MLX's own ``mlx.launch`` starts them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np

from mflux_teacache.errors import PluginError, Refused
from mflux_teacache.spelling import described

T = TypeVar("T")


class Ranks:
    """This process among all of them; alone where nothing has started several.

    Attributes:
        rank: its number, from 0, which speaks and writes for all.
        size: how many there are.

    Raises:
        Refused: several were started, and MLX cannot connect them.
    """

    def __init__(self) -> None:
        try:
            self._group = mx.distributed.init()
        except RuntimeError as error:
            raise Refused(
                f"MLX cannot connect the processes that mlx.launch has started: {described(error)}. Correct its hosts, "
                f"or start the command without it."
            ) from error
        self.rank: int = self._group.rank()
        self.size: int = self._group.size()

    @property
    def speaks(self) -> bool:
        return self.rank == 0

    def share(self, work: Sequence[T]) -> list[T]:
        """What of some work is for this process."""
        return list(work[self.rank :: self.size])

    def gathered(self, value: Any) -> list[Any]:
        """What each process has, in their order. All of them must ask, and wait until all have.

        Args:
            value: plain JSON values.

        Raises:
            PluginError: one of them has ended.
        """
        text = json.dumps(value).encode()
        if self.size == 1:
            return [json.loads(text)]
        try:
            lengths = self._all(np.array([len(text)], np.uint32)).tolist()
            most = max(lengths)
            each = self._all(np.frombuffer(text.ljust(most), np.uint8)).tobytes()
            return [json.loads(each[most * rank :][:length]) for rank, length in enumerate(lengths)]
        except (ValueError, MemoryError) as error:  # what comes from a process that has ended is anything
            raise PluginError(
                "another process has ended, and said why above or on its machine. The finished images are kept. Run "
                "the same command to go on."
            ) from error

    def _all(self, array: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
        # On the CPU, where the backends run that connect several Macs.
        return np.array(mx.distributed.all_gather(mx.array(array), group=self._group, stream=mx.cpu))
