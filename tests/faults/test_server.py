"""A server keeps one attached model and answers many requests at once: each gets the image of its own single run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[1] / "support"


def _serve(family: str, threads: int, requests: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "serving.py"), family, str(threads), str(requests)],
        env={**os.environ, "PYTHONPATH": str(SUPPORT), "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _check(found: dict[str, Any], requests: int) -> None:
    memory = found.pop("memory")
    assert found.pop("skipped") > requests // 2
    assert found == {"made": requests, "unlike_their_own_run": 0, "wrong": [], "missing_in_stats": 0}
    assert max(memory) - min(memory) < 2**14, memory  # one residual of the largest image has as many bytes


FAMILIES = pytest.mark.parametrize("family", ["flux1", "flux2", "z_image"])


@FAMILIES
def test_two_threads(family: str) -> None:
    _check(_serve(family, threads=2, requests=10), 10)


@pytest.mark.exhaustive
@FAMILIES
def test_four_threads_and_two_hundred_requests(family: str) -> None:
    _check(_serve(family, threads=4, requests=200), 200)
