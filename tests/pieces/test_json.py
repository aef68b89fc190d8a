"""JSON from anywhere is parsed in bounded time, or refused with what is allowed."""

import json

import pytest

from mflux_teacache.pieces.input_files import MOST_DIGITS, levels, parse_json
from mflux_teacache.spelling import brief


@pytest.mark.parametrize("value", [None, [1, 2.5, "é"], {"a": {"a": [10**400, -(10**998)]}}])
def test_json_is_json(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[{'9' * (MOST_DIGITS + 1)}]", "it has a whole number of 1001 digits, and at most 1000 are read"),
        ("9" * 4_000_000, "it has a whole number of 4000000 digits"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "it has 'c' twice in one object"),
        ('{"' + "a" * 5000 + '": 1, "' + "a" * 5000 + '": 1}', r"it has 'a+\.\.\.a+' twice"),
        ("{" + ",".join(f'"{number}": 0' for number in (*range(100_000), 99_999)) + "}", "it has '99999' twice"),
        ("{'a': 1}", "Expecting property name"),
        ("", "Expecting value"),
    ],
    ids=range(7),
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        parse_json(text)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("text", ["[" * 4_000_000, '{"a":' * 800_000])
def test_endless_brackets_end(text):
    with pytest.raises(RecursionError):
        parse_json(text)


@pytest.mark.parametrize(
    ("value", "count"), [(1, 0), ("a", 0), ([], 1), ({}, 1), ([[], {"a": [1]}], 3), ({"a": {"b": {}}}, 3)]
)
def test_levels(value, count):
    assert levels(value) == count


def test_levels_of_what_is_nested_deeper_than_functions_can_be():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert levels(deep) == 100_001
    while deep:  # let go of from the outside in: Python's own way would be as deep
        deep = deep.pop()


@pytest.mark.parametrize(
    "value", ["a" * 10**6, list(range(10**6)), 10**4000, {str(n): n for n in range(10**5)}, b"a" * 10**6]
)
def test_values_are_shown_in_short(value):
    assert len(brief(value)) < 600
