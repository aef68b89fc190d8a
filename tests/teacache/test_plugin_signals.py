"""Which signal the plugin reads, and which of its rows."""

import pytest
from scripted import level
from teacache_steps import IDENTITY, KONTEXT, LEVELS, attached, run


def with_reference(value):
    """Two rows of the image being made, and six of a reference that never changes."""
    signal = level(1.0, rows=8)
    signal[:, :2] = value
    return signal


def test_only_the_rows_of_the_image_being_made_count():
    signals = [with_reference(value) for value in (1.0, 1.25, 1.25)]
    image = run(attached(thresh=0.5, **IDENTITY), signals, target_rows=2)
    assert image.decisions[1].change == pytest.approx(0.25)


def test_a_calibration_made_on_all_rows_reads_all_rows():
    signals = [with_reference(value) for value in (1.0, 1.25, 1.25)]
    image = run(attached(KONTEXT), signals, target_rows=2)
    assert image.decisions[1].change == pytest.approx(0.25 * 2 / 8)


@pytest.mark.parametrize("target_rows", [None, 4, 9])
def test_target_rows_that_do_not_cut_anything(target_rows):
    image = run(attached(thresh=0.5, **IDENTITY), LEVELS, target_rows=target_rows)
    assert image.decisions[1].change == pytest.approx(0.25)


def test_a_calibration_on_the_first_block_reads_that(own_file):
    image = run(attached(calibration=own_file(signal="first_block_residual")), LEVELS)
    assert set(image.reads) == {"first_block_residual", "relative_l1"}
    assert image.pattern == "CSSCSC"


def test_the_range_of_a_calibration_is_held(own_file):
    image = run(attached(calibration=own_file(range=[0.22, 0.3], threshold=0.6)), LEVELS)
    # 0.25 + 0.22 (raised from 0.2), then 0.333 is above the range
    assert [d.running_sum for d in image.decisions[1:3]] == pytest.approx([0.25, 0.47])
    assert (image.decisions[3].reason, image.decisions[3].forced) == ("change above the calibrated range", True)


def test_coefficients_by_hand_have_no_range():
    image = run(attached(thresh=50.0, **IDENTITY), [level(1.0), level(9.0), level(9.0)])
    assert (image.decisions[1].change, image.decisions[1].prediction) == (8.0, 8.0)
    assert image.pattern == "CSC"
