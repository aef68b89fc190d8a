"""Commands of ours that run a plugin take its options as mflux's commands do: what a plugin advises works there too."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from mflux_teacache.errors import OptionError

OPTION = "--plugin"


class PluginParser(argparse.ArgumentParser):
    """Where a parser has an option ``--plugin``, it takes the options of that plugin as well.

    They are in the namespace as ``plugin_options``: keywords of ``attach``, which judges them. Parsers of subcommands
    are of the class of their parent.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        parsed, rest = super().parse_known_args(args, argparse.Namespace() if namespace is None else namespace)
        if OPTION in self._option_string_actions:
            parsed.plugin_options, rest = keywords_among(parsed.plugin, rest)
        return parsed, rest


def keywords_among(plugin: str | None, words: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """A plugin's options among other words, as keywords of ``attach``; and the other words.

    Raises:
        OptionError: an option is given twice.
    """
    keywords: dict[str, Any] = {}
    others: list[str] = []
    left = deque(words)
    while left:
        word = left.popleft()
        value: str | bool
        option, equals, value = word.partition("=")
        prefix = f"--{plugin}-"
        if plugin is None or not option.startswith(prefix):
            others.append(word)
            continue
        if not equals:
            value = left.popleft() if left and not left[0].startswith("-") else True  # which is a flag's
        add_keyword(keywords, option.removeprefix(prefix), value, option)
    return keywords, others


def add_keyword(keywords: dict[str, Any], name: str, value: Any, option: str) -> None:
    """Args:
        name: of the option, without the plugin's: ``max-skips``.
        option: as it was given, for messages.

    Raises:
        OptionError: it is there already.
    """
    keyword = name.replace("-", "_")
    if keyword in keywords:
        raise OptionError(f"{option} gives {name} once more, which was {keywords[keyword]}. Leave one of them out.")
    keywords[keyword] = value
