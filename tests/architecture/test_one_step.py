"""One step in one place: how many files of ours a skipped step passes, and a command line up to its loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from one_step import Passed, command_line, compiled_step, eager_step

pytestmark = pytest.mark.slow

# Of a step's files: those of the strategy, and those of the host and its adapters.
STRATEGY = ("pieces/", "strategies/", "teacache/")
STEP, HOST = 8, 4
COMMAND_LINE = 25


@pytest.mark.parametrize(
    ("step", "seam"),
    [
        (eager_step, {"adapters/seam/image.py", "adapters/seam/run.py"}),
        (compiled_step, {"adapters/seam/image.py", "adapters/seam/compiled.py"}),
    ],
)
def test_a_skipped_step_passes_few_files(step: Callable[[], Passed], seam: set[str]) -> None:
    passed = step()
    host = {file for file in passed.files if not file.startswith(STRATEGY)}
    assert {file for file in host if file.startswith("adapters/seam/")} == seam, passed
    assert "teacache/plugin.py" in passed.files
    assert len(host) <= HOST, passed
    assert len(passed.files) <= STEP, passed


def test_a_command_line_passes_few_files_up_to_its_loop(tmp_path: Path) -> None:
    passed = command_line(tmp_path)
    assert passed.files[0] == "cli/startup.py"
    assert "runtime.py" in passed.files
    assert len(passed.files) <= COMMAND_LINE, passed
