"""docs/supported-models.md from the tables of the package. Run it to write the page; a test holds them together."""

from __future__ import annotations

import ast
import importlib.metadata
from pathlib import Path

import mflux

from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.family import Dual, Family, Joint
from mflux_teacache.adapters.models import DISTILLED
from mflux_teacache.adapters.pipelines import in_installed_mflux
from mflux_teacache.teacache.calibration import Calibration, shipped

PAGE = Path(__file__).parents[2] / "docs" / "supported-models.md"

# How mflux calls the transformer for guidance, and whose predict function it compiles (not on the smaller M1s
# and M2s).
GUIDANCE = {
    "flux": "none",
    "flux2": "two calls",
    "qwen": "two calls, always",
    "z_image": "two calls",
    "fibo": "one batch of two",
    "ernie_image": "one batch of two",
    "krea2": "two calls",
    "lens": "none",
    "ming_image": "two calls",
    "anima": "two calls",
    "boogu": "none",
    "iris": "one batch of two",
    "flux3": "two calls",
    "ideogram4": "two transformers",
    "moss_image": "two calls; the second leaves out layer 22, or others",
    "fibo2": "two calls, one after `--cfg-end`",
    "qwen21": "two calls",
    "qwen21_edit": "two calls",
}
IMAGE_COMMANDS = ("mflux-concept", "mflux-generate", "mflux-upscale")
COMPILED = {"flux2", "z_image", "ernie_image", "krea2", "anima", "ideogram4", "qwen21"}

HEAD = """\
# Supported models

Of mflux {version}. This page is made from the tables of the package by `python tests/docs/supported_page.py`;
`mflux-teacache plugins` shows the same for the mflux that is installed. Every pipeline with support *full* or *partial*
runs through mflux's own `generate_image` in the tests: bit-identical with every step computed, compiled and eager.
"""


def render() -> str:
    version = importlib.metadata.version("mflux")
    return "\n".join(
        (
            HEAD.format(version=version),
            "## Pipelines\n",
            _table(("pipeline", "family", "commands", "support", "note"), _pipelines()),
            "\n## Transformer families\n",
            "The body is what is skipped. Where it has a text stream of its own, the residual is of the image stream;\n"
            "where all rows run as one stream from its first block on, it is of the whole stream, or of the image's\n"
            "rows where they can be told from the others.\n",
            _table(("family", "body", "streams", "guidance", "predict compiled by mflux"), map(_family, FAMILIES)),
            "\n## Calibrations of TeaCache\n",
            "`first-block-cache` needs none. A model without one is refused by `teacache`, with the alternatives.\n",
            _table(
                ("name", "model", "made with", "range", "threshold", "fit (R2)", "source"),
                (_calibration(entry) for entry in shipped().values()),
            ),
            "\nDistilled to a few steps, and refused by `teacache` without `--teacache-force`: "
            + ", ".join(f"`{name}`" for name in sorted(DISTILLED))
            + ".\n",
        )
    )


def _table(head: tuple[str, ...], rows: object) -> str:
    lines = [head, ("---",) * len(head), *rows]  # type: ignore[misc]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _pipelines() -> list[tuple[str, ...]]:
    commands = _commands()
    return [
        (f"`{entry.name}`", entry.family or "", ", ".join(commands.get(entry.name, ())), entry.level, entry.note)
        for entry in in_installed_mflux()
    ]


def _family(family: Family) -> tuple[str, ...]:
    body = ", ".join(f"`{stage.blocks}`" for stage in family.body)
    streams = " then ".join(map(_streams, family.body))
    return (family.name, body, streams, GUIDANCE[family.name], "yes" if family.name in COMPILED else "no")


def _streams(stage: Dual | Joint) -> str:
    if isinstance(stage, Dual):
        return "image and text"
    return "one" if stage.image_rows is None else "one, the image's rows told apart"


def _calibration(entry: Calibration) -> tuple[str, ...]:
    runs = [
        ", ".join(entry.pipelines),
        f"{entry.steps} steps" if entry.steps else "",
        "" if entry.guidance is None else f"guidance {entry.guidance:g}",
        entry.size or "",
    ]
    if entry.range:
        changes = f"{entry.range[0]:.3f} to {entry.range[1]:.3f}"
    else:
        changes = "derived: no limit" if entry.derived_upper is None else f"derived: up to {entry.derived_upper:.3f}"
    return (
        f"`{entry.name}`",
        entry.model,
        ", ".join(filter(None, runs)),
        changes,
        "" if entry.threshold is None else f"{entry.threshold:g}",
        "" if entry.r2 is None else f"{entry.r2:.2f}",
        entry.source,
    )


def _commands() -> dict[str, list[str]]:
    """mflux's commands by the pipeline classes that their modules import."""
    found: dict[str, list[str]] = {}
    root = Path(mflux.__file__).parents[1]
    names = {pipeline.name for pipeline in in_installed_mflux()}
    for point in sorted(importlib.metadata.distribution("mflux").entry_points, key=lambda point: point.name):
        path = root / Path(*point.module.split(".")).with_suffix(".py")
        if point.group != "console_scripts" or ".cli." not in point.module or not path.exists():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name in names and point.name.startswith(
                        ("mflux-generate", "mflux-upscale", "mflux-concept")
                    ):
                        found.setdefault(alias.name, []).append(f"`{point.name}`")
    return found


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
