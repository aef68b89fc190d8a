"""Put plugins on a loaded mflux model, from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mflux_teacache import options
from mflux_teacache.discovery import named
from mflux_teacache.errors import OptionError
from mflux_teacache.handle import Handle as Handle  # "as" marks names that this module hands on
from mflux_teacache.handle import attach_requests as attach_requests
from mflux_teacache.handle import attached as attached
from mflux_teacache.plugins import Loaded, check_fit, load
from mflux_teacache.plugins import Request as Request


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
    """Attach TeaCache through mlx-teacache's own call, so that its users can switch.

    Args:
        model: an mflux pipeline.
        rel_l1_thresh: threshold of the accumulated prediction; ``None`` takes the calibration's own.
        coefficients: the polynomial's coefficients, highest power first; ``None`` takes the model's calibration.
        skip_first_n_steps, skip_last_n_steps: how many steps at each end are always computed.

    It raises what ``attach`` raises.
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
    # No package announces this class, so its own name has to do; a partial or an instance has only its type's.
    loaded = Loaded(getattr(factory, "__name__", type(factory).__name__).lower(), factory)
    check_fit(loaded)
    return loaded
