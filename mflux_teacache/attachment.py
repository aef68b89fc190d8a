"""Put plugins on a loaded mflux model, and take them off again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from mflux_teacache import options
from mflux_teacache.adapters.entry_check import check_pipeline
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.lifecycle import MARK, Lifecycle
from mflux_teacache.adapters.pipelines import Pipeline, family_of, of_model, pipeline_of, refuse_unsupported
from mflux_teacache.adapters.seam.image import Body
from mflux_teacache.discovery import named
from mflux_teacache.errors import AlreadyAttached, BrokenPlugin, OptionError, UnsupportedModel
from mflux_teacache.family import Family
from mflux_teacache.generations import Generations, Report
from mflux_teacache.plugins import Loaded, PluginSet, attach_all, check_fit, load
from mflux_teacache.plugins import Request as Request
from mflux_teacache.plugins import check_all as check_all
from mflux_teacache.records import AttachmentStats
from mflux_teacache.spelling import brief


class Handle:
    """One attachment: what was done under it, and the way to undo it. Also a context manager.

    Attributes:
        stats: counts and per-step records of every image.
        plugins: names of the plugins, in the order in which they were named.
    """

    def __init__(self, model: Any, body: Body, plugins: list[str], generations: Generations) -> None:
        self.plugins = plugins
        self._stats = generations.stats
        self._lifecycle = Lifecycle(model, body, generations, self)

    @property
    def stats(self) -> AttachmentStats:
        self._lifecycle.under_way()  # an image that has failed unseen ends here
        return self._stats

    @property
    def attached(self) -> bool:
        """The plugins are on the model, or something of them still is."""
        return not self._lifecycle.off

    @property
    def leaving(self) -> bool:
        """``restore()`` was called, and waits for an image."""
        return self.attached and self._lifecycle.leaving

    def restore(self) -> None:
        """Take the plugins off: the model is then bit for bit what it was.

        While an image is being made, they stay until it is done. What was wrapped around the model since stays, too.
        It may be called as often as one likes; where Ctrl-C has interrupted it, the next call does the rest.
        """
        self._lifecycle.restore()

    def _put_on(self, model: Any) -> None:
        """Where anything goes wrong, Ctrl-C as well, nothing is left on the model."""
        try:
            self._lifecycle.install()
            _refuse_to_be_second(model, self)
        except BaseException:
            self.restore()
            raise

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()


def attach(
    model: Any, plugin: str | Callable[[], Any] | None = None, /, *, compile_blocks: bool = False, **keywords: Any
) -> Handle:
    """Attach plugins to a loaded mflux pipeline.

    ``attach(flux, "teacache", thresh=0.2)`` attaches one plugin, with its options as keywords;
    ``attach(flux, teacache={"thresh": 0.2}, other={})`` attaches several, each with its options
    (``first_block_cache`` stands for ``first-block-cache``). A plugin class may be given instead of a name.
    ``attach(flux, compile_blocks=True)`` attaches none, and only compiles.

    Args:
        model: an mflux pipeline, such as ``Flux1`` or ``Flux2Klein``.
        plugin: the name of an installed plugin, or a plugin class.
        compile_blocks: compile each block of the transformer on its own, where mflux runs it as Python (FLUX.1,
            Qwen-Image, FIBO and others). Whether that is faster depends on model and chip: on one H100 it took 10 to
            12% off the time of FLUX.1 and 8% off that of Qwen-Image, and added 3% to that of FIBO; nothing was
            measured on a Mac. The first image of a size takes longer. The image equals that of an eager run within
            rounding, no longer bit for bit. Where mflux compiles, or where blocks are called with more than arrays,
            it changes nothing, and a warning says so with the first image.
        keywords: options, checked as the command line would check them.

    Returns:
        The handle; use it as a context manager, or call ``restore()``.

    Raises:
        UnknownPlugin, BrokenPlugin: no such plugin, or it does not fit the hooks.
        OptionError: an option that does not exist, or a value that is not allowed.
        UnsupportedModel: the pipeline or its transformer is not supported.
        AlreadyAttached: something else reuses steps of this model already.
        Refused: a plugin turned the model down, or two plugins decide.
    """
    requests = [] if compile_blocks and plugin is None and not keywords else _requests(plugin, keywords)
    return attach_requests(model, requests, compile_blocks=compile_blocks)


def apply_teacache(
    model: Any,
    *,
    rel_l1_thresh: float | None = None,
    coefficients: Sequence[float] | None = None,
    skip_first_n_steps: int = 1,
    skip_last_n_steps: int = 1,
) -> Handle:
    """Attach TeaCache by the call that mlx-teacache has, so that users can switch.

    Args:
        model: an mflux pipeline.
        rel_l1_thresh: threshold of the accumulated prediction; ``None`` = the calibration's own.
        coefficients: of the polynomial, highest power first; ``None`` = the model's calibration.
        skip_first_n_steps, skip_last_n_steps: steps that are always computed.

    Raises as ``attach`` does.
    """
    return attach(
        model,
        "teacache",
        thresh=rel_l1_thresh,
        coefficients=coefficients,
        skip_first=skip_first_n_steps,
        skip_last=skip_last_n_steps,
    )


def _requests(plugin: str | Callable[[], Any] | None, keywords: Mapping[str, Any]) -> list[Request]:
    if plugin is not None:
        loaded = load(plugin) if isinstance(plugin, str) else _unpacked(plugin)
        return [Request(loaded, options.from_keywords(loaded, keywords))]
    if not keywords:
        raise OptionError('no plugin named: attach(model, "teacache", thresh=0.2), or attach(model, teacache={...}).')
    requests: dict[str, Request] = {}
    for keyword, values in keywords.items():
        if not isinstance(values, Mapping):
            raise OptionError(
                f"{keyword}={values!r}: without a plugin's name before it, each keyword is a plugin with a dict of its "
                f'options: attach(model, teacache={{"thresh": 0.2}}).'
            )
        loaded = load(named(keyword))
        if loaded.name in requests:
            raise OptionError(f"plugin {loaded.name!r} is named twice. Give all of its options in one dict.")
        requests[loaded.name] = Request(loaded, options.from_keywords(loaded, values))
    return list(requests.values())


def _unpacked(factory: Callable[[], Any]) -> Loaded:
    """A class that no package announces, under its own name."""
    loaded = Loaded(getattr(factory, "__name__", type(factory).__name__).lower(), factory)
    check_fit(loaded)
    return loaded


def attach_requests(
    model: Any,
    requests: Sequence[Request],
    report: Report | None = None,
    model_path: str | None = None,
    *,
    compile_blocks: bool = False,
    judged: PluginSet | None = None,
) -> Handle:
    """What ``attach`` does once the plugins are loaded and their options checked.

    Args:
        report: called with the stats of each finished image as ``generate_image`` returns.
        model_path: where a custom checkpoint came from, which a loaded model does not tell.
        compile_blocks: as in ``attach``.
        judged: the requested plugins, if they have been made and have judged the model already.
    """
    _refuse_what_is_no_pipeline(model)
    _refuse_attached(model, "this model")
    _refuse_mlx_teacache(model)
    plugins = PluginSet([request.plugin for request in requests]) if judged is None else judged
    pipeline = pipeline_of(type(model))
    family = _family(model, pipeline, plugins)
    for attribute in family.attributes:
        _refuse_attached(getattr(model, attribute), "another model with the same transformer")
    target = replace(of_model(model, family.name), model_path=model_path)
    if judged is None:
        check_all(plugins, requests, target)
    attach_all(plugins, requests, target, model)
    transformer, *others = (getattr(model, attribute, None) for attribute in family.attributes)
    body = Body(transformer, family, plugins.residual_after, others, compile_blocks=compile_blocks)
    generations = Generations(model, pipeline, family, target, requests, plugins, report, compile_blocks=compile_blocks)
    handle = Handle(model, body, plugins.names, generations)
    handle._put_on(model)
    return handle


def attached(model: Any) -> Handle | None:
    """The handle of what is attached to a model, for those who have not kept it; ``None`` if nothing is.

    Args:
        model: an mflux pipeline, or one of its transformers.
    """
    handle: Handle | None = getattr(type(model), MARK, None)
    return handle if handle is not None and handle.attached else None


def _family(model: Any, pipeline: Pipeline, plugins: PluginSet) -> Family:
    """The entry for the model's transformer.

    Raises:
        UnsupportedModel: there is none, or it does not fit, or plugins do not run on the pipeline.
    """
    families = [*_third_party_families(plugins), *FAMILIES]
    attributes = sorted({name for family in families for name in family.attributes})
    held = (getattr(model, name, None) for name in attributes)
    transformer = next((transformer for transformer in held if transformer is not None), None)
    if pipeline.level == "refused" or transformer is None:
        refuse_unsupported(pipeline)
    if transformer is None:
        raise UnsupportedModel(
            f"{type(model).__name__} holds no transformer: it has none of {', '.join(attributes)}. If mflux's memory "
            f"saver has freed it, load the model anew."
        )
    family = family_of(transformer, families)
    check_pipeline(model, family)
    return family


def _third_party_families(plugins: PluginSet) -> list[Family]:
    found: list[Family] = []
    for name in plugins.implementers("mflux_families"):
        families = plugins.check(name, "mflux_families")
        if families is None:
            continue
        if not isinstance(families, Sequence) or not all(isinstance(family, Family) for family in families):
            raise BrokenPlugin(
                f"plugin {name!r}: mflux_families returned {brief(families)}; it must return a list of "
                f"mflux_teacache.Family, such as [MINE]."
            )
        found += families
    return found


def _refuse_what_is_no_pipeline(model: Any) -> None:
    missing = [name for name in ("generate_image", "callbacks") if getattr(model, name, None) is None]
    if isinstance(model, type) or "generate_image" in missing:
        raise UnsupportedModel(
            f"attach() takes a loaded mflux pipeline, such as Flux1(...) or Flux2Klein(...), and was given "
            f"{brief(model)}, which makes no images. Load the model first, and attach to that."
        )
    if missing or "callbacks" not in vars(model):
        raise UnsupportedModel(
            f"{type(model).__name__} has no callback registry of mflux's (model.callbacks), by which plugins hear of "
            f"its denoising steps. A pipeline of one's own needs self.callbacks = CallbackRegistry(), and a loop that "
            f"tells it of each step, as mflux's do."
        )


def _refuse_attached(owner: Any, where: str) -> None:
    """Args:
    owner: a pipeline or a transformer.
    """
    handle = attached(owner)
    if handle is not None and handle.leaving:
        handle.restore()  # which an interrupt has cut off, or which waits for an image
    if handle is not None and handle.attached:
        raise _already(handle, where)


def _already(handle: Handle, where: str) -> AlreadyAttached:
    what = f"plugin {', '.join(map(repr, handle.plugins))} is" if handle.plugins else "compiled blocks are"
    if handle.leaving:
        return AlreadyAttached(
            f"{what} being taken off {where}, which waits for the image that is under way. Attach when that is done."
        )
    return AlreadyAttached(
        f"{what} attached to {where} already. Call restore() on its handle first, which "
        f"mflux_teacache.attached(model) returns, or name all plugins in one attach()."
    )


def _refuse_to_be_second(model: Any, handle: Handle) -> None:
    """Where another thread attached to the model at the same time, and was a little earlier."""
    noted: list[Handle] = [vars(cls)[MARK] for cls in type(model).__mro__ if MARK in vars(cls)]
    others = [other for other in noted if other is not handle and other.attached]
    # Above ours is one that will find ours beneath it; and where ours is missing, it has been replaced by another.
    earlier = others if handle not in noted else [other for other in others if noted.index(other) > noted.index(handle)]
    if earlier:
        raise _already(earlier[0], "this model")


def _refuse_mlx_teacache(model: Any) -> None:
    places = [*vars(model).values(), type(getattr(model, "transformer", None))]
    if any(str(getattr(place, "__module__", "")).split(".")[0] == "mlx_teacache" for place in places):
        raise AlreadyAttached(
            "mlx-teacache is at work on this model already, and two caches would reuse what the other reused. "
            "Call restore() on its handle first."
        )
