"""JSON that somebody has tampered with, the same for a seed: other values in any place, and broken text."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Iterator
from typing import Any

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**63, 10**400, -(10**400), 0.5, -0.0, 5e-324, 1e308, -1e308, math.nan, math.inf),
    *("", " ", "a", "\x00", "\x1b[2J", "\ud83d", "../../etc/passwd", "/dev/zero", "S" * 50, "a" * 20_000),
    *([], {}, [None], [0.5] * 3, [1.0] * 3000, ["a"] * 300, {"a": 1}, {"": {}}, [[[[[[]]]]]]),
]


def texts(content: dict[str, Any], count: int, seed: int) -> Iterator[str]:
    """So many files that differ from a good one."""
    chance = random.Random(seed)
    for _ in range(count):
        changed = copy.deepcopy(content)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            changed = _changed(changed, chance)
        text = json.dumps(changed)
        yield _broken(text, chance) if chance.random() < 0.2 else text


def _changed(value: Any, chance: random.Random) -> Any:
    """One place of it is another value, gone, twice there, or has another name."""
    containers = [inner for inner in _within(value) if inner]
    if not containers:
        return _odd(chance)
    container = chance.choice(containers)
    key = chance.choice(list(container) if isinstance(container, dict) else range(len(container)))
    act = chance.randrange(5)
    if act == 0:
        del container[key]
    elif act == 1 and isinstance(container, list):
        container.insert(key, container[key])
    elif act == 1:
        container[chance.choice(["", "schema", "a" * 300, f"{key}s"])] = container.pop(key)
    elif act == 2:
        container[key] = [container[key]]
    else:
        container[key] = _odd(chance)
    return value


def _odd(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(VALUES))


def _within(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _within(inner)


def _broken(text: str, chance: random.Random) -> str:
    start = chance.randrange(len(text))
    end = min(len(text), start + chance.choice((1, 3, 50)))
    return text[:start] + chance.choice(("", text[start:end] * 2, "[" * 3000, '"', "}", "9" * 2000, "é")) + text[end:]
