"""Finds the cases: every ``cases_*.py`` here whose pipelines the installed mflux has."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

from installed import has
from tiny_models import Case

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))


def cases_of(*modules: str) -> dict[str, Case]:
    """By their names, the cases of these modules, or of all, whose pipelines are there."""
    cases: dict[str, Case] = {}
    for name in modules or MODULES:
        if all(map(has, _pipelines(name))):
            cases |= importlib.import_module(name).CASES
    return cases


def _pipelines(name: str) -> list[str]:
    """The modules of mflux's pipelines that a module of cases imports at its head."""
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text())
    imported = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [module for module in imported if module.startswith("mflux.models.") and ".variants" in module]
