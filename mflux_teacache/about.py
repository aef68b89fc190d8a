"""THE CONTRACT: what a plugin says about itself, as one record on its class. No logic of any plugin, no mlx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal["strategy", "recorder", "tool"]
Reuses = Literal["body", "output"]
REUSES: tuple[str, ...] = get_args(Reuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What others may know about a plugin without looking inside it: ``about = About(...)`` on its class.

    Every field may be left out, and so may the record: the plugin then has these defaults. Options are named by their
    keywords, ``thresh`` for ``--teacache-thresh``. A value of the wrong kind raises ``TypeError``.

    Attributes:
        kind: a ``strategy`` decides which steps are skipped, by a rule of its own; a ``recorder`` measures full runs;
            a ``tool`` does anything else. ``None`` stands for a strategy if it has the deciding hook, else for a tool.
        description: what it does, in one sentence; if empty, the first sentence of the class's docstring.
        threshold: the option that sets the threshold for its numbers; a higher one skips more.
        default_threshold: that option's default. ``None`` if it depends on the model: an attached instance may then
            have it as its attribute ``threshold``.
        budgets: options that replace the threshold and say how many steps may be computed.
        windows: options for the steps at both ends that are always computed.
        cap: the option for the largest number of skipped steps in a row; 0 never skips.
        source: the option that names a file whose decisions are repeated.
        reuses: what a skipped step reuses: with ``body``, the residual that the body added to its input; with
            ``output``, the transformer's output, and then residuals are not evaluated. ``None`` for a plugin that skips
            nothing. If an option decides it, or the image, the instance sets its attribute ``reuses`` in
            ``mflux_attach`` or ``mflux_generation_start``.
        residual_after: how many of the body's first blocks run in every step; residuals are taken after them. If an
            option decides it, the instance sets its attribute ``residual_after`` in ``mflux_attach``.
        needs_calibration: it runs only on models for which it has measured figures.
        simulated: a shadow run can tell what it would have skipped.
        replay_values: the values of its ``mflux_image_metadata`` that a replay needs to reuse in the same way; if
            empty, its decisions are not repeated, and it decides anew.
        told: the value of its ``mflux_image_metadata`` that the line after an image quotes: a text of a few words.
        keeps_images_apart: one instance serves all images of an attachment, even overlapping ones, and tells them
            apart by ``generation.number``.
        grid: for each option, the values, from careful to coarse, that ``bench quality`` compares for a built-in
            strategy.
        alone: why no other plugin can decide beside it; a message puts this after its name.
    """

    kind: Kind | None = None
    description: str = ""
    threshold: str | None = None
    default_threshold: float | None = None
    budgets: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    cap: str | None = None
    source: str | None = None
    reuses: Reuses | None = None
    residual_after: int = 0
    needs_calibration: bool = False
    simulated: bool = True
    replay_values: tuple[str, ...] = ()
    told: str | None = None
    keeps_images_apart: bool = False
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    alone: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in (None, *get_args(Kind)):
            raise TypeError(f"About.kind is {self.kind!r}; it must be one of {', '.join(get_args(Kind))}, or None")
        if self.reuses not in (None, *REUSES):
            raise TypeError(f"About.reuses is {self.reuses!r}; it must be one of {', '.join(REUSES)}, or None")
        for name in ("needs_calibration", "simulated", "keeps_images_apart"):
            if not isinstance(value := getattr(self, name), bool):
                raise TypeError(f"About.{name} is {value!r}; it must be True or False")
        for name in ("budgets", "windows", "replay_values"):
            if not isinstance(value := getattr(self, name), tuple):
                raise TypeError(f"About.{name} is {value!r}; it must be a tuple of names")
        if not (isinstance(self.grid, Mapping) and all(isinstance(values, tuple) for values in self.grid.values())):
            raise TypeError(f"About.grid is {self.grid!r}; it must give options a tuple of values each")
