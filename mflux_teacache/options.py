"""How a plugin's options are read: once declared, for mflux's commands, for a sidecar and for keywords of ``attach``.

An author declares them in the hook ``mflux_add_options`` (``hookspecs.py``), or in ``add_options`` of a strategy on the
base (``pieces/strategy.py``), which declares what all strategies have in common.

Each plugin declares its options on a parser of its own. Whatever it does to that parser stays there, and any error
carries the plugin's name. mflux's parser only gets stand-ins, which it accepts and shows in its help. So parsing in
mflux runs no code of a plugin, and leaves nothing of a plugin in mflux's namespace.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from mflux_teacache.errors import BrokenPlugin, OptionError, PluginError, PluginWarning
from mflux_teacache.messages import did_you_mean
from mflux_teacache.plugins import Loaded
from mflux_teacache.spelling import brief, described
from mflux_teacache.words import Given, as_given, as_keyword, as_words, is_json


class Options(argparse.Namespace):
    """The values of a plugin's options, under their keywords.

    Where a value cannot be recorded as it is, or would not come back from its record, it also holds what to record
    instead.
    """

    __slots__ = ("_records",)  # a slot is not in ``vars``, which are the options

    def __init__(self, values: Mapping[str, Any], records: Mapping[str, Any]) -> None:
        super().__init__()
        vars(self).update(values)  # and not as keyword arguments, since an option may be named self
        self._records = records


_DEFAULT = object()  # stands for a record where only the option's default brings it back


class Said(NamedTuple):
    """What a command line says about a plugin's options.

    Attributes:
        given: the options with their values.
        taken_back: those that ``--no-<plugin>-<option>`` returns to their defaults, whatever a sidecar records.
    """

    given: list[Given]
    taken_back: list[argparse.Action]

    def __bool__(self) -> bool:
        return bool(self.given or self.taken_back)


class Declared:
    """The options of one plugin.

    Raises:
        BrokenPlugin: ``mflux_add_options`` raised, an option lacks the prefix ``--<name>-``, or two are the same.
    """

    def __init__(self, plugin: Loaded) -> None:
        self.plugin = plugin
        self.prefix = f"--{plugin.name}-"
        self.no_prefix = f"--no-{plugin.name}-"  # argparse.BooleanOptionalAction adds these
        self._parser = _Parser(plugin)
        self.group = self._parser.add_argument_group(f"plugin {plugin.name}")
        self._call_hook()
        self.by_keyword = self._checked()

    @property
    def actions(self) -> list[argparse.Action]:
        """The options, in the order in which they were declared."""
        return list(self.by_keyword.values())

    @property
    def exclusive(self) -> list[list[argparse.Action]]:
        """Groups of options of which at most one may be given."""
        groups = (list(group._group_actions) for group in self._parser._mutually_exclusive_groups)
        return [actions for actions in groups if actions]

    def keyword(self, action: argparse.Action) -> str:
        """``--teacache-skip-first`` -> ``skip_first``."""
        return self._keyword(action.option_strings)

    def given(self, keywords: Mapping[str, Any]) -> list[Given]:
        """The options that a command line would give in place of these keywords.

        Raises:
            OptionError: a keyword is unknown, or no words on a command line give its value.
        """
        unknown = sorted(set(map(str, keywords)) - set(self.by_keyword))
        if unknown:
            raise OptionError(
                f"plugin {self.plugin.name!r} has no option {unknown[0]!r}. "
                f"It has: {', '.join(sorted(self.by_keyword)) or 'none'}.{did_you_mean(unknown[0], self.by_keyword)}"
            )
        return [given for name, value in keywords.items() for given in as_given(self.by_keyword[name], value)]

    def take(self, given: Iterable[Given], *, complete: bool = True) -> Options:
        """The values of the given options, and the defaults of the others.

        Args:
            complete: all required options must be among them.

        Raises:
            OptionError: an option's type or choices do not allow its value, two options exclude each other, or one
                is missing.
            BrokenPlugin: an option fails as it is read.
        """
        given = list(given)
        namespace = self._parser.read(as_words(given), complete)
        values = {name: getattr(namespace, action.dest, None) for name, action in self.by_keyword.items()}
        options = Options(values, self._records(values, given))
        if complete:
            self._warn_of_lost(options)
        return options

    def put_on(self, parser: argparse.ArgumentParser) -> None:
        """Make these options known to mflux's parser, each with a ``--no`` form that takes it back.

        Raises:
            BrokenPlugin: mflux has an option of that name already.
        """
        group = parser.add_argument_group(f"plugin {self.plugin.name}", self.group.description)
        places = dict.fromkeys(map(id, self.actions), group)
        for actions in self.exclusive:
            places |= dict.fromkeys(map(id, actions), group.add_mutually_exclusive_group())
        try:
            for action in self.actions:
                places[id(action)].add_argument(
                    *action.option_strings, action=StandIn, original=action, parser=parser, nargs=action.nargs
                )
            for action in self.actions:
                back = action.option_strings[0].replace(self.prefix, self.no_prefix, 1)
                if back not in parser._option_string_actions:  # a plugin may have the form itself
                    group.add_argument(back, action=StandIn, original=action, parser=parser, nargs=0, takes_back=True)
        except argparse.ArgumentError as error:
            raise self._must_rename(error) from error

    def said_in(self, line: Iterable[Given]) -> Said:
        """What a line that was read with mflux's parser says about these options; the last word on each counts."""
        own = set(map(id, self.actions))  # by identity, since a plugin may compare its actions in a way of its own
        said = Said([], [])
        for each in line:
            stand_in = each.action
            if not isinstance(stand_in, StandIn) or id(stand_in.original) not in own:
                continue
            if stand_in.takes_back:
                said.given[:] = [given for given in said.given if given.action is not stand_in.original]
                said.taken_back.append(stand_in.original)
            else:
                said.given.append(Given(stand_in.original, each.option, each.words))
        return said

    def _call_hook(self) -> None:
        name = self.plugin.name
        try:
            self.plugin.hooks.call(name, "mflux_add_options", group=self.group)
        except PluginError:
            raise
        except argparse.ArgumentError as error:
            raise self._must_rename(error) from error
        except (Exception, SystemExit) as error:  # argparse exits where it reports an error itself
            raise BrokenPlugin(
                f"plugin {name!r} failed in mflux_add_options: {described(error)}. "
                f"The hook is called on the class, so it must be a staticmethod or classmethod, and it may do nothing "
                f"but add options to its group. Leave out --plugin {name}, or report this to its authors."
            ) from error

    def _must_rename(self, error: argparse.ArgumentError) -> BrokenPlugin:
        return BrokenPlugin(f"plugin {self.plugin.name!r}: {error}. Its authors must rename that option.")

    def _checked(self) -> dict[str, argparse.Action]:
        found: dict[str, argparse.Action] = {}
        for action in self._parser._actions:
            names = action.option_strings or [action.dest]
            keyword = self._keyword(names)
            if problem := self._misnamed(names, keyword, found) or self._misshapen(action):
                raise BrokenPlugin(f"plugin {self.plugin.name!r}: option {problem}. Its authors must mend it.")
            found[keyword] = action
        return found

    def _misnamed(self, names: Sequence[str], keyword: str, found: Mapping[str, argparse.Action]) -> str | None:
        wrong = [name for name in names if not name.startswith((self.prefix, self.no_prefix))]
        if wrong:
            return f"{wrong[0]} does not start with {self.prefix}"
        if not keyword:
            return f"{names[0]} has no name of its own"
        return f"{names[0]} has the keyword of another one, {keyword}" if keyword in found else None

    def _misshapen(self, action: argparse.Action) -> str | None:
        """What is wrong with an option's shape: argparse checks it for a parser's own options, not for a group's."""
        shown = copy.copy(action)
        shown.choices = None  # argparse would spell out all of them, and there may be very many
        try:
            self._parser._get_formatter()._format_args(shown, "")
        except (TypeError, ValueError) as error:
            name = "/".join(action.option_strings)
            return f"{name} has nargs {action.nargs!r} and metavar {action.metavar!r}, which do not fit ({error})"
        return None

    def _keyword(self, names: Sequence[str]) -> str:
        plain = next((name for name in names if name.startswith(self.prefix)), None)
        own = names[0].replace(self.no_prefix, "no-", 1) if plain is None else plain.removeprefix(self.prefix)
        return own.replace("-", "_")

    def _records(self, values: Mapping[str, Any], given: Sequence[Given]) -> dict[str, Any]:
        """What to record, by keyword, in place of values that a record would not bring back."""
        chosen = {id(each.action) for each in given}
        groups = [set(map(id, actions)) for actions in self.exclusive]
        excluded = {action for group in groups if group & chosen for action in group - chosen}
        records: dict[str, Any] = {}
        for name, action in self.by_keyword.items():
            value, own = values[name], [each for each in given if each.action is action]
            # Recorded, the default of an option would exclude the other one of its group, which was really given.
            if value is not None and id(action) in excluded:
                records[name] = _DEFAULT
                continue
            if value is None or (is_json(value) and self._brings_back(name, value, value)):
                continue
            as_given = as_keyword(action, own) if own else str(value)
            brings_back = bool(own) or self._brings_back(name, as_given, value)
            records[name] = as_given if brings_back else _DEFAULT
        return records

    def _warn_of_lost(self, options: Options) -> None:
        for name in vars(options).keys() - as_json(options).keys():
            value, option = getattr(options, name), self.by_keyword[name].option_strings[0]
            if not is_json(value):
                warnings.warn(
                    f"plugin {self.plugin.name!r}: {option} is {brief(value)}, which no text on a command line gives. "
                    f"It is not recorded with images: a sidecar (-C) brings the plugin's default back.",
                    PluginWarning,
                    stacklevel=3,
                )

    def _brings_back(self, name: str, recorded: Any, value: Any) -> bool:
        action = self.by_keyword[name]
        try:
            namespace = self._parser.read(as_words(as_given(action, recorded)), complete=False)
            again = getattr(namespace, action.dest, None)
            return bool(again == value or (again != again and value != value))  # NaN does not equal itself
        except Exception:  # noqa: BLE001 - types and comparisons are a plugin's own, and may raise anything
            return False


