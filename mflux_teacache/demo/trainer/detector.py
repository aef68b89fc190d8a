"""Finds the objects in a picture, to judge the model with: ``python -m mflux_teacache.demo.trainer.detector``.

A small convolutional network says of each of 12x12 places which object's middle is there, if any. It is trained, and
tested, on rendered scenes as the codec restores them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from mflux_teacache.demo.sizes import GRID
from mflux_teacache.demo.trainer import scenes, weights
from mflux_teacache.demo.trainer.render import Renderer
from mflux_teacache.demo.trainer.scenes import Scenes
from mflux_teacache.demo.trainer.workers import Workers, arguments, cosine
from mflux_teacache.demo.vocabulary import OBJECTS

NOTHING = len(OBJECTS)  # the class of a place without an object

_WIDTHS = (24, 48, 96, 192)
_NEAR = 1.5 / GRID  # of an object's middle, in the units of scenes: further than the middle of the nearest place
_REPORT_EVERY = 200
_BLUR_SHARE = 0.5
_TESTED, _CHUNK = 1024, 64


class Detector(nn.Module):
    """Pictures ``(batch, 3, 192, 192)`` to scores ``(batch, 61, 12, 12)``."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *_WIDTHS), _WIDTHS, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.SiLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.SiLU()]
        for _ in range(3):
            layers += [nn.Conv2d(_WIDTHS[-1], _WIDTHS[-1], 3, 1, 1), nn.BatchNorm2d(_WIDTHS[-1]), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(_WIDTHS[-1], NOTHING + 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.layers(pictures)
        return scores


def labels(drawn: Scenes) -> Tensor:
    """The class of each place, ``(batch, 12, 12)``: of the nearest middle of an object, if it is near."""
    line = (torch.arange(GRID, device=drawn.centre.device) + 0.5) / GRID * 2 - 1
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=2)
    distances = (places[None, :, :, None] - drawn.centre[:, None, None]).norm(dim=4)
    distances = torch.where(drawn.present[:, None, None], distances, 9.0)
    nearest, index = distances.min(3)
    names = drawn.name.gather(1, index.flatten(1)).view_as(index)
    return torch.where(nearest < _NEAR, names, NOTHING)


def train(workers: Workers, renderer: Renderer, *, minutes: float, batch: int, learning_rate: float) -> Detector:
    begun = time.monotonic()
    detector = Detector().to(workers.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(detector.parameters(), weight_decay=0.01, fused=workers.is_fast)
    generator = workers.generator(20)
    for step, share in enumerate(workers.shares(minutes=minutes, begun=begun)):
        optimizer.param_groups[0]["lr"] = learning_rate * cosine(share)
        drawn = scenes.sample(batch, generator)
        pictures = _worn(renderer.render(drawn, generator), generator)
        with torch.autocast(workers.device.type, torch.bfloat16, enabled=workers.is_fast):
            scores = detector(pictures)
        loss = functional.cross_entropy(scores.float(), labels(drawn))
        optimizer.zero_grad()
        loss.backward()
        workers.average_gradients(detector)
        optimizer.step()
        if step % _REPORT_EVERY == 0:
            workers.say(f"step {step:6d}  {time.monotonic() - begun:5.0f} s  {share:4.0%}  loss {loss.item():.4f}")
    trained: Detector = detector.requires_grad_(False).eval()
    return trained


def _worn(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Half of them blurred and noisy: what is judged is not as crisp as what was rendered."""
    shape = (len(pictures), 1, 1, 1)
    is_worn = torch.rand(shape, generator=generator, device=pictures.device) < _BLUR_SHARE
    noise = torch.randn(pictures.shape, generator=generator, device=pictures.device)
    worn = functional.avg_pool2d(pictures + 0.1 * noise, 3, 1, 1)
    return torch.where(is_worn, worn, pictures).contiguous(memory_format=torch.channels_last)


def test(detector: Detector, renderer: Renderer, generator: torch.Generator) -> tuple[float, float]:
    """On rendered scenes: which share of the objects is found, and which share of those at the right place."""
    found, placed, count = 0, 0, 0
    for _ in range(_TESTED // _CHUNK):
        drawn = scenes.sample(_CHUNK, generator)
        detected = detect(detector, renderer.render(drawn, generator), drawn.name)
        is_found = detected.is_best & drawn.present
        near = (detected.centre - drawn.centre).norm(dim=2) < 2 * _NEAR
        found += int(is_found.sum())
        placed += int((is_found & near).sum())
        count += int(drawn.present.sum())
    return found / count, placed / max(found, 1)


class Detected(NamedTuple):
    """Of each object that was looked for, ``(batch, objects)``.

    Attributes:
        is_best: where it is likeliest, it is likelier than all other objects, and than none.
        centre: that place, ``(batch, objects, 2)``.
    """

    is_best: Tensor
    centre: Tensor


def detect(detector: Detector, pictures: Tensor, names: Tensor) -> Detected:
    """Look for objects, ``(batch, objects)`` indices into ``OBJECTS``, in pictures."""
    shares = detector(pictures).float().softmax(1).flatten(2)
    wanted = shares.gather(1, names[..., None].expand(-1, -1, shares.shape[2]))
    place = wanted.argmax(2)
    best = shares.argmax(1).gather(1, place)
    middles = torch.stack([place % GRID, place // GRID], dim=2)
    return Detected(best == names, (middles + 0.5) / GRID * 2 - 1)


def load(path: Path, device: torch.device) -> Detector:
    detector = Detector()
    detector.load_state_dict(load_file(path))
    loaded: Detector = detector.to(device).requires_grad_(False).eval()
    return loaded


def main() -> None:
    args = arguments("detector", __doc__, minutes=2.0, batch=128, learning_rate=2e-3).parse_args()
    workers = Workers.start(args.device, args.seed)
    renderer = Renderer(args.sprites, workers.device)
    detector = train(workers, renderer, minutes=args.minutes, batch=args.batch, learning_rate=args.learning_rate)
    if workers.rank == 0:
        weights.write(args.output, detector)
        found, placed = test(detector, renderer, workers.generator(21))
        print(f"detector on held-out scenes: {found:.1%} found, {placed:.1%} of them at their place", flush=True)
    workers.finish()


if __name__ == "__main__":
    main()
