"""Prompts for measuring on the demo's model: random, and none that its calibration was fitted on. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product

from mflux_teacache.demo.vocabulary import KINDS, MAX_OBJECTS, Object, Scene, parse


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
