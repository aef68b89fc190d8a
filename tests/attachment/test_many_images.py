"""Image after image: nothing is kept of one when it is done, and nothing waits for Python's cycle collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import all_cases
import mlx.core as mx
import pytest
import tiny_models
from strategies import ProbedPattern
from tiny_models import generate

from mflux_teacache import Body, attach, hookimpl
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import PIPELINES
from mflux_teacache.bench.memory import kept_by_mlx
from mflux_teacache.step import BodyBranch

pytestmark = pytest.mark.usefixtures("tiny")

ATTRIBUTES = {family.name: family.attributes for family in FAMILIES}
CASES = all_cases.cases_of()
FAMILY = {name: str(PIPELINES[case.pipeline.__name__].family) for name, case in CASES.items()}
ONE_OF_EACH = {family: name for name, family in reversed(FAMILY.items())}
IMAGES = 8

STRATEGIES: dict[str, dict[str, Any]] = {
    "teacache": {"coefficients": (0.3,), "thresh": 0.5, "force": True, "forecast": 1, "cache_dtype": "bfloat16"},
    "first-block-cache": {"thresh": 9.0, "max_skips": 2},
    "easycache": {"thresh": 1e9, "skip_first": 2},
    "taylorseer": {"skip_first": 2},
}


class Keeps:
    """A plugin with a leak: a number of each image."""

    def __init__(self) -> None:
        self.kept: list[mx.array] = []

    @hookimpl
    def mflux_post_transformer(self, body: Body) -> None:
        self.kept.append(mx.abs(body.residuals[0]).max())


def active_memory(model: Any) -> list[int]:
    """After each image, in bytes. Collected, since mflux's scheduler and configuration hold each other."""
    found = []
    for seed in range(IMAGES):
        generate(model, seed=seed, num_inference_steps=4, guidance=4.0)
        gc.collect()
        found.append(mx.get_active_memory())
    return found


def grows(second: int, later: Sequence[int]) -> bool:
    return any(memory > second + kept_by_mlx() * images for images, memory in enumerate(later, 1))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("make", [tiny_models.flux1, tiny_models.flux2])
@pytest.mark.filterwarnings("ignore::mflux_teacache.PluginWarning")
def test_active_memory_does_not_grow(make: Any, strategy: str) -> None:
    model = make()
    with attach(model, strategy, **STRATEGIES[strategy]) as handle:
        _, second, *later = active_memory(model)
    assert handle.stats.skipped_count >= IMAGES
    assert not grows(second, later)


def test_compiled_blocks_keep_nothing_either() -> None:
    model = tiny_models.flux1()
    with attach(model, compile_blocks=True):
        _, second, *later = active_memory(model)
    assert not grows(second, later)


def test_a_plugin_that_keeps_a_number_of_each_image_shows() -> None:
    model = tiny_models.flux2()
    with attach(model, Keeps):
        _, second, *later = active_memory(model)
    assert all(memory >= second + 4 * images for images, memory in enumerate(later, 1))


def test_what_a_step_held_is_let_go_of_before_it_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body's input and output are as large as the stream, and whatever is held then cannot be freed on the way."""
    held: list[list[Body | BodyBranch]] = []
    evaluate = mx.async_eval

    def async_eval(*arrays: Any) -> None:
        # By their types: isinstance reads an attribute of each object, which in PyTorch some warn of.
        held.append([found for found in gc.get_objects() if type(found) in (Body, BodyBranch)])
        evaluate(*arrays)

    monkeypatch.setattr(mx, "async_eval", async_eval)
    model = tiny_models.flux1()
    with attach(model, "schedule", pattern="CCSCC", reuse="output"):
        generate(model)
    assert held == [[]] * 5


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _transformer_alive(family: str, photo: Path, *plugins: type) -> bool:
    """Whether a transformer lives on when the pipeline has let go of it after an image."""
    model, arguments = CASES[ONE_OF_EACH[family]].make(photo)
    attributes = ATTRIBUTES[family]
    references = [weakref.ref(getattr(model, attribute)) for attribute in attributes]
    for plugin in plugins:
        attach(model, plugin)
    generate(model, **{**arguments, "num_inference_steps": 3, "height": 32, "width": 32})
    for attribute in attributes:
        setattr(model, attribute, None)
    return any(reference() is not None for reference in references)


@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_no_circle_holds_the_transformer(family: str, photo: Path, without_collector: None) -> None:
    """mflux's memory saver lets go of it so: in a circle it would stay until Python's next collection.

    mflux up to 0.22 has a circle of its own in Qwen-Image 2.1, which attached plugins happen to take away.
    """
    assert not _transformer_alive(family, photo, ProbedPattern) or _transformer_alive(family, photo)
