"""How a transformer family is described: the block lists of its body and where the signal is. Data, no mlx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mlx.core as mx

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dual:
    """A list of blocks with an image stream and a text stream.

    Attributes:
        blocks: the transformer's attribute that holds the list.
        image, text: names of the block arguments that hold the streams, ``(batch, rows, width)`` each.
        image_first: the block returns ``(image, text)`` and not ``(text, image)``.
        methods: names of the block's methods by which the transformer enters it to run the body; several where that
            depends on the call or on the release of mflux, of which a block must have one.
    """

    blocks: str
    image: str
    text: str
    image_first: bool = False
    methods: tuple[str, ...] = ("__call__",)


@dataclass(frozen=True, slots=True)
class Joint:
    """A list of blocks with one stream.

    If it is the body's first list, its stream is the image stream as a whole: all of its rows are reused together,
    unless ``image_rows`` tells the image's rows from the others. If it follows another list, its stream holds that
    list's image rows and further rows, such as the text's, which come first.

    Attributes:
        blocks: the transformer's attribute that holds the list.
        stream: name of the block argument that holds the stream, ``(batch, rows, width)``.
        image_first: the image rows come before the further ones.
        image_rows: for the body's first list: a function from a call's arguments to the number of the image's rows.
            It may be given only if nothing reads the other rows after the body.
        methods: names of the block's methods by which the transformer enters it to run the body; several where that
            depends on the call or on the release of mflux, of which a block must have one.
        returns_more: how many further values the block returns after its stream. A skipped block returns ``None`` for
            each of them.
    """

    blocks: str
    stream: str
    image_first: bool = False
    image_rows: Callable[[Arguments], int] | None = None
    methods: tuple[str, ...] = ("__call__",)
    returns_more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGrid:
    """Where the tokens of the image being made lie among the rows of the body's first image stream.

    Each token is a square of pixels. They come line by line from the top of the image, each line from left to right.

    Attributes:
        pixels: the edge of a token's square.
        text_first: rows of text come before the tokens; else the tokens are the stream's first rows, whatever follows.
        after: with ``text_first``, a function from the arguments of mflux's call for one prediction to the number of
            rows after the tokens, such as those of reference images; ``None`` if there never are any.
    """

    pixels: int = 16
    text_first: bool = False
    after: Callable[[Arguments], int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One transformer class of mflux or of a third party.

    Attributes:
        name: such as ``flux2``.
        transformer: ``"module:Class"``; subclasses count too.
        body: the expensive block lists, in the order in which they run. A list in a dict is named like
            ``mode_blocks.image``.
        modulated_input: a function from block 0 and its call's arguments (bound by name) to its normalised, modulated
            image input, which block 0 hands to its attention.
        sigma: a function from the arguments of mflux's call for one prediction (of its predict function if it has
            one, else of the ``caller`` or the transformer) to the noise level, 1 = pure noise: an array of size 1,
            a number, or ``None`` if the family cannot tell.
        latents: the name of the latents in the same call; several names if it differs from pipeline to pipeline;
            or a function from the call's arguments to the latents.
        packed: the latents are ``(batch, rows, channels)`` with one row for each row of the body's image stream,
            which may go on with reference images.
        token_grid: how the image's tokens lie among those rows; ``None`` if that cannot be told.
        predict: names of the pipeline's methods that build a predict function, which mflux may compile. A pipeline
            without them calls its transformer itself.
        attribute: the pipeline's attribute that holds the transformer; several where each guidance branch has a
            transformer of its own.
        must_compute: a function from the arguments of block 0's call to whether this call must run in full, because
            the model needs more from it than the output, such as a key/value cache that it fills. What that cache
            keeps of reference images stands in for their rows in later calls. The function must not look at any
            array's value. ``None`` if no call must run in full.
        caller: the pipeline's attribute that runs the blocks in the transformer's stead, in pipelines that have it,
            such as a ControlNet.
        compiles: for a transformer that compiles a part of itself when it is called: the attribute in which it keeps
            the compiled function, ``None`` until then, and the method that it compiles, which is then the predict
            function. Several pairs if that depends on the call or on the release of mflux.
        looked_at: block arguments whose values the block's own Python reads, such as a mask that it asks whether it
            hides anything. Compiled blocks take them as constants.
        numbered: block arguments and attributes that hold the block's number and that nothing reads. Without them,
            blocks of one kind are alike, and those compiled on their own share a function.
        made_anew: arguments of a call for a prediction that mflux makes anew for each step, such as a ControlNet's
            samples, beside those that ``sigma`` and ``latents`` read. All other arguments tell one guidance branch
            from another, since a branch gets the same objects in each step.
        signal: for people: what ``modulated_input`` normalises, and by what it is modulated.
        guidance: for people: how mflux calls the transformer for guidance.
        compiled: mflux compiles its predict function, except on the smaller M1 and M2; or the transformer compiles
            parts of itself, on every machine.
        compilable: its blocks are called with arrays and constants only, so that each can be compiled on its own.
        attributes: ``attribute``, always as a tuple.
    """

    name: str
    transformer: str
    body: tuple[Dual | Joint, ...]
    modulated_input: Callable[[Any, Arguments], mx.array]
    sigma: Callable[[Arguments], mx.array | float | None]
    latents: str | tuple[str, ...] | Callable[[Arguments], mx.array]
    packed: bool = False
    token_grid: TokenGrid | None = None
    predict: tuple[str, ...] = ()
    attribute: str | tuple[str, ...] = "transformer"
    must_compute: Callable[[Arguments], bool] | None = None
    caller: str | None = None
    compiles: tuple[tuple[str, str], ...] = ()
    looked_at: tuple[str, ...] = ()
    numbered: tuple[str, ...] = ()
    made_anew: tuple[str, ...] = ()
    signal: str = ""
    guidance: str = ""
    compiled: bool = False
    compilable: bool = True
    attributes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        attributes = (self.attribute,) if isinstance(self.attribute, str) else self.attribute
        object.__setattr__(self, "attributes", attributes)  # a frozen dataclass refuses plain assignment
