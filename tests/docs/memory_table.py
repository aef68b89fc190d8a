"""The table of docs/performance.md on what a cache takes: computed, not measured.

Rows are those of mflux's own code: each pipeline begins an image of 1024x1024 with a tiny transformer and stops at the
body. Widths are those of its transformers at full size. ``PYTHONPATH=tests/support python tests/docs/memory_table.py``
writes the table; a test holds them together.
"""

from __future__ import annotations

import importlib
import inspect
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import all_cases
import PIL.Image
from mflux.models.common.config.model_config import ModelConfig
from tiny_models import float32, generate, narrow, small

from mflux_teacache import Step, attach, hookimpl
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import PIPELINES
from mflux_teacache.errors import HookFailed

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
SIDE = 1024
HEAD = (
    "family",
    "rows",
    "width",
    "one residual: bfloat16",
    "float32",
    "TeaCache: bfloat16",
    "float32",
    "float32, cache in half",
)

# With guidance, where the family has it.
CASES = (
    *("flux1-dev", "flux2-guidance", "qwen", "z-image-guidance", "fibo-guidance", "ernie-guidance", "krea2-guidance"),
    *("lens", "ming-guidance", "anima-guidance", "boogu", "iris-base", "moss-guidance", "fibo2-guidance", "flux3-base"),
    *("ideogram4", "qwen21-guidance", "qwen21-edit-guidance"),
)
# Configs whose width is not that of the constructor's defaults.
WIDER = {"flux2": {"flux2 9B": ModelConfig.flux2_klein_base_9b}}


class Entered(NamedTuple):
    """What enters a body.

    Attributes:
        batch: guidance branches in one call.
        rows: of the image.
        text: further rows take part, one or more for each token.
    """

    batch: int
    rows: int
    text: bool


class _AtTheBody(Exception):
    """Leaves the pipeline."""


class _Look:
    """Reads the signal's shape and evaluates nothing."""

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        raise _AtTheBody(*step.modulated_input.shape[:2])


def entered(name: str, photo: Path) -> tuple[str, Entered]:
    """A case's family, and what enters its body."""
    case = all_cases.cases_of()[name]
    family = PIPELINES[case.pipeline.__name__].family
    model, arguments = case.make(photo)
    try:
        with attach(model, _Look):
            generate(model, **{**arguments, "height": SIDE, "width": SIDE})
    except HookFailed as stopped:
        if not isinstance(stopped.__cause__, _AtTheBody):
            raise
        batch, rows = stopped.__cause__.args
    image = (SIDE // 16) ** 2  # every family has a row for each 16x16 pixels
    assert rows >= image
    return str(family), Entered(batch, image, rows > image)


def width(transformer: str, overrides: dict[str, Any]) -> int:
    """Of the body's stream at full size, from the defaults of the transformer's constructor and a config's changes."""
    module, name = transformer.split(":")
    cls = getattr(importlib.import_module(module), name)
    parameters = {parent.__name__: inspect.signature(parent.__init__).parameters for parent in cls.__mro__[:2]}
    if name == "QwenImage21Transformer":  # made from its checkpoint's config, which is that of the other one
        return width(f"{cls.__base__.__module__}:{cls.__base__.__name__}", overrides)
    if name == "Ideogram4Transformer":
        from mflux.models.ideogram4.model.ideogram4_transformer.config import Ideogram4Config

        return Ideogram4Config().emb_dim
    if name in ("Transformer", "FiboTransformer"):  # a constant in its code
        first = (ModelConfig.dev(),) if name == "Transformer" else ()
        made = cls(*first, **{key: 1 for key in parameters[name] if key.startswith("num_")})
        return int(made.x_embedder.weight.shape[0])
    sizes = {key: parameter.default for key, parameter in parameters[name].items()} | overrides
    for key in ("dim", "hidden_size", "features"):
        if key in sizes:
            return int(sizes[key])
    return int(sizes["num_attention_heads"] * sizes["attention_head_dim"])


def render() -> str:
    transformers = {family.name: family.transformer for family in FAMILIES}
    guidance = {family.name: family.guidance for family in FAMILIES}
    widths = {
        (family, label): width(transformers[family], config().transformer_overrides)
        for family, wider in WIDER.items()
        for label, config in wider.items()
    }
    widths = {(family, family): width(transformer, {}) for family, transformer in transformers.items()} | widths
    with tempfile.TemporaryDirectory() as folder, float32(), narrow(), small():
        photo = Path(folder, "photo.png")
        PIL.Image.new("RGB", (64, 64)).save(photo)
        bodies = dict(entered(name, photo) for name in CASES)
    rows = [
        _row(label, bodies[family], widths[family, label], guidance[family])
        for family in transformers
        for of, label in widths
        if of == family
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (HEAD, ("---",) * len(HEAD), *rows))


def _row(label: str, body: Entered, width: int, guidance: str) -> tuple[str, ...]:
    values = body.batch * body.rows * width
    residuals = 2 if guidance.startswith("two ") else 1
    return (
        label,
        f"{body.rows}{' and text' if body.text else ''}{', twice' if body.batch > 1 else ''}",
        str(width),
        _mib(2 * values),
        _mib(4 * values),
        _mib(2 * values * (residuals + 1)),
        _mib(4 * values * (residuals + 1)),
        _mib(2 * values * residuals + 4 * values),
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:g}"


def in_page() -> str:
    """The table as the page has it."""
    [table] = re.findall(r"(?m)^\| family \| rows \|.*\n(?:\|.*\n)+", PAGE.read_text(encoding="utf-8"))
    return table


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text(encoding="utf-8").replace(in_page(), render()), encoding="utf-8")
