"""The scripts for each shell, made of what can follow on a command line. Pure.

Names and words come from parsers and are plain (``offers`` leaves out all letters of help texts that a shell could
take for something else); they are quoted all the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mflux_teacache.cli.completions.offers import Offers, Option
from mflux_teacache.cli.mflux.arguments import OPTION

HEAD = "# What {command} and its plugins take, as of the day on which `{command} completions` wrote this."


def bash(command: str, offers: Sequence[Offers]) -> str:
    """A function that is asked for every word, and tables of what each command takes."""
    shared = _shared(offers)
    return _BASH.format(
        head=HEAD.format(command=command),
        shared=_quoted(shared),
        words="".join(_case(shlex.quote(_name(each)), _echo(each, shared)) for each in offers),
        values="".join(_case(pattern, f"echo {_quoted(words)}") for pattern, words in _values(offers)),
        below=" | ".join(shlex.quote(_name(each)) for each in offers if len(each.path) > 1) or "''",
        commands=" ".join(map(shlex.quote, dict.fromkeys(each.path[0] for each in offers))),
    )


def _shared(offers: Sequence[Offers]) -> list[str]:
    """What all commands take that run plugins, most of which are the plugins' own options."""
    lists = [words for each in offers if OPTION in (words := _all_words(each))]
    return [word for word in lists[0] if all(word in others for others in lists)] if lists else []


def _echo(offers: Offers, shared: Sequence[str]) -> str:
    words = _all_words(offers)
    if OPTION not in words:
        return f"echo {_quoted(words)}"
    return f'echo "$_mflux_teacache_shared" {_quoted([word for word in words if word not in shared])}'


