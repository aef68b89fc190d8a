"""The models that faults are tried on: one of each family for all tests, as long as it is sound."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults import Subject


@pytest.fixture(scope="session")
def subjects() -> dict[str, Subject]:
    return {}


@pytest.fixture
def subject(request: pytest.FixtureRequest, tiny: None, subjects: dict[str, Subject]) -> Iterator[Subject]:
    """Of the family that the test's parameter names."""
    family: str = request.param
    subject = subjects.get(family) or Subject(family)
    subject.sound = False
    yield subject
    if subject.sound:
        subjects[family] = subject
    else:
        subjects.pop(family, None)
