"""The words that the demo's model was trained on, and how a prompt becomes its tokens. No mlx, no mflux.

The model reads five tokens: one for each of up to four objects and one for the background. A token is the sum of the
embeddings of its four words: size, object, row and column, or ground and light. A word that is not said is ``<pad>``,
and an object that is not there is four of them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from mflux_teacache.errors import OptionError

OBJECTS = (
    *("fox", "cat", "owl", "penguin", "whale", "fish", "octopus", "turtle", "butterfly", "bee", "snail", "ladybug"),
    *("elephant", "rabbit", "lion", "panda", "frog", "unicorn", "dinosaur", "chick", "crab", "parrot"),
    *("apple", "banana", "strawberry", "watermelon", "pineapple", "lemon", "avocado", "carrot", "mushroom", "pizza"),
    *("burger", "doughnut", "cupcake", "cactus", "tree", "sunflower", "tulip"),
    *("rocket", "car", "bus", "train", "sailboat", "tractor"),
    *("balloon", "guitar", "camera", "clock", "gift", "crown", "umbrella", "house", "castle", "robot", "ghost"),
    *("pumpkin", "football", "star", "heart"),
)
SIZES = ("small", "large")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
LANDSCAPES = ("sky", "grass", "sand", "water", "snow")
LIGHTS = ("day", "sunset", "night")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "grey", "black")

# In the order of the trained embedding.
WORDS = ("<pad>", *OBJECTS, *SIZES, *ROWS, *COLUMNS, *LANDSCAPES, *LIGHTS, *COLOURS)
MAX_OBJECTS = 4
LENGTH = MAX_OBJECTS + 1
WORDS_PER_TOKEN = 4

_INDEX = {word: index for index, word in enumerate(WORDS)}
_KIND_OF = {
    **dict.fromkeys(OBJECTS, "object"),
    **dict.fromkeys(SIZES, "size"),
    **dict.fromkeys((*ROWS, *COLUMNS), "place"),
    **dict.fromkeys((*LANDSCAPES, *LIGHTS, *COLOURS), "background"),
}
_SAME_AS = {
    "big": "large",
    "little": "small",
    "tiny": "small",
    "centre": "center",
    "meadow": "grass",
    "beach": "sand",
    "desert": "sand",
    "sea": "water",
    "gray": "grey",
    "donut": "doughnut",
}
_SIDES = {"top": "row", "bottom": "row", "left": "column", "right": "column"}
_FILLERS = {"a", "an", "the", "and", "with", "on", "in", "at", "of", "side", "corner", "background"}

# The negative prompt: what the model learned to draw any scene from.
EMPTY_PROMPT = [[_INDEX["<pad>"]] * WORDS_PER_TOKEN] * LENGTH

EXAMPLE = "a fox on the left and a rocket top right in a night sky"

_KNOWN = f"""  OBJECT      {", ".join(OBJECTS)}
  SIZE        {", ".join(SIZES)}
  PLACE       {", ".join(ROWS)}; {", ".join(COLUMNS)}; one or two of them
  BACKGROUND  {", ".join(LANDSCAPES)}, by {", ".join(LIGHTS)}; or {", ".join(COLOURS)}"""

GRAMMAR = f"""A prompt names up to {MAX_OBJECTS} objects, then the background; only objects are needed:
  SIZE OBJECT PLACE [and ...] [on BACKGROUND]
{_KNOWN}
Commas and {", ".join(sorted(_FILLERS))} are passed over. What is not said is left to the seed; light is by day.
Example: {EXAMPLE}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """One thing in the scene. What is ``None`` was not said and is left to the seed."""

    name: str
    size: str | None = None
    row: str | None = None
    column: str | None = None

    @property
    def place(self) -> str:
        if (self.row, self.column) == ("middle", "center"):
            return "middle"
        return " ".join(word for word in (self.row, self.column) if word)

    def __str__(self) -> str:
        words = " ".join(word for word in (self.size, self.name, self.place) if word)
        return f"{'an' if words[0] in 'aeiou' and not words.startswith('unicorn') else 'a'} {words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a prompt says.

    Attributes:
        ground: a landscape or a colour; ``None`` is left to the seed.
        light: of a landscape.
    """

    objects: tuple[Object, ...]
    ground: str | None = None
    light: str | None = None

    def __str__(self) -> str:
        *others, last = map(str, self.objects)
        things = f"{', '.join(others)} and {last}" if others else last
        where = {None: "", "sky": " in the sky"}.get(self.ground, f" on {self.ground}")
        return f"{things}{where}{f' at {self.light}' if self.light in ('sunset', 'night') else ''}"

    @property
    def tokens(self) -> list[list[int]]:
        """Five tokens of four indices into the model's embedding."""
        slots = [(thing.size, thing.name, thing.row, thing.column) for thing in self.objects]
        absent = ((None,) * WORDS_PER_TOKEN,) * (MAX_OBJECTS - len(slots))
        background = (self.ground, self.light, None, None)
        return [[_INDEX[word or "<pad>"] for word in words] for words in (*slots, *absent, background)]