def from_keywords(plugin: Loaded, keywords: Mapping[str, Any]) -> Options:
    """Check keywords as the command line would check the flags, and fill in the defaults.

    Raises:
        OptionError: an unknown keyword, or a value that the option's type or choices do not allow.
        BrokenPlugin: an option fails as it is read.
    """
    declared = Declared(plugin)
    with naming(plugin):
        return declared.take(declared.given(keywords))


@contextlib.contextmanager
def naming(plugin: Loaded) -> Iterator[None]:
    """Put the plugin's name in front of a refusal of one of its options."""
    try:
        yield
    except OptionError as error:
        if str(error).startswith(named := f"plugin {plugin.name!r}"):
            raise
        raise OptionError(f"{named}: {error}") from None


def as_json(options: argparse.Namespace) -> dict[str, Any]:
    """A plugin's options as JSON values, to be recorded with an image and given to ``from_keywords`` later.

    A value that JSON cannot bring back is left out, and the option then has its default.
    """
    records = {**vars(options), **getattr(options, "_records", {})}
    return {name: value for name, value in records.items() if is_json(value)}


class StandIn(argparse.Action):
    """Stands for a plugin's option on mflux's parser. It does nothing, and reads its help only when that is shown.

    Attributes:
        original: the plugin's action.
        takes_back: it is the ``--no`` form, which the plugin did not declare.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        *,
        original: argparse.Action,
        parser: argparse.ArgumentParser,
        takes_back: bool = False,
        **details: Any,
    ) -> None:
        self.original = original
        self.takes_back = takes_back
        self._parser = parser
        super().__init__(option_strings, **{**details, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})

    def __call__(self, *_: object) -> None: ...

    def format_usage(self) -> str:
        """Such as ``--a-b | --no-a-b`` for an option that has both."""
        return self.original.format_usage()

    @property
    def metavar(self) -> Any:
        """What argparse would show for the plugin's own action; this one lacks its destination and choices."""
        if self.original.metavar is not None:
            return self.original.metavar
        if self.original.choices is None:
            return self.original.dest.upper()
        return f"{{{','.join(map(str, self.original.choices))}}}"

    @metavar.setter
    def metavar(self, _: object) -> None: ...

    @property
    def help(self) -> str | None:
        """The plugin's own help text, with its placeholders filled in from the plugin's own action."""
        text = argparse.SUPPRESS if self.takes_back else self.original.help
        if text is None or text == argparse.SUPPRESS:
            return text
        with contextlib.suppress(KeyError, TypeError, ValueError):  # a bare percent sign is no valid format
            text = self._parser._get_formatter()._expand_help(self.original)
        return text.replace("%", "%%")  # mflux's parser is going to expand it once more

    @help.setter
    def help(self, _: object) -> None: ...


