"""The names and help texts of the options that mflux's commands gain. Only data, since every command imports it."""

from __future__ import annotations

OPTION = "--plugin"
COMPILE_BLOCKS = "--plugin-compile-blocks"
NONE = "none"
SIDECAR_OPTIONS = ("-C", "--config-from-conf", "--config-from-metadata")
OURS = (OPTION, COMPILE_BLOCKS, "--no-plugin-compile-blocks", *SIDECAR_OPTIONS[1:])
HELP = (
    "Attach an installed plugin, such as teacache, which skips denoising steps. This may be given several times, and "
    "with --help it shows the plugin's own options. A --config-from-conf sidecar brings back the plugins that it "
    "records: 'none' leaves them out, each of their options replaces its recorded value, and the --no form of an "
    "option, such as --no-teacache-thresh, returns it to its default. 'mflux-teacache plugins' lists what is installed."
)
COMPILE_BLOCKS_HELP = (
    "Compile each block of the transformer on its own in models that mflux runs as Python (FLUX.1, Qwen-Image, FIBO "
    "and others), with or without --plugin. Whether that is faster depends on the model and the chip: on one H100 it "
    "took 10 to 12 percent off the time of FLUX.1 and 8 percent off that of Qwen-Image, and added 3 percent to that of "
    "FIBO; nothing was measured on a Mac. The first image of a size takes longer. The image is the same as without "
    "this option, up to rounding. It is off by default; the --no form switches it off if a --config-from-conf sidecar "
    "records it."
)
