"""mlx-teacache beside us: a stand-in with its surface, since it is no dependency."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mflux_teacache.bench.laboratory import peers
from mflux_teacache.bench.runs import by_letters
from mflux_teacache.errors import Refused, UnsupportedModel

# Only what the comparison uses; the gate decides as theirs does, from what it is told.
FILES = {
    "__init__.py": """
from contextlib import contextmanager
from types import SimpleNamespace
from mlx_teacache import variants

def match_variant(config, pipeline):
    return "variant" if pipeline.__name__ == "Supported" else None

@contextmanager
def apply_teacache(model, *, rel_l1_thresh, skip_first_n_steps, skip_last_n_steps):
    assert (skip_first_n_steps, skip_last_n_steps) == (0, 0)
    variants.decisions = []
    yield SimpleNamespace(stats=variants)
""",
    "_kernel/__init__.py": "",
    "_kernel/gate.py": """
def gate_step(state, *, rel_l1_thresh, coefficients, skip_first, skip_last, num_steps, step_idx, mod_in,
              calibrated_range=None):
    forced = step_idx < skip_first or step_idx >= num_steps - skip_last
    price = coefficients[-1] + coefficients[-2] * mod_in
    seed = step_idx == 0
    if not forced and not seed and calibrated_range is None and price < rel_l1_thresh and state.consecutive_skips < 2:
        state.consecutive_skips += 1
        return "skipped"
    return "computed"
""",
    "variants.py": """
from types import SimpleNamespace
from mlx_teacache._kernel.gate import gate_step

last_generation = SimpleNamespace(decisions=[])

def generate(steps):
    state = SimpleNamespace(consecutive_skips=0)
    last_generation.decisions = [
        SimpleNamespace(decision=gate_step(
            state, rel_l1_thresh=0.2, coefficients=(0, 0, 0, 1.5, 0), skip_first=1, skip_last=1, num_steps=steps,
            step_idx=index, mod_in=0.3, calibrated_range=(0.1, 0.2)))
        for index in range(steps)
    ]
""",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in [name for name in sys.modules if name.split(".")[0] == "mlx_teacache"]:
        monkeypatch.delitem(sys.modules, name)
    for name, text in FILES.items():
        path = tmp_path / "mlx_teacache" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import mlx_teacache.variants

    yield mlx_teacache.variants
    for name in [name for name in sys.modules if name.split(".")[0] == "mlx_teacache"]:
        del sys.modules[name]


def test_its_gate_is_told_what_to_find(package: Any) -> None:
    """More skips in a row than its cap, in steps that its window would force, at a change above its range."""
    for pattern in ("CSSSSSCS", "CCCCCCCC", "CSCSCSCC"):
        with peers.at_pattern(pattern)(object()) as last_image:
            package.generate(8)
            assert last_image() == by_letters(pattern)


def test_its_gate_is_given_back(package: Any) -> None:
    own = package.gate_step

    def fail() -> None:
        with peers.at_pattern("CS")(object()):
            assert package.gate_step is not own
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert package.gate_step is own


def test_a_model_that_it_does_not_support_is_refused(package: Any) -> None:
    config = SimpleNamespace(model_name="someone/something")
    peers.check(config, type("Supported", (), {}))
    with pytest.raises(UnsupportedModel, match="does not support Other on someone/something"):
        peers.check(config, type("Other", (), {}))


def test_it_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlx_teacache", None)
    with pytest.raises(Refused, match="pip install --no-deps mlx-teacache"):
        peers.check(None, object)
