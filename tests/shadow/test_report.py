"""A shadow run's table and JSON, from made-up rows."""

from __future__ import annotations

import json
import math

import pytest

from mflux_teacache.shadow.report import Report, Row, as_json, as_text

TEACACHE = Row("teacache", 0.2, (None, 0.0312, 0.125, None))
CAREFUL = Row("teacache", 0.1, (None, None, None, None))
SECOND = Row("every-second", None, (None, 1.5, None, math.nan))


def test_what_a_row_comes_to():
    assert (TEACACHE.pattern, TEACACHE.computed, TEACACHE.speedup) == ("CSSC", 2, 2.0)
    assert TEACACHE.mean == pytest.approx(0.0781)
    assert TEACACHE.worst == 0.125
    assert (CAREFUL.pattern, CAREFUL.mean, CAREFUL.worst, CAREFUL.speedup) == ("CCCC", None, None, 1.0)
    assert math.isnan(SECOND.worst)
    assert math.isnan(Row("x", None, (None, math.nan, 0.5)).worst)  # max() would give either, by their order


def test_the_table():
    *heading, blank, titles, careful, teacache, second, space, left_out, note = as_text(
        Report([CAREFUL, TEACACHE, SECOND], {"magcache": "it has no table."}, ["teacache: made elsewhere."])
    ).splitlines()
    assert "every step was computed" in heading[0]
    assert "The path is the full run's" in heading[-1]
    assert blank == space == ""
    assert titles == "STRATEGY      THRESHOLD  COMPUTED  AT BEST  MEAN  WORST  0   1  2   3"
    assert careful == "teacache            0.1    4 of 4    1.00x     -      -  .   .  .   ."
    assert teacache == "teacache            0.2    2 of 4    2.00x   7.8   12.5  .   3 12   ."
    assert second == "every-second          -    2 of 4    2.00x   nan    nan  . 150  . nan"
    assert left_out == "magcache is left out: it has no table."
    assert note == "teacache: made elsewhere."


def test_without_a_row_the_reasons_are_told():
    lines = as_text(Report([], {"teacache": "no calibration."})).splitlines()
    assert lines[-1] == "teacache is left out: no calibration."
    assert not [line for line in lines if line.startswith("STRATEGY")]


def test_json_is_plain_and_short():
    content = as_json(Report([TEACACHE, SECOND], {"magcache": "no table"}))
    assert json.loads(json.dumps(content, allow_nan=False)) == {
        "path": "full run",
        "error": "relative L1 of the body's output, first branch that reuses",
        "runs": [
            {"strategy": "teacache", "threshold": 0.2, "pattern": "CSSC", "errors": [0.0312, 0.125]},
            {"strategy": "every-second", "threshold": None, "pattern": "CSCS", "errors": [1.5, None]},
        ],
        "left_out": {"magcache": "no table"},
    }
