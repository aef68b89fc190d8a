"""What is in the wheel, and what is only in the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = "mflux_teacache"
ONLY_HERE = (f"{PACKAGE}/bench/laboratory/", f"{PACKAGE}/demo/trainer/")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        ["uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)], check=True, capture_output=True
    )
    [built] = folder.glob("*.whl")
    return built


def test_it_has_the_package_but_for_what_only_we_need(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).rglob("*.py")}
    left_out = {name for name in ours if name.startswith(ONLY_HERE)}
    assert {name for name in names if name.endswith(".py")} == ours - left_out
    assert {name.rpartition("/")[0] + "/" for name in left_out} == set(ONLY_HERE)
    assert {f"{PACKAGE}/demo/emoji.safetensors", f"{PACKAGE}.pth", f"{PACKAGE}/py.typed"} <= names
    assert {f"{PACKAGE}/report/page.{kind}" for kind in ("html", "css", "js")} <= names
    # Nothing else lies beside the package.
    assert {name for name in names if "/" not in name} == {f"{PACKAGE}.pth", f"{PACKAGE}.start"}


def test_its_size_is_nearly_all_the_demo_s_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        model = content.getinfo(f"{PACKAGE}/demo/emoji.safetensors").compress_size
    assert model < 24e6
    assert wheel.stat().st_size - model < 1e6


def test_what_is_in_it_imports_nothing_that_is_not(wheel: Path) -> None:
    modules = [part.rstrip("/").replace("/", ".") for part in ONLY_HERE]
    with zipfile.ZipFile(wheel) as content:
        for name in content.namelist():
            text = content.read(name).decode() if name.endswith(".py") else ""
            lines = [
                line for line in text.splitlines() if "import" in line and any(module in line for module in modules)
            ]
            assert not lines, name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--random-weights", "fibo"], "error: --random-weights is for a checkout of this package's repository"),
        (["--compare", "mlx-teacache"], "error: --compare is for a checkout of this package's repository"),
    ],
)
def test_an_option_that_needs_more_says_so(wheel: Path, tmp_path: Path, words: list[str], told: str) -> None:
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path)
    ran = subprocess.run(
        [sys.executable, "-m", f"{PACKAGE}.bench", "speed", *words],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2, ran.stderr
    assert told in ran.stderr
