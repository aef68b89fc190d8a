"""How paths are spelt in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from mflux_teacache.spelling import as_word


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/Users/rosa/src/it", "~/src/it"),
        ("/Users/rosa/my files/it", "~/'my files/it'"),
        ("/Users/rosalind/it", "/Users/rosalind/it"),
        ("/opt/my files/it", "'/opt/my files/it'"),
    ],
)
def test_a_path_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch, path: str, word: str) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/Users/rosa"))
    assert as_word(path) == word


def test_a_home_that_is_the_root_of_everything_is_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert as_word("/opt/it") == "/opt/it"
