"""Take comments and docstrings out of Python source so that all that stays is where it was, line and column, and prove it."""

from __future__ import annotations

import ast
import marshal
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hatch_mlbundle.errors import KeptError, UnsoundResultError
from hatch_mlbundle.pysource import compiled, parse

from .licences import LICENCE

Owner: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
_WITHOUT_REFERENCES = 2
"""The last version of the marshal format in which equal code is equal bytes: later ones say which objects are shared."""

BOM = b"\xef\xbb\xbf"

_TOKEN = re.compile(
    rb"""
    [a-zA-Z]{0,2}(?:
        \"{3}(?:[^\\]|\\.)*?\"{3} | '{3}(?:[^\\]|\\.)*?'{3}
      | "(?:[^"\\\r\n]|\\(?:\r\n|.))*" | '(?:[^'\\\r\n]|\\(?:\r\n|.))*'
    )
    | [ \t\f]*(?P<comment>\#[^\r\n]*)
    | (?P<blank>[ \t\f]+)(?=[\r\n])
    """,
    re.DOTALL | re.VERBOSE,
)
"""A string, a comment with the blanks before it, or blanks at a line's end. Nested quotes in an f-string (PEP 701) mislead it: the proof
sees to that."""

_NEWLINE = re.compile(rb"\r\n|\r|\n")
_COOKIE = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
"""The encoding of a source, in its first or second line (PEP 263)."""

