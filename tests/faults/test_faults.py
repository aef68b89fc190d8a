"""Every named fault, and that it leaves nothing behind."""

from __future__ import annotations

import faults_of_apps
import faults_of_callbacks
import faults_of_calls
import faults_of_decisions
import faults_of_images
import faults_of_models
import faults_of_plugins
import pytest
from faults import FAMILIES, FAULTS, Subject

REGISTRIES = (
    faults_of_apps,
    faults_of_callbacks,
    faults_of_calls,
    faults_of_decisions,
    faults_of_images,
    faults_of_models,
    faults_of_plugins,
)
ONE_FAMILY_EACH = [(name, tuple(FAMILIES)[place % len(FAMILIES)]) for place, name in enumerate(FAULTS)]
THE_OTHERS = [(name, family) for name in FAULTS for family in FAMILIES if (name, family) not in ONE_FAMILY_EACH]


def test_there_are_as_many_as_is_said() -> None:
    assert len(FAULTS) >= 150


@pytest.mark.parametrize(("name", "subject"), ONE_FAMILY_EACH, indirect=["subject"])
def test_a_fault_leaves_nothing_behind(name: str, subject: Subject) -> None:
    FAULTS[name](subject)
    subject.verify()


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "subject"), THE_OTHERS, indirect=["subject"])
def test_a_fault_leaves_nothing_behind_in_the_other_families(name: str, subject: Subject) -> None:
    FAULTS[name](subject)
    subject.verify()
