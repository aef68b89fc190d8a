"""What the plugin refuses, and what it warns of."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import DEV
from teacache_steps import FILL, KLEIN, KONTEXT, LENS, UNKNOWN, attached, check, options

from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.records import Target
from mflux_teacache.teacache.plugin import TeaCache

# --- refusals --------------------------------------------------------------------------------------------------------


def test_what_is_calibrated_passes():
    check(DEV)
    check(DEV, steps=3)
    check(FILL, steps=25)
    check(KLEIN, force=True, thresh=0.5)
    check(UNKNOWN, thresh=0.5, coefficients=[1.0, 0.0])


def test_a_target_that_is_not_known_yet_passes():
    check(Target(pipeline="Flux1"), steps=1)


def test_a_model_without_calibration():
    with pytest.raises(Refused, match=r"no calibration for baidu/ERNIE-Image .*first-block-cache"):
        check(UNKNOWN)
    with pytest.raises(Refused, match="no calibration"):
        check(UNKNOWN, force=True)  # there is no polynomial to force


@pytest.mark.parametrize("own", [{}, {"thresh": 0.5, "coefficients": [1.0, 0.0]}], ids=["calibration", "by hand"])
def test_a_distilled_model(own):
    with pytest.raises(Refused, match=r"FLUX\.2-klein-4B is distilled to a few steps.*base model.*--teacache-force"):
        check(KLEIN, **own)
    check(KLEIN, force=True, **{"thresh": 0.5, **own})


def test_a_distilled_model_without_a_calibration_is_told_that_it_is_distilled():
    with pytest.raises(Refused, match="Comfy-Org/Lens is distilled to a few steps"):
        check(LENS)
    with pytest.raises(Refused, match="no calibration for Comfy-Org/Lens"):
        check(LENS, force=True)
    check(LENS, force=True, thresh=0.5, coefficients=[1.0, 0.0])


def test_a_checkpoint_based_on_a_distilled_model():
    with pytest.raises(Refused, match="/models/mine is distilled"):
        check(Target(pipeline="Flux2Klein", model="/models/mine", base_model=KLEIN.model), thresh=0.5)


def test_a_file_of_ones_own_that_says_distilled(own_file):
    with pytest.raises(Refused, match="is distilled"):
        check(DEV, calibration=own_file(distilled=True))


def test_no_threshold_anywhere():
    with pytest.raises(
        OptionError, match=r"no default threshold .* flux2-klein-4b\. .*--teacache-thresh.*above 0\.424"
    ):
        check(KLEIN, force=True)
    with pytest.raises(OptionError, match=r"no default threshold .* by hand"):
        check(LENS, force=True, coefficients=[1.0, 0.0])
    check(DEV, coefficients=[1.0, 0.0])  # that of the model's calibration, in the same unit


def test_a_calibration_and_coefficients():
    with pytest.raises(
        OptionError, match="argument --teacache-coefficients: not allowed with .* --teacache-calibration"
    ):
        check(DEV, thresh=0.5, calibration="flux1-dev", coefficients=[1.0, 0.0])


def test_a_calibration_of_another_model():
    check(DEV, calibration="flux1-krea-dev")
    check(UNKNOWN, calibration="flux1-dev")


@pytest.mark.parametrize("polynomial", [[1e308] * 5, [1e-320, 1.0, 1.0, 1.0], [1e308, -1e308, 1e308, 1.0]])
@pytest.mark.parametrize("range_", [None, [0.1, 0.2]])
def test_a_polynomial_that_cannot_be_followed_is_refused_before_weights_load(own_file, polynomial, range_):
    with pytest.raises(OptionError, match="TeaCache cannot follow its polynomial"):
        check(DEV, calibration=own_file(polynomial=polynomial, range=range_))
    with pytest.raises(OptionError, match="TeaCache cannot follow its polynomial"):
        check(DEV, thresh=0.5, coefficients=polynomial)


def test_a_file_is_read_once(own_file):
    """It may change, or be gone, while images are made."""
    path = Path(own_file())
    plugin, given = TeaCache(), options(calibration=str(path))
    plugin.mflux_check(given, DEV)
    path.write_text("{}")
    plugin.mflux_attach(given, DEV)
    path.unlink()
    plugin.mflux_check(given, replace(DEV, active_steps=20))
    with pytest.raises(OptionError, match="cannot read the calibration"):
        check(DEV, calibration=str(path))


def test_a_calibration_that_does_not_exist():
    with pytest.raises(OptionError, match="no calibration 'flux9'"):
        check(DEV, calibration="flux9")


@pytest.mark.parametrize(
    ("steps", "keywords", "message"),
    [
        (2, {}, "first 1 .* last 1 .* of 2 .* at least 3 "),
        (1, {"skip_first": 0, "skip_last": 0}, "first 1 .* of 1 .* at least 2 "),
        (6, {"skip_first": 4, "skip_last": 2}, "first 4 .* last 2 .* at least 7 "),
        (3, {"skip_first": 0.4, "skip_last": 0.3}, "first 0.4 .* last 0.3 .* at least 5 "),
        (None, {"skip_first": 0.5, "skip_last": 0.5}, "of a run of 1000 "),
        (50, {"skip_first": 0.5, "skip_last": 0.5}, "of a run of 1000 "),
    ],
)
def test_a_run_that_is_shorter_than_its_windows(steps, keywords, message):
    with pytest.raises(Refused, match=message):
        check(DEV, steps=steps, **keywords)


def test_the_number_that_would_do_does():
    check(DEV, steps=5, skip_first=0.4, skip_last=0.3)
    check(DEV, steps=7, skip_first=4, skip_last=2)


# --- warnings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "keywords"),
    [
        (DEV, {}),
        (replace(DEV, model_path=DEV.model), {}),
        (KONTEXT, {}),
        (DEV, {"thresh": 0.0}),  # never skipping on purpose
        (DEV, {"thresh": 0.19}),
        (UNKNOWN, {"thresh": 0.01, "coefficients": [1.0, 0.0]}),
    ],
)
def test_what_passes_without_a_word(target, keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attached(target, **keywords)


def test_a_pipeline_without_a_calibration_of_its_own_is_told_which_one_it_gets():
    with pytest.warns(PluginWarning, match=r"no calibration of Flux1Fill on .*Fill-dev; it uses flux1-dev") as caught:
        attached(FILL)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "changes", [{"model_path": "/models/mine"}, {"loras": ("style.safetensors", "more.safetensors")}]
)
def test_a_checkpoint_or_lora_is_told_that_the_calibration_was_made_without(changes):
    with pytest.warns(PluginWarning, match="flux1-dev .* without .*(mine|style.*, more)"):
        attached(replace(DEV, **changes))


def test_a_named_calibration_of_another_model_is_told_too():
    with pytest.warns(PluginWarning, match="no calibration of ErnieImage .* flux1-dev"):
        attached(UNKNOWN, calibration="flux1-dev")


@pytest.mark.parametrize(
    ("target", "keywords", "message"),
    [
        (DEV, {"thresh": 0.1}, r"-thresh 0\.1 will skip nothing: .* flux1-dev predicts is 0\.18.*default is 0\.2"),
        (KLEIN, {"thresh": 0.3}, r"flux2-klein-4b predicts is 0\.424\. Use a threshold above that\.$"),
        (UNKNOWN, {"thresh": 0.5, "coefficients": [0.5]}, r"by hand predicts is 0\.5\."),
    ],
)
def test_a_threshold_that_can_never_skip(target, keywords, message):
    with pytest.warns(PluginWarning, match=message) as caught:
        attached(target, **keywords)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        ({"r2": 0.9, "r2_held_out": 0.49}, "images that it was not fitted on with R2 0.49"),
        ({"r2": 0.3, "r2_held_out": None}, "its own images, and no others, with R2 0.3"),
    ],
)
def test_a_fit_of_ones_own_that_is_known_to_be_poor(own_file, fit, words):
    poor = "which is poor: 0 is no better than their mean, and from 0.5 it is fair. Record more images in one run, of"
    with pytest.warns(PluginWarning) as caught:
        attached(calibration=own_file(**fit))
    [warned] = caught
    assert str(warned.message).startswith(f"TeaCache's calibration mine predicts {words}, {poor}")


def test_a_fit_that_is_fair_unknown_or_published_passes_without_a_word(own_file):
    for fit in ({"r2_held_out": 0.5, "r2": 0.1}, {"r2": 0.5}, {}):
        attached(calibration=own_file(**fit))
    z_image = Target(pipeline="ZImage", model="Tongyi-MAI/Z-Image")
    attached(z_image)
    attached(z_image, calibration="z-image")


def test_a_default_that_can_never_skip_is_not_recommended(own_file):
    with pytest.warns(PluginWarning, match=r"predicts is 0\.5\. Use a threshold above that\.$"):
        attached(calibration=own_file(polynomial=[0.5], threshold=0.3))
