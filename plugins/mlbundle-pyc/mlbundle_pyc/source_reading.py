"""Whether a module might read Python sources when it runs, by what it names; comments and docstrings do not count."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from hatch_mlbundle.model import File, Kind
from hatch_mlbundle.optimizer import Json
from hatch_mlbundle.pysource import parse

_READING = frozenset(
    {
        *("getsource", "getsourcelines", "getsourcefile", "findsource", "getblock", "getcomments", "get_source", "linecache", "run_path"),
        *("co_filename", "getfile"),
        *("SourceFileLoader", "spec_from_file_location", "source_from_cache", "doctest", "torch", "numba", "triton"),
    }
)
"""Names by which sources are read: through inspect, by what compiles them (torch may be given any module to script, numba looks for the
file of what it caches), by their paths. Bytecode alone keeps the path that it was compiled under, which leads nowhere."""
_LISTING = frozenset({"listdir", "scandir", "iterdir", "glob", "iglob", "rglob", "walk", "contents"})
_OWN_PLACE = frozenset({"__file__", "__path__", "__spec__", "resources"})
"""What a module needs that lists its own folder. `pkgutil` is no danger: it finds bytecode as well."""
_SOURCE_NAME = re.compile(r"[^\s]*\.py")
_WORD = re.compile(rb"[A-Za-z_]\w*")
_SOURCE_WORD = re.compile(rb"\.py[^\w]")


def may_read_sources(file: File) -> Json:
    """Say whether a module might read sources; one that cannot be parsed, and bytecode, is judged by all its words."""
    data = file.read()
    try:
        names, texts, opens = _named(parse(data)) if file.kind == Kind.PYTHON else _words(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        names, texts, opens = _words(data)
    lists = bool(_LISTING & names and _OWN_PLACE & names)
    return lists or opens or bool(_READING & names) or any(map(_SOURCE_NAME.fullmatch, texts))


def _words(data: bytes) -> tuple[set[str], set[str], bool]:
    texts = {"x.py"} if _SOURCE_WORD.search(data) else set()
    return {word.decode() for word in _WORD.findall(data)}, texts, False


def _named(tree: ast.Module) -> tuple[set[str], set[str], bool]:
    """Return the names and strings in a module, and whether it opens itself."""
    names, texts, opens = set[str](), set[str](), False
    for node in _nodes(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.alias):
            names.update(node.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            names.update((node.module or "").split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
            names.update([node.value] if node.value in _READING else [])
        opens = opens or _opens_itself(node)
    return names, texts, opens


def _nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all of a module but the strings that stand alone, and what only runs when it is a script."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [each for each in ast.iter_child_nodes(node) if not _is_idle(each)]


def _is_idle(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.If) and "__main__" in ast.dump(node.test) and not node.orelse


def _opens_itself(node: ast.AST) -> bool:
    """Say whether a node opens its module's own file, or cuts the suffix off its path."""
    if isinstance(node, ast.Subscript):
        return _is_own_file(node.value)
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open" and any(map(_is_own_file, node.args[:1]))
    )


def _is_own_file(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "__file__"
