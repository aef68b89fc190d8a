"""Judges the demo's model: ``python -m mflux_teacache.demo.trainer.judge --detector FILE --sprites FILE --sheet PNG``.

It draws 64 prompts that nothing was fitted on, with 2 seeds, as the demo does, and lets the detector look for the
objects that they name. Prints which share of these is found and at its place, and the codec's PSNR on held-out scenes;
writes a sheet of 32 pictures.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import NamedTuple

import PIL.Image
import PIL.ImageDraw
import torch
from torch import Tensor

from mflux_teacache.demo import prompts
from mflux_teacache.demo.sizes import SIDE
from mflux_teacache.demo.trainer import detector, sampling, train_codec, weights
from mflux_teacache.demo.trainer.detector import Detector
from mflux_teacache.demo.trainer.render import Renderer
from mflux_teacache.demo.trainer.workers import Workers
from mflux_teacache.demo.vocabulary import COLUMNS, OBJECTS, ROWS, Scene, parse
from mflux_teacache.pieces.output_files import replace_file

PROMPTS, SEEDS, PROMPT_SEED = 64, 2, 2026

_ON_SHEET, _COLUMNS, _CAPTION = 32, 8, 26
# How far from the middle of its cell an object may be: half a cell, and half a place of the detector.
_REACH = 0.25 + 0.08


class Score(NamedTuple):
    """Shares from 0 to 1: of the named objects that were found, and of those found that are at their place."""

    found: float
    placed: float


def score(finder: Detector, pictures: Tensor, scenes: list[Scene]) -> Score:
    """Of pictures ``(batch, 3, 192, 192)`` of scenes whose objects all have a place."""
    found, placed, count = 0, 0, 0
    for picture, scene in zip(pictures.split(1), scenes, strict=True):
        names = torch.tensor([[OBJECTS.index(thing.name) for thing in scene.objects]], device=picture.device)
        detected = detector.detect(finder, picture, names)
        for thing, is_best, centre in zip(
            scene.objects, detected.is_best[0].tolist(), detected.centre[0].tolist(), strict=True
        ):
            wanted = (COLUMNS.index(thing.column or ""), ROWS.index(thing.row or ""))
            near = all(abs(at - 0.5 * (cell - 1)) < _REACH for at, cell in zip(centre, wanted, strict=True))
            found, placed, count = found + is_best, placed + (is_best and near), count + 1
    return Score(found / count, placed / max(found, 1))


def draw(path: Path, device: torch.device, scenes: list[Scene], generator: torch.Generator) -> Tensor:
    """Pictures of scenes by the model of a weight file."""
    model, codec = weights.load(path, device)
    tokens = torch.tensor([scene.tokens for scene in scenes], device=device)
    return codec.pictures(sampling.sample(model, tokens, generator)).clamp(-1, 1)


def write_sheet(path: Path, pictures: Tensor, captions: list[str]) -> None:
    """A PNG: rows of pictures, each above its caption."""
    side, rows = SIDE + 4, -(-len(captions) // _COLUMNS)
    sheet = PIL.Image.new("RGB", (_COLUMNS * side, rows * (side + _CAPTION)), "white")
    pen = PIL.ImageDraw.Draw(sheet)
    levels = ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    for index, (pixels, caption) in enumerate(zip(levels, captions, strict=True)):
        left, top = index % _COLUMNS * side, index // _COLUMNS * (side + _CAPTION)
        sheet.paste(PIL.Image.fromarray(pixels), (left + 2, top + 2))
        for line, text in enumerate((caption[:32], caption[32:64])):
            pen.text((left + 2, top + side + 11 * line), text, fill="black")
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    replace_file(path, content.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mflux_teacache.demo.trainer.judge", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="of train.py")
    parser.add_argument("--detector", type=Path, required=True, metavar="FILE", help="of detector.py")
    parser.add_argument("--sprites", type=Path, required=True, metavar="FILE", help="of emoji.py")
    parser.add_argument("--sheet", type=Path, required=True, metavar="PNG", help="pictures to look at")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"), help="(default: %(default)s)")
    args = parser.parse_args()
    workers = Workers.start(args.device, seed=0)
    scenes = [parse(prompt) for prompt in prompts.held_out(PROMPTS, seed=PROMPT_SEED, without=prompts.FITTED)]
    pictures = draw(args.weights, workers.device, scenes * SEEDS, workers.generator(30))
    write_sheet(args.sheet, pictures[:_ON_SHEET], list(map(str, scenes[:_ON_SHEET])))
    result = score(detector.load(args.detector, workers.device), pictures, scenes * SEEDS)
    print(f"{PROMPTS} prompts, {SEEDS} seeds: {result.found:.1%} found, {result.placed:.1%} of them at their place")
    _, codec = weights.load(args.weights, workers.device)
    decibels = train_codec.psnr(codec, Renderer(args.sprites, workers.device), workers.generator(31))
    print(f"codec, held out: mean {decibels.mean():.1f} dB, worst {decibels.min():.1f} dB")


if __name__ == "__main__":
    main()
