"""Prompts of the demo's model: those that its calibration was fitted on, and random others to measure on. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product

from mflux_teacache.demo.vocabulary import COLOURS, COLUMNS, LANDSCAPES, LIGHTS, OBJECTS, ROWS, Object, Scene, parse

# What the shipped calibration was fitted on, which would flatter TeaCache in a measurement.
FITTED = (
    "a large apple in the middle on white",
    "a cat bottom left and a balloon top right in the sky",
    "a sailboat on water at sunset",
    "a fox bottom right, an owl top left and a mushroom bottom left on grass at night",
    "a small rocket top left and a large robot bottom right on purple",
    "a penguin bottom center and a star top right on snow at night",
    "a cactus bottom left, a turtle bottom right and a butterfly top center on sand",
    "a guitar top left, a doughnut top right, a clock bottom left and a gift bottom right on orange",
)

_MOST = 3  # objects: a picture of four is crowded


def held_out(count: int, *, seed: int, without: Iterable[str]) -> list[str]:
    """Different prompts, the same ones for a seed; a smaller count gives the first of a larger one's.

    Args:
        without: prompts to leave out, whatever their spelling.
    """
    chance = random.Random(seed)
    taken = {parse(prompt) for prompt in without}
    prompts: list[str] = []
    while len(prompts) < count:
        scene = _scene(chance)
        if scene not in taken:
            taken.add(scene)
            prompts.append(str(scene))
    return prompts


def _scene(chance: random.Random) -> Scene:
    """Of different objects, each with its place, on a landscape or a colour."""
    places = chance.sample(list(product(ROWS, COLUMNS)), chance.randint(1, _MOST))
    names = chance.sample(OBJECTS, len(places))
    objects = tuple(
        Object(name=name, row=row, column=column) for name, (row, column) in zip(names, places, strict=True)
    )
    if chance.random() < 0.3:
        return Scene(objects=objects, ground=chance.choice(COLOURS))
    return Scene(objects=objects, ground=chance.choice(LANDSCAPES), light=chance.choice(LIGHTS))
