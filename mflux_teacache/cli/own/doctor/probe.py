"""Trying something in a process of its own, which may fail or crash without ending ``doctor``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mflux_teacache.pieces.output_files import replace_file

PATIENCE = 120  # seconds, of which a first import from a slow disk may take many


class Failed(Exception):
    """The script gave no answer; the message says what it said last."""


def answer_of(script: str, name: str) -> Any:
    """What a script printed last, which is JSON.

    Args:
        name: of the script's file, and so of its process.

    Raises:
        Failed: it printed none, crashed, or took too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        replace_file(file, script.encode())
        try:
            done = subprocess.run(
                [sys.executable, str(file)], capture_output=True, text=True, errors="replace", timeout=PATIENCE
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"it did not end within {PATIENCE} seconds") from error
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise Failed(_last_words(done)) from error


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    said = done.stderr.strip().splitlines()
    return said[-1].strip().removesuffix(".") if said else f"exit code {done.returncode}, without a word"
