"""Read what a piece of Python source names: the modules it imports and the strings that may be modules or paths."""

from __future__ import annotations

import ast
import re
import string
import threading
import warnings
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import CodeType

from .model import File
from .optimizer import Json

LONGEST = 200
"""Characters of the longest string that is taken for the name of a module or a file."""

_JOINING = frozenset({"join", "joinpath", "Path", "PurePath", "PurePosixPath"})
_RESOURCES = frozenset({"files", "get_data", "path", "contents", "open_text", "open_binary", "read_text", "read_binary", "is_resource"})
_RESOURCES_OLD = frozenset({"resource_filename", "resource_string", "resource_stream", "resource_listdir", "resource_exists"})
_CHARACTERS = r"[\w.+\-/*~:@\\{}%()]*"
_PLAIN = re.compile(_CHARACTERS)
_ITEM = rb"\w+(?:[ \t]+as[ \t]+\w+)?[ \t]*"
_NAMES_ONLY = re.compile(rb"[ \t]*\(?[ \t]*" + _ITEM + rb"(?:,[ \t]*" + _ITEM + rb")*,?[ \t]*\)?[ \t]*\\?(?:#.*)?")
_FORMATTED = re.compile(rb"\b(?:[rR]?[fF]|[fF][rR])['\"]")
_UNKNOWN = re.compile(r"\{[^{}]*\}|%(?:\(\w*\))?[sd]")
_TOKEN = re.compile(rb"[A-Za-z_.][\w./]{1,199}")
_DOTTED = re.compile(rb"[A-Za-z0-9_.]+")
_NAME_BYTES = (string.ascii_letters + string.digits + "_.").encode()
_IDENTIFIER = re.compile(rb"(?<![A-Za-z0-9_])_[A-Za-z0-9_]+")
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import: `from {'.' * level}{module} import {names}`, or `import {module}` where there are no names."""

    line: int
    scope: str
    level: int
    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """One string: `use` is "text" as it stands, "path" where parts are joined, "package" where a resource is read from it, "part" where
    it may be one part of a path (bytecode does not tell), "file" where it may be the name of a file in a folder named elsewhere.

    What is not known before run time (the fields of an f-string, of `format` or of `%`) is a `*`.
    """

    line: int
    scope: str
    text: str
    use: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """All that one module names. `error` says why it could not be parsed: its literals are then every word that it holds."""

    imports: tuple[Import, ...] = ()
    literals: tuple[Literal, ...] = ()
    error: str | None = None

    @classmethod
    def from_json(cls, facts: Json) -> References:
        """Read what `examine_references` wrote."""
        return cls(
            imports=tuple(Import(line=n, scope=s, level=v, module=m, names=tuple(names)) for n, s, v, m, names in facts["imports"]),
            literals=tuple(Literal(line=n, scope=s, text=t, use=u) for n, s, t, u in facts["literals"]),
            error=facts["error"],
        )


def examine_references(file: File, *, words: Sequence[str]) -> Json:
    """Return, as JSON, the imports and strings of a Python file that hold one of `words`, in any case; all where there are none."""
    source = file.read().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = telling_lines(source, words)
    if words and not lines:
        return {"imports": [], "literals": [], "error": None}
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        found = sorted({token for token in _tokens(source) if _holds(token, words)})
        return {"imports": [], "literals": [[0, "", token, "text"] for token in found], "error": _one_line(problem)}
    reader = _Reader(words, lines)
    reader.read(tree)
    return {"imports": sorted(reader.imports), "literals": sorted(reader.literals), "error": None}


def telling_lines(source: bytes, words: Sequence[str]) -> list[int]:
    """Return the numbers of the lines that hold one of `words` and could be an import or hold a string: far cheaper than parsing."""
    if not words:
        return []
    wanted = b"|".join(re.escape(word.encode()) for word in words)
    plain = _CHARACTERS.encode()
    quoted = re.compile(rb"['\"]" + plain + rb"(?:" + wanted + rb")" + plain + rb"['\"]", re.IGNORECASE)
    lines, number, position = [], 1, 0
    for match in re.finditer(wanted, source, re.IGNORECASE):
        if match.start() < position:
            continue
        start = source.rfind(b"\n", 0, match.start()) + 1
        end = source.find(b"\n", match.end())
        number += source.count(b"\n", position, start)
        position = end if end >= 0 else len(source)
        line = source[start:position]
        if b"import" in line or quoted.search(line) or _FORMATTED.search(line) or _NAMES_ONLY.fullmatch(line):
            lines.append(number)
    return lines


def parse(source: bytes) -> ast.Module:
    """Return the syntax tree; raises SyntaxError or ValueError. Old escapes in other people's code warn nobody."""
    with _LOCK, warnings.catch_warnings():  # the filters belong to the whole process: one thread at a time
        warnings.simplefilter("ignore")
        return ast.parse(source)