def parse(prompt: str) -> Scene:
    """The scene that a prompt describes.

    Raises:
        OptionError: a word that the model does not know, or a scene that it was not trained on.
    """
    draft = _Draft()
    for word in _words(prompt):
        draft.add(_KIND_OF[word], word)
    scene = draft.finished()
    _check_drawable(scene)
    return scene


def _refusal(problem: str) -> OptionError:
    return OptionError(
        f"the demo cannot draw this prompt: {problem}. Try {EXAMPLE!r}. `mflux-teacache demo --help` lists the words "
        f"that it knows."
    )


def _words(prompt: str) -> list[str]:
    words = [_SAME_AS.get(word, word) for word in re.split(r"[\s,;.\-]+", prompt.lower()) if word]
    unknown = [word for word in words if word not in _KIND_OF and word not in _FILLERS]
    if unknown:
        listed = ", ".join(map(repr, dict.fromkeys(unknown)))
        raise _refusal(f"it does not know {listed}")
    return [word for word in words if word not in _FILLERS]


@dataclass(slots=True)
class _Draft:
    """A scene while its words are being read."""

    size: str | None = None  # of the object that comes next
    objects: list[tuple[str, str | None]] = field(default_factory=list)
    places: list[list[str]] = field(default_factory=list)
    background: list[str] = field(default_factory=list)

    def add(self, kind: str, word: str) -> None:
        if self.background and kind != "background":
            raise _refusal(f"{word!r} comes after the background {self.background[-1]!r}, which stands last")
        if self.size and kind != "object":
            raise _refusal(f"after {self.size!r} comes an object, not {word!r}")
        if kind == "place" and not self.objects:
            raise _refusal(f"{word!r} comes before the object that it places")
        match kind:
            case "size":
                self.size = word
            case "object":
                self.objects.append((word, self.size))
                self.places.append([])
                self.size = None
            case "place":
                self.places[-1].append(word)
            case _:
                self.background.append(word)

    def finished(self) -> Scene:
        if self.size:
            raise _refusal(f"after {self.size!r} comes an object, not nothing")
        objects = (
            Object(name=name, size=size, **_place(words))
            for (name, size), words in zip(self.objects, self.places, strict=True)
        )
        return Scene(objects=tuple(objects), **_background(self.background))


def _place(words: list[str]) -> dict[str, str]:
    """Row and column. "Middle" and "center" are the same word: of what the other word leaves open, or of both."""
    place = {_SIDES[word]: word for word in words if word in _SIDES}
    inner = [word for word in words if word not in _SIDES]
    if len(words) > 2 or len(place) + len(inner) < len(words):
        raise _refusal(f"an object cannot be at {' '.join(words)!r}")
    return {"row": "middle", "column": "center"} | place if inner else place


def _background(words: list[str]) -> dict[str, str]:
    grounds = [word for word in words if word not in LIGHTS]
    lights = [word for word in words if word in LIGHTS]
    if len(grounds) > 1 or len(lights) > 1 or (lights and set(grounds) & set(COLOURS)):
        raise _refusal(f"it has one background, a landscape by a light or a colour, not {' '.join(words)!r}")
    if not words:
        return {}
    ground = grounds[0] if grounds else "sky"
    if ground in COLOURS:
        return {"ground": ground}
    return {"ground": ground, "light": lights[0] if lights else "day"}


def _check_drawable(scene: Scene) -> None:
    """Scenes that the model never saw in training are refused."""
    if not 1 <= len(scene.objects) <= MAX_OBJECTS:
        raise _refusal(f"it names {len(scene.objects)} objects, and the model draws 1 to {MAX_OBJECTS}")
    whole = [thing.place for thing in scene.objects if thing.row and thing.column]
    for place, count in Counter(whole).items():
        if count > 1:
            raise _refusal(f"{count} objects are at {place}")