def _values(offers: Sequence[Offers]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What follows an option, by a pattern of command and option: whichever command, if that is the same for all."""
    of: dict[str, dict[str, tuple[str, ...]]] = {}
    for each in offers:
        for option in each.options:
            for name in option.names if option.takes_value else ():
                of.setdefault(name, {})[_name(each)] = option.values
    for name, by_command in of.items():
        if len(set(by_command.values())) == 1:
            yield f"*{shlex.quote(f' {name}')}", next(iter(by_command.values()))
        else:
            yield from ((shlex.quote(f"{command} {name}"), values) for command, values in by_command.items())


_BASH = """\
{head}
# Put it where bash-completion looks, such as ~/.local/share/bash-completion/completions/mflux-teacache, or source it.
_mflux_teacache_shared={shared}
_mflux_teacache_words() {{
  case "$1" in
{words}  esac
}}
_mflux_teacache_values() {{
  case "$1" in
{values}    *) return 1 ;;
  esac
}}
_mflux_teacache() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" found path place
  path="${{COMP_WORDS[0]##*/}}"
  for ((place = 1; place < COMP_CWORD; place++)); do
    case "$path ${{COMP_WORDS[place]}}" in
      {below}) path="$path ${{COMP_WORDS[place]}}" ;;
    esac
  done
  # Without a word of ours, bash offers files.
  if ! found="$(_mflux_teacache_values "$path $before")"; then
    found="$(_mflux_teacache_words "$path")"
    [[ $current == -* || $path == mflux-teacache* ]] || found=
  fi
  COMPREPLY=($(compgen -W "$found" -- "$current"))
}}
complete -o default -F _mflux_teacache {commands}
"""


def zsh(command: str, offers: Sequence[Offers]) -> str:
    """One call of ``_arguments`` for each command; of ``mflux-teacache`` alone, since mflux writes those of its own."""
    return _ZSH.format(
        command=command,
        head=HEAD.format(command=command),
        below=" | ".join(shlex.quote(_name(each)) for each in offers if len(each.path) > 1) or "''",
        cases="".join(map(_zsh_case, offers)),
    )


_ZSH = """\
#compdef {command}
{head}
# Put it as _mflux-teacache into a folder of your fpath. mflux's commands have mflux-completions.
_mflux_teacache() {{
  local place at=$words[1]:t
  for ((place = 2; place < CURRENT; place++)); do
    case "$at $words[place]" in
      ({below}) at="$at $words[place]" ;;
    esac
  done
  local -a below
  case "$at" in
{cases}  esac
}}
_mflux_teacache "$@"
"""


def _zsh_case(offers: Offers) -> str:
    specs = [_zsh_option(option) for option in offers.options]
    if offers.words:
        below = " ".join(shlex.quote(f"{word}:{text}" if text else word) for word, text in offers.words)
        rest = "'*: :{ _describe word below }'"
        return _case(f"({shlex.quote(_name(offers))}", f"below=({below}); _arguments {' '.join([*specs, rest])}")
    return _case(f"({shlex.quote(_name(offers))}", f"_arguments {' '.join([*specs, shlex.quote('*:file:_files')])}")


def _zsh_option(option: Option) -> str:
    """Such as ``'(-C --config)'{-C,--config}'[help]:value:(a b)'``."""
    value = ""
    if option.takes_value:
        value = f":value:({' '.join(option.values)})" if option.values else ":value:_files"
    text = f"[{option.help}]{value}"
    if len(option.names) == 1:
        return shlex.quote(f"{option.names[0]}{text}")
    alone, names = f"({' '.join(option.names)})", ",".join(option.names)
    return f"{shlex.quote(alone)}{{{names}}}{shlex.quote(text)}"


def fish(command: str, offers: Sequence[Offers]) -> str:
    """A line for each option and subcommand."""
    of: dict[str, list[str]] = {}
    for each in offers:
        for line in _fish_lines(each):
            of.setdefault(line, []).append(each.path[0])
    by_commands: dict[tuple[str, ...], list[str]] = {}  # most of mflux's options are those of many commands
    for line, commands in of.items():
        by_commands.setdefault(tuple(dict.fromkeys(commands)), []).append(line)
    loops = [_fish_loop(commands, lines) for commands, lines in by_commands.items()]
    return "\n".join([HEAD.format(command=command), _FISH_HOW, *loops, ""])


def _fish_loop(commands: Sequence[str], lines: Sequence[str]) -> str:
    each = [f"  complete -c $command {line}" for line in lines]
    return "\n".join([f"for command in {' '.join(map(shlex.quote, commands))}", *each, "end"])


_FISH_HOW = "# Put it into ~/.config/fish/completions/mflux-teacache.fish, or source it in config.fish."


def _fish_lines(offers: Offers) -> Iterable[str]:
    seen = [f"__fish_seen_subcommand_from {shlex.quote(word)}" for word in offers.path[1:]]
    below = [word for word, _ in offers.words]
    only = f"not __fish_seen_subcommand_from {' '.join(map(shlex.quote, below))}" if below else ""
    condition = "; and ".join(filter(None, [*seen, only]))
    start = f"-n {shlex.quote(condition)} " if condition else ""
    for word, text in offers.words:
        yield f"{start}-f -a {shlex.quote(word)} -d {shlex.quote(text)}"
    for option in offers.options:
        yield f"{start}{_fish_option(option)}"


def _fish_option(option: Option) -> str:
    names = [_fish_name(name) for name in option.names]
    values = f" -x -a {shlex.quote(' '.join(option.values))}" if option.values else " -r"
    return f"{' '.join(names)}{values if option.takes_value else ''} -d {shlex.quote(option.help)}"


def _fish_name(name: str) -> str:
    if name.startswith("--"):
        return f"-l {name[2:]}"
    return f"{'-s' if len(name) == 2 else '-o'} {name[1:]}"


def _name(offers: Offers) -> str:
    return " ".join(offers.path)


def _all_words(offers: Offers) -> list[str]:
    return [word for word, _ in offers.words] + [name for option in offers.options for name in option.names]


def _quoted(words: Sequence[str]) -> str:
    return shlex.quote(" ".join(words))


def _case(pattern: str, action: str) -> str:
    return f"    {pattern}) {action} ;;\n"


SHELLS: Mapping[str, Callable[[str, Sequence[Offers]], str]] = {"zsh": zsh, "bash": bash, "fish": fish}
