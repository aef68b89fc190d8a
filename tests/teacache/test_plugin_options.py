"""The plugin's options, and what it records of them with an image."""

import json
import math

import pytest
from scripted import DEV, generation
from teacache_steps import KONTEXT, attached, options

from mflux_teacache.errors import OptionError
from mflux_teacache.options import as_json

# --- options ---------------------------------------------------------------------------------------------------------


def test_defaults():
    assert vars(options()) == {
        "thresh": None,
        "max_computed": None,
        "speedup": None,
        "skip_first": None,
        "skip_last": None,
        "max_skips": 8,
        "forecast": None,
        "reuse": "body",
        "cache_dtype": None,
        "calibration": None,
        "coefficients": None,
        "force": False,
    }


GIVEN = {
    "thresh": 0.25,
    "max_computed": None,
    "speedup": None,
    "skip_first": 0.2,
    "skip_last": 3,
    "max_skips": 0,
    "forecast": 2,
    "reuse": "body",
    "cache_dtype": "bfloat16",
    "calibration": None,
    "coefficients": (-1.5, 2.0, 1e-07),
    "force": True,
}


@pytest.mark.parametrize("more", [{}, {"calibration": "flux1-dev", "coefficients": None}])
def test_values_survive_being_recorded_and_given_again(more):
    asked = GIVEN | more
    given = options(**asked)
    assert vars(given) == asked
    kinds = [type(getattr(given, name)) for name in GIVEN if getattr(given, name) is not None]
    assert kinds == [float, float, int, int, int, str, str, str if more else tuple, bool]
    assert vars(options(**json.loads(json.dumps(as_json(given))))) == asked


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("thresh", "high", "'high' is "),
        ("thresh", -0.1, "'-0.1' is "),
        ("thresh", "nan", "'nan' is "),
        ("thresh", "inf", "'inf' is "),
        ("skip_first", 1.5, "'1.5' is "),
        ("skip_first", "some", "'some' is "),
        ("skip_last", -1, "'-1' is "),
        ("skip_last", 1.0, "'1.0' is "),
        ("max_skips", -1, "'-1' is "),
        ("max_skips", 1.5, "'1.5' is "),
        ("max_computed", 0, "'0' is .* from 1"),
        ("speedup", 0.9, "'0.9' is .* from 1"),
        ("coefficients", [], "'' is not a list of 1 to 17 finite numbers"),
        ("coefficients", "1;2", "'1;2' is "),
        ("coefficients", "1,,2", "'1,,2' is "),
        ("coefficients", [1.0] * 18, r"'1\.0,1\.0,.*' is .* 17 "),
        ("coefficients", [1.0, math.nan], "'1.0,nan' is "),
    ],
)
def test_values_that_are_not_allowed(name, value, message):
    with pytest.raises(OptionError, match=f"--teacache-{name.replace('_', '-')}: {message}"):
        options(**{name: value})


# --- metadata --------------------------------------------------------------------------------------------------------


def test_metadata_is_what_the_image_was_made_with():
    recorded = attached(KONTEXT).instance.mflux_image_metadata(generation(28))
    assert json.loads(json.dumps(recorded, allow_nan=False)) == {
        "calibration": "flux1-kontext-dev",
        "coefficients": [-1046.55119, 312.563399, -16.9500694, 0.410995971, 0.0374537863],
        "range": [0.0, 0.18258884631278],
        "threshold": 0.22,
        "max_computed": None,
        "skip_first": 6,
        "skip_last": 3,
        "max_skips": 8,
        "forecast": 0,
        "reuse": "body",
        "cache_dtype": None,
    }


def test_metadata_without_limits_is_json():
    recorded = attached(DEV).instance.mflux_image_metadata(generation(25))
    assert json.dumps(recorded["range"], allow_nan=False) == "[0.0, null]"
