"""Each piece of advice that the program can print: it is provoked, followed, and seen to help."""

from __future__ import annotations

import tempfile
from pathlib import Path

import advice_of_commands
import advice_of_files
import advice_of_strategies
import pytest
from advised import Case, collected, told

ABOUT = {"strategies": advice_of_strategies.cases, "commands": advice_of_commands.cases, "files": advice_of_files.cases}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for about, make in ABOUT.items():
        found |= make(tmp_path_factory.mktemp(about))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        names: list[str] = []
        for make in ABOUT.values():
            with tempfile.TemporaryDirectory() as folder:
                names += make(Path(folder))
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
SYSTEM = "it needs a system that denies something: tests/pieces/test_output_files.py, tests/presets/test_store.py"
OTHER_MFLUX = "it needs a mflux or an environment that is not here"
DOCTOR = "it needs an environment that is broken: tests/cli/own/doctor, .ci/installed"
ELSEWHERE = "tests/cli/mflux runs it in mflux's commands"
NONE = "it is no advice"
OF_TUNE, OF_AUTO = "not yet: tests/tune look at its words", "not yet: tests/strategies/auto look at its words"
INTERRUPTED = "it is followed where a run is interrupted: tests/tune/test_tuning.py, tests/bench/test_unfinished.py"
UNTRIED = {
    ("__main__.py", "none; pip install mflux"): OTHER_MFLUX,
    ("adapters/entry_check.py", "upgrade mflux-teacache-plugin."): OTHER_MFLUX,
    ("adapters/entry_check.py", "Attach again."): MODEL,
    ("adapters/entry_check.py", "use functools.wraps there."): MODEL,
    ("adapters/lifecycle.py", "Then attach first and wrap it afterwards."): MODEL,
    ("adapters/pipelines.py", "lists every pipeline."): ELSEWHERE,
    ("adapters/pipelines.py", "Turn it off, use a model without it"): ELSEWHERE,
    ("adapters/seam/compiled_blocks.py", "or upgrade mflux-teacache-plugin."): OTHER_MFLUX,
    ("adapters/seam/compiled_blocks.py", "Leave it out."): MODEL,
    ("attachment.py", "Give all of its options in one dict."): MODEL,
    ("bench/needs.py", "pip install"): OTHER_MFLUX,
    ("bench/pictures.py", "lower center"): NONE,
    ("bench/quality.py", "keeps what is done in"): INTERRUPTED,
    ("bench/quality.py", "every image's figures"): NONE,
    ("bench/settings.py", "run another package"): NONE,
    ("bench/speed.py", "write every run"): NONE,
    ("bench/subjects.py", "Check the spelling"): MODEL,
    ("bench/subjects.py", "takes no LoRAs. Leave them out."): MODEL,
    ("bench/variants.py", "mflux compiles this model itself. Leave it out."): MODEL,
    ("charts/steps.py", "lower center"): NONE,
    ("cli/mflux/arguments.py", "Attach an installed plugin"): NONE,
    ("cli/mflux/session.py", "Give them before the options of plugins."): ELSEWHERE,
    ("cli/mflux/sidecar.py", "To let it decide anew, add "): ELSEWHERE,
    ("cli/own/plugin_rows.py", "Reinstall or remove that package."): BROKEN,
    ("cli/own/doctor/mflux_commands.py", "of another environment than this one"): DOCTOR,
    ("cli/own/doctor/mlx_device.py", "Use a Python for Apple silicon"): DOCTOR,
    ("cli/own/doctor/start_up.py", "{}. Reinstall mflux."): DOCTOR,
    ("cli/own/doctor/start_up.py", "or install an earlier mflux."): DOCTOR,
    ("cli/startup.py", "=0 to silence this."): OTHER_MFLUX,
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
    ("discovery.py", "reinstall them: "): BROKEN,
    ("discovery.py", "Attach it by its name"): MODEL,
    ("errors.py", "to go on."): BROKEN,
    ("handle.py", "Call restore() on its handle first"): MODEL,
    ("handle.py", "Attach when that is done."): MODEL,
    ("handle.py", "Wait until that image is done"): MODEL,
    ("options.py", "Give another value, leave it out"): BROKEN,
    ("options.py", "report this to its authors."): BROKEN,
    ("pieces/output_files.py", "which cannot be written. Name a file"): SYSTEM,
    ("pieces/output_files.py", "which cannot be written{}. Name a file"): SYSTEM,
    ("pieces/output_files.py", "Name another file."): SYSTEM,
    ("plugins.py", "Name the plugin's class"): BROKEN,
    ("plugins.py", "cannot be imported"): BROKEN,
    ("plugins.py", "Write it without"): BROKEN,
    ("plugins.py", "reading {} failed"): BROKEN,
    ("plugins.py", "Write it as def"): BROKEN,
    ("plugins.py", "failed in {}: {}. Leave out"): BROKEN,
    ("presets/settings.py", "Leave some out."): "tests/presets/test_reading.py",
    ("presets/store.py", "cannot be listed"): SYSTEM,
    ("presets/store.py", "cannot be looked at"): SYSTEM,
    ("presets/store.py", "whose home directory is not known"): "tests/presets/test_store.py",
    ("presets/store.py", "could not be written to"): SYSTEM,
    ("presets/store.py", "Rename it."): "tests/presets/test_store.py",
    ("presets/store.py", "Write its name and folder"): "tests/cli/own/test_presets_command.py",
    ("runtime.py", "Then attach again."): MODEL,
    ("show/comparison.py", "pip install"): "tests/show runs without scikit-image",
    ("show/comparison.py", "cannot be read: {}. Name an image"): "a file that is gone between two looks at it",
    ("step.py", "Ask for at_output first."): "tests/adapters/test_reused_outputs.py",
    ("summary.py", "ask for fewer computed steps"): "tests/cli/mflux/test_advice.py, on a model",
}


def test_there_is_no_advice_that_nobody_tries(cases: dict[str, Case], messages: dict[str, str]) -> None:
    every = [messages.get(name) or told(case.wrong) or "" for name, case in cases.items()]
    left = [each for each in collected() if not any(each.is_in(message) for message in every)]
    expected = {key: [each for each in left if each.file == key[0] and key[1] in each.text] for key in UNTRIED}
    assert [key for key, found in expected.items() if len(found) != 1] == []
    named = [each for found in expected.values() for each in found]
    assert [each for each in left if each not in named] == []
