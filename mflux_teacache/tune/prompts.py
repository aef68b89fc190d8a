"""Prompts to tune on where none are given: of many kinds, so that no kind of picture decides alone."""

from __future__ import annotations

PROMPTS = (
    "a red fox sitting in fresh snow at the edge of a pine forest, late afternoon light",
    "portrait of an old fisherman with a grey beard and a blue wool cap, plain dark background",
    "a narrow street in an old town after rain, wet cobblestones, lit shop windows, dusk",
    "a bowl of ramen with a soft egg, spring onions and steam, seen from above on a wooden table",
    "an astronaut floating above the earth, the sun behind the horizon, wide angle",
    "watercolour painting of a lighthouse on a cliff, loose brush strokes, pale sky",
    "a glass of water and a lemon on a white marble table, hard sunlight, sharp shadows",
    "a green vintage car parked in front of a yellow house with a closed blue door",
    "a chalkboard with the words FRESH BREAD written in white letters, bakery counter below",
    "a tabby cat asleep on a stack of books beside a window with rain drops",
    "mountain lake at sunrise, mist over still water, reflections of snow covered peaks",
    "a robot made of brass watering flowers in a greenhouse, detailed illustration",
    "close-up of a honey bee on a lavender blossom, shallow depth of field",
    "an empty subway station with white tiles, one person waiting with a red umbrella",
    "a ceramic teapot in the shape of an elephant, product photograph, grey background",
    "flat vector poster of a sailing boat, three colours, large simple shapes",
    "a crowded night market with lanterns, food stalls and many people",
    "a knight in worn armour holding a sword with both hands, oil painting",
    "an aerial view of a river winding through autumn woods",
    "two children building a sandcastle on a beach, overcast day",
    "macro photograph of a green leaf with dew, every vein visible",
    "the interior of a modern library with curved wooden shelves and tall windows",
    "a pencil sketch of a violin lying on sheet music",
    "a black horse galloping through shallow water, splashes frozen in the air",
)
