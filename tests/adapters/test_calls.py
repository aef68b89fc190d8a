"""Whether a call still runs is read from the frames of its thread."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import gc, threading
from mflux_teacache.adapters.calls import _frames_of

class Held:
    def __init__(self):
        self.me, self.local = self, threading.local()

gc.set_threshold(1)
for _ in range(100):
    Held()
    assert next(_frames_of(threading.get_ident())).f_code.co_name == "_frames_of"
assert gc.isenabled()
"""


def test_a_garbage_collection_meanwhile_does_not_hang() -> None:
    """In a process of its own, where Python itself may hang: 3.11 did."""
    subprocess.run([sys.executable, "-c", _SCRIPT], check=True, timeout=60)
