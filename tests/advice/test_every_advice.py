"""Each piece of advice that the program can print: it is provoked, followed, and seen to help."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import advice_of_benches
import advice_of_commands
import advice_of_files
import advice_of_help
import advice_of_strategies
import advice_of_tuning
import pytest
from advised import Case, collected, told

ABOUT = {
    "strategies": advice_of_strategies.cases,
    "benches": advice_of_benches.cases,
    "commands": advice_of_commands.cases,
    "files": advice_of_files.cases,
    "help": advice_of_help.cases,
    "tuning": advice_of_tuning.cases,
}


SLOW = {"tuning"}  # which draws images


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
BROKEN = "it needs a package or plugin that is broken: tests/test_plugins.py, tests/test_options_broken.py"
MODEL = "it needs a model: test_on_models.py beside this, tests/attachment, tests/adapters"
OTHER_MFLUX = "it needs a mflux or an environment that is not here"
ELSEWHERE = "tests/cli/mflux runs it in mflux's commands"
MAC = "it needs a Mac: tests/cli/own/doctor play one, test_mlx_without_metal and test_a_file_that_macos_hides"
UNTRIED = {
    ("__main__.py", "none; pip install mflux"): OTHER_MFLUX,
    ("adapters/entry_check.py", "upgrade mflux-teacache-plugin."): OTHER_MFLUX,
    ("adapters/entry_check.py", "Attach again."): MODEL,
    ("adapters/entry_check.py", "Call restore() on that model's handle first"): MODEL,
    ("adapters/entry_check.py", "use functools.wraps there."): MODEL,
    ("adapters/lifecycle.py", "Then attach first and wrap it afterwards."): MODEL,
    ("adapters/lifecycle.py", "nothing is recorded in its metadata. Call"): MODEL,
    ("adapters/lifecycle.py", "no plugin takes part in the image. Call"): MODEL,
    ("adapters/pipelines.py", "Run it without --plugin and"): ELSEWHERE,
    ("adapters/pipelines.py", "Turn it off, use a model without it"): ELSEWHERE,
    ("adapters/seam/compiled_blocks.py", "or upgrade mflux-teacache-plugin."): OTHER_MFLUX,
    ("adapters/seam/compiled_blocks.py", "Leave it out."): MODEL,
    ("adapters/swaps.py", "Attach first, and wrap it afterwards."): MODEL,
    ("attachment.py", "Give all of its options in one dict."): MODEL,
    ("bench/subjects.py", "Check the spelling"): MODEL,
    ("bench/subjects.py", "takes no LoRAs. Leave them out."): MODEL,
    ("bench/variants.py", "mflux compiles this model itself. Leave it out."): MODEL,
    ("cli/mflux/session.py", "Give them before the options of plugins."): ELSEWHERE,
    ("cli/mflux/sidecar.py", "To let it decide anew, add "): ELSEWHERE,
    ("cli/own/doctor/mlx_device.py", "Use a Python for Apple silicon"): MAC,
    ("cli/own/doctor/start_up.py", "Show it with `chflags nohidden"): MAC,
    ("cli/own/plugin_rows.py", "Reinstall or remove that package."): BROKEN,
    ("cli/startup.py", "=0 to silence this."): OTHER_MFLUX,
    ("discovery.py", "reinstall them: "): BROKEN,
    ("discovery.py", "Attach it by its name"): MODEL,
    ("errors.py", "to go on."): BROKEN,
    ("handle.py", "or name all plugins in one attach()."): MODEL,
    ("handle.py", "mlx-teacache is at work on this model already"): MODEL,
    ("handle.py", "Attach when that is done."): MODEL,
    ("handle.py", "Wait until that image is done"): MODEL,
    ("options.py", "Give another value, leave it out"): BROKEN,
    ("options.py", "report this to its authors."): BROKEN,
    ("plugins.py", "Name the plugin's class"): BROKEN,
    ("plugins.py", "cannot be imported"): BROKEN,
    ("plugins.py", "Write it without"): BROKEN,
    ("plugins.py", "reading {} failed"): BROKEN,
    ("plugins.py", "is not marked. Put @hookimpl"): BROKEN,
    ("plugins.py", "Write it as def"): BROKEN,
    ("plugins.py", "failed in {}: {}. Leave out"): BROKEN,
    ("runtime.py", "Then attach again."): MODEL,
    ("runtime.py", "Keep the arrays that are needed later"): MODEL,
    ("step.py", "Ask for at_output first."): "tests/adapters/test_reused_outputs.py",
    ("summary.py", "ask for fewer computed steps"): "tests/cli/mflux/test_advice.py, on a model",
}


# Likewise what test_on_environments.py, beside this, follows.
BESIDE = (
    ("cli/own/doctor/mflux_commands.py", "of another environment than this one"),
    ("cli/own/doctor/mlx_device.py", "MLX does not work here"),
    ("cli/own/doctor/start_up.py", "Switch it on with"),
    ("cli/own/doctor/start_up.py", "Install mflux anew with"),
    ("cli/own/doctor/start_up.py", "or an earlier mflux with"),
    ("cli/own/doctor/start_up.py", "Put it back with"),
    ("cli/own/doctor/start_up.py", "Until then"),
    ("cli/own/doctor/start_up.py", "does not work: {}. Install it anew with"),
    ("cli/own/doctor/versions.py", "Install it into this environment with"),
)


def test_there_is_no_advice_that_nobody_tries(cases: dict[str, Case], messages: dict[str, str]) -> None:
    every = [messages.get(name) or told(case.wrong) or "" for name, case in cases.items()]
    left = [each for each in collected() if not any(each.is_in(message) for message in every)]
    known = (*UNTRIED, *BESIDE)
    expected = {key: [each for each in left if each.file == key[0] and key[1] in each.text] for key in known}
    assert [key for key, found in expected.items() if len(found) != 1] == []
    named = [each for found in expected.values() for each in found]
    assert [each for each in left if each not in named] == []
