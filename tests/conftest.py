"""Fixtures that several folders use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import PIL.Image
import pytest

# Two busy cores are no reason for a property to fail.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 64x64 picture with some structure, for image-to-image and control images."""
    path = tmp_path_factory.mktemp("images") / "photo.png"
    y, x = np.mgrid[:64, :64]
    pixels = np.stack([x * 4, y * 4, (x // 16 + y // 16) % 2 * 255], axis=-1)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def tiny() -> Iterator[None]:
    """mflux in float32 and FLUX.1 narrow while the test runs."""
    from tiny_models import float32, narrow_flux1

    with float32(), narrow_flux1():
        yield
