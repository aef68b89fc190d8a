"""The names in an image's record, whose form ``image_record`` shows."""

from __future__ import annotations

ENTRY = "mflux_plugins"  # in mflux's metadata
MODEL = "model"  # mflux's own, beside it

SCHEMA = "schema"
SCHEMA_NUMBER = 1

PATTERN = "pattern"
PARTLY = "partly_reused"
DECIDER = "decider"
RESIDUAL_AFTER = "residual_after"
COMPILE_BLOCKS = "compile_blocks"
PLUGINS = "plugins"
STEPS = "steps"

# Of one plugin.
PACKAGE = "package"
VERSION = "version"
OPTIONS = "options"
VALUES = "values"

# Among the values: what was reused, and how its cache made it.
FORECAST = "forecast"
CACHE_DTYPE = "cache_dtype"
REUSE = "reuse"

# Among the values of a plugin that repeats decisions: whose they are.
REPLAYS = "replays"
PLUGIN = "plugin"

# What mflux's own metadata say beside the entry.
SEED, STEPS_ASKED, GUIDANCE, WIDTH, HEIGHT = "seed", "steps", "guidance", "width", "height"
PROMPT, NEGATIVE_PROMPT = "prompt", "negative_prompt"
QUANTIZE, LORAS, LORA_SCALES = "quantize", "lora_paths", "lora_scales"
INPUT, STRENGTH = "image_path", "image_strength"
MFLUX_VERSION = "mflux_version"
