"""Find what a module cannot be imported without: the imports at its top that nothing guards, from source or from bytecode.

What stands under `if TYPE_CHECKING:`, in a `try` whose handler goes on after an ImportError, or in a function is not among them.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from .marshalled_code import Code, read_code
from .model import File, Kind
from .opcodes import CHECKING, GUARDS, CodeImport, needs_of
from .optimizer import Json
from .pysource import parse
from .unmarshal import Unmarshaller


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a module imports, as `(level, module, names)` of `from {'.' * level}{module} import {names}`.

    `first` it cannot be imported without, `later` it imports elsewhere, unguarded; `uses` are those of the attributes asked for
    that it mentions. `error` says why it could not be read.
    """

    first: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    later: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    uses: tuple[str, ...] = ()
    error: str | None = None

    @classmethod
    def from_json(cls, facts: Json) -> Needs:
        """Read what `examine_needs` wrote."""
        first, later = (tuple((level, module, tuple(names)) for level, module, names in facts[key]) for key in ("first", "later"))
        return cls(first=first, later=later, uses=tuple(facts["uses"]), error=facts["error"])


def examine_needs(file: File, *, attributes: Sequence[str] = (), quick: Unmarshaller | None = None) -> Json:
    """Return, as JSON, the Needs of a Python or bytecode file; `attributes` are like `torch.compile`.

    `quick` may read bytecode where no attributes are asked for; the result is the same.
    """
    try:
        if file.kind is not Kind.BYTECODE:
            return _from_source(file, attributes)
        data = file.read()
        needs = quick.needs(data) if quick and not attributes else None
        return {**needs, "uses": [], "error": None} if needs else _from_bytecode(data, attributes)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        return {"first": [], "later": [], "uses": [], "error": str(problem) or type(problem).__name__}


def _from_bytecode(data: bytes, attributes: Sequence[str]) -> Json:
    module = read_code(data)
    pairs = [attribute.split(".", 1) for attribute in attributes]
    uses = {".".join(pair) for code in _codes(module) for pair in pairs if set(pair) <= set(code.names)} if pairs else set()
    return {**needs_of(module), "uses": sorted(uses), "error": None}


def _codes(code: Code) -> Iterator[Code]:
    yield code
    for nested in code.nested():
        yield from _codes(nested)


def _from_source(file: File, attributes: Sequence[str]) -> Json:
    tree = parse(file.read())
    mentioned = (ast.unparse(node) for node in ast.walk(tree) if attributes and isinstance(node, ast.Attribute))
    found = [each for each in _statements(tree.body, at_import=True, guarded=False) if not each.guarded]
    first, later = (sorted({(each.level, each.module, each.names) for each in found if each.at_import is when}) for when in (True, False))
    return {"first": first, "later": later, "uses": sorted({each for each in mentioned if each in attributes}), "error": None}


def _statements(body: Collection[ast.AST], *, at_import: bool, guarded: bool) -> Iterator[CodeImport]:
    for node in body:
        yield from _statement(node, at_import=at_import, guarded=guarded)


def _statement(node: ast.AST, *, at_import: bool, guarded: bool) -> Iterator[CodeImport]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (replace(each, at_import=at_import, guarded=guarded) for each in _imports(node))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        yield from _statements(list(ast.iter_child_nodes(node)), at_import=False, guarded=guarded)
    elif isinstance(node, ast.Try):
        spared = guarded or any(_goes_on(handler) for handler in node.handlers)
        yield from _statements(node.body, at_import=at_import, guarded=spared)
        yield from _statements([*node.handlers, *node.orelse, *node.finalbody], at_import=at_import, guarded=guarded)
    elif isinstance(node, ast.If) and _is_type_checking(node.test):
        yield from _statements(node.orelse, at_import=at_import, guarded=guarded)
    else:
        yield from _statements(list(ast.iter_child_nodes(node)), at_import=at_import, guarded=guarded)


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[CodeImport]:
    if isinstance(node, ast.ImportFrom):
        names = tuple(alias.name for alias in node.names)
        yield CodeImport(level=node.level, module=node.module or "", names=names, at_import=True, guarded=False)
        return
    for alias in node.names:
        yield CodeImport(level=0, module=alias.name, names=(), at_import=True, guarded=False)


def _goes_on(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler catches a failed import, and raises nothing itself."""
    caught = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else GUARDS
    raises = any(isinstance(node, ast.Raise) for statement in handler.body for node in ast.walk(statement))
    return bool(caught & GUARDS) and not raises


def _is_type_checking(test: ast.expr) -> bool:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        return all(map(_is_type_checking, test.values))
    return (test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else "") in CHECKING
