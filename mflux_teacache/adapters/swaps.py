"""Changes to somebody else's objects that can be taken back at any moment, any number of times.

An object is changed through its class: it becomes an instance of a subclass, and what it holds is not touched. So
nothing of ours goes along when it is copied, saved or asked for its parameters.

If somebody has put something on top of our change since, that stays when we undo, and our change stays beneath it. It
must do nothing from then on.
"""

from __future__ import annotations

import copyreg
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from mflux_teacache.errors import UnsupportedModel
from mflux_teacache.spelling import described

_MISSING = object()


class Swaps:
    """A list of changes, all of which can be taken back, even if an interrupt cut one of them off."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def swap(self, instance: Any, ours: type) -> None:
        """Make an object an instance of ``ours``, a subclass of its class."""
        theirs, reference = type(instance), weakref.ref(instance)  # weak: an undo must not keep a freed model alive

        def undo() -> None:
            alive = reference()
            # Not if it was taken back already, or never made, or if somebody has changed the class since.
            if alive is not None and type(alive) is ours:
                alive.__class__ = theirs

        # Noted before it is made, so that an interrupt between the two lines leaves nothing that ``undo`` would miss.
        self._undo.append(undo)
        instance.__class__ = ours

    def set(self, instance: Any, name: str, value: Any) -> None:
        """Put ``value`` in the place of an attribute that somebody has set on the object itself."""
        before, reference = vars(instance).get(name, _MISSING), weakref.ref(instance)

        def undo() -> None:
            alive = reference()
            if alive is None or vars(alive).get(name) is not value:
                return
            if before is _MISSING:
                delattr(alive, name)
            else:
                setattr(alive, name, before)

        self._undo.append(undo)  # first, as in ``swap``
        setattr(instance, name, value)

    def undo(self) -> None:
        """Take everything back, the latest change first."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()  # last, so that after an interrupt all of them are undone again, which does no harm


def subclass(cls: type, members: Mapping[str, Any], metaclass: type | None = None) -> type:
    """A subclass that differs in these members only.

    It has the name and the repr of the class itself, and a copied or pickled instance becomes one of the class itself.

    Args:
        metaclass: ``None`` takes the class's own.

    Raises:
        UnsupportedModel: the class cannot be extended.
    """

    # ``copy`` and ``pickle`` both come by here. Without it, a copy of an attached model would be half attached.
    def __reduce_ex__(instance: Any, protocol: Any) -> Any:
        made: Any = getattr(cls, "__reduce_ex__")(instance, protocol)  # noqa: B009 - typed as object's
        if isinstance(made, str):  # the name of a global, which holds no class to replace
            return made
        function, arguments, *rest = made
        if function is copyreg.__newobj__:  # type: ignore[attr-defined]  # pickle wants the object's own class of it
            function = cls.__new__
        return (function, _with_class(arguments, ours, cls), *rest)

    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    try:
        ours: type = (metaclass or type(cls))(
            cls.__name__, (cls,), {"__reduce_ex__": __reduce_ex__, **members, **names}
        )
    except Exception as error:  # a metaclass, or an ``__init_subclass__``, may raise anything
        raise UnsupportedModel(
            f"the model has a part of the class {cls.__module__}.{cls.__qualname__}, which cannot be extended "
            f"({described(error)}), so plugins cannot see when it is called. Has something wrapped it? "
            f"Attach first, and wrap it afterwards."
        ) from error
    return ours


def _with_class(arguments: tuple[Any, ...], ours: type, theirs: type) -> tuple[Any, ...]:
    return tuple(theirs if argument is ours else argument for argument in arguments)
