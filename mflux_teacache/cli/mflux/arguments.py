"""The options that mflux's commands gain: their names and help texts. Data, imported with every command: light."""

from __future__ import annotations

OPTION = "--plugin"
COMPILE_BLOCKS = "--plugin-compile-blocks"
NO_COMPILE_BLOCKS = "--no-plugin-compile-blocks"
NONE = "none"
SIDECAR_OPTIONS = ("-C", "--config-from-conf", "--config-from-metadata")
HELP = (
    "Attach an installed plugin, such as teacache, which skips denoising steps; repeatable. Together with --help it "
    "shows the plugin's own options. 'none' switches off the plugins that a --config-from-conf sidecar names; each of "
    "their options replaces what is recorded, and its --no form, such as --no-teacache-thresh, takes that back. "
    "'mflux-teacache plugins' lists what is installed."
)
COMPILE_BLOCKS_HELP = (
    "Compile each block of the transformer on its own where mflux runs it as Python (FLUX.1, Qwen-Image, FIBO and "
    "others), with or without --plugin. Whether that is faster depends on model and chip: on one H100 it took 10 to 12 "
    "percent off the time of FLUX.1 and 8 percent off that of Qwen-Image, and added 3 percent to that of FIBO; nothing "
    "was measured on a Mac. The first image of a size takes longer. The image equals that of a run without it within "
    "rounding. Off by default; the --no form switches off what a --config-from-conf sidecar records."
)

# The plugins of this package, so that an option of theirs is known without looking for packages.
BUILT_IN = (
    "easycache",
    "first-block-cache",
    "magcache",
    "magcache-record",
    "replay",
    "schedule",
    "shadow",
    "taylorseer",
    "teacache",
    "teacache-record",
)
