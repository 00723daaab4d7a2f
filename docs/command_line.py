"""The reference of the command line, made from its parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def command_line(parser: argparse.ArgumentParser) -> str:
    """Return a section for each command: what it is for, how it is called, a table of what it takes."""
    return "\n\n".join(_section(each) for each in _commands(parser))


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                nested = list(_commands(each))
                yield from nested or [each]


def _section(parser: argparse.ArgumentParser) -> str:
    rows = [_row(parser, action) for action in parser._actions if action.dest != "help" and action.help != argparse.SUPPRESS]
    parts = [f"## `{parser.prog}`", _text(parser, parser.description), f"```\n{_usage(parser)}\n```"]
    if rows:
        parts.append("\n".join(["| argument | what it is |", "|---|---|", *rows]))
    return "\n\n".join([*parts, _text(parser, parser.epilog)]).strip()


def _text(parser: argparse.ArgumentParser, text: str | None) -> str:
    """Return a description or an epilog as Markdown: what is indented is shown as it is written."""
    blocks = ((text or "") % {"prog": parser.prog}).strip("\n").split("\n\n")
    return "\n\n".join(f"```\n{block}\n```" if block.startswith("  ") else block for block in blocks)


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


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {_placeholder(action)}"
    spelled = ", ".join(f"`{each}{value}`" for each in action.option_strings) or f"`{_placeholder(action)}`"
    said = " ".join(((action.help or "") % {**vars(action), "prog": parser.prog}).split())
    return f"| {spelled} | {said.replace('|', chr(92) + '|')} |"
