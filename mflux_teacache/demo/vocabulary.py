"""The words that the demo's model was trained on, and how a prompt becomes its tokens. No mlx, no mflux.

The model reads 24 places: three objects of six words each (size, colour, pattern, shape, row, column), then
``on`` and the colour of the ground. An object that is not there is six times ``<pad>``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from mflux_teacache.errors import OptionError

# In the order of their places; within a kind, in the order of the trained embedding.
KINDS: dict[str, tuple[str, ...]] = {
    "size": ("small", "large"),
    "colour": ("red", "green", "blue", "yellow", "orange", "purple", "white", "black"),
    "pattern": ("plain", "striped", "dotted"),
    "shape": ("circle", "square", "diamond", "ring", "triangle", "cross"),
    "row": ("top", "middle", "bottom"),
    "column": ("left", "center", "right"),
}
_TRAINED_ORDER = ("colour", "shape", "pattern", "size", "row", "column")
WORDS = ("<pad>", *(word for kind in _TRAINED_ORDER for word in KINDS[kind]), "on", "and")
LENGTH = 24
MAX_OBJECTS = 3

_INDEX = {word: index for index, word in enumerate(WORDS)}
_KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
_SAME_AS = {"big": "large", "centre": "center"}
_FILLERS = {"a", "an", "the", "at", "in", "with", "background"}
_ALLOWED = {*_KIND_OF, *_FILLERS, "on", "and"}
_NOTHING = _INDEX["<pad>"]

# The negative prompt: what the model learned to draw any scene from.
EMPTY_PROMPT = [_NOTHING] * LENGTH

EXAMPLE = "a small blue striped square bottom right and a large yellow ring on purple"

GRAMMAR = f"""A prompt names up to {MAX_OBJECTS} objects, then `on` and the colour of the ground:
  SIZE COLOUR PATTERN SHAPE ROW COLUMN [and ...] on COLOUR
  size     {", ".join(KINDS["size"])} (default large)
  colour   {", ".join(KINDS["colour"])} (default red, the ground white)
  pattern  {", ".join(KINDS["pattern"])} (default plain)
  shape    {", ".join(KINDS["shape"])} (needed)
  row      {", ".join(KINDS["row"])} (default middle)
  column   {", ".join(KINDS["column"])} (default center)
Size, colour and pattern come before the shape, row and column after it. Each object has a place of its own and
another colour than the ground. Commas and {", ".join(sorted(_FILLERS))} are passed over.
Example: {EXAMPLE}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """One thing in the scene; the defaults are what a prompt that leaves the word out gets."""

    shape: str
    size: str = "large"
    colour: str = "red"
    pattern: str = "plain"
    row: str = "middle"
    column: str = "center"

    @property
    def place(self) -> str:
        return f"{self.row} {self.column}"

    def __str__(self) -> str:
        return " ".join(getattr(self, kind) for kind in KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a prompt says. ``str()`` gives it back in full, with every default spelt out."""

    objects: tuple[Object, ...]
    ground: str = "white"

    def __str__(self) -> str:
        return f"{' and '.join(map(str, self.objects))} on {self.ground}"

    @property
    def tokens(self) -> list[int]:
        """24 indices into the model's embedding."""
        slots = [_INDEX[getattr(thing, kind)] for thing in self.objects for kind in KINDS]
        absent = [_NOTHING] * (len(KINDS) * (MAX_OBJECTS - len(self.objects)))
        tokens = [*slots, *absent, _INDEX["on"], _INDEX[self.ground]]
        return tokens + [_NOTHING] * (LENGTH - len(tokens))


def parse(prompt: str) -> Scene:
    """The scene that a prompt describes.

    Raises:
        OptionError: a word that the model does not know, or a scene that it was not trained on; the message
            explains the grammar and lists the vocabulary.
    """
    words = _words(prompt)
    things, ground = _split_ground(words)
    objects = tuple(Object(**thing) for thing in _objects(things))
    scene = Scene(objects=objects, ground=ground) if ground else Scene(objects=objects)
    _check_drawable(scene)
    return scene


def _refusal(problem: str) -> OptionError:
    return OptionError(
        f"the demo cannot draw this prompt: {problem}. `mflux-teacache demo --help` lists the words that it knows; try "
        f"{EXAMPLE!r}."
    )


def _words(prompt: str) -> list[str]:
    words = [_SAME_AS.get(word, word) for word in re.split(r"[\s,;.\-]+", prompt.lower()) if word]
    unknown = [word for word in words if word not in _ALLOWED]
    if unknown:
        raise _refusal(f"it does not know {', '.join(map(repr, dict.fromkeys(unknown)))}")
    return [word for word in words if word not in _FILLERS]


def _split_ground(words: list[str]) -> tuple[list[str], str | None]:
    """The words before ``on``, and the colour after it."""
    if "on" not in words:
        return words, None
    before, after = words[: words.index("on")], words[words.index("on") + 1 :]
    if len(after) != 1 or after[0] not in KINDS["colour"]:
        found = " ".join(after) or "nothing"
        raise _refusal(f"after 'on' comes one colour and nothing else, not {found!r}")
    return before, after[0]


@dataclass(slots=True)
class _Draft:
    """An object while its words are being read."""

    words: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return " ".join(self.words.values())

    def ends_before(self, kind: str) -> bool:
        """Whether a word of this kind opens the next object: after the shape only row and column follow."""
        return "shape" in self.words and kind not in ("row", "column")

    def add(self, kind: str, word: str) -> None:
        if kind in self.words:
            raise _refusal(f"it gives the {kind} of one object twice, {self.words[kind]!r} and {word!r}")
        if kind in ("row", "column") and "shape" not in self.words:
            raise _refusal(f"{word!r} comes before the shape that it places")
        self.words[kind] = word


def _objects(words: list[str]) -> list[dict[str, str]]:
    drafts = [_Draft()]
    for word in words:
        if word == "and" or drafts[-1].ends_before(_KIND_OF[word]):
            drafts.append(_Draft())
        if word != "and":
            drafts[-1].add(_KIND_OF[word], word)
    drafts = [draft for draft in drafts if draft.words]  # "and" at an end leaves an empty one
    for draft in drafts:
        if "shape" not in draft.words:
            raise _refusal(f"{draft.text!r} has no shape")
    return [draft.words for draft in drafts]


def _check_drawable(scene: Scene) -> None:
    """What the model never saw in training comes out as noise."""
    if not 1 <= len(scene.objects) <= MAX_OBJECTS:
        raise _refusal(f"it names {len(scene.objects)} objects, and the model draws 1 to {MAX_OBJECTS}")
    place, count = Counter(thing.place for thing in scene.objects).most_common(1)[0]
    if count > 1:
        raise _refusal(f"{count} objects are at {place}")
    for thing in scene.objects:
        if thing.colour == scene.ground:
            raise _refusal(f"a {thing.colour} {thing.shape} on {scene.ground} cannot be seen")
