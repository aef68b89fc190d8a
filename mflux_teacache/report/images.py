"""Sections of images: each beside its full run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mflux_teacache.charts import comparison
from mflux_teacache.charts.comparison import Block, amplified_difference, named_difference
from mflux_teacache.image_record import keys
from mflux_teacache.image_record.account import Account
from mflux_teacache.report import facts, full_runs
from mflux_teacache.report.page import Details, Pair, Picture, Section, chart, picture
from mflux_teacache.show.comparison import Seen, compared, decibels, looked_at
from mflux_teacache.show.text import image_of, lines, sums
from mflux_teacache.spelling import shortened

_LONGEST_PROMPT = 300


def sections(accounts: Sequence[Account]) -> list[Section]:
    """One for each image; a full run has its own only where it is beside no other.

    Raises:
        OptionError: one has no pixels that can be read.
    """
    of = {id(account): looked_at(account) for account in accounts}
    pairs = [(of[id(full_runs.reference(seen.account, accounts))], seen) for seen in of.values()]
    pairs = [(first, seen if seen is first else compared(first, seen)) for first, seen in pairs]
    shown = {id(first.account) for first, other in pairs if other.psnr is not None}
    made = [
        _alone(other) if first is other else _beside(first, other)
        for first, other in pairs
        if first is not other or id(other.account) not in shown
    ]
    if made and (doubt := full_runs.doubt(accounts)) is not None:
        made[0].notes = [doubt, *made[0].notes]
    return made


def _alone(seen: Seen) -> Section:
    shown = [] if seen.image is None else [picture(seen.image, f"the image {seen.account.path.name}")]
    return Section(
        title=seen.account.path.name,
        summary=_said(seen),
        pictures=shown,
        charts=_steps(seen),
        notes=_shown_as(seen),
        facts=_facts(seen.account.made),
        details=_details(seen),
    )


def _beside(first: Seen, other: Seen) -> Section:
    names = first.account.path.name, other.account.path.name
    if first.image is None or other.image is None or other.psnr is None:
        section = _alone(other)
        section.notes = [f"Not compared with {names[0]}: {other.why_not}.", *section.notes]
        return section
    difference, factor = amplified_difference(first.image, other.image)
    role = "full run" if full_runs.is_full(first.account) else _role(first)
    between = named_difference(factor) if math.isfinite(other.psnr) else "no difference"
    return Section(
        title=f"{names[1]} beside {names[0]}",
        summary=f"{_said(other)} {_distance(first, other)}",
        pair=Pair(
            picture(first.image, f"{role}, {names[0]}", role),
            picture(other.image, f"{_role(other)}, {names[1]}", _role(other)),
        ),
        pictures=[picture(difference, between, between)],
        charts=_steps(other),
        notes=[
            *([f"The two also differ in {', '.join(other.unlike)}."] if other.unlike else []),
            *_shown_as(first, other),
        ],
        facts=_facts(other.account.made),
        details=_details(other, first),
    )


def _said(seen: Seen) -> str:
    account = seen.account
    if account.pattern:
        return f"{account.decider or 'No plugin decided'}: {sums(account)}."
    return "No plugin is recorded." if account.made else "The file says nothing about how it was made."


def _role(seen: Seen) -> str:
    account = seen.account
    if account.pattern:
        return sums(account).partition(",")[0]
    return "no plugin recorded" if account.made else "not known how it was made"


def _distance(first: Seen, seen: Seen) -> str:
    close = "" if seen.ssim is None else f", SSIM {seen.ssim:.4f}"
    against = "the full run" if full_runs.is_full(first.account) else first.account.path.name
    return f"Against {against}: PSNR {decibels(seen)}{close}."


def _steps(seen: Seen) -> list[Picture]:
    if not seen.account.records:
        return []
    draw = partial(comparison.drawn, "", [Block((), seen.account.records)])
    return [chart(draw, f"the steps of {seen.account.path.name}: {seen.account.pattern}", "Step by step.")]


def _shown_as(*images: Seen) -> list[str]:
    return [f"{seen.account.path.name}: {'; '.join(seen.shown_as)}." for seen in images if seen.shown_as]


def _facts(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        *facts.named("model", made.get(keys.MODEL)),
        *facts.named("image", image_of(made)),
        *facts.named("prompt", shortened(str(made.get(keys.PROMPT, "")), _LONGEST_PROMPT)),
        *facts.named("mflux", made.get(keys.MFLUX_VERSION)),
    ]


def _details(*images: Seen) -> list[Details]:
    return [
        Details(f"All that is known of {seen.account.path.name}", "\n".join(lines(seen.account))) for seen in images
    ]
