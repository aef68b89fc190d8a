"""Whether figures that were made on one model fit another: for calibrations, tables and the like. No mlx."""

from __future__ import annotations

from collections.abc import Collection

from mflux_teacache.records import Target


def distance(
    target: Target, *, model: str, pipelines: Collection[str], stand_in_for: Collection[str] = ()
) -> int | None:
    """How far off a target is: 0 = this model on this pipeline; ``None`` = made for another model.

    The model itself is nearer than one that it stands in for, and both are nearer than a checkpoint
    that is only based on them; of equals, the same pipeline is nearer.

    Args:
        target: what the figures are to be used on.
        model: Hugging Face id of the model that they were made on.
        pipelines: class names of the mflux pipelines that they were made with.
        stand_in_for: ids of models that share its transformer and have no figures of their own.
    """
    for offset, candidate in ((0, target.model), (4, target.base_model)):
        if candidate == model or candidate in stand_in_for:
            return offset + 2 * (candidate != model) + (target.pipeline not in pipelines)
    return None
