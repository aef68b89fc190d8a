"""On Apple's GPU: with every step computed, images are bit-identical to plain mflux's, in the precision of its own.

Elsewhere all pipelines are compared on the processor, in float32 (test_pipelines_run.py). Here they run on Metal in
bfloat16, where a kernel of another size or order would round differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import all_cases
import mlx.core as mx
import pytest
from strategies import Observer, ReadsEverything
from tiny_models import generate, narrow, same, small

from mflux_teacache import attach

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not mx.metal.is_available(),
        reason="there is no Metal here: this compares images that plain mflux and plugins make on Apple's GPU",
    ),
]

CASES = all_cases.cases_of()


@pytest.fixture(scope="module")
def compared(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The cases whose images were the same; says at the end what was compared."""
    names: list[str] = []
    yield names
    pipelines = {CASES[name].pipeline.__name__ for name in names}
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(
            f"\n{mx.device_info()['device_name']}, MLX {mx.__version__}, on {mx.default_device()}: final latents of "
            f"{len(names)} tiny random models of {len(pipelines)} pipelines, in bfloat16 and as mflux compiles them, "
            f"with every step computed, without and with a plugin that reads every signal: bit-identical to plain "
            f"mflux's."
        )


@pytest.mark.parametrize("name", CASES)
def test_all_computed_is_bit_identical_on_metal(name: str, photo: Path, compared: list[str]) -> None:
    with narrow(), small():
        model, arguments = CASES[name].make(photo)
        plain = generate(model, **arguments)
        assert same(generate(model, **arguments), plain), "plain mflux itself does not repeat its image"
        for plugin in (Observer, ReadsEverything):
            with attach(model, plugin) as handle:
                assert same(generate(model, **arguments), plain)
            assert set(handle.stats.history[0].pattern) == {"C"}
        assert same(generate(model, **arguments), plain)
    compared.append(name)
