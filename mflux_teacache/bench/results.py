"""What a measurement comes to: what is printed, JSON in one form, and pictures."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlx.core as mx
from matplotlib.figure import Figure

from mflux_teacache.bench import figures, pictures, tables
from mflux_teacache.bench.baseline import no_better
from mflux_teacache.bench.judging import Judged
from mflux_teacache.bench.plugin_settings import load
from mflux_teacache.bench.settings import ImageSettings, QualitySettings, SpeedSettings
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.bench.turns import Timed
from mflux_teacache.errors import NotWritten
from mflux_teacache.messages import INTERRUPTED
from mflux_teacache.pieces.output_files import png_of, replace_file, writing

SCHEMA = 1
PACKAGES = ("mlx", "mflux", "mflux-teacache-plugin")
NOT_INSTALLED = "not installed"

# Of the arguments of ``generate_image``: each case has its own, and where an input image lies tells nothing of it.
_NOT_SHARED = ("prompt", "seed", "image_path")

# Of what MLX tells of a device; not its UUID and bus address.
_DEVICE = (
    *("device_name", "architecture", "memory_size", "total_memory"),
    *("compute_capability_major", "compute_capability_minor"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a measurement came to.

    Attributes:
        title: what was measured, above pictures.
        table: what is printed.
        content: of the JSON file, beside what every measurement writes.
        pictures: by the option that names the file, what draws under a title.
        interrupted: what is left of a measurement that Ctrl-C has ended; ``None`` = all is there.
        packages: others, whose versions matter.
    """

    title: str
    table: str
    content: Mapping[str, Any]
    pictures: Mapping[str, Callable[[str], Figure]]
    interrupted: str | None
    packages: tuple[str, ...] = ()

    def tell(self, outputs: Mapping[str, Path]) -> int:
        """Print it, and write the files that are asked for.

        Each is written whatever becomes of the others, so that what was measured is not lost with one of them.

        Args:
            outputs: files, by their options.

        Returns:
            The command's exit code.

        Raises:
            NotWritten: of all files that could not be written.
            Exception: what went wrong with the content of one.
        """
        try:
            if self.interrupted is not None:
                print(f"\ninterrupted: {self.interrupted}")
            print(f"\n{self.table}")
        finally:  # a closed standard output costs no file either
            self._write(outputs)
        return INTERRUPTED if self.interrupted else 0

    def _write(self, outputs: Mapping[str, Path]) -> None:
        problems: list[Exception] = []
        for option, path in outputs.items():
            try:
                with writing(option, path):
                    replace_file(path, self.content_of(option))
            except Exception as problem:  # noqa: BLE001  it is raised when the other files are written
                problems.append(problem)
        if faults := [problem for problem in problems if not isinstance(problem, NotWritten)]:
            raise faults[0]
        if problems:
            raise NotWritten(" ".join(map(str, problems)))

    def content_of(self, option: str) -> bytes:
        """What belongs into the file that an option names."""
        if option != "--json":
            title = f"{self.title}{' (interrupted)' if self.interrupted else ''}"
            return png_of(self.pictures[option](title))
        return (json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n").encode()

    def as_json(self) -> dict[str, Any]:
        """Everything that another person needs to compare figures of their own."""
        return {
            "schema": SCHEMA,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "interrupted": self.interrupted is not None,
            **made_with(self.packages),
            **self.content,
        }


def made_with(packages: Iterable[str]) -> dict[str, Any]:
    """The versions, of these packages too, and the machine."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{distribution: version_of(distribution) for distribution in (*PACKAGES, *packages)},
        },
        "machine": machine(),
    }


def of_speed(settings: SpeedSettings, subject: Subject, timed: Timed) -> Result:
    speeds = figures.speeds(timed.runs)
    return Result(
        title=subject.title,
        table=tables.of_speed(speeds, timed.loads, timed.first_images),
        content={
            "model": subject.name,
            "settings": asdict(settings),
            "arguments": subject.arguments,
            "loads": [asdict(load) for load in timed.loads],
            "first_images": [asdict(run) for run in timed.first_images],
            "runs": [asdict(run) for run in timed.runs],
            "summary": [asdict(entry) for entry in speeds],
        },
        pictures={"--png": partial(pictures.of_speed, speeds=speeds)},
        interrupted="these are the whole repetitions" if timed.interrupted else None,
        packages=(settings.compare,) if settings.compare else (),
    )


def of_quality(settings: QualitySettings, subject: Subject, judged: Judged) -> Result:
    baseline = figures.qualities(judged.fewer, judged.runs)
    compared = figures.qualities(settings.settings, judged.runs)
    qualities = [*baseline, *compared]
    sheet = partial(pictures.contact_sheet, cases=settings.shown, qualities=qualities, judged=judged)
    missing = "these are the settings that were drawn whole, and fewer steps come after all of them"
    return Result(
        title=f"{subject.title}; {settings.images}",
        table=tables.of_quality(qualities, judged.refusals, judged.idle),
        content={**_question(settings, subject), **_answer(judged, compared, baseline)},
        pictures={"--png": partial(pictures.of_quality, qualities=qualities), "--sheet": sheet},
        interrupted=missing if judged.interrupted else None,
        packages=_packages(settings),
    )


def _answer(judged: Judged, compared: Sequence[figures.Quality], baseline: Sequence[figures.Quality]) -> dict[str, Any]:
    """While the run is unfinished, with the images of a row that is not whole: it goes on from them."""
    fewer = set(map(str, judged.fewer))
    runs = judged.drawn.values() if judged.interrupted else judged.runs
    return {
        "refusals": [{"setting": setting, "reason": reason} for setting, reason in judged.refusals.items()],
        "skipped_nothing": judged.idle,
        "runs": [asdict(run) for run in runs if run.setting not in fewer],
        "summary": [asdict(entry) for entry in compared],
        "fewer_steps": {
            "runs": [asdict(run) for run in runs if run.setting in fewer],
            "summary": [asdict(entry) for entry in baseline],
            "not_beaten_by": list(no_better([*baseline, *compared])),
        },
    }


def question_of(settings: QualitySettings, subject: Subject) -> dict[str, Any]:
    """All that the images of ``bench quality`` depend on, as its JSON file has it."""
    return {"schema": SCHEMA, **made_with(_packages(settings)), **_question(settings, subject)}


def _packages(settings: QualitySettings) -> tuple[str, ...]:
    """Those of the plugins, beside ours."""
    packages = {load(setting.plugin).package for setting in settings.settings}
    return tuple(sorted(packages - {"", *PACKAGES}))


def _question(settings: QualitySettings, subject: Subject) -> dict[str, Any]:
    return {
        **asked_of(subject, settings.image),
        "prompts": settings.prompts,
        "seeds": settings.seeds,
        "settings": [asdict(setting) for setting in settings.settings],
    }


def asked_of(subject: Subject, image: ImageSettings) -> dict[str, Any]:
    """What all images share, whatever their prompts and seeds are."""
    return {
        "model": subject.name,
        "base_model": image.base_model,
        "files": subject.files,
        "arguments": {name: value for name, value in subject.arguments.items() if name not in _NOT_SHARED},
    }


def version_of(distribution: str) -> str:
    """A package that is only on the path has no version."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return NOT_INSTALLED


def machine() -> dict[str, Any]:
    """Without anything that names it or its user."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "default_device": str(mx.default_device()),
        "device": {name: value for name, value in mx.device_info().items() if name in _DEVICE},
    }
