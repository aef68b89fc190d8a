"""What ``mflux-teacache bench`` answers before it loads anything, each followed as it says."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import PIL.Image
from advised import Case
from advised_runs import bench_quality, bench_speed, deleted, written

from mflux_teacache.bench import unfinished
from mflux_teacache.bench.quality import check_json
from mflux_teacache.bench.settings import SpeedSettings

_PLAN = "--setting 'schedule every=2'"


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for the files that they are about.
    """
    photo, prompts = folder / "photo.png", written(folder / "prompts.txt", "a fox\n")
    PIL.Image.new("RGB", (16, 16)).save(photo)
    own_prompts = f"{_PLAN} --model dev --prompts {prompts}"
    return {
        **_models(own_prompts),
        **_steps(),
        **_images(folder, own_prompts, photo),
        **_files(folder),
    }


def _models(own_prompts: str) -> dict[str, Case]:
    return {
        "two models": Case(
            bench_speed("--random-weights fibo --model dev"),
            "Leave one out.",
            [bench_speed("--random-weights fibo"), bench_speed("--model dev")],
        ),
        "a base model alone": Case(
            bench_speed("--skip 3 --base-model dev"),
            "Give --model, or leave it out.",
            [bench_speed("--skip 3 --base-model dev --model me/mine"), bench_speed("--skip 3")],
        ),
        "LoRAs alone": Case(
            bench_quality(f"{_PLAN} --lora-paths a.safetensors"),
            "which goes with --model. Give --model, or leave it out.",
            [bench_quality(f"{own_prompts} --lora-paths a.safetensors"), bench_quality(_PLAN)],
        ),
        "bits of the demo's model": Case(
            bench_quality(f"{_PLAN} -q 8"),
            "Leave it out, or name a model with --model in place of the demo's.",
            [bench_quality(_PLAN), bench_quality(f"{own_prompts} -q 8")],
        ),
    }


def _steps() -> dict[str, Case]:
    return {
        "a pattern of other steps": Case(
            bench_speed("--pattern CSC --steps 5"),
            "Give --steps 3, or another pattern.",
            [bench_speed("--pattern CSC --steps 3"), bench_speed("--pattern CSCSC --steps 5")],
        ),
        "nothing that says which steps": Case(
            lambda: SpeedSettings(steps=10),
            "Give --pattern, --skip or --plugin.",
            [
                bench_speed("--pattern CSC"),
                bench_speed("--skip 3"),
                bench_speed("--plugin schedule --schedule-every 2"),
            ],
        ),
        "a pattern and a plugin": Case(
            lambda: SpeedSettings(steps=3, pattern="CSC", plugin="teacache"),
            "Leave out --pattern, or it.",
            [bench_speed("--plugin teacache"), bench_speed("--pattern CSC")],
        ),
        "a comparison without a pattern": Case(
            bench_speed("--plugin teacache --compare mlx-teacache"),
            "Use --pattern or --skip instead of --plugin teacache.",
            [bench_speed("--pattern CSC --compare mlx-teacache"), bench_speed("--skip 3 --compare mlx-teacache")],
        ),
        "an option given twice": Case(
            bench_speed("--plugin teacache --plugin-option thresh=0.1 --teacache-thresh 0.2"),
            "Leave one of them out.",
            [
                bench_speed("--plugin teacache --plugin-option thresh=0.1"),
                bench_speed("--plugin teacache --teacache-thresh 0.2"),
            ],
        ),
    }


def _images(folder: Path, own_prompts: str, photo: Path) -> dict[str, Case]:
    text, empty = written(folder / "text.txt", "a fox\n"), written(folder / "empty.txt", "\n")
    return {
        "an input image alone": Case(
            bench_quality(f"{_PLAN} --image-path {photo}"),
            "which goes with --model. Give --model, or leave it out.",
            [bench_quality(f"{own_prompts} --image-path {photo}"), bench_quality(_PLAN)],
        ),
        "mflux's name of a size": Case(
            bench_quality(f"{_PLAN} --width 192"), "Use --size 192x192", [bench_quality(f"{_PLAN} --size 192x192")]
        ),
        "an image's strength alone": Case(
            bench_quality(f"{own_prompts} --image-strength 0.4"),
            "and there is no --image-path. Give it too.",
            [bench_quality(f"{own_prompts} --image-strength 0.4 --image-path {photo}")],
        ),
        "an image's strength that leaves nothing": Case(
            bench_quality(f"{own_prompts} --image-strength 0.9 --image-path {photo} --steps 10"),
            "Give a lower one, or more --steps.",
            [
                bench_quality(f"{own_prompts} --image-strength 0.3 --image-path {photo} --steps 10"),
                bench_quality(f"{own_prompts} --image-strength 0.9 --image-path {photo} --steps 80"),
            ],
        ),
        "an input that is no image": Case(
            bench_quality(f"{own_prompts} --image-path {text}"),
            "Name a PNG or JPEG.",
            [bench_quality(f"{own_prompts} --image-path {photo}")],
        ),
        "a model without prompts": Case(
            bench_quality(f"{_PLAN} --model dev"),
            "give --prompts a file with one prompt in a line.",
            [bench_quality(own_prompts)],
        ),
        "prompts that cannot be read": Case(
            bench_quality(f"{_PLAN} --prompts {folder / 'none.txt'}"),
            "Give a number, or a text file with one prompt in a line.",
            [bench_quality(f"{_PLAN} --prompts 2"), bench_quality(own_prompts)],
        ),
        "no prompts": Case(
            bench_quality(f"{_PLAN} --model dev --prompts {empty}"),
            "Write one in a line.",
            [bench_quality(own_prompts)],
        ),
        "a prompt that is no JSON": Case(
            partial(check_json, str(written(folder / "texts.txt", "a fox\n"))),
            "Write an object, such as",
            [partial(check_json, str(written(folder / "objects.txt", {"short_description": "a lighthouse"})))],
        ),
    }


def _files(folder: Path) -> dict[str, Case]:
    left = written(folder / "left.json", {"interrupted": True, "runs": [1], "fewer_steps": {"runs": []}})
    other = written(folder / "other.json", {"interrupted": True, "model": "another"})
    return {
        "one file for two pictures": Case(
            bench_quality(f"{_PLAN} --png {folder / 'a.png'} --sheet {folder / 'a.png'}"),
            "Give each a file of its own.",
            [bench_quality(f"{_PLAN} --png {folder / 'a.png'} --sheet {folder / 'b.png'}")],
        ),
        "an unfinished run of something else": Case(
            lambda: unfinished.drawn(other, {"model": "this one"}),
            "Go on with its own command, give --json another name, or delete ",
            [
                lambda: unfinished.drawn(folder / "not-there.json", {"model": "this one"}),
                deleted(other, lambda: unfinished.drawn(other, {"model": "this one"})),
            ],
        ),
        "an unfinished run that is broken": Case(
            lambda: unfinished.drawn(left, {}),
            "Delete it, or give another name.",
            [deleted(left, lambda: unfinished.drawn(left, {}))],
        ),
    }
