"""How the package was installed, and the commands that install it anew, and others beside it."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from mflux_teacache import installation
from mflux_teacache.discovery import PACKAGE
from mflux_teacache.spelling import as_word


class Installed:
    """The metadata of an installed package, as its installer wrote them."""

    version = "1.2"

    def __init__(self, installer: str, direct: dict[str, Any] | None) -> None:
        self._texts = {"INSTALLER": f"{installer}\n", "direct_url.json": direct and json.dumps(direct)}

    def read_text(self, name: str) -> str | None:
        return self._texts[name]


PYTHON = as_word(sys.executable)
WHEEL = {"url": "file:///tmp/a%20folder/it.whl", "archive_info": {}}
AT = "/tmp/checkout"
CHECKOUT = {"url": f"file://{AT}", "dir_info": {}}
EDITABLE = {"url": "file:///tmp/checkout", "dir_info": {"editable": True}}


@pytest.mark.parametrize(
    ("installer", "direct", "described", "command"),
    [
        ("pip", None, "by pip from a package index", f"{PYTHON} -m pip install --force-reinstall --no-deps {PACKAGE}"),
        ("pip", EDITABLE, "by pip from a checkout, editable", "--no-deps -e /tmp/checkout"),
        (
            "uv",
            CHECKOUT,
            "by uv from a checkout",
            f"uv pip install --python {PYTHON} --reinstall --no-deps {AT}",
        ),
        ("uv", WHEEL, "by uv from a file or address", "--no-deps '/tmp/a folder/it.whl'"),
    ],
)
def test_how_it_was_installed_and_how_to_do_it_anew(
    monkeypatch: pytest.MonkeyPatch, installer: str, direct: dict[str, Any] | None, described: str, command: str
) -> None:
    monkeypatch.setattr(installation, "distribution", lambda name: Installed(installer, direct))
    assert installation.described() == f"1.2, installed {described}"
    assert installation.reinstall().endswith(command)


def test_as_a_tool_of_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "uv-receipt.toml").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert installation.reinstall() == f"uv tool upgrade mflux --reinstall-package {PACKAGE}"


@pytest.mark.parametrize(
    ("installer", "there", "anew"),
    [
        ("pip", f"{PYTHON} -m pip install", f"{PYTHON} -m pip install --force-reinstall"),
        ("conda", f"{PYTHON} -m pip install", f"{PYTHON} -m pip install --force-reinstall"),
        ("uv", f"uv pip install --python {PYTHON}", f"uv pip install --python {PYTHON} --reinstall"),
    ],
)
def test_how_to_install_something_beside_it(
    monkeypatch: pytest.MonkeyPatch, installer: str, there: str, anew: str
) -> None:
    monkeypatch.setattr(installation, "distribution", lambda name: Installed(installer, None))
    assert installation.installing("mlx>=0.30") == f"{there} 'mlx>=0.30'"
    assert installation.installing("mlx", anew=True) == f"{anew} mlx"


def test_not_installed_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "distribution", missing)
    assert installation.described() == "on Python's path, but not installed"
    assert installation.reinstall() == f"{PYTHON} -m pip install {PACKAGE}"
