"""docs/hooks.md from the docstrings of the hooks and of their values. Run it to write the page; a test holds both."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mflux_teacache import hookspecs, records, stats, step
from mflux_teacache.about import About

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"

HEAD = """\
# Hooks

What mflux calls and plugins implement, and the [values](#values) that go to and fro. Made from the docstrings of
`mflux_teacache/hookspecs.py`, `about.py`, `step.py`, `records.py` and `stats.py` by `python tests/docs/hooks_page.py`.
[Writing a plugin](writing-a-plugin.md) shows the hooks at work.

"""

VALUES = """
## Values

What hooks are given and what they give back. `from mflux_teacache import Decision` imports the one that plugins make.
The others are in `mflux_teacache.step`, `records` and `stats`, for annotations.
"""

# In the order in which a plugin meets them.
RECORDS = (
    records.Target,
    records.Generation,
    step.Step,
    step.Decision,
    step.Body,
    step.BodyBranch,
    records.StepRecord,
    records.GenerationStats,
    stats.AttachmentStats,
    About,
)


def render() -> str:
    hooks = [function for name, function in vars(hookspecs).items() if name.startswith("mflux_")]
    introduction = _markdown(inspect.getdoc(hookspecs) or "").partition("\n\n")[2]
    described = "".join(f"\n## `{signature(hook)}`\n\n{_body(hook)}\n" for hook in hooks)
    return HEAD + introduction + "\n" + described + VALUES + "".join(map(record, RECORDS))


def signature(described: Any) -> str:
    """As in the source: ``mflux_check(options: argparse.Namespace, target: Target) -> None``."""
    return described.__name__ + re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(described)))


def _body(hook: object) -> str:
    text = _markdown(inspect.getdoc(hook) or "")
    text = text.replace("When: ", "**When:** ").replace("Args:\n", "**Arguments:**\n\n")
    return "".join(_listed(text, {}))


def record(cls: type) -> str:
    """A class: what it is, its fields with their types, and its properties and methods."""
    types = dict(inspect.signature(cls).parameters)
    text, _, attributes = _markdown(inspect.getdoc(cls) or "").partition("\nAttributes:\n")
    lines = [*_listed(attributes, types), *_unsaid(cls, attributes), *_members(cls)]
    return f"\n### `{cls.__name__}`\n\n{text.strip()}\n" + ("\n" if lines else "") + "".join(lines)


def _listed(text: str, types: dict[str, Any]) -> Iterator[str]:
    """The text, with each of its indented entries ``name, name: what it is`` as a bullet."""
    entry = re.compile(r"(?m)^    (\w+(?:, \w+)*): ((?:.*\n?)(?:^ {5,}.*\n?)*)")

    def bullet(match: re.Match[str]) -> str:
        names = ", ".join(f"`{name}{_typed(types.get(name))}`" for name in match[1].split(", "))
        return f"* {names}: {' '.join(match[2].split())}\n"

    yield entry.sub(bullet, text)


def _typed(parameter: Any) -> str:
    return "" if parameter is None else f": {parameter.annotation}"


def _unsaid(cls: type, attributes: str) -> Iterator[str]:
    """Fields of which the docstring's list does not tell."""
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if not field.name.startswith("_") and not re.search(rf"(?m)^    (?:\w+, )*{field.name}[,:]", attributes):
                yield f"* `{field.name}: {field.type}`\n"


def _members(cls: type) -> Iterator[str]:
    for name in vars(cls):
        value = inspect.getattr_static(cls, name)
        if name.startswith("_") or not (isinstance(value, property | classmethod) or inspect.isfunction(value)):
            continue
        if isinstance(value, property):
            title = f"{name}: {value.fget.__annotations__['return']}"  # type: ignore[union-attr]
        else:
            title = re.sub(r"\(self(?:, )?", "(", signature(getattr(cls, name)))
        said = " ".join(_markdown(inspect.getdoc(value) or "").split())
        yield f"* `{title}`{f': {said}' if said else ''}\n"


def _markdown(text: str) -> str:
    return re.sub(r":class:`(\w+)`", r"`\1`", text.replace("``", "`"))


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
