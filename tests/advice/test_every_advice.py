"""Each piece of advice that the program can print: it is provoked, followed, and seen to help."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import advice_of_commands
import advice_of_images
import advice_of_mflux
import advice_of_models
import advice_of_plugins
import advice_of_strategies
import pytest
from advised import Case, collected, told

ABOUT = {
    "strategies": advice_of_strategies.cases,
    "commands": advice_of_commands.cases,
    "plugins": advice_of_plugins.cases,
    "mflux": advice_of_mflux.cases,
    "models": advice_of_models.cases,
    "images": advice_of_images.cases,
}


SLOW = {"models", "images"}  # which draw images


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for about, make in ABOUT.items():
        found |= make(tmp_path_factory.mktemp(about))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        names: list[Any] = []
        for about, make in ABOUT.items():
            marks = [pytest.mark.slow] if about in SLOW else []
            with tempfile.TemporaryDirectory() as folder:
                names += [pytest.param(name, marks=marks) for name in make(Path(folder))]
        metafunc.parametrize("name", names)


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    """What the cases are answered with, as far as they have been provoked."""
    return {}


def test_what_is_advised_helps(name: str, cases: dict[str, Case], messages: dict[str, str]) -> None:
    case = cases[name]
    message = told(case.wrong)
    assert message is not None
    messages[name] = message
    assert case.said in message
    for number, right in enumerate(case.right):
        assert told(right) is None, number


# By file and a part of the text: why these are not tried here.
SYSTEM = "it needs a system that denies something: tests/pieces/test_output_files.py, tests/presets/test_store.py"
OTHER_MFLUX = "it needs a mflux or an environment that is not here"
DOCTOR = "it needs an environment that is broken: tests/cli/own/doctor, .ci/installed"
NONE = "it is no advice"
OF_TUNE, OF_AUTO = "not yet: tests/tune look at its words", "not yet: tests/strategies/auto look at its words"
INTERRUPTED = "it is followed where a run is interrupted: tests/tune/test_tuning.py, tests/bench/test_unfinished.py"
UNTRIED = {
    ("bench/needs.py", "pip install"): OTHER_MFLUX,
    ("bench/pictures.py", "lower center"): NONE,
    ("bench/quality.py", "keeps what is done in"): INTERRUPTED,
    ("bench/quality.py", "every image's figures"): NONE,
    ("bench/settings.py", "run another package"): NONE,
    ("bench/speed.py", "write every run"): NONE,
    ("charts/steps.py", "lower center"): NONE,
    ("cli/mflux/arguments.py", "Attach an installed plugin"): NONE,
    ("cli/own/doctor/mflux_commands.py", "of another environment than this one"): DOCTOR,
    ("cli/own/doctor/mlx_device.py", "Use a Python for Apple silicon"): DOCTOR,
    ("cli/own/doctor/start_up.py", "{}. Reinstall mflux."): DOCTOR,
    ("cli/own/doctor/start_up.py", "or install an earlier mflux."): DOCTOR,
    ("cli/own/presets_command.py", "Give --replace to put"): "tests/cli/own/test_presets_command.py",
    ("cli/own/presets_command.py", "Give --replace to replace it"): "tests/cli/own/test_presets_command.py",
    ("strategies/auto/sources.py", "or make a preset of this run's own"): OF_AUTO,
    ("strategies/auto/sources.py", "{}. Compare an image with one of a full run before you rely on it."): OF_AUTO,
    ("tune/folder.py", "where nothing can be written"): SYSTEM,
    ("tune/folder.py", "run the same command to go on;"): SYSTEM,
    ("tune/folder.py", "finished {} kept in"): INTERRUPTED,
    ("tune/folder.py", "no image was finished"): INTERRUPTED,
    ("tune/outcome.py", "Looking for"): INTERRUPTED,
    ("tune/ranks.py", "another process has ended"): INTERRUPTED,
    ("tune/ranks.py", "or start the command without it."): OTHER_MFLUX,
    ("tune/settings.py", "or --demo for the small one"): OF_TUNE,
    ("tune/settings.py", "Leave one out."): OF_TUNE,
    ("tune/settings.py", "Write one in a line."): OF_TUNE,
    ("tune/settings.py", "Give --steps {}"): OF_TUNE,
    ("tune/settings.py", "Try --speedups {}."): OF_TUNE,
    ("pieces/output_files.py", "which cannot be written. Name a file"): SYSTEM,
    ("pieces/output_files.py", "which cannot be written{}. Name a file"): SYSTEM,
    ("pieces/output_files.py", "Name another file."): SYSTEM,
    ("presets/settings.py", "Leave some out."): "tests/presets/test_reading.py",
    ("presets/store.py", "cannot be listed"): SYSTEM,
    ("presets/store.py", "cannot be looked at"): SYSTEM,
    ("presets/store.py", "whose home directory is not known"): "tests/presets/test_store.py",
    ("presets/store.py", "could not be written to"): SYSTEM,
    ("presets/store.py", "Rename it."): "tests/presets/test_store.py",
    ("presets/store.py", "Write its name and folder"): "tests/cli/own/test_presets_command.py",
    ("show/comparison.py", "pip install"): "tests/show runs without scikit-image",
    ("show/comparison.py", "cannot be read: {}. Name an image"): "a file that is gone between two looks at it",
}


@pytest.mark.any_mflux  # an earlier one lacks a pipeline of which something is said
def test_there_is_no_advice_that_nobody_tries(cases: dict[str, Case], messages: dict[str, str]) -> None:
    every = [messages.get(name) or told(case.wrong) or "" for name, case in cases.items()]
    left = [each for each in collected() if not any(each.is_in(message) for message in every)]
    expected = {key: [each for each in left if each.file == key[0] and key[1] in each.text] for key in UNTRIED}
    assert [key for key, found in expected.items() if len(found) != 1] == []
    named = [each for found in expected.values() for each in found]
    assert [each for each in left if each not in named] == []