def compiled(tree: ast.Module) -> CodeType:
    """Return the code of a module, asserts included, with the positions of everything in it; raises SyntaxError or ValueError."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(tree, "<source>", "exec", dont_inherit=True, optimize=0)


def examine_names(file: File, *, words: Sequence[str]) -> Json:
    """Return the dotted names in a native library or bytecode file that hold one of `words`, sorted; read in pieces.

    A name that straddles two pieces is found in the overlap; one longer than `LONGEST` is no module's.
    """
    found: set[str] = set()
    window, needles = b"", [word.encode() for word in words]
    for chunk in file.content.chunks():
        found.update(_dotted(window + chunk, needles, first=not window))
        window = (window + chunk)[-2 * LONGEST :]
    found.update(_dotted(b"\0" + window + b"\0", needles, first=True))
    return sorted(found)


def _dotted(data: bytes, needles: Sequence[bytes], *, first: bool) -> Iterator[str]:
    for needle in needles:
        position = data.find(needle)
        while position >= 0:
            before = data[max(0, position - LONGEST) : position]
            start = position - len(before) + len(before.rstrip(_NAME_BYTES))
            tail = _DOTTED.match(data, position, position + LONGEST)
            end = tail.end() if tail else position + len(needle)
            whole = end < len(data) and data[end] not in _NAME_BYTES and (start == 0 or data[start - 1] not in _NAME_BYTES)
            if b"." in data[start:end] and whole and (start > 0 or first):
                yield data[start:end].decode("ascii")
            position = data.find(needle, max(end, position + 1))


def examine_identifiers(file: File, *, globs: Sequence[str]) -> Json:
    """Return the private identifiers in a Python file that match one of the globs, sorted; without parsing it."""
    names = {match[0].decode() for match in _IDENTIFIER.finditer(file.read())}
    return sorted(name for name in names if any(fnmatchcase(name, glob) for glob in globs))


def top_level_names(source: bytes) -> list[str]:
    """Return the names of the classes and functions that a module defines at its top, sorted; raises SyntaxError or ValueError."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return sorted({node.name for node in parse(source).body if isinstance(node, kinds)})


_RUNNERS = frozenset({"pytest", "unittest", "hypothesis", "nose", "absl"})
"""Packages whose import makes a function with arguments (fixtures, say) a test."""


def defines_tests(source: bytes) -> bool:
    """Say whether a module is for a test runner: it defines tests at its top, and its `__main__` block, if any, only runs them."""
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    scripts = [node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)]
    if any(not re.search(r"unittest|pytest|\btest\.main|absltest|run_tests|runtests", ast.unparse(node)) for node in scripts):
        return False
    with_runner = any(_imports_runner(node) for node in ast.walk(tree))
    return any(_is_test(node, with_runner=with_runner) for node in tree.body)


def _imports_runner(node: ast.AST) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
    return isinstance(node, ast.Import | ast.ImportFrom) and any(name.partition(".")[0] in _RUNNERS for name in names)


