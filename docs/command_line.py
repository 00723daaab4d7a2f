"""The reference of the command line, made from its parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence


def command_line(parser: argparse.ArgumentParser) -> str:
    """Return a section for each command: what it is for, how it is called, what it takes, examples and exit codes."""
    return "\n\n".join(_section(each) for each in _commands(parser))


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                nested = list(_commands(each))
                yield from nested or [each]


def _section(parser: argparse.ArgumentParser) -> str:
    parts = [f"## `{parser.prog}`", " ".join((parser.description or "").split()), f"```\n{_usage(parser)}\n```"]
    return "\n\n".join([*parts, *_tables(parser), *_lists(parser.epilog or "")])


def _usage(parser: argparse.ArgumentParser) -> str:
    if parser.usage:
        return parser.usage % {"prog": parser.prog}
    takes = (_called(action) for action in parser._actions if not action.option_strings)
    return " ".join([parser.prog, "[options]", *takes])


def _called(action: argparse.Action) -> str:
    name = _placeholder(action)
    shapes = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}
    return shapes.get(str(action.nargs), name)


def _placeholder(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    name = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    return name if isinstance(name, str) else " ".join(name)


def _tables(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a table of what the command takes, and one for each group of options that has a name of its own."""
    own = (parser._positionals, parser._optionals)
    first = [action for group in own for action in group._group_actions]
    groups = [("argument", first), *((group.title or "", group._group_actions) for group in parser._action_groups if group not in own)]
    for title, actions in groups:
        rows = [_row(parser, each) for each in actions if each.dest != "help" and each.help != argparse.SUPPRESS]
        if rows:
            yield "\n".join([f"| {title} | what it is |", "|---|---|", *rows])


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {_placeholder(action)}"
    spelled = ", ".join(f"`{each}{value}`" for each in action.option_strings) or f"`{_placeholder(action)}`"
    said = " ".join(((action.help or "") % {**vars(action), "prog": parser.prog}).split()).replace("|", "\\|")
    return f"| {spelled} | {said} |"


def _lists(epilog: str) -> Iterator[str]:
    """Yield examples and exit codes as lists: what is indented by two is told of by what is indented more below or behind it."""
    for block in filter(None, epilog.split("\n\n")):
        heading, *lines = block.split("\n")
        yield "\n".join([f"{heading[0].upper()}{heading[1:]}", "", *(f"- `{name}`: {' '.join(told)}" for name, told in _told(lines))])


def _told(lines: Sequence[str]) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if re.match(r"  \S", line):
            name, _, behind = line.strip().partition("  ")
            found.append((name, [behind.strip()] if behind else []))
        else:
            found[-1][1].append(line.strip())
    return found
