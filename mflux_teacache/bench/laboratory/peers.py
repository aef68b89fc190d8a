"""mlx-teacache beside us, at the same pattern of skipped steps.

What runs is mlx-teacache's own code, attached by its own ``apply_teacache``: its forward, its signal, its checks
for non-finite values, its relative L1 and its waits. Only what its gate holds against the threshold is replaced:
mlx-teacache's ``gate_step`` is called with a constant polynomial, which is above the threshold where the pattern
says C and zero where it says S, and without windows. So its gate, told what to find, decides by itself.

Its versions differ in what they accept; this was written for 0.14.1.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from mflux_teacache.bench.runs import by_letters
from mflux_teacache.bench.variants import LastImage
from mflux_teacache.errors import Refused, UnsupportedModel

DISTRIBUTION = "mlx-teacache"

_THRESHOLD = 0.5
_ALWAYS = (0.0, 0.0, 0.0, 0.0, 1.0)  # a polynomial, highest power first: above the threshold
_NEVER = (0.0, 0.0, 0.0, 0.0, 0.0)


def check(config: Any, pipeline: type) -> None:
    """Refuse before any weights load.

    Raises:
        Refused: mlx-teacache is not installed.
        UnsupportedModel: it does not support the model.
    """
    if _package().match_variant(config, pipeline) is None:
        raise UnsupportedModel(
            f"mlx-teacache does not support {pipeline.__name__} on {config.model_name}. "
            f"Leave out --compare, or measure a model that both support, such as --random-weights flux2-klein-base-4b."
        )


def at_pattern(pattern: str) -> Callable[[Any], AbstractContextManager[LastImage]]:
    """Attaches mlx-teacache to a model, made to skip the steps of a pattern."""

    @contextlib.contextmanager
    def attached(model: Any) -> Iterator[LastImage]:
        package = _package()
        with (
            _forced(pattern),
            package.apply_teacache(
                model, rel_l1_thresh=_THRESHOLD, skip_first_n_steps=0, skip_last_n_steps=0
            ) as handle,
        ):
            yield lambda: by_letters(
                "".join("S" if step.decision == "skipped" else "C" for step in handle.stats.last_generation.decisions)
            )

    return attached


@contextlib.contextmanager
def _forced(pattern: str) -> Iterator[None]:
    """Replace the gate wherever mlx-teacache's modules hold it."""
    from mlx_teacache._kernel.gate import gate_step

    def gate(state: Any, **arguments: Any) -> Any:
        state.consecutive_skips = 0  # it has a cap
        skip = pattern[arguments["step_idx"]] == "S"
        told = {
            "rel_l1_thresh": _THRESHOLD,
            "coefficients": _NEVER if skip else _ALWAYS,
            "skip_first": 0,
            "skip_last": 0,
            "calibrated_range": None,
        }
        return gate_step(state, **{**arguments, **told})

    holders = [module for module in list(sys.modules.values()) if _holds(module, gate_step)]
    for module in holders:
        module.gate_step = gate  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in holders:
            module.gate_step = gate_step  # type: ignore[attr-defined]


def _holds(module: ModuleType, function: Any) -> bool:
    return module.__name__.startswith("mlx_teacache.") and getattr(module, "gate_step", None) is function


def _package() -> ModuleType:
    try:
        import mlx_teacache
    except ImportError as error:
        raise Refused(
            f"--compare {DISTRIBUTION}: {error}. Install it beside mflux without its dependencies: "
            f"pip install --no-deps {DISTRIBUTION}"
        ) from error
    package: ModuleType = mlx_teacache
    return package