def _is_test(node: ast.stmt, *, with_runner: bool) -> bool:
    """Say whether a runner would take the statement for a test; `test_mean(x)`, where nothing imports one, is statistics."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name.startswith("test_") and (with_runner or not (node.args.args or node.args.posonlyargs or node.args.vararg))
    if not isinstance(node, ast.ClassDef):
        return False
    cased = node.name.startswith("Test") or any(ast.unparse(base).endswith("TestCase") for base in node.bases)
    return cased and any(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part.name.startswith("test") for part in node.body)


@dataclass(slots=True)
class _Reader:
    words: Sequence[str]
    lines: Sequence[int]
    imports: list[tuple[int, str, int, str, list[str]]] = field(default_factory=list)
    literals: list[tuple[int, str, str, str]] = field(default_factory=list)
    joined: set[int] = field(default_factory=set)

    def read(self, tree: ast.Module) -> None:
        stack: list[tuple[ast.AST, str]] = [(tree, "")]
        while stack:
            node, scope = stack.pop()
            self._take(node, scope)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                scope = node.name
            stack.extend((child, scope) for child in _children(node) if self._may_tell(child))
        if self.words and any(use == "path" for *_, use in self.literals):
            self._take_file_names(tree)

    def _may_tell(self, node: ast.AST) -> bool:
        """Pass over what spans none of the telling lines: most of a module."""
        if not self.words or not isinstance(node, ast.stmt | ast.expr | ast.excepthandler):
            return True
        last = node.end_lineno or node.lineno
        index = bisect_left(self.lines, node.lineno)
        decorated = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and bool(node.decorator_list)
        return decorated or (index < len(self.lines) and self.lines[index] <= last)

    def _take(self, node: ast.AST, scope: str) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._import(node.lineno, scope, 0, alias.name, [])
        elif isinstance(node, ast.ImportFrom):
            self._import(node.lineno, scope, node.level, node.module or "", [alias.name for alias in node.names])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self._literal(node, scope, node.value, "text")
        elif isinstance(node, ast.JoinedStr):
            self._literal(node, scope, _template(node), "text")
        elif isinstance(node, ast.Call):
            self._call(node, scope)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and id(node) not in self.joined:
            self._join(node, scope, self._operands(node))

    def _call(self, node: ast.Call, scope: str) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _JOINING:
            self._join(node, scope, node.args)
        if name in _RESOURCES or name in _RESOURCES_OLD:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    self._literal(node, scope, argument.value, "package")

    def _operands(self, node: ast.BinOp) -> list[ast.expr]:
        """Flatten `a / "b" / "c"`, and mark its inner divisions as done."""
        parts: list[ast.expr] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Div):
            self.joined.add(id(left))
            parts.append(left.right)
            left = left.left
        return [left, *reversed(parts)]

    def _join(self, node: ast.expr, scope: str, parts: Sequence[ast.expr]) -> None:
        """Take the longest tail that is known: `join(here, "tests", name)` is `tests/*`."""
        texts = [_text(part) for part in parts]
        known = next((index for index, text in enumerate(texts) if text != "*"), len(texts))
        if known < len(texts):
            self._literal(node, scope, "/".join(text.strip("/") or "." for text in texts[known:]), "path")

    def _import(self, line: int, scope: str, level: int, module: str, names: list[str]) -> None:
        if any(_holds(name, self.words) for name in (module, *names)):
            self.imports.append((line, scope, level, module, names))

    def _literal(self, node: ast.expr, scope: str, text: str, use: str) -> None:
        if is_plain(text) and _holds(text, self.words):
            self.literals.append((node.lineno, scope, with_stars(text), use))

    def _take_file_names(self, tree: ast.Module) -> None:
        """A module that names a folder by its path may name the files in it elsewhere."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_plain(node.value) and re.search("[./]", node.value):
                self.literals.append((node.lineno, "", node.value.replace("\\", "/"), "file"))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Skip docstrings, other strings that stand alone, and what only type checkers see."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if (
        isinstance(node, ast.If)
        and ast.unparse(node.test).endswith("TYPE_CHECKING")
        and not isinstance(node.test, ast.UnaryOp | ast.BoolOp)
    ):
        yield from node.orelse
        return
    if isinstance(node, ast.JoinedStr):
        yield from (part for part in node.values if not isinstance(part, ast.Constant))
        return
    yield from ast.iter_child_nodes(node)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return _template(node) if isinstance(node, ast.JoinedStr) else "*"


def _template(node: ast.JoinedStr) -> str:
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)


def is_plain(text: str) -> bool:
    """Say whether a string may be the name of a module or a file."""
    return 0 < len(text) <= LONGEST and _PLAIN.fullmatch(text) is not None


def with_stars(text: str) -> str:
    """Return a string with a `*` for what is not known before run time, and with `/` between the parts of a path."""
    return _UNKNOWN.sub("*", text).replace("\\", "/")


def has_word(texts: Iterable[str], words: Collection[str]) -> bool:
    """Say whether one of the texts holds one of `words`, in any case, or there are no words."""
    return any(_holds(text, words) for text in texts)


def _holds(text: str, words: Collection[str]) -> bool:
    lowered = text.lower()
    return not words or any(word.lower() in lowered for word in words)


def _tokens(source: bytes) -> Iterator[str]:
    for match in _TOKEN.finditer(source):
        yield match[0].decode("ascii", "replace")


def _one_line(problem: BaseException) -> str:
    if isinstance(problem, SyntaxError):
        return f"line {problem.lineno}: {problem.msg}"
    return str(problem) or type(problem).__name__
