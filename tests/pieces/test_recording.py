"""Whatever a recorder writes is taken by what reads it: odd names, blank prompts, any numbers."""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import generation

from mflux_teacache.errors import OptionError, PluginWarning
from mflux_teacache.records import Target
from mflux_teacache.strategies.magcache.recorder import MagCacheRecord
from mflux_teacache.strategies.magcache.recorder import _Image as MagCacheImage
from mflux_teacache.strategies.magcache.table import load as load_table
from mflux_teacache.teacache.calibration import load as load_calibration
from mflux_teacache.teacache.fitting import Change
from mflux_teacache.teacache.recorded import Observed as TeaCacheImage
from mflux_teacache.teacache.recorder import TeaCacheRecord

pytestmark = pytest.mark.slow

ODD = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", " ", "\n", "\0", "\ud83d", "/", ".", "..", "a/", "\x1b[2J", "é" * 5000, "\U0001f34e" * 20_000]
    ),
)
TARGETS = st.builds(
    Target,
    pipeline=st.sampled_from(["Flux1", "Flux2Klein"]),
    model=st.none() | ODD,
    loras=st.lists(ODD, max_size=3).map(tuple),
    lora_scales=st.lists(st.floats(-4, 4), max_size=3).map(tuple),
    quantize=st.none() | st.integers(2, 16),
    distilled=st.booleans(),
)
# Changes as images have them, and any that a float holds.
SENSIBLE = st.floats(1e-6, 2.0)
ANY = st.one_of(SENSIBLE, st.floats(0.0, sys.float_info.max), st.sampled_from([0.0, 5e-324, 1e308, sys.float_info.max]))


def recorded(recorder, images, target, prompts, guidance=4.0):
    """What the reader makes of the file; ``None`` where none was written. Any warning is of the recorder's own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.json"
        recorder._output, recorder._target = path, target
        for number, (image, steps) in enumerate(images):
            recorder._images[number] = image
            made = generation(steps)
            made.prompt, made.guidance, made.number = prompts[number % len(prompts)], guidance, number
            made.status = "finished"
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=PluginWarning)
                recorder.mflux_generation_end(made)
        if not path.exists():
            return None
        return load_table(path) if isinstance(recorder, MagCacheRecord) else load_calibration(path)


def teacache_images(pairs, count):
    changes = [Change(*pair) for pair in pairs]
    return [(TeaCacheImage(changes=changes), len(changes) + 1)] * count


def pairs(numbers):
    return st.lists(st.tuples(numbers, numbers), min_size=20, max_size=24, unique_by=lambda pair: pair[0])


@given(pairs(SENSIBLE), TARGETS, st.lists(ODD, min_size=1, max_size=3), st.sampled_from([4.0, 0.0, math.nan, math.inf]))
def test_a_calibration_of_sensible_numbers_is_always_written(numbers, target, prompts, guidance):
    found = recorded(TeaCacheRecord(), teacache_images(numbers, 2), target, prompts, guidance)
    assert found is not None
    assert found.range == (min(signal for signal, _ in numbers), max(signal for signal, _ in numbers))
    assert all(prompt.strip() for prompt in found.prompts)
    assert len(found.prompts) == len({prompt.strip()[:1000] for prompt in prompts[:2]} - {""})
    assert sum(found.loras.values()) == pytest.approx(
        sum((*target.lora_scales, 1.0, 1.0, 1.0)[: len(target.loras)]), abs=1e-9
    )


@given(pairs(ANY), TARGETS, st.integers(1, 3))
def test_a_calibration_of_any_numbers_can_be_followed_or_is_not_written(numbers, target, count):
    found = recorded(TeaCacheRecord(), teacache_images(numbers, count), target, [""])
    if found is not None:
        with contextlib.suppress(OptionError):  # which mflux_check lets through
            assert found.floor >= 0


RATIOS = st.one_of(st.floats(1e-3, 10.0), st.floats(5e-324, 3e38))


@given(st.lists(RATIOS, min_size=1, max_size=30), TARGETS, st.integers(1, 3))
def test_a_table_is_always_written(ratios, target, count):
    ratios = [1.0, *ratios]
    images = [(MagCacheImage(ratios=ratios), len(ratios)) for _ in range(count)]
    found = recorded(MagCacheRecord(), images, target, [""])
    assert found is not None
    assert found.ratios == pytest.approx(ratios, rel=1e-4)


def test_many_long_prompts_fit_into_a_file():
    prompts = [f"{number} " + "\U0001f34e" * 20_000 for number in range(70)]
    numbers = [(0.01 * place, 0.02 * place) for place in range(1, 21)]
    found = recorded(TeaCacheRecord(), teacache_images(numbers, 70), Target(pipeline="Flux1"), prompts)
    assert [prompt[:4] for prompt in found.prompts[:2]] == ["0 \U0001f34e\U0001f34e", "1 \U0001f34e\U0001f34e"]
    assert {len(prompt) for prompt in found.prompts} == {1000}
    assert len(found.prompts) == 64


def test_what_would_be_refused_is_not_written(tmp_path):
    """A recorder of somebody else's, whose figures are wrong: the good file of before stays."""
    recorder = MagCacheRecord()
    recorder._output, recorder._target = tmp_path / "mine.json", Target(pipeline="Flux1")
    recorder._output.write_text("good")
    bad = load_table("flux1-dev").__class__(
        name="x", model="x", pipelines=("Flux1",), ratios=(1.0, math.nan), threshold=1.0, skip_first=1, max_skips=1,
        source="x",
    )  # fmt: skip
    with pytest.warns(PluginWarning, match=r"has written nothing: The table .*mine\.json has ratios = \[1\.0, nan\]"):
        recorder.write_file(bad, "")
    assert recorder._output.read_text() == "good"
