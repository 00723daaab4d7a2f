"""Which modules a source cannot do without, so that what is put into an application finds them there."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator


def needed_modules(source: str, package: str) -> set[str]:
    """Return the full names of what a module of `package` imports, now or later: `a` and `a.b` for `from a import b`.

    What it only tries to import, or imports for type checkers, is not among them.
    """
    return set(_names(_nodes(ast.parse(source).body, deep=True), package))


def needed_at_once(source: str, package: str) -> set[str]:
    """Return what `needed_modules` does, without what is imported by functions when they are called."""
    return set(_names(_nodes(ast.parse(source).body, deep=False), package))


def _nodes(body: Iterable[ast.stmt], *, deep: bool) -> Iterator[ast.stmt]:
    """Yield statements, and those in them."""
    for node in body:
        yield node
        if isinstance(node, ast.Try) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            continue
        if deep or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _nodes((each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)), deep=deep)


def _names(nodes: Iterable[ast.stmt], package: str) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
