"""SeaCache's rule on steps that a test writes down, against a reference of a few lines."""

from __future__ import annotations

import itertools
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import DEV, Image, Plugin, generation

from mflux_teacache.errors import Refused
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.strategies.sea.plugin import SeaCache

HEIGHT, WIDTH, CHANNELS = 12, 8, 4
STEPS = 16
SIGMAS = [float(3 * s / (1 + 2 * s)) for s in np.linspace(1, 0.05, STEPS)]  # shifted, as FLUX.1 has them
PLUGIN = Loaded("sea", SeaCache)


def attached(**keywords: object) -> Plugin:
    return Plugin("sea", SeaCache, DEV, **keywords)


def signals(seed: int = 0, text: int = 3) -> list[np.ndarray]:
    """A picture that comes out of noise, with rows of something else after it."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH))
    frequency[0, 0] = 1 / HEIGHT
    spectrum = np.fft.fft2(random.normal(size=(HEIGHT, WIDTH, CHANNELS)), axes=(0, 1)) / frequency[..., None]
    picture, noise = np.fft.ifft2(spectrum, axes=(0, 1)).real, random.normal(size=(HEIGHT, WIDTH, CHANNELS))
    rows = [((1 - s) * picture + s * noise).reshape(1, -1, CHANNELS) for s in SIGMAS]
    others = random.normal(size=(STEPS, 1, text, CHANNELS)) * 100
    return [np.concatenate(pair, axis=1) for pair in zip(rows, others, strict=True)]


def distances(rows: list[np.ndarray]) -> list[float]:
    """Relative L1 change of the filtered picture from step to step: the published formula, by numpy."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH))
    frequency[0, 0] = 1e-9
    filtered = []
    for signal, sigma in zip(rows, SIGMAS, strict=True):
        field = signal[0, : HEIGHT * WIDTH].reshape(HEIGHT, WIDTH, CHANNELS)
        a, b = max(1 - sigma, 1e-9), sigma
        gain = a * frequency**-2 / (a**2 * frequency**-2 + b**2)
        spectrum = np.fft.fft2(field, axes=(0, 1)) * (gain / gain.mean())[..., None]
        filtered.append(np.fft.ifft2(spectrum, axes=(0, 1)).real)
    return [np.abs(new - old).mean() / np.abs(old).mean() for old, new in itertools.pairwise(filtered)]


def pattern_of(changes: list[float], threshold: float, cap: int = 8) -> str:
    letters, total = "C", 0.0
    for change in changes[:-1]:
        total += change
        reuses = total < threshold and not letters.endswith("S" * cap)
        letters += "S" if reuses else "C"
        total = total if reuses else 0.0
    return letters + "C"


def run(plugin: Plugin, rows: list[np.ndarray], **more: object) -> Image:
    given_signals = [mx.array(signal) for signal in rows]
    return plugin.run(STEPS, **{"signals": given_signals, "sigmas": SIGMAS, "token_grid": (HEIGHT, WIDTH), **more})


@given(seed=st.integers(0, 20), threshold=st.floats(0, 6))
def test_decisions_are_those_of_the_reference(seed: int, threshold: float) -> None:
    rows = signals(seed)
    changes = distances(rows)
    image = run(attached(thresh=threshold), rows)
    assert [decision.change for decision in image.decisions[1:]] == pytest.approx(changes, rel=1e-4)
    sums = [abs(sum(changes[i:j]) - threshold) for i, j in itertools.combinations(range(STEPS), 2)]
    if min(sums) > 1e-3 * (1 + threshold):  # else rounding may decide
        assert image.pattern == pattern_of(changes, threshold)


def test_what_a_run_looks_like() -> None:
    image = run(attached(thresh=0.6), signals())
    assert image.pattern == pattern_of(distances(signals()), 0.6)
    assert {"C", "S"} <= set(image.pattern[1:-1])
    skipped = image.decisions[image.pattern.index("S")]
    assert skipped.reason == "filtered change under the threshold"
    assert skipped.prediction == skipped.change
    assert skipped.threshold == 0.6


def test_rows_that_are_not_the_image_s_do_not_count() -> None:
    with_text, without = (run(attached(), signals(text=text)) for text in (7, 0))
    assert [d.change for d in with_text.decisions[1:]] == pytest.approx([d.change for d in without.decisions[1:]])


@pytest.mark.parametrize("computed", [3, 7, 11, 16])
def test_a_budget_is_spent_to_the_step(computed: int) -> None:
    image = run(attached(max_computed=computed), signals())
    assert image.pattern.count("C") == computed
    assert image.pattern[0] + image.pattern[-1] == "CC"


def test_a_signal_that_went_bad_is_computed_and_so_is_what_is_compared_with_it() -> None:
    rows = signals()
    rows[5][:] = np.nan
    image = run(attached(thresh=1e9, max_skips=16), rows)
    assert image.pattern == "CSSSSCCCSSSSSSSC"  # nor is anything kept of them
    assert all(np.isfinite(value) for values in image.residuals for value in values)


@pytest.mark.parametrize("missing", [{"token_grid": None}, {"sigmas": [None] * STEPS}])
def test_what_cannot_be_told_is_refused_with_the_alternatives(missing: dict[str, object]) -> None:
    with pytest.raises(
        Refused, match=r"does not tell. Use a plugin that need not know \(easycache, first-block-cache,"
    ):
        run(attached(), signals(), **missing)


def test_a_family_without_a_grid_is_refused() -> None:
    options = from_keywords(PLUGIN, {})
    for known in (None, True):
        SeaCache().mflux_check(options, replace(DEV, has_token_grid=known))
    with pytest.raises(Refused, match="SeaCache needs to know where the image's tokens are, which") as refusal:
        SeaCache().mflux_check(options, replace(DEV, has_token_grid=False))
    assert "sea," not in str(refusal.value)


def test_a_run_that_the_windows_cover_is_refused() -> None:
    with pytest.raises(Refused, match="SeaCache always computes the first 1 step and the last 1 step"):
        SeaCache().mflux_check(from_keywords(PLUGIN, {}), Target(pipeline="Flux1", active_steps=2))


def test_an_image_leaves_nothing_behind() -> None:
    plugin = attached()
    assert run(plugin, signals()).pattern == run(plugin, signals()).pattern
    assert plugin.instance._previous is None


def test_the_options_and_what_is_recorded() -> None:
    assert as_json(from_keywords(PLUGIN, {})) == {
        "thresh": 0.3,
        "max_computed": None,
        "speedup": None,
        "skip_first": 1,
        "skip_last": 1,
        "max_skips": 8,
        "forecast": None,
        "reuse": "body",
        "cache_dtype": None,
        "force": False,
    }
    recorded = attached(forecast=1).call("mflux_image_metadata", generation=generation(9))
    assert recorded == {"forecast": 1, "cache_dtype": None, "reuse": "body"}
