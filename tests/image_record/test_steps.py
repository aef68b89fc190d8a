"""What an image records of each step comes back as it was written, and stays small."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from mflux_teacache.errors import OptionError
from mflux_teacache.image_record import steps
from mflux_teacache.records import StepRecord

RECORDS = (
    StepRecord(index=0, sigma=1.0, decision="forced", reason="first steps", seconds=2.5),
    StepRecord(
        index=1,
        sigma=0.9,
        decision="skipped",
        reason="under",
        change=0.1,
        prediction=0.2,
        running_sum=0.2,
        threshold=0.3,
    ),
    StepRecord(index=2, sigma=0.8, decision="computed", change=0.4, prediction=0.5, running_sum=0.7, threshold=0.3),
    StepRecord(index=3, sigma=0.7, decision="partial", reason="under", branches="CS"),
)


def test_what_is_written_comes_back() -> None:
    columns = json.loads(json.dumps(steps.as_json(RECORDS), allow_nan=False))
    assert steps.parse("it", columns, "CSCP", {3: "CS"}) == RECORDS
    assert (columns["forced"], columns["reasons"], columns["reason"]) == (
        [0],
        ["first steps", "under"],
        [0, 1, None, 1],
    )


def test_of_an_image_of_an_earlier_version_there_are_the_outcomes() -> None:
    records = steps.parse("it", {}, "CSP", {2: "SC"})
    assert [record.decision for record in records] == ["computed", "skipped", "partial"]
    assert (records[2].branches, records[1].score, records[0].reason) == ("SC", None, "")


def test_numbers_are_rounded_and_those_that_are_not_finite_unknown() -> None:
    made = [
        StepRecord(index=0, sigma=None, decision="computed", change=change) for change in (1 / 3, math.nan, math.inf)
    ]
    assert steps.as_json(made)["change"] == [0.333333, None, None]


def test_a_column_of_which_nothing_is_known_is_missing() -> None:
    assert steps.as_json([StepRecord(index=0, sigma=None, decision="skipped")]) == {}


def numbered(count: int, reason: str = "under the threshold") -> list[StepRecord]:
    known = {"change": 0.123456789, "prediction": 0.123456789, "running_sum": 1.23456789, "seconds": 0.123456789}
    return [
        StepRecord(index=index, sigma=0.123456789, decision="skipped", threshold=0.2, reason=f"{reason}", **known)
        for index in range(count)
    ]


def test_usual_runs_are_recorded_and_small() -> None:
    assert 0 < len(json.dumps(steps.as_json(numbered(50)))) < 4000
    assert steps.as_json(numbered(200))


def test_what_would_be_too_much_is_left_out() -> None:
    assert steps.as_json(numbered(1000)) == {}
    long = steps.as_json(numbered(1, "x" * 200))
    assert [len(reason) for reason in long["reasons"]] == [steps.LONGEST_REASON]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ([], "it is [], and must be an object"),
        ({"change": [1.0]}, "it.change is [1.0], and it must be a list of 3, each a number up to 1e100 or null"),
        ({"change": [1.0, None, "x"]}, "it.change is [1.0, None, 'x']"),
        ({"seconds": [1.0, None, True]}, "it.seconds"),
        ({"seconds": [1.0, None, -1.0]}, "it.seconds"),
        ({"seconds": [1.0, None, 10**308]}, "it.seconds"),
        ({"forced": [3]}, "it.forced is [3], and it must be a list of steps below 3"),
        ({"reasons": ["a"] * 4}, "it.reasons"),
        ({"reasons": "a", "reason": [0, 0, 0]}, "it.reasons"),
        ({"reasons": ["a"], "reason": [0, 1, 0]}, "it.reason is [0, 1, 0], and it must be"),
        ({"reason": [0, 0, 0]}, "it.reason"),
    ],
)
def test_another_table_is_refused_by_name(table: Any, problem: str) -> None:
    with pytest.raises(OptionError) as refusal:
        steps.parse("it", table, "CSC", {})
    assert str(refusal.value).startswith(problem)
    assert str(refusal.value).endswith("to see the outcomes alone.")


def test_a_column_of_a_later_version_is_no_matter() -> None:
    assert steps.parse("it", {"later": "x"}, "C", {})[0].decision == "computed"
