"""docs/supported-models.md from the tables of the package. Run it to write the page; a test holds them together."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import DISTILLED, PIPELINES, commands_of, in_installed_mflux
from mflux_teacache.family import Dual, Family, Joint
from mflux_teacache.teacache.calibration import Calibration, shipped

PAGE = Path(__file__).parents[2] / "docs" / "supported-models.md"

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
            "rows where they can be told from the others.\n"
            "The signal is what the body's first block hands to its attention; calibrations are fitted on its change.\n"
            "Where mflux compiles its predict function, it does not on the smaller M1 and M2; `qwen21` compiles parts\n"
            "of itself on every machine. Where mflux compiles nothing, `--plugin-compile-blocks` compiles each block\n"
            "on its own, except of "
            + ", ".join(f"`{family.name}`" for family in FAMILIES if not family.compilable)
            + ", whose blocks take more than arrays.\n",
            _table(
                ("family", "body", "streams", "signal", "guidance", "compiled by mflux", "calibrations"),
                map(_family, FAMILIES),
            ),
            "\n## Calibrations of TeaCache\n",
            "`first-block-cache` needs none. A model without one is refused by `teacache`, with the alternatives; "
            "`teacache-record` makes one.\n",
            _table(
                ("name", "model", "made with", "range", "threshold", "fit (R2)", "source"),
                (_calibration(entry) for entry in shipped().values()),
            ),
            "\nDistilled to a few steps, and refused by every strategy without its `-force` (`--teacache-force`): "
            + ", ".join(f"`{name}`" for name in sorted(DISTILLED))
            + ".\n",
        )
    )


def _table(head: tuple[str, ...], rows: object) -> str:
    lines = [head, ("---",) * len(head), *rows]  # type: ignore[misc]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _pipelines() -> list[tuple[str, ...]]:
    return [
        (
            f"`{entry.name}`",
            entry.family or "",
            ", ".join(f"`{command}`" for command in commands_of(entry.name)),
            entry.level,
            entry.note,
        )
        for entry in in_installed_mflux()
    ]


def _family(family: Family) -> tuple[str, ...]:
    body = ", ".join(f"`{stage.blocks}`" for stage in family.body)
    streams = " then ".join(map(_streams, family.body))
    made = [
        f"`{entry.name}`"
        for entry in shipped().values()
        if family.name in {PIPELINES[name].family for name in entry.pipelines if name in PIPELINES}
    ]
    compiled = "yes" if family.compiled else "no"
    return (family.name, body, streams, family.signal, family.guidance, compiled, ", ".join(made) or "none")


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


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
