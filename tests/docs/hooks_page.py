"""docs/hooks.md from the docstrings of the hooks. Run it to write the page; a test holds the two together."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from mflux_teacache import hookspecs

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"

HEAD = """\
# Hooks

What mflux calls and plugins implement. This page is made from the docstrings in `mflux_teacache/hookspecs.py` by
`python tests/docs/hooks_page.py`. [Writing a plugin](writing-a-plugin.md) shows them at work.

"""


def render() -> str:
    hooks = [function for name, function in vars(hookspecs).items() if name.startswith("mflux_")]
    introduction = _markdown(inspect.getdoc(hookspecs) or "").partition("\n\n")[2]
    return HEAD + introduction + "\n" + "".join(f"\n## `{signature(hook)}`\n\n{_body(hook)}\n" for hook in hooks)


def signature(hook: object) -> str:
    """As in the source: ``mflux_check(options: argparse.Namespace, target: Target) -> None``."""
    return f"{hook.__name__}{inspect.signature(hook)}".replace("'", "")  # type: ignore[attr-defined,arg-type]


def _body(hook: object) -> str:
    text = _markdown(inspect.getdoc(hook) or "")
    text = text.replace("When: ", "**When:** ").replace("Args:\n", "**Arguments:**\n\n")
    return re.sub(r"(?m)^    (\w+): ((?:.*\n?)(?:^ {5,}.*\n?)*)", _argument, text)


def _argument(match: re.Match[str]) -> str:
    return f"* `{match[1]}`: {' '.join(match[2].split())}\n"


def _markdown(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