_TELLS = re.compile(rb"#[ \t]*type:(?![ \t]*ignore)")
"""TorchScript reads signatures from comments when it runs (torch/jit/annotations.py, `get_type_line`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Docstring:
    """A docstring: whose it is, the line that it begins in, its place in bytes, and whether nothing else is in that body.

    The place is that of the whole line where the docstring can go, not only be replaced.
    """

    owner: Owner
    line: int
    start: int
    end: int
    is_alone: bool


def encoding_of(source: bytes) -> str:
    """Return the name of the encoding that a source declares, in lower case; `utf-8` where it declares none (PEP 3120)."""
    for line in _NEWLINE.split(source.removeprefix(BOM), maxsplit=2)[:2]:
        if match := _COOKIE.match(line):
            return match[1].decode().lower().replace("_", "-")
        if line.split(b"#")[0].strip():
            break
    return "utf-8"


def docstrings(tree: ast.Module, source: bytes) -> Iterator[Docstring]:
    """Yield the docstrings that stand in lines of their own, or alone behind a colon: all but very few. `source` has no BOM.

    Where another string follows, it would become the docstring: such a one is left out, too.
    """
    starts = [0, *(match.end() for match in _NEWLINE.finditer(source))]
    for owner in _owners(tree):
        if not owner.body or not _is_string(owner.body[0]) or (len(owner.body) > 1 and _is_string(owner.body[1])):
            continue
        first = owner.body[0]
        line_start = starts[first.lineno - 1]
        start = line_start + first.col_offset
        end = starts[(first.end_lineno or first.lineno) - 1] + (first.end_col_offset or 0)
        before = source[line_start:start].strip()
        rest = _NEWLINE.search(source, end)
        after = source[end : rest.start() if rest else len(source)].strip()
        is_alone = len(owner.body) == 1 and not isinstance(owner, ast.Module)
        if (not after or after.startswith(b"#")) and (not before or (is_alone and before.endswith(b":"))):
            yield Docstring(owner=owner, line=first.lineno, start=start if is_alone else line_start, end=end, is_alone=is_alone)


def without_texts(source: bytes, lines: Collection[int]) -> bytes:
    """Return a source without comments, blanks at the ends of lines, and the docstrings that begin in `lines`.

    A comment stays where it holds a licence or a copyright, with the block that it stands in, where it tells a type to TorchScript, and
    in the first two lines where it is for the system or the decoder (`#!`, PEP 263). Everything else stays in its line and column.
    Raises SyntaxError, ValueError; KeptError where it cannot be compiled, UnsoundResultError where the two compile to different code.
    """
    mark, text = (BOM, source[len(BOM) :]) if source.startswith(BOM) else (b"", source)
    tree = parse(text)
    found = [each for each in docstrings(tree, text) if each.line in lines]
    made = _edited(text, found)
    _prove(tree, found, made)
    return mark + made


def _edited(text: bytes, found: Sequence[Docstring]) -> bytes:
    edits = [(each.start, each.end, _instead(text, each)) for each in found]
    edits += [(start, end, b"") for start, end in _removable(text)]
    pieces: list[bytes] = []
    position = 0
    for start, end, new in sorted(edits):
        if start >= position:  # comments in a docstring are gone with it
            pieces += (text[position:start], new)
            position = end
    pieces.append(text[position:])
    made = b"".join(pieces).rstrip(b" \t\f\r\n")
    return made + (b"\n" if made else b"")


def _instead(text: bytes, docstring: Docstring) -> bytes:
    return (b"pass" if docstring.is_alone else b"") + b"".join(_NEWLINE.findall(text[docstring.start : docstring.end]))


def _prove(tree: ast.Module, removed: Sequence[Docstring], made: bytes) -> None:
    """Raise UnsoundResultError unless `made` compiles to what `tree` does without those docstrings, positions included; or KeptError."""
    for each in removed:
        first = each.owner.body[0]
        place = {"lineno": first.lineno, "col_offset": first.col_offset, "end_lineno": first.lineno, "end_col_offset": first.col_offset + 4}
        each.owner.body[:1] = [ast.Pass(**place)] if each.is_alone else []
    try:
        before = _code(tree)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise KeptError("this Python cannot compile it, so that nothing would prove the result") from error
    try:
        after = _code(parse(made))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UnsoundResultError(f"it no longer compiles: {' '.join(str(error).split())}") from error
    if before != after:
        raise UnsoundResultError("it compiles to other code")


def _code(tree: ast.Module) -> bytes:
    """Return the code, as if each statement with a body ended where it begins: some end now where `pass` does."""
    for node in _statements(tree):
        if hasattr(node, "body") and hasattr(node, "end_lineno"):
            node.end_lineno, node.end_col_offset = node.lineno, node.col_offset  # type: ignore[attr-defined]
    return marshal.dumps(compiled(tree), _WITHOUT_REFERENCES)


def _owners(tree: ast.Module) -> Iterator[Owner]:
    """Yield what may have a docstring."""
    for node in _statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield a module and all statements in it, without looking into expressions, where none can be."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [each for name in _BODIES for each in getattr(node, name, ())]


def _is_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _removable(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield where comments and blanks are that may go."""
    found = [match for match in _TOKEN.finditer(text) if match["comment"] or match["blank"]]
    comments = [match for match in found if match["comment"]]
    kept = _licences(comments, text) | {match.start() for match in comments if _TELLS.match(match["comment"])}
    head = [match.end() for match in _NEWLINE.finditer(text[:4096])][:2]
    for match in found:
        in_head = match.start() < (head[-1] if head else len(text))
        is_told = match["comment"] and in_head and (match.start("comment") == 0 == text.find(b"#!") or _COOKIE.match(match["comment"]))
        if match.start() not in kept and not is_told:
            yield match.start(), match.end()


def _licences(comments: list[re.Match[bytes]], text: bytes) -> set[int]:
    """Return where the comments begin that stand in one block with words of a licence."""
    kept: set[int] = set()
    block: list[re.Match[bytes]] = []
    for match in [*comments, None]:
        if block and (match is None or text[block[-1].end() : match.start()].strip() or _is_apart(text, block[-1], match)):
            if any(LICENCE.search(each["comment"]) for each in block):
                kept |= {each.start() for each in block}
            block = []
        if match:
            block.append(match)
    return kept


def _is_apart(text: bytes, one: re.Match[bytes], other: re.Match[bytes]) -> bool:
    """Say whether an empty line lies between two comments."""
    return len(_NEWLINE.findall(text, one.end(), other.start())) > 1
