"""The API for plugins, read from the code: what docs/hookspecs.md says of it, and what a test checks."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from hatch_mlbundle import api, hookspecs

GROUPS = {
    "Optimizers": """
        Optimizer Options option Size Glob Context Task ConvertTask Detail Json ArtifactKind EVERY_KIND Risk Judge Measured SearchBy
    """,
    "What a bundle is": "Bundle File Kind Content MemoryContent DiskContent CHUNK",
    "Changes": "Change Drop Keep Rewrite Add Link Convert",
    "Findings and errors": """
        Finding MlbundleError KeptError UnsoundResultError ProgramError ModelError BinaryError AccuracyError MissingProgramError
        MissingLibraryError ConfigurationError
    """,
    "Evaluators": "Evaluator Samples Outputs Array unbatched",
    "Inspectors": "Inspector Inside Extent HEADERS PADDING OTHER",
    "Helpers": "hookimpl find_program look_for_program Program library_versions matcher format_size",
}
"""The names of hatch_mlbundle.api in the order of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name of the API: how it is written, what its docstring says, what it has, and which of its annotations are missing."""

    name: str
    signature: str
    doc: str
    members: tuple[Entry, ...] = ()
    missing: tuple[str, ...] = ()


def entries() -> dict[str, Entry]:
    """Return an entry for each name of hatch_mlbundle.api."""
    tree = _tree(api.__name__)
    places = {
        alias.name: f"{hookspecs.__package__}.{node.module}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {name: _entry(name, places[name]) for name in api.__all__}


def hooks() -> dict[str, Entry]:
    """Return an entry for each hook that a plugin may implement."""
    return {name: _entry(name, hookspecs.__name__) for name in vars(hookspecs) if name.startswith("mlbundle_")}


def reference() -> str:
    """Return what the page says of the API."""
    known, told = entries(), []
    for title, names in GROUPS.items():
        told.append(f"## {title}")
        told += [_written(known.pop(name)) for name in names.split()]
    if known:
        raise ValueError(f"not in a group of docs/plugin_api.py: {', '.join(known)}")
    return "\n\n".join(told)


def hook_reference(name: str) -> str:
    """Return what the page says of a hook."""
    entry = hooks()[name]
    return f"```text\n@hookspec\n{entry.signature}\n```\n\n{entry.doc}"


@cache
def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _entry(name: str, module: str) -> Entry:
    """Return the entry of a name where it is defined; a docstring of a constant stands behind it."""
    body = _tree(module).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return _class(node) if isinstance(node, ast.ClassDef) else _function(node)
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node):
            return Entry(name=name, signature=ast.unparse(node), doc=_text(after))
    raise LookupError(f"{name} is not defined in {module}")


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]


def _text(node: ast.AST | None) -> str:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return inspect.cleandoc(node.value.value) if is_text else ""  # type: ignore[union-attr]


def _class(node: ast.ClassDef) -> Entry:
    bases = ", ".join(ast.unparse(each) for each in (*node.bases, *node.keywords))
    return Entry(
        name=node.name,
        signature=f"class {node.name}({bases})" if bases else f"class {node.name}",
        doc=ast.get_docstring(node) or "",
        members=tuple(_members(node)),
    )


def _members(node: ast.ClassDef) -> Iterator[Entry]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            yield _function(each)
        elif isinstance(each, ast.AnnAssign) and not ast.unparse(each.target).startswith("_"):
            yield Entry(name=ast.unparse(each.target), signature=_field(each), doc=_option(each))
        elif isinstance(each, ast.Assign) and not _targets(each)[0].startswith("_"):
            is_enum = any("Enum" in ast.unparse(base) for base in node.bases)
            yield Entry(name=_targets(each)[0], signature=ast.unparse(each), doc="", missing=() if is_enum else ("a type",))


def _field(node: ast.AnnAssign) -> str:
    value = node.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "option":
        value = next(each.value for each in value.keywords if each.arg == "default")
    default = f" = {ast.unparse(value)}" if value else ""
    return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}{default}"


def _option(node: ast.AnnAssign) -> str:
    """Return what an option says of itself."""
    value = node.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "option":
        return str(ast.literal_eval(value.args[0]))
    return ""


def _function(node: ast.FunctionDef) -> Entry:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    missing = [each.arg for each in arguments if each and each.annotation is None and each.arg not in ("self", "cls")]
    if node.returns is None:
        missing.append("what it returns")
    kinds = [f"@{ast.unparse(each)}\n" for each in node.decorator_list if ast.unparse(each) in ("property", "abstractmethod")]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    signature = f"{''.join(kinds)}def {node.name}({ast.unparse(node.args)}){returns}"
    return Entry(name=node.name, signature=signature, doc=ast.get_docstring(node) or "", missing=tuple(missing))


def _written(entry: Entry) -> str:
    fields = [each for each in entry.members if not each.doc or "def " not in each.signature]
    methods = [each for each in entry.members if each not in fields]
    lines = [entry.signature, *(f"    {each.signature}" for each in fields)]
    told = [f"### `{entry.name}`", "```text\n" + "\n".join(lines) + "\n```", entry.doc]
    if options := [each for each in fields if each.doc]:
        told.append("\n".join(f"- `{each.name}`: {each.doc}" for each in options))
    told += [f"```text\n{each.signature}\n```\n\n{each.doc}" for each in methods]
    return "\n\n".join(each for each in told if each)
