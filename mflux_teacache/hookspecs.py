"""THE CONTRACT: the hooks that mflux calls and that plugins implement. No logic here.

A plugin is a class (or a factory) that an entry point of group ``mflux.plugins`` names. It is made anew
for each attachment, without arguments, so its state lives on the instance. It marks its hooks with
``hookimpl``. A hook takes only the arguments that it needs, by name: later versions may add arguments but never
rename one.

Images of one model may overlap: in two threads, or because a callback makes a preview. Each of them then has an
instance of its own, made and attached as the first one was. A plugin that looks at all images together, such as
one that measures, can say so in its record, ``about = About(keeps_images_apart=True)``. One instance then serves
them all, and files whatever belongs to one image under ``generation.number``.

Plugins are called in the order in which they were named. Arrays are MLX arrays that are *not evaluated*
unless a docstring says so; a hook that reads a number out of one waits for the device. No hook may
change an array that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from mflux_teacache.family import Family
    from mflux_teacache.records import Generation, Target
    from mflux_teacache.step import Body, Decision, Step

hookspec = pluggy.HookspecMarker("mflux")
hookimpl = pluggy.HookimplMarker("mflux")


@hookspec
def mflux_add_options(group: argparse._ArgumentGroup) -> None:
    """Declare the plugin's options. It is called on the class, so it must be a ``staticmethod`` or ``classmethod``.

    When: whenever a parser is made: before mflux parses its command line, for a sidecar's values, for the
    keywords of ``attach``, and for the list of plugins. So it must do nothing else.

    Args:
        group: an ``argparse`` group of the plugin's own; add arguments to it. Every option starts with
            ``--<plugin name>-``: ``--teacache-thresh`` becomes the keyword ``thresh`` of ``attach`` and
            ``options.thresh`` in the other hooks. Give it a ``type`` that raises
            ``argparse.ArgumentTypeError`` for a value that is not allowed. Values are recorded with the
            image: text, numbers, true/false and lists of those as they are, others as the text that gave them.
            Options that exclude each other belong in one ``group.add_mutually_exclusive_group()``: one of them
            on the command line then replaces a recorded one.

    Returns ``None``. If it raises, or declares an option without the prefix or one that already exists, the plugin
    is refused with exit code 2. No arrays.
    """


@hookspec
def mflux_check(options: argparse.Namespace, target: Target) -> None:
    """Refuse what cannot work, before it costs anything.

    When: on a command line before any weights load; in ``attach``; and at the start of each
    ``generate_image``, where steps, guidance and size are known. It is called several times, so it must judge and do
    nothing else, but for a warning that it may give once (``PluginWarning``).

    Args:
        options: the plugin's own options, without their prefix.
        target: the model and the image that it is to run on. A field that is ``None`` is not known yet: do not refuse
            because of it.

    Returns ``None``. To refuse, raise ``mflux_teacache.Refused`` with a message that says what is wrong, the actual
    value, what is allowed and what to do; the command exits with code 2. Any other exception is reported
    as a fault of the plugin, also with exit code 2. No arrays.
    """


@hookspec
def mflux_attach(options: argparse.Namespace, target: Target, model: Any) -> None:
    """Read the options and build the plugin's state.

    When: once per instance, after ``mflux_check``, when the weights are loaded: at the attachment, and again for
    each further instance that overlapping images need.

    Args:
        options: the plugin's own options, without their prefix.
        target: what the model is; steps, guidance and size are not known yet.
        model: the mflux pipeline object. Keep neither it nor its transformer: mflux's memory saver
            frees them by dropping the last reference.

    Returns ``None``. Raising refuses the attachment, and the model is left as it was. May evaluate arrays.
    """


@hookspec
def mflux_generation_start(generation: Generation) -> None:
    """Start a new image with fresh state.

    When: once per image, before its first denoising step; latents and prompt are ready.

    Args:
        generation: seed, size, guidance and number of steps of the image.

    Returns ``None``. Raising ends the image with an error that names plugin and hook and with exit code 1, and the
    model is restored. May evaluate arrays.
    """


@hookspec
def mflux_step_start(step: Step) -> None:
    """Observe a denoising step before its body runs. Every plugin may implement it.

    When: once per step that calls the transformer, before ``mflux_pre_transformer``.

    Args:
        step: index, sigma, and the signals, which are computed only when read: ``modulated_input``,
            ``first_block_residual`` and ``latents``, each ``(batch, rows, width)`` in the stream's dtype.

    Returns ``None``. Raising ends the image as above. May evaluate arrays. Reading a number waits for
    the device; a fast plugin does so only once per step (``step.relative_l1``).
    """


@hookspec(firstresult=True)
def mflux_pre_transformer(step: Step) -> Decision | None:
    """Decide whether to run the transformer's body in this step or to reuse. Only one plugin of a run may implement it.

    When: once per step that calls the transformer, right after every ``mflux_step_start``, at the step's
    first guidance branch. The other branches follow the decision.

    Args:
        step: as in ``mflux_step_start``.

    Returns ``None`` to compute, or a ``Decision``: ``Decision.compute(...)``, or
    ``Decision.reuse(residuals)`` with one residual per guidance branch, each of the shape of the body's
    image stream and at the place of the branch's number, as in ``Body.residuals``. A branch without a matching
    residual computes, and so does one from which the model needs more than the output (a key/value cache that it
    fills); the record says so.

    ``about = About(residual_after=1)`` on the class, or ``residual_after`` set on the instance in ``mflux_attach``,
    says how many of the body's first blocks run in every step. The residual is then the body's output minus
    *their* output. Raising ends the image as above. May evaluate arrays.
    """


@hookspec
def mflux_post_transformer(step: Step, body: Body) -> None:
    """Take in what the step's branches did, computed or reused. This is the place to keep residuals.

    When: once per step that called the transformer, after mflux's scheduler took its step and before the
    step's arrays are evaluated.

    Args:
        step: as in ``mflux_step_start``; its signals can still be read.
        body: per branch the body's ``input``, ``output`` and ``residual``, ``(batch, rows, width)``, and ``index``,
            its number in the image. Where a plugin decides, the residuals of a computed step are evaluated together
            with the new latents.

    Returns ``None``. Keep ``body.residuals``, not ``body``, which also holds the memory of ``input`` and ``output``.
    Raising ends the image as above. May evaluate arrays, at the price of a wait.
    """


@hookspec
def mflux_generation_end(generation: Generation) -> None:
    """Take stock at the end of the denoising loop, and drop every array.

    When: once per ``mflux_generation_start``, before the VAE decodes; also after Ctrl-C and after an error
    (``generation.status`` tells).

    Args:
        generation: the image, with one record per completed step.

    Returns ``None``. Raising gives a warning, and the image is kept. May evaluate arrays, but had better drop them.
    """


@hookspec
def mflux_image_metadata(generation: Generation) -> Mapping[str, Any] | None:
    """Give the values to record with the image, beside the plugin's options and the pattern of decisions.

    When: once per image, as ``generate_image`` returns.

    Args:
        generation: the finished image.

    Returns ``None`` or a mapping of plain JSON values, stored under the plugin's name. Raising, or a value
    that is not JSON, gives a warning; the image is kept. No arrays.
    """


@hookspec
def mflux_families() -> Sequence[Family]:  # type: ignore[empty-body]
    """Give further transformer families, for models that mflux itself does not have.

    When: once per attachment, before the model's transformer is looked up.

    Returns the families; a third party's entry wins over a built-in one for the same transformer class.
    Raising refuses the attachment. No arrays.
    """
