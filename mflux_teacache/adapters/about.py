"""What a reader wants to know of each family and no code needs, as mflux 0.24.0 has it. Data, no mlx."""

from __future__ import annotations

from typing import NamedTuple


class About(NamedTuple):
    """One family.

    Attributes:
        signal: what ``Step.modulated_input`` is: what is normalised, and what it is modulated by.
        guidance: how mflux calls the transformer for guidance.
        compiled: mflux compiles its predict function, except on the smaller M1 and M2; or the transformer compiles
            parts of itself, on every machine.
        compilable: its blocks are called with arrays and constants only, so that each can be compiled on its own.
    """

    signal: str
    guidance: str
    compiled: bool = False
    compilable: bool = True


ABOUT = {
    "flux": About("LayerNorm of image; scale, shift of time, guidance, prompt", "none"),
    "flux2": About("LayerNorm of image; scale, shift of time", "two calls", compiled=True),
    "qwen": About("LayerNorm of image; scale, shift of time", "two calls, always"),
    "z_image": About("RMSNorm of image and text; scale of time", "two calls", compiled=True),
    "fibo": About("LayerNorm of image; scale, shift of time", "one batch of two"),
    "ernie_image": About("RMSNorm of image and text; scale, shift of time", "one batch of two", compiled=True),
    "krea2": About("RMSNorm of text and image; scale, shift of time", "two calls", compiled=True),
    "lens": About("RMSNorm of image; scale, shift of time", "none"),
    "ming_image": About("RMSNorm of image and text; scale of time", "two calls"),
    "anima": About("LayerNorm of image; scale, shift of time", "two calls", compiled=True),
    "boogu": About("RMSNorm of image; scale of time", "none"),
    "iris": About("RMSNorm of image; scale, shift of time", "one batch of two"),
    "moss_image": About("RMSNorm of image and text; scale, shift of time", "two calls, one without some layers"),
    "fibo2": About("RMSNorm of gist, image and text; scale of time", "two calls, one after --cfg-end"),
    "flux3": About("LayerNorm of image; scale, shift of time", "two calls"),
    "ideogram4": About("RMSNorm of text and image; scale of time", "two transformers", compiled=True),
    "qwen21": About("LayerNorm of image; scale of time", "two calls", compiled=True),
    "qwen21_edit": About("LayerNorm of image; scale of time", "two calls", compilable=False),
}
