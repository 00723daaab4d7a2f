"""Which docstrings of a bundle stay because something may read them while it runs: decided over all modules together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hatch_mlbundle.optimizer import Json

from .python_facts import FRAMEWORKS

READ_BY_NAME = "another module reads docstrings, and names these"


@dataclass(slots=True)
class Readers:
    """What is known of all modules: `top` gives the package of each path, `found` what `examine_reader` says of it (None: no reader)."""

    top: Mapping[str, str]
    found: Mapping[str, Json]
    _named: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _classes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for path, facts in self.found.items():
            if facts:
                self._read(path, facts["imports"], facts["names"])

    @property
    def names(self) -> frozenset[str]:
        """The definitions that read docstrings of what they are given."""
        return frozenset(name for facts in self.found.values() if facts for name in facts["readers"])

    def take(self, facts: Mapping[str, Json]) -> None:
        """Learn from what `examine_docstrings` says of all modules who gives what to a reader, and which classes descend from one."""
        self._classes = set(self.names)
        for path, each in facts.items():
            if each.get("mentions"):
                self._read(path, each["imports"], each["given"])
        rows = [(name, set(bases)) for each in facts.values() for _, name, kind, _, bases in each.get("rows", ()) if kind == "class"]
        while new := {name for name, bases in rows if bases & self._classes} - self._classes:
            self._classes |= new

    def why_kept(self, path: str, facts: Json) -> str | None:
        """Return why all docstrings of a module stay, or None."""
        if self.found.get(path):
            return "it reads docstrings, or sources"
        if frameworks := sorted(FRAMEWORKS.intersection(facts["imports"])):
            return f"{frameworks[0]} may show or parse them"
        local = {name for other, each in self.found.items() if each and self._sees(path, other, facts) for name in each["readers"]}
        if mentioned := sorted(local.intersection(facts["mentions"])):
            return f"{mentioned[0]}, which reads docstrings, is called in it"
        return None

    def removable(self, path: str, rows: Iterable[Json]) -> Iterator[int]:
        """Yield the lines of the docstrings that nothing is known to read."""
        named = self._named[self.top[path]]
        for line, name, kind, is_marked, bases in rows:
            inherits = kind == "class" and (name in self._classes or self._classes.intersection(bases))
            if not (is_marked or inherits or name in named):
                yield line

    def _sees(self, path: str, reader: str, facts: Json) -> bool:
        top = self.top[reader]
        return top == self.top[path] or top in facts["imports"]

    def _read(self, path: str, imports: Iterable[str], names: Iterable[str]) -> None:
        for package in {self.top[path], *imports}:
            self._named[package].update(names)
