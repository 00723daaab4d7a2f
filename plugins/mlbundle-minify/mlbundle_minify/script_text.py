"""Make JavaScript small by rjsmin, and prove by a parser that its syntax is the same.

rjsmin knows no grammar: it takes blanks out of nested template literals, for one (bokeh.js has such). So these are kept from it, and
nothing is believed that tree-sitter does not see the same tokens in, in the same tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import rjsmin
import tree_sitter_javascript
from tree_sitter import Language, Node, Parser, Tree

from hatch_mlbundle.errors import KeptError

from .licences import LICENCE

_LANGUAGE = Language(tree_sitter_javascript.language())
_COMMENTS = frozenset({"comment", "html_comment"})
_TEMPLATES = frozenset({"template_string"})
_STAND_IN = b"@mlbundle: a template literal@"
_OWN_COMMENTS = re.compile(rb"\\/\\\*")
"""The expression for a comment's begin: with `toString` it may be that a function reads its own, where its author put a text."""
_MARKUP = (b"<!--", b"</script")
"""What must not come to stand together: `a<!--b` is `a`, where HTML-like comments are known (ECMA-262, section B.1.1)."""
_OPERAND_ENDS = re.compile(rb"[\w$)\]}'\"`/\x80-\xff]\Z")


def minified_script(text: bytes) -> bytes:
    """Return JavaScript without comments and white space, behind those of its comments that hold a licence.

    Raises KeptError for what the parser does not know (JSX, templates of other languages), and for what rjsmin would change.
    """
    if text.startswith(b"#!"):
        raise KeptError("it is a program, which begins with #!")
    if b"toString" in text and _OWN_COMMENTS.search(text):
        raise KeptError("it may read its own comments")
    before = _tree(text)
    if before.root_node.has_error:
        raise KeptError("the parser of JavaScript does not know what stands in it")
    if any(_says_something(node, text) for node in _nodes(before, _COMMENTS)):
        raise KeptError("one of its comments ends a statement, or may be a text")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise KeptError("it is not in UTF-8") from error
    made = b"".join(line + b"\n" for line in _licences(before)) + _without_white_space(text, before)
    if not _is_same(before, text, _tree(made), made) or any(made.count(mark) > text.count(mark) for mark in _MARKUP):
        raise KeptError("rjsmin would make other syntax of it")
    return made


def _says_something(comment: Node, text: bytes) -> bool:
    """Say whether a comment of several lines is all that a function holds, as texts for `toString` are, or ends a statement.

    It counts as the end of a line (ECMA-262, section 12.4): `a /* ... */ ++b` is two statements then. The parser does not know that.
    """
    if comment.start_point.row == comment.end_point.row:
        return False
    body = comment.parent
    if body is not None and body.type == "statement_block" and body.named_child_count == 1 and "function" in (body.parent or body).type:
        return True
    before = text[text.rfind(b"\n", 0, comment.start_byte) + 1 : comment.start_byte].rstrip()
    after = text[comment.end_byte :].lstrip(b" \t\f\v")[:1]
    return _OPERAND_ENDS.search(before) is not None and after not in b"\r\n"


def _without_white_space(text: bytes, tree: Tree) -> bytes:
    """Return what rjsmin makes of a script in which strings stand for the outermost template literals."""
    if _STAND_IN in text:
        raise KeptError("it holds what stands in for its template literals")
    pieces, literals, position = [], [], 0
    for node in _nodes(tree, _TEMPLATES):
        pieces += [text[position : node.start_byte], b'"' + _STAND_IN + b'"']
        literals.append(text[node.start_byte : node.end_byte])
        position = node.end_byte
    small = rjsmin.jsmin(b"".join([*pieces, text[position:]]).decode()).encode().split(b'"' + _STAND_IN + b'"')
    if len(small) != len(literals) + 1:
        raise KeptError("rjsmin loses template literals of it")
    return b"".join(part for pair in zip(small, [*literals, b""], strict=True) for part in pair)


def _tree(text: bytes) -> Tree:
    return Parser(_LANGUAGE).parse(text)


def _is_same(before: Tree, text: bytes, after: Tree, made: bytes) -> bool:
    one, other = _tokens(before, text), _tokens(after, made)
    return not after.root_node.has_error and all(token == next(other, None) for token in one) and next(other, None) is None


def _tokens(tree: Tree, text: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Yield the nodes in order, each with its depth, its type and, where nothing is below it, its text; comments left out."""
    cursor, depth = tree.walk(), 0
    while True:
        node: Node | None = cursor.node
        is_comment = node is None or node.type in _COMMENTS
        if node is not None and not is_comment:
            yield depth, node.type, b"" if node.child_count else text[node.start_byte : node.end_byte]
        if not is_comment and cursor.goto_first_child():
            depth += 1
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return
            depth -= 1


def _licences(tree: Tree) -> list[bytes]:
    """Return the comments that hold a licence, with those that stand right above and below."""
    kept: list[bytes] = []
    block: list[Node] = []
    for node in [*_nodes(tree, _COMMENTS), None]:
        if block and (node is None or node.start_point.row > block[-1].end_point.row + 1):
            texts = [each.text or b"" for each in block]
            if any(LICENCE.search(text) or text.startswith(b"/*!") for text in texts):
                kept += texts
            block = []
        if node is not None:
            block.append(node)
    return kept


def _nodes(tree: Tree, types: frozenset[str]) -> Iterator[Node]:
    """Yield the outermost nodes of these types, in order."""
    cursor = tree.walk()
    while True:
        node = cursor.node
        if node is not None and node.type in types:
            yield node
        elif cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return
