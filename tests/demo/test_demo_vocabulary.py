"""Prompts of the demo: what they mean, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from mflux_teacache.demo.vocabulary import (
    COLOURS,
    COLUMNS,
    EMPTY_PROMPT,
    EXAMPLE,
    GRAMMAR,
    LANDSCAPES,
    LENGTH,
    LIGHTS,
    OBJECTS,
    ROWS,
    SIZES,
    WORDS,
    WORDS_PER_TOKEN,
    Object,
    Scene,
    parse,
)
from mflux_teacache.errors import OptionError


def words(scene: Scene) -> list[str]:
    """Of its tokens, without what was not said; a token in a string."""
    return [" ".join(WORDS[index] for index in token if index) for token in scene.tokens]


def test_words_are_in_the_order_of_the_trained_embedding() -> None:
    # Written out where an order could be changed unseen: the embedding's rows were trained in it.
    assert WORDS[0] == "<pad>"
    assert (OBJECTS[0], OBJECTS[-1], len(OBJECTS), len(set(OBJECTS))) == ("fox", "heart", 60, 60)
    assert WORDS[1:61] == OBJECTS
    assert WORDS[61:] == (
        *("small", "large"),
        *("top", "middle", "bottom"),
        *("left", "center", "right"),
        *("sky", "grass", "sand", "water", "snow"),
        *("day", "sunset", "night"),
        *("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "grey", "black"),
    )


def test_tokens_of_a_known_scene() -> None:
    scene = parse("a small owl top right and a large turtle on the left, on grass at sunset")
    assert words(scene) == ["small owl top right", "large turtle left", "", "", "grass sunset"]
    assert [WORDS[index] for index in scene.tokens[1]] == ["large", "turtle", "<pad>", "left"]


def test_the_empty_prompt_is_all_padding() -> None:
    assert EMPTY_PROMPT == [[0] * WORDS_PER_TOKEN] * LENGTH


def test_every_object_at_every_place_is_understood_and_given_back() -> None:
    places = itertools.product((None, *SIZES), (None, *ROWS), (None, *COLUMNS))
    for name, (size, row, column) in itertools.product(OBJECTS, places):
        # "Middle" alone says both.
        if {row, column} == {None, "middle"} or {row, column} == {None, "center"}:
            continue
        thing = Object(name=name, size=size, row=row, column=column)
        assert parse(str(thing)).objects == (thing,)


def test_every_background_is_understood_and_given_back() -> None:
    fox = (Object(name="fox"),)
    scenes = [Scene(objects=fox, ground=colour) for colour in COLOURS]
    scenes += [Scene(objects=fox, ground=land, light=light) for land, light in itertools.product(LANDSCAPES, LIGHTS)]
    for scene in (*scenes, Scene(objects=fox)):
        assert parse(str(scene)) == scene


def test_what_is_left_out_stays_open() -> None:
    assert parse("fox") == Scene(objects=(Object(name="fox"),))


FOX_AND_ROCKET = Scene(
    objects=(Object(name="fox", column="left"), Object(name="rocket", row="top", column="right")),
    ground="sky",
    light="night",
)


@pytest.mark.parametrize(
    "prompt",
    [
        EXAMPLE,
        "a fox left and a rocket top right in the sky at night",
        "A fox at the left side, with a rocket in the right top corner, at night.",
        "fox left; rocket top-right; night sky",
    ],
)
def test_ways_of_saying_the_same(prompt: str) -> None:
    assert parse(prompt) == FOX_AND_ROCKET


@pytest.mark.parametrize(
    ("said", "row", "column"),
    [
        ("in the middle", "middle", "center"),
        ("in the centre", "middle", "center"),
        ("middle left", "middle", "left"),
        ("center left", "middle", "left"),
        ("top middle", "top", "center"),
        ("middle center", "middle", "center"),
        ("at the bottom", "bottom", None),
    ],
)
def test_the_middle_is_what_the_other_word_leaves_open(said: str, row: str | None, column: str | None) -> None:
    assert parse(f"a cat {said}").objects == (Object(name="cat", row=row, column=column),)


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("", "it names 0 objects, and the model draws 1 to 4"),
        ("on blue", "it names 0 objects, and the model draws 1 to 4"),
        ("cat, owl, fox, bee, star", "it names 5 objects, and the model draws 1 to 4"),
        ("a large on blue", "after 'large' comes an object, not 'blue'"),
        ("a fox and a small", "after 'small' comes an object, not nothing"),
        ("top left fox", "'top' comes before the object that it places"),
        ("fox left right", "an object cannot be at 'left right'"),
        ("fox top top", "an object cannot be at 'top top'"),
        ("fox top left middle", "an object cannot be at 'top left middle'"),
        ("fox on blue left", "'left' comes after the background 'blue', which stands last"),
        ("a red fox", "'fox' comes after the background 'red', which stands last"),
        ("fox on red blue", "it has one background, a landscape by a light or a colour, not 'red blue'"),
        ("fox on grass snow", "it has one background, a landscape by a light or a colour, not 'grass snow'"),
        ("fox on red at night", "it has one background, a landscape by a light or a colour, not 'red night'"),
        ("fox at night at sunset", "it has one background, a landscape by a light or a colour, not 'night sunset'"),
        ("fox top left and cat left top", "2 objects are at top left"),
        ("fox in the middle and cat in the centre", "2 objects are at middle"),
    ],
)
def test_refusals_name_the_problem_and_where_the_words_are(prompt: str, problem: str) -> None:
    with pytest.raises(OptionError) as refusal:
        parse(prompt)
    assert str(refusal.value) == (
        f"the demo cannot draw this prompt: {problem}. Try {EXAMPLE!r}. `mflux-teacache demo --help` lists the words "
        f"that it knows."
    )
    assert parse(EXAMPLE)


@pytest.mark.parametrize(
    ("prompt", "unknown"), [("a moon, a fox and a moon on mars", "'moon', 'mars'"), ("<pad>", "'<pad>'")]
)
def test_an_unknown_word_is_refused_in_one_line(prompt: str, unknown: str) -> None:
    with pytest.raises(OptionError) as refusal:
        parse(prompt)
    assert str(refusal.value) == (
        f"the demo cannot draw this prompt: it does not know {unknown}. Try {EXAMPLE!r}. "
        "`mflux-teacache demo --help` lists the words that it knows."
    )


def test_the_grammar_lists_every_word_and_its_example_is_one() -> None:
    assert all(word in GRAMMAR for word in WORDS[1:])
    assert parse(GRAMMAR.rpartition("Example: ")[2]) == FOX_AND_ROCKET
