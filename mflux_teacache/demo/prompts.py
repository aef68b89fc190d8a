"""Prompts of the demo's model: those that its calibration was fitted on, and random others to measure on. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product

from mflux_teacache.demo.vocabulary import KINDS, MAX_OBJECTS, Object, Scene, parse

# What the shipped calibration was fitted on, which would flatter TeaCache in a measurement.
FITTED = (
    "small red plain circle top left on white",
    "large blue striped ring middle center on yellow",
    "large green dotted cross bottom right on purple",
    "small orange plain triangle top center and large white dotted square bottom left on black",
    "large purple plain diamond middle left and small green striped ring middle right on orange",
    "large black striped triangle bottom center and large yellow plain cross top right on green",
    "small white plain ring top left and small red striped square middle center and small blue dotted circle "
    "bottom right on orange",
    "large yellow dotted diamond top right and large green plain circle middle left and large orange striped cross "
    "bottom center on blue",
)


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
    ground = chance.choice(KINDS["colour"])
    colours = [colour for colour in KINDS["colour"] if colour != ground]
    places = chance.sample(list(product(KINDS["row"], KINDS["column"])), chance.randint(1, MAX_OBJECTS))
    objects = (
        Object(
            shape=chance.choice(KINDS["shape"]),
            size=chance.choice(KINDS["size"]),
            colour=chance.choice(colours),
            pattern=chance.choice(KINDS["pattern"]),
            row=row,
            column=column,
        )
        for row, column in places
    )
    return Scene(objects=tuple(objects), ground=ground)
