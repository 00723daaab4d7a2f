"""What one Python source says of docstrings: which it has, and what in it reads those of others."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator

from hatch_mlbundle.model import File
from hatch_mlbundle.modulesets.docstrings import DOCSTRING, READING_CALLS, READING_MODULES, READS, is_read_by
from hatch_mlbundle.optimizer import Json
from hatch_mlbundle.pysource import parse

from .python_text import BOM, docstrings, encoding_of

_MAKING = frozenset({"__call__", "__get__", "__init__", "__init_subclass__", "__new__", "__set_name__"})

_HARMLESS = """
abstractmethod abstractclassmethod abstractproperty asynccontextmanager cache cached_property classmethod contextmanager coroutine dataclass
deleter final getter lru_cache no_grad inference_mode njit jit override overload property runtime_checkable setter singledispatch
staticmethod total_ordering unique vectorize wraps
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Decorators that copy a docstring at most."""

_GRAMMAR = re.compile(r"[pt]_")
"""PLY and SPARK find functions by these prefixes, and their grammars in the docstrings."""


def examine_reader(file: File) -> Json:
    """Return what a source reads of docstrings, None where it reads none.

    `functions` do so with what they are given, `methods` with what an object's method is; instances of `classes` may do so with their
    own. `names` are those of whatever it may read.
    """
    source = file.read()
    if not READS.search(source):
        return None
    try:
        tree = parse(source.removeprefix(BOM))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    nodes = list(ast.walk(tree))
    silent = {id(node.value) for node in nodes if isinstance(node, ast.Assign) and all(map(_is_doc, node.targets))}
    silent |= {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    calls = READING_CALLS | {node.asname for node in nodes if isinstance(node, ast.alias) and node.name in READING_CALLS and node.asname}
    scopes = [(kind, name) for kind, name, scope in _scopes(tree.body) if any(_is_read(each, silent, calls) for each in ast.walk(scope))]
    if not scopes:
        return None
    return {
        "functions": sorted({kind or name for kind, name in scopes if name and (kind is None or name in _MAKING)} - {None}),
        "methods": sorted({name for kind, name in scopes if kind and name and not name.startswith("__")}),
        "classes": sorted({kind for kind, _ in scopes if kind}),
        "names": sorted(set(_names(tree))),
        "imports": sorted(imported(tree)),
    }


def examine_docstrings(file: File, *, functions: Collection[str], methods: Collection[str]) -> Json:
    """Return the docstrings of a source, what it imports, which of the reading `functions` it uses, and what it gives to readers.

    Each docstring is a row: its line, its owner's name, "module", "class" or "function", whether something may read it through its
    decorators or name, and the names of a class's bases, which `bases` gives of all classes. Decorators are no use of a function: what
    they are on is marked.
    """
    source = file.read()
    if (encoding := encoding_of(source)) not in ("utf-8", "utf8", "ascii", "us-ascii"):
        return {"error": f"its encoding is {encoding}"}
    source = source.removeprefix(BOM)
    try:
        tree = parse(source)
        rows = [_row(each.owner, each.line) for each in docstrings(tree, source)]
    except SyntaxError as problem:
        return {"error": f"this Python cannot parse it (line {problem.lineno})"}
    except (ValueError, RecursionError, MemoryError) as problem:
        return {"error": f"it cannot be parsed ({type(problem).__name__})"}
    nodes = list(ast.walk(tree))
    decorating = {id(node) for each in nodes for decorator in getattr(each, "decorator_list", ()) for node in ast.walk(decorator)}
    known = {
        alias.asname or alias.name.partition(".")[0]
        for each in nodes
        if isinstance(each, ast.Import | ast.ImportFrom)
        for alias in each.names
    }
    uses = {name for node in nodes if (name := _used(node, functions, known)) and id(node) not in decorating}
    calls = [node for node in nodes if isinstance(node, ast.Call) and (_used(node.func, functions, known) or _method(node.func) in methods)]
    given = {name for call in calls for part in (*call.args, *call.keywords) for name in _names(part)}
    return {
        "rows": sorted(rows),
        "bases": sorted((node.name, _bases(node)) for node in nodes if isinstance(node, ast.ClassDef) and node.bases),
        "imports": sorted(set(imported(tree))),
        "uses": sorted(uses),
        "given": sorted(given),
    }


def _scopes(statements: Iterable[ast.stmt], kind: str | None = None) -> Iterator[tuple[str | None, str | None, ast.AST]]:
    """Yield the functions, methods and other statements of a module, each with the names of its class and of itself, if any."""
    for each in statements:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield kind, each.name, each
        elif isinstance(each, ast.ClassDef):
            yield from _scopes(each.body, each.name)
        elif isinstance(each, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _scopes(getattr(each, part, ()), kind)
            yield from ((kind, None, part) for part in ast.iter_child_nodes(each) if not isinstance(part, ast.stmt))
        else:
            yield kind, None, each


def _used(node: ast.AST, functions: Collection[str], known: Collection[str]) -> str | None:
    """Return the name of a reading function that is meant: by its own name, or as part of a module that was imported."""
    name = _name(node)
    if name not in functions:
        return None
    return name if isinstance(node, ast.Name) or _name(getattr(node, "value", node)) in known else None


def _method(node: ast.AST) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else None


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level packages that a module imports, each as often as it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _row(owner: ast.AST, line: int) -> tuple[int, str, str, bool, list[str]]:
    if isinstance(owner, ast.ClassDef):
        return line, owner.name, "class", _is_marked(owner) or bool(owner.keywords), _bases(owner)
    if isinstance(owner, ast.FunctionDef | ast.AsyncFunctionDef):
        return line, owner.name, "function", _is_marked(owner) or _GRAMMAR.match(owner.name) is not None, []
    return line, "", "module", False, []


def _bases(owner: ast.ClassDef) -> list[str]:
    """Return the names of a class's bases, those of `Base[T]` too."""
    return [name for base in owner.bases if (name := _name(base.value if isinstance(base, ast.Subscript) else base))]


def _is_marked(owner: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_name(each.func if isinstance(each, ast.Call) else each) not in HARMLESS for each in owner.decorator_list)


def _is_doc(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == DOCSTRING) or (isinstance(node, ast.Name) and node.id == DOCSTRING)


def _is_read(node: ast.AST, silent: Collection[int], calls: Collection[str]) -> bool:
    """Say whether a node takes a docstring, or a source, to do something with it, by one of `calls` for one.

    `silent` are docstrings that only become another's, and strings that stand alone.
    """
    if isinstance(node, ast.AugAssign):
        return _is_doc(node.target)
    if _is_doc(node):
        return isinstance(node.ctx, ast.Load) and id(node) not in silent  # type: ignore[attr-defined]
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and id(node) not in silent and is_read_by(node.value)
    if isinstance(node, ast.Import):
        return any(alias.name in READING_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in READING_MODULES
    return isinstance(node, ast.Name | ast.Attribute) and _name(node) in calls


def _name(node: ast.AST) -> str:
    """Return the last part of a dotted name, "" for anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _names(tree: ast.AST) -> Iterator[str]:
    """Yield every identifier under a node that may stand for a definition, also those that are only strings, but no docstring."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if name := _name(node):
            yield name
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier() and id(node) not in alone:
            yield node.value