class _Parser(argparse.ArgumentParser):
    """The parser of one plugin. It raises where argparse would print and exit, and names the plugin that failed."""

    def __init__(self, plugin: Loaded) -> None:
        super().__init__(plugin.name, add_help=False, allow_abbrev=False)
        self._plugin = plugin

    def read(self, words: Sequence[str], complete: bool) -> argparse.Namespace:
        """Parse words; ``complete`` and the errors are those of ``Declared.take``."""
        may_be: list[Any] = [*self._actions, *self._mutually_exclusive_groups]
        required = [each for each in may_be if each.required]
        try:
            for each in required:
                each.required = complete
            return self.parse_args(words)
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            what = f"its options ({brief(' '.join(words))})"
            raise self._broken(what, error, "Give other values, leave them out") from error
        finally:
            for each in required:
                each.required = True

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """The value of an option's word, or of a default that is a text, which argparse converts as well."""
        try:
            return super()._get_value(action, arg_string)
        except (Exception, SystemExit) as error:
            what = f"{'/'.join(action.option_strings)} {brief(arg_string)}"
            if isinstance(action.default, str) and arg_string == action.default:
                # Left out, it would be read all the same.
                raise self._broken(f"the default of {what}", error, "Give another value") from error
            if isinstance(error, argparse.ArgumentError):
                raise
            raise self._broken(what, error, "Give another value, leave it out") from error

    def _broken(self, what: str, error: BaseException, instead: str) -> BrokenPlugin:
        return BrokenPlugin(
            f"plugin {self._plugin.name!r} failed to read {what}: {described(error)}. {instead}, or report this to the "
            f"plugin's authors: for a value that is not allowed, an option's type raises argparse.ArgumentTypeError."
        )
