"""Advice: all sentences of the package that give some, and cases that provoke one, follow it, and see that it helps."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mflux_teacache
from mflux_teacache.errors import PluginError, PluginWarning

ROOT = Path(mflux_teacache.__file__).parent

# What advice begins with, at the beginning of a sentence or after what is wrong; what only begins a sentence, since
# elsewhere it mostly is no advice; and a command to be run.
_ADVICE = re.compile(
    r"(?i:(?:^|[.;:,?] |\bor )(?:try|use|give|leave|name|add|ask|upgrade|lower|make|correct|write|reinstall|delete|"
    r"rename|attach|pip install|export|sort|wait|run|compare|record|set|go on) )"
    r"|(?:^|[.;:] )(?:Call|Check|Import|Install|Keep|Let|Measure|Move|Or|Put|Remove|Say|Show|Switch|Take|Tune|Turn) "
    r"|`(?:mflux-teacache|\{\}) "
)
_NOT_IN = ("demo/trainer/", "bench/laboratory/", "testing.py", "hookspecs.py")
# Arguments that are shown by --help (the last ones are those of ``add_outputs``), and a place in a picture.
_NO_MESSAGES = {"help", "description", "epilog", "json", "png", "sheet", "loc"}


@dataclass(frozen=True, slots=True)
class Case:
    """Attributes:
    wrong: does what is answered with advice: an error of ours, or a warning.
    said: a part of the message, with the advice.
    right: does what it says, in each way that it names, and must go through.
    """

    wrong: Callable[[], Any]
    said: str
    right: Sequence[Callable[[], Any]]


def told(act: Callable[[], Any]) -> str | None:
    """The error, or else the first warning, that something is answered with; ``None`` if it goes through."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PluginWarning)
        try:
            act()
        except PluginError as error:
            return str(error)
    return next((str(each.message) for each in caught if isinstance(each.message, PluginWarning)), None)


@dataclass(frozen=True, slots=True)
class Advice:
    """A text of the source that gives advice; ``{}`` stands for what is filled in."""

    file: str
    line: int
    text: str

    def is_in(self, message: str) -> bool:
        parts = self.text.split("{}")
        if not all(part in message for part in parts):  # which tells at once of nearly all
            return False
        return re.search(".*?".join(map(re.escape, parts)), message, re.DOTALL) is not None


def collected() -> list[Advice]:
    """All of the package."""
    return [advice for path in sorted(ROOT.rglob("*.py")) for advice in _in_file(path)]


def _in_file(path: Path) -> Iterator[Advice]:
    name = path.relative_to(ROOT).as_posix()
    if name.startswith(_NOT_IN):
        return
    tree = ast.parse(path.read_text())
    passed = {id(inner) for node in _no_messages(tree) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) not in passed and (text := _text(node)) is not None and _ADVICE.search(text):
            passed |= {id(inner) for inner in ast.walk(node)}
            yield Advice(name, node.lineno, text)


def _no_messages(tree: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, what ``--help`` shows, and what a picture needs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node
        elif (isinstance(node, ast.keyword) and node.arg in _NO_MESSAGES) or (
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("HELP")
        ):
            yield node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "option":  # of bench/settings.py: its help
            yield from node.args[:1]


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None
