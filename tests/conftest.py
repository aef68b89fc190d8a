"""Fixtures that several folders use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import PIL.Image
import pytest

# Two busy cores are no reason for a property to fail.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


# What a test asks for where it runs models, or console scripts in processes of their own.
SLOW = {"tiny", "commands"}


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is exhaustive or uses models or console scripts is slow, and no test has to say so; samples are not."""
    for item in items:
        slow = SLOW & set(item.fixturenames) and not item.get_closest_marker("sample")
        if slow or item.get_closest_marker("exhaustive"):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 64x64 picture with some structure, for image-to-image and control images."""
    path = tmp_path_factory.mktemp("images") / "photo.png"
    y, x = np.mgrid[:64, :64]
    pixels = np.stack([x * 4, y * 4, (x // 16 + y // 16) % 2 * 255], axis=-1)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of all pictures that a test writes, in the order in which they were made."""
    from matplotlib.figure import Figure

    made: list[Any] = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *where, **how: made.extend(figure.axes) or savefig(figure, *where, **how)
    )
    return made


@pytest.fixture
def tiny() -> Iterator[None]:
    """mflux in float32, FLUX.1 and FIBO narrow, images of any size, while the test runs."""
    from tiny_models import float32, narrow, small

    with float32(), narrow(), small():
        yield


@pytest.fixture(scope="session")
def installed_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that makes the plugins of ``cli_plugins`` installed."""
    import commands

    folder = tmp_path_factory.mktemp("installed")
    commands.install(folder)
    return folder


@pytest.fixture(scope="module")
def commands(installed_plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """mflux's console scripts and ours, in a folder of this module's own."""
    from commands import prepared

    return prepared(tmp_path_factory.mktemp("commands"), installed_plugins)


@pytest.fixture
def plugins_in_process(installed_plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same plugins are installed for this process too."""
    monkeypatch.syspath_prepend(installed_plugins)


@pytest.fixture(scope="session", autouse=True)
def no_presets_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """``auto`` would use them, also in console scripts, which inherit the environment."""
    from mflux_teacache.presets.store import VARIABLE

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, str(tmp_path_factory.mktemp("data")))
        yield
