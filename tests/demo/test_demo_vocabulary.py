"""Prompts of the demo: what they mean, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from mflux_teacache.demo.vocabulary import EMPTY_PROMPT, EXAMPLE, GRAMMAR, KINDS, LENGTH, WORDS, Object, Scene, parse
from mflux_teacache.errors import OptionError


def test_words_are_in_the_order_of_the_trained_embedding() -> None:
    # Written out: the embedding's rows were trained in this order.
    trained = (
        "<pad>",
        *("red", "green", "blue", "yellow", "orange", "purple", "white", "black"),
        *("circle", "square", "diamond", "ring", "triangle", "cross"),
        *("plain", "striped", "dotted"),
        *("small", "large"),
        *("top", "middle", "bottom"),
        *("left", "center", "right"),
        *("on", "and"),
    )
    assert trained == WORDS


def test_tokens_of_a_known_scene() -> None:
    scene = parse("small green dotted cross top right and large black plain square bottom left on orange")
    words = [WORDS[token] for token in scene.tokens]
    pad = ["<pad>"]
    first = ["small", "green", "dotted", "cross", "top", "right"]
    second = ["large", "black", "plain", "square", "bottom", "left"]
    assert words == [*first, *second, *pad * 6, "on", "orange", *pad * 4]


def test_the_empty_prompt_is_all_padding() -> None:
    assert EMPTY_PROMPT == [0] * 24


def test_every_object_on_every_ground_is_understood_and_given_back() -> None:
    for ground, words in itertools.product(KINDS["colour"], itertools.product(*KINDS.values())):
        if ground == words[1]:
            continue
        scene = parse(f"{' '.join(words)} on {ground}")
        assert scene == Scene(objects=(Object(**dict(zip(KINDS, words, strict=True))),), ground=ground)
        assert parse(str(scene)) == scene
        assert len(scene.tokens) == LENGTH
        assert [WORDS[token] for token in scene.tokens[:6]] == list(words)


def test_every_attribute_may_be_left_out() -> None:
    spoken = {"size": "small", "colour": "blue", "pattern": "dotted", "shape": "ring", "row": "top", "column": "left"}
    optional = [kind for kind in KINDS if kind != "shape"]
    for count in range(len(optional) + 1):
        for missing in itertools.combinations(optional, count):
            said = {kind: word for kind, word in spoken.items() if kind not in missing}
            assert parse(" ".join(said.values())) == Scene(objects=(Object(**said),), ground="white")


def test_what_is_left_out_is_spelt_out() -> None:
    assert str(parse("circle")) == "large red plain circle middle center on white"


RED_AND_BLUE = Scene(
    objects=(
        Object(size="large", colour="red", pattern="plain", shape="circle", row="top", column="left"),
        Object(size="small", colour="blue", pattern="striped", shape="square", row="bottom", column="right"),
    ),
    ground="yellow",
)


@pytest.mark.parametrize(
    "prompt",
    [
        "large red plain circle top left small blue striped square bottom right on yellow",
        "a large red plain circle top left and a small blue striped square bottom right on yellow",
        "A red circle at the top left, a small blue striped square at the bottom right, on a yellow background.",
        "Plain big red circle in the left top; striped blue small square bottom-right on yellow",
        "red circle top left, and small striped blue square right bottom on the yellow",
    ],
)
def test_ways_of_saying_the_same(prompt: str) -> None:
    assert parse(prompt) == RED_AND_BLUE


def test_british_spelling_of_the_place() -> None:
    assert parse("ring bottom centre") == parse("ring bottom center")


def test_an_adjective_after_a_shape_opens_the_next_object() -> None:
    first, second = parse("red circle left small blue square right").objects
    assert (first.size, first.shape, first.column) == ("large", "circle", "left")
    assert (second.size, second.shape, second.column) == ("small", "square", "right")


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("", "it names 0 objects, and the model draws 1 to 3"),
        ("on blue", "it names 0 objects, and the model draws 1 to 3"),
        ("circle left, ring right, cross top, square bottom", "it names 4 objects, and the model draws 1 to 3"),
        ("a fox, a moon and a fox", "it does not know 'fox', 'moon'"),
        ("<pad>", "it does not know '<pad>'"),
        ("a large red on blue", "'large red' has no shape"),
        ("red and white circle", "'red' has no shape"),
        ("red blue circle", "it gives the colour of one object twice, 'red' and 'blue'"),
        ("circle top bottom", "it gives the row of one object twice, 'top' and 'bottom'"),
        ("top left circle", "'top' comes before the shape that it places"),
        ("circle on", "after 'on' comes one colour and nothing else, not 'nothing'"),
        ("circle on the left", "after 'on' comes one colour and nothing else, not 'left'"),
        ("circle on blue on green", "after 'on' comes one colour and nothing else, not 'blue on green'"),
        ("circle and square", "2 objects are at middle center"),
        ("white circle", "a white circle on white cannot be seen"),
        ("blue ring left and green cross right on green", "a green cross on green cannot be seen"),
    ],
)
def test_refusals_name_the_problem_and_where_the_words_are(prompt: str, problem: str) -> None:
    with pytest.raises(OptionError) as refusal:
        parse(prompt)
    assert str(refusal.value) == (
        f"the demo cannot draw this prompt: {problem}. `mflux-teacache demo --help` lists the words that it knows; try "
        f"{EXAMPLE!r}."
    )
    assert parse(EXAMPLE)


def test_the_grammar_lists_every_word_and_its_example_is_one() -> None:
    assert all(word in GRAMMAR for words in KINDS.values() for word in words)
    assert parse(GRAMMAR.rpartition("Example: ")[2]).ground == "purple"
