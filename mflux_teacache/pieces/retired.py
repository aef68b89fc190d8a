"""Models that this package once embedded and no longer has: what was made with them fits nothing any more."""

from __future__ import annotations

from mflux_teacache.errors import OptionError

# By the name under which it was recorded: what it was, and what has taken its place.
MODELS = {
    "mflux-teacache/demo-tinyflux": (
        "the demo's model before the present one, which drew flat shapes",
        "mflux-teacache/demo-emoji",
    )
}


def refuse_retired(model: str | None, what: str) -> None:
    """Refuse a file that was made with such a model.

    Args:
        model: the model that a file names; ``None`` = it names none.
        what: the file, at the beginning of a message.

    Raises:
        OptionError: names the model and its successor.
    """
    if model in MODELS:
        was, successor = MODELS[model]
        raise OptionError(
            f"{what} was made with {model}, {was}. This version no longer has it: make it again with {successor}."
        )
