"""Which docstrings of a bundle stay because something may read them: decided over all its modules together."""

from __future__ import annotations

import marshal
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.model import File
from hatch_mlbundle.modulesets.docstrings import READS, why_shown
from hatch_mlbundle.optimizer import Json

from .compiling import compiled
from .docstrings import all_code, docstring_size, imports_of, names_in, reads_docstrings
from .marshal_tree import CodeNode, read_tree
from .pyc_file import code_in

_WORD = re.compile(rb"[A-Za-z_]\w*")


def examine_code(file: File) -> Json:
    """Return what a bytecode file says of docstrings: the bytes of those in it, what it imports, and what it reads.

    `readers` are the definitions at its top that read docstrings, None where nothing in it does; `names` may then be whose they are.
    """
    try:
        return _facts(read_tree(code_in(file)))
    except (ValueError, RecursionError) as error:
        return {"error": str(error) or type(error).__name__}


def examine_compiled(file: File) -> Json:
    """Return the same of a source, as it is once compiled."""
    try:
        return _facts(read_tree(marshal.dumps(compiled(file.read(), "<source>"))))
    except KeptError as error:
        return {"error": str(error)}


def _facts(code: CodeNode) -> Json:
    reading = any(map(reads_docstrings, all_code(code)))
    readers = [each.name for each in code.nested() if any(map(reads_docstrings, all_code(each)))] if reading else None
    names = sorted(names_in(code))
    return {"size": docstring_size(code, ()), "imports": sorted(imports_of(code)), "readers": readers, "names": names}


def examine_source(file: File) -> Json:
    """Return the same of a source, by its words: whose definitions those are that read docstrings is not told."""
    source = file.read()
    if not READS.search(source):
        return {"readers": None}
    return {"readers": [], "imports": [], "names": sorted({word.decode() for word in _WORD.findall(source)})}


@dataclass(slots=True)
class Readers:
    """What is known of all modules: `tops` gives the top-level package of each path, `facts` what was found in it."""

    tops: Mapping[str, str]
    facts: Mapping[str, Json]
    _named: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _reading: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        for path, facts in self.facts.items():
            if facts.get("readers") is not None:
                self._reading[self.tops[path]].update(facts["readers"])
                for package in {self.tops[path], *facts["imports"]}:
                    self._named[package].update(facts["names"])

    def why_kept(self, path: str) -> str | None:
        """Return why all docstrings of a module stay, or None."""
        facts = self.facts[path]
        if facts["readers"] is not None:
            return "it reads docstrings, or sources"
        if shown := why_shown(self.tops[path], facts["imports"]):
            return shown
        near: set[str] = set().union(*(self._reading[package] for package in {self.tops[path], *facts["imports"]}))
        if called := sorted(near.intersection(facts["names"])):
            return f"{called[0]}, which reads docstrings, is named in it"
        return None

    def kept_names(self, path: str) -> Iterable[str]:
        """Return the names of the definitions in a module whose docstrings another module may read."""
        return sorted(self._named[self.tops[path]].intersection(self.facts[path]["names"]))
