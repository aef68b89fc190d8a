"""Each piece of advice that the program can print: it is provoked, followed, and seen to help."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import advice_of_benches
import advice_of_commands
import advice_of_files
import advice_of_help
import advice_of_images
import advice_of_mflux
import advice_of_models
import advice_of_plugins
import advice_of_strategies
import advice_of_tuning
import pytest
from advised import Case, collected, told

ABOUT = {
    "strategies": advice_of_strategies.cases,
    "commands": advice_of_commands.cases,
    "plugins": advice_of_plugins.cases,
    "mflux": advice_of_mflux.cases,
    "models": advice_of_models.cases,
    "images": advice_of_images.cases,
    "benches": advice_of_benches.cases,
    "files": advice_of_files.cases,
    "help": advice_of_help.cases,
    "tuning": advice_of_tuning.cases,
}


SLOW = {"models", "images", "tuning"}  # which draw images


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
MAC = "it needs a Mac: tests/cli/own/doctor play one, test_mlx_without_metal and test_a_file_that_macos_hides"
UNTRIED = {
    ("cli/own/doctor/mlx_device.py", "Use a Python for Apple silicon"): MAC,
    ("cli/own/doctor/start_up.py", "Show it with `chflags nohidden"): MAC,
}


# Likewise what test_on_environments.py, beside this, follows.
BESIDE = (
    ("cli/own/doctor/mflux_commands.py", "of another environment than this one"),
    ("cli/own/doctor/mlx_device.py", "MLX does not work here"),
    ("cli/own/main.py", "says what to do"),
    ("cli/own/doctor/start_up.py", "Switch it on with"),
    ("cli/own/doctor/start_up.py", "Install mflux anew with"),
    ("cli/own/doctor/start_up.py", "or an earlier mflux with"),
    ("cli/own/doctor/start_up.py", "Put it back with"),
    ("cli/own/doctor/start_up.py", "Until then"),
    ("cli/own/doctor/start_up.py", "does not work: {}. Install it anew with"),
    ("cli/own/doctor/versions.py", "Install it into this environment with"),
)


@pytest.mark.any_mflux  # an earlier one lacks a pipeline of which something is said
def test_there_is_no_advice_that_nobody_tries(cases: dict[str, Case], messages: dict[str, str]) -> None:
    every = [messages.get(name) or told(case.wrong) or "" for name, case in cases.items()]
    left = [each for each in collected() if not any(each.is_in(message) for message in every)]
    known = (*UNTRIED, *BESIDE)
    expected = {key: [each for each in left if each.file == key[0] and key[1] in each.text] for key in known}
    assert [key for key, found in expected.items() if len(found) != 1] == []
    named = [each for found in expected.values() for each in found]
    assert [each for each in left if each not in named] == []
