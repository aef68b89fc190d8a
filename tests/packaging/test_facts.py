"""What the package and its repository say of themselves: addresses, licences, Pythons, what an issue asks for."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

import mflux_teacache
from mflux_teacache.addresses import REPOSITORY, SITE, page

ROOT = Path(__file__).parents[2]
PACKAGE = Path(mflux_teacache.__file__).parent
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
FIGURES = sorted(PACKAGE.rglob("*.json"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def parsed(path: Path) -> Any:
    # ``on``, a key of every workflow, is true in the YAML that this parser reads.
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# --- Addresses ---


def test_every_address_of_ours_is_the_one_in_the_package() -> None:
    files = [ROOT / "pyproject.toml", ROOT / "mkdocs.yml", ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    for path in [*files, *(ROOT / ".github").rglob("*.yml")]:
        found = re.findall(r"https://[\w.-]+/[\w./-]*mflux-teacache-plugin\b", path.read_text(encoding="utf-8"))
        assert {*found} <= {REPOSITORY, SITE.rstrip("/"), raw}, path


def test_every_page_that_a_message_names_is_there() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"""\{page\(["']([\w-]+)["']\)\}""", code))
    assert {"troubleshooting", "hooks"} <= named
    assert all((ROOT / "docs" / f"{name}.md").exists() for name in named), named


def test_an_address_is_that_of_a_page() -> None:
    assert page("hooks") == f"{SITE}hooks/"


# --- Licences ---


def sources(path: Path) -> list[tuple[str, str]]:
    """Where the figures of a shipped file come from, each with its licence."""
    content = json.loads(path.read_text(encoding="utf-8"))
    given = content.get("lists") or [content]
    return [(entry["source"], entry["license"]) for entry in given]


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_of_figures_says_whose_they_are_and_the_notice_does_too(path: Path) -> None:
    licences = {"Apache-2.0": "Apache License 2.0", "MIT": "MIT License"}
    for source, licence in sources(path):
        urls = re.findall(r"https://[^\s,;)]+", source)
        assert urls or source.startswith(("recorded by magcache-record", "fitted by python -m mflux_teacache")), source
        for url in urls:
            [entry] = [" ".join(text.split()) for text in NOTICE.split("\n* ") if re.search(rf"{url}(?![\w-])", text)]
            assert licences[licence].split()[0] in entry, (url, licence)


def test_there_is_no_shipped_data_of_another_kind() -> None:
    """A new kind needs a check of its own here."""
    kinds = {path.suffix for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    ours = {".py", ".typed", ".pth", ".start", ".html", ".css", ".js"}
    assert kinds == {*ours, ".json", ".safetensors"}


def test_the_package_s_licence_covers_all_of_them() -> None:
    named = {licence for path in FIGURES for _, licence in sources(path)}
    assert set(metadata("mflux-teacache-plugin")["License-Expression"].split(" AND ")) == named | {"Apache-2.0"}


# --- Workflows and issue forms ---


def test_every_supported_python_is_tested_and_said() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = {found[1] for line in project["classifiers"] if (found := re.search(r":: (3\.\d+)$", line))}
    matrix = parsed(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert set(matrix["python"]) == said
    assert project["requires-python"] == f">={min(said, key=lambda version: int(version[2:]))}"


def test_every_mflux_that_a_workflow_names_is_one_of_the_matrix() -> None:
    lines = set(re.findall(r'(?m)^  "([\w.]+) \|', (ROOT / ".ci" / "matrix").read_text(encoding="utf-8")))
    jobs = [job for path in WORKFLOWS for job in parsed(path)["jobs"].values()]
    named = {name for job in jobs for name in job.get("strategy", {}).get("matrix", {}).get("mflux", [])}
    assert named == lines


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_only_actions_that_cannot_change_and_may_only_read(path: Path) -> None:
    content = parsed(path)
    assert content["permissions"] == {"contents": "read"}  # a job that may do more says so itself
    used = [step["uses"] for job in content["jobs"].values() for step in job.get("steps", []) if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used), used


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_asks_for_the_doctor_s_page(path: Path) -> None:
    [asked] = [field for field in parsed(path)["body"] if field.get("id") == "doctor"]
    assert "mflux-teacache doctor" in asked["attributes"]["description"]
    assert asked["validations"]["required"]
