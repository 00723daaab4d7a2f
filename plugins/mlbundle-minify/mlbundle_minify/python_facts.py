"""What one Python source says of docstrings: which it has, and what in it reads those of others."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator

from hatch_mlbundle.model import File
from hatch_mlbundle.optimizer import Json
from hatch_mlbundle.pysource import parse

from .python_text import BOM, docstrings, encoding_of

_READS = re.compile(
    rb"__doc__|\b(?:getdoc|cleandoc|getsource|getcomments|findsource|getblock)"
    rb"|^[ \t]*(?:import|from)[ \t]+(?:docopt|doctest|pydoc)\b",
    re.MULTILINE,
)
_CALLS = frozenset({"getdoc", "cleandoc", "getcomments", "docopt", "getsource", "getsourcelines", "findsource", "getblock"})
_MODULES = frozenset({"docopt", "doctest", "pydoc"})

_FRAMEWORKS = """
absl apispec autogen celery click cmd cyclopts dspy docopt fastapi fastmcp fire flasgger flask_restx gradio graphene instructor invoke
langchain langchain_core langgraph llama_index luigi marshmallow mcp nose openai_agents plac ply prefect pydantic pydantic_ai rest_framework
semantic_kernel smolagents spark_parser strawberry traitlets typer
"""
FRAMEWORKS = frozenset(_FRAMEWORKS.split())
"""Packages that show the docstrings of what they are given, or run by them: help of commands, schemas, tools and prompts, grammars."""

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
    """Return what a source reads of docstrings: whether it does, in which of its definitions, and whose they may be (names)."""
    source = file.read()
    if not _READS.search(source):
        return None
    try:
        tree = parse(source.removeprefix(BOM))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {"readers": [], "names": [], "imports": []}
    copied = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign) and all(map(_is_doc, node.targets))}
    readers = {_name_of(top) for top in tree.body for node in ast.walk(top) if _is_read(node) and id(node) not in copied}
    if not readers:
        return None
    return {"readers": sorted(readers - {""}), "names": sorted(set(_names(tree))), "imports": sorted(imported(tree))}


def examine_docstrings(file: File, *, readers: Collection[str]) -> Json:
    """Return the docstrings of a source, what it imports, which of `readers` it mentions but for decorators, and with what names.

    Each docstring is a row: its line, its owner's name, "module", "class" or "function", whether something may read it through its
    decorators or name, and the names of a class's bases.
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
    decorating = {id(node) for each in ast.walk(tree) for deco in getattr(each, "decorator_list", ()) for node in ast.walk(deco)}
    mentions = {name for node in ast.walk(tree) if id(node) not in decorating and (name := _name(node)) in readers}
    given = {name for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node.func) in readers for name in _names(node)}
    return {"rows": sorted(rows), "imports": sorted(imported(tree)), "mentions": sorted(mentions), "given": sorted(given)}


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level packages that a module imports, each as often as it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _row(owner: ast.AST, line: int) -> tuple[int, str, str, bool, list[str]]:
    if isinstance(owner, ast.ClassDef):
        bases = [
            name for base in owner.bases for node in [base.value if isinstance(base, ast.Subscript) else base] if (name := _name(node))
        ]
        return line, owner.name, "class", _is_marked(owner) or bool(owner.keywords), bases
    if isinstance(owner, ast.FunctionDef | ast.AsyncFunctionDef):
        return line, owner.name, "function", _is_marked(owner) or _GRAMMAR.match(owner.name) is not None, []
    return line, "", "module", False, []


def _is_marked(owner: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_name(each.func if isinstance(each, ast.Call) else each) not in HARMLESS for each in owner.decorator_list)


def _is_doc(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "__doc__") or (isinstance(node, ast.Name) and node.id == "__doc__")


def _is_read(node: ast.AST) -> bool:
    if isinstance(node, ast.AugAssign):
        return _is_doc(node.target)
    if _is_doc(node):
        return isinstance(node.ctx, ast.Load)  # type: ignore[attr-defined]
    if isinstance(node, ast.Constant):
        return node.value == "__doc__"
    if isinstance(node, ast.Import):
        return any(alias.name in _MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in _MODULES
    return isinstance(node, ast.Name | ast.Attribute) and _name(node) in _CALLS


def _name_of(node: ast.stmt) -> str:
    return getattr(node, "name", "")


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
