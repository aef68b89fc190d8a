"""The section of a TeaCache calibration: its fit, and what that leaves unexplained."""

from __future__ import annotations

from functools import partial

from mflux_teacache.charts import fit
from mflux_teacache.pieces.data_files import spelt
from mflux_teacache.report import facts
from mflux_teacache.report.page import Details, Section, chart
from mflux_teacache.teacache.calibration import Calibration

_SAYS = {
    "given": "measured change of the signal",
    "predicted": "change of what is reused",
    "points": "a step of a full run",
}
_UNBOUNDED = 1.0  # the end of the axis, where a polynomial is used for changes of any size


def of_calibration(calibration: Calibration) -> Section:
    upper = calibration.upper if calibration.upper < float("inf") else _UNBOUNDED
    pairs = calibration.changes or ()
    draw = partial(fit.drawn, "", calibration.polynomial, (calibration.lower, upper), pairs, **_SAYS)
    known = calibration.r2 is not None
    said = f"It {calibration.fit_in_words}." if known else "How good its fit is was not recorded."
    missing = "The changes that it was fitted to are not in the file, so there are no residuals to draw."
    return Section(
        title=f"TeaCache calibration: {calibration.name}",
        summary=said,
        charts=[chart(draw, said, "What a change of the signal predicts, and by how much each step is off.")],
        notes=[] if pairs else [missing],
        facts=[
            *facts.named("model", calibration.model),
            *facts.named("pipelines", ", ".join(calibration.pipelines)),
            *facts.named("LoRAs", spelt(calibration.loras) if calibration.loras else None),
            *facts.named("threshold", calibration.threshold),
            *facts.named("steps", calibration.steps),
            *facts.named("size", calibration.size),
            *facts.named("guidance", calibration.guidance),
            *facts.named("measured", calibration.date),
            *facts.named("mflux", calibration.mflux_version),
            *facts.named("source", calibration.source),
            *facts.named("note", calibration.note),
        ],
        details=[Details("Prompts", "\n".join(calibration.prompts))] if calibration.prompts else [],
    )
