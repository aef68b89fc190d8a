"""Sections of images: each beside the first one, which is the full run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mflux_teacache.charts import comparison
from mflux_teacache.charts.comparison import Block, amplified_difference
from mflux_teacache.image_record import keys
from mflux_teacache.report import facts
from mflux_teacache.report.page import Details, Pair, Picture, Section, chart, picture
from mflux_teacache.show.comparison import Seen, decibels
from mflux_teacache.show.text import as_text, image_of, sums
from mflux_teacache.spelling import shortened

_LONGEST_PROMPT = 300


def sections(images: Sequence[Seen]) -> list[Section]:
    """One for each image but the first; of a single one, its own."""
    first, *others = images
    return [_beside(first, other) for other in others] or [_alone(first)]


def _alone(seen: Seen) -> Section:
    shown = [] if seen.image is None else [picture(seen.image, f"the image {seen.account.path.name}")]
    return Section(
        title=seen.account.path.name,
        summary=_said(seen),
        pictures=shown,
        charts=_steps(seen),
        facts=_facts(seen.account.made),
        details=_details(seen),
    )


def _beside(first: Seen, other: Seen) -> Section:
    names = first.account.path.name, other.account.path.name
    if first.image is None or other.image is None or other.psnr is None:
        section = _alone(other)
        section.notes = [f"Not compared with {names[0]}: {other.why_not}."]
        return section
    difference, factor = amplified_difference(first.image, other.image)
    stronger = f", {factor} times as strong" if factor > 1 else ""
    between = f"difference{stronger}" if math.isfinite(other.psnr) else "no difference"
    return Section(
        title=f"{names[1]} beside {names[0]}",
        summary=f"{_said(other)} {_distance(other)}",
        pair=Pair(
            picture(first.image, f"the full run, {names[0]}", "full run"),
            picture(other.image, f"made faster, {names[1]}", sums(other.account).partition(",")[0]),
        ),
        pictures=[picture(difference, between, between)],
        charts=_steps(other),
        notes=[f"The two also differ in {', '.join(other.unlike)}."] if other.unlike else [],
        facts=_facts(other.account.made),
        details=_details(other, first),
    )


def _said(seen: Seen) -> str:
    account = seen.account
    return (
        f"{account.decider or 'No plugin decided'}: {sums(account)}." if account.pattern else "No plugin is recorded."
    )


def _distance(seen: Seen) -> str:
    close = "" if seen.ssim is None else f", SSIM {seen.ssim:.4f}"
    return f"Against the full run: PSNR {decibels(seen)}{close}."


def _steps(seen: Seen) -> list[Picture]:
    if not seen.account.records:
        return []
    draw = partial(comparison.drawn, "", [Block((), seen.account.records)])
    return [chart(draw, f"the steps of {seen.account.path.name}: {seen.account.pattern}", "Step by step.")]


def _facts(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        *facts.named("model", made.get(keys.MODEL)),
        *facts.named("image", image_of(made)),
        *facts.named("prompt", shortened(str(made.get(keys.PROMPT, "")), _LONGEST_PROMPT)),
        *facts.named("mflux", made.get(keys.MFLUX_VERSION)),
    ]


def _details(*images: Seen) -> list[Details]:
    return [Details(f"All that is known of {seen.account.path.name}", as_text(seen.account)) for seen in images]
