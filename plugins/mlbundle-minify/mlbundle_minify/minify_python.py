"""Take comments and docstrings out of Python sources, but for those that something may read while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from posixpath import basename
from typing import ClassVar, Literal

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.importpaths import ImportPaths, companion_of, module_of
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, Convert, File, Finding, Keep, Kind
from hatch_mlbundle.modulesets.model import is_below
from hatch_mlbundle.named_digests import NAMED, named_digests
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Json, Optimizer, Options, Risk, option

from .bytecode_header import examine_bytecode
from .docstring_readers import Readers
from .python_facts import examine_docstrings, examine_reader
from .python_text import without_texts

_LARGEST = 5_000_000
"""Bytes of the largest source that is parsed: what is larger was generated, and takes gigabytes as a syntax tree."""


@dataclass(frozen=True, kw_only=True)
class MinifyPythonOptions(Options):
    """What is taken out of Python sources."""

    docstrings: bool = option("Take docstrings out, where nothing is known to read them.", default=True)
    lines: Literal["keep", "pack"] = option(
        "`keep` leaves everything that stays in its line and column, so that tracebacks and debuggers stay right; `pack` writes the "
        "code anew without blank lines, indented by one character, about an eighth smaller when compressed.",
        default="keep",
    )
    keep: tuple[str, ...] = option("Dotted names of packages and modules whose docstrings stay.", default=())


class MinifyPython(Optimizer[MinifyPythonOptions]):
    """Takes comments and docstrings out of Python sources; what is left compiles to the same code, licences stay."""

    name = "minify_python"
    version = "1"
    lossless: ClassVar[bool] = False
    risk: ClassVar[Risk] = "medium"
    options_type = MinifyPythonOptions

    def programs(self) -> Mapping[str, str]:
        """Return the release of python-minifier where it is used; raises MissingLibraryError."""
        return library_versions(self.name, "python-minifier", install="mlbundle-minify") if self.options.lines == "pack" else {}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each source, or a Keep with its reason, in the order of the paths."""
        modules = ImportPaths(bundle)
        sources = [file for _, file in sorted(bundle.items()) if file.kind is Kind.PYTHON and file.link is None]
        self._report_unknown({modules.name(file.path) for file in sources}, context)
        reasons = self._reasons(sources, bundle, modules, context)
        facts, readers = self._read([file for file in sources if file.size <= _LARGEST], modules, context)
        for file in sources:
            if not context.selects(file.path):
                continue
            reason = reasons.get(file.path) or facts[file.path].get("error")
            if reason:
                yield Keep(path=file.path, reason=reason)
            else:
                yield self._change(file, modules.name(file.path), facts[file.path], readers)

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Write the source without its comments, and the docstrings in the lines that the change's key names."""
        path = task.change.path
        source = task.sources[path].read_bytes()
        lines: list[int] = json.loads(task.change.key)
        made = without_texts(source, lines)
        if self.options.lines == "pack":
            from .python_layout import packed

            made = packed(made)
        if len(made) >= len(source):
            raise KeptError("nothing in it can go")
        target = task.target / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(made)
        return {}

    def _report_unknown(self, names: set[str], context: Context) -> None:
        for root in self.options.keep:
            if not any(is_below(name, (root,)) for name in names):
                message = f"'keep' names {root!r}, which is no module of the bundle; correct it, or take it out"
                context.report(Finding(code="MB921", message=message))

    def _reasons(self, sources: list[File], bundle: Bundle, modules: ImportPaths, context: Context) -> dict[str, str]:
        """Return why files stay as they are whatever is in them."""
        by_module = {module: file.path for file in sources if (module := module_of(file.path))}
        cached = [file for _, file in sorted(bundle.items()) if file.kind is Kind.BYTECODE and _source_of(file.path) in by_module]
        dated = context.examine("bytecode", cached, examine_bytecode)
        reasons = {
            by_module[_source_of(file.path) or ""]: f"{basename(file.path)} goes by its size and time"
            for file in cached
            if dated[file.path]
        }
        for file in sources:
            if file.size > _LARGEST:
                reasons[file.path] = "it is too large to be parsed"
            elif not _is_imported(file.path, modules):
                reasons[file.path] = "it cannot be imported by its name: it may be data"
        return reasons | dict.fromkeys(named_digests(sources, bundle, context), NAMED)

    def _read(self, sources: list[File], modules: ImportPaths, context: Context) -> tuple[Mapping[str, Json], Readers]:
        top = {file.path: modules.name(file.path).partition(".")[0] for file in sources}
        readers = Readers(top=top, found=context.examine("readers", sources, examine_reader))
        functions, methods = readers.functions, readers.methods
        told = f"docstrings: {sorted(functions)}, {sorted(methods)}"
        facts = context.examine(told, sources, partial(examine_docstrings, functions=functions, methods=methods))
        readers.take(facts)
        return facts, readers

    def _change(self, file: File, name: str, facts: Json, readers: Readers) -> Change:
        rows, why = facts["rows"], None
        if not self.options.docstrings or is_below(name, self.options.keep):
            why = "the configuration keeps them"
        elif rows:
            why = readers.why_kept(file.path, facts)
        lines = [] if why else list(readers.removable(file.path, rows))
        kept = len(rows) - len(lines)
        reason = f"without comments and {len(lines)} docstrings" if lines else "without comments"
        reason += f"; {kept} docstrings stay: {why or 'something may read them'}" if kept else ""
        return Convert(path=file.path, reason=reason, sources=(file.path,), outputs=(file.path,), key=json.dumps(lines))


def _source_of(path: str) -> str | None:
    """Return the module whose bytecode a file is, in a cache folder or beside the source."""
    return companion_of(path) or module_of(path)


def _is_imported(path: str, modules: ImportPaths) -> bool:
    return all(part.isidentifier() for part in modules.name(path).split(".")) and module_of(path) is not None
