"""Make CSS small by rcssmin, and prove that a parser of CSS Syntax Level 3 reads the same rules in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import rcssmin
import tinycss2

from hatch_mlbundle.errors import KeptError

from .licences import LICENCE

Tokens: TypeAlias = list[Any]

_COMMENT = re.compile(rb"/\*(?!!)(.*?)\*/", re.DOTALL)
_BLOCKS = {"() block", "[] block", "{} block", "function"}
_COMBINATORS = frozenset(",>+~|")
_SEPARATORS = frozenset(",/!:;<>=")
"""Delimiters beside which white space says nothing, in selectors (Selectors Level 4, section 15) and in values; `+` and `-` are not
among the latter: `calc` asks for it (CSS Values and Units Level 4, section 10.8)."""

_SELECTING = frozenset({"scope", "selector"})
"""The rule and the function that hold selectors where others hold values (CSS Cascading Level 6, section 2.5; Conditional Rules 4, 2.1)."""
_CHARSET = b"@charset"
"""What says an encoding at the very beginning of a file, and nothing anywhere else (CSS Syntax Level 3, section 3.2)."""


def minified_style(text: bytes) -> bytes:
    """Return CSS without white space and comments, but for those that hold a licence; raises KeptError."""
    try:
        marked = _COMMENT.sub(lambda match: b"/*!" + match[1] + b"*/" if LICENCE.search(match[1]) else match[0], text)
        made: bytes = rcssmin.cssmin(marked.decode(), keep_bang_comments=True).encode()
        before, after = text.decode(), made.decode()
    except UnicodeDecodeError as error:
        raise KeptError("it is not in UTF-8") from error
    if _rules(before) != _rules(after) or made.startswith(_CHARSET) != text.startswith(_CHARSET):
        raise KeptError("rcssmin would make other rules of it")
    return made


def _rules(text: str) -> Tokens:
    try:
        return [_item(each) for each in tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)]
    except RecursionError as error:
        raise KeptError("it is nested too deeply to be compared") from error


def _block(content: Sequence[Any] | None) -> Tokens | None:
    if content is None:
        return None
    return [_item(each) for each in tinycss2.parse_blocks_contents(content, skip_comments=True, skip_whitespace=True)]


def _item(node: Any) -> tuple[Any, ...]:
    """Return a rule or declaration as what is to be compared; raises KeptError for what is none."""
    match node.type:
        case "qualified-rule":
            return "rule", _tokens(node.prelude, _COMBINATORS), _block(node.content)
        case "at-rule":
            apart = _COMBINATORS if node.lower_at_keyword in _SELECTING else _SEPARATORS
            return "at", node.lower_at_keyword, _tokens(node.prelude, apart), _block(node.content)
        case "declaration":
            value = _exactly(node.value) if node.name.startswith("--") else _tokens(node.value, _SEPARATORS)
            return "declaration", node.name, node.important, value
        case _:
            raise KeptError(f"it is not all CSS: {' '.join(node.message.split())} (line {node.source_line})")


def _tokens(nodes: Iterable[Any], apart: frozenset[str]) -> Tokens:
    """Return tokens, white space as one blank, and none where it says nothing: at the ends and beside the delimiters `apart`."""
    found: Tokens = []
    for node in nodes:
        if node.type == "comment":
            continue
        if node.type == "whitespace":
            if found and found[-1] != " " and not _is_in(found[-1], apart):
                found.append(" ")
            continue
        if node.type == "literal" and node.value in apart and found and found[-1] == " ":
            found.pop()
        found.append(_token(node, apart))
    return found[:-1] if found and found[-1] == " " else found


def _token(node: Any, apart: frozenset[str]) -> Any:
    if node.type not in _BLOCKS:
        return node.type, node.serialize()
    inside = node.arguments if node.type == "function" else node.content
    name = getattr(node, "name", "")
    return node.type, name, _tokens(inside, _COMBINATORS if name.lower() in _SELECTING else apart)


def _is_in(token: Any, delimiters: frozenset[str]) -> bool:
    return token[0] == "literal" and token[1] in delimiters


def _exactly(nodes: Sequence[Any]) -> str:
    """Return the value of a custom property as scripts read it: without the white space around it."""
    return str(tinycss2.serialize([node for node in nodes if node.type != "comment"])).strip()
