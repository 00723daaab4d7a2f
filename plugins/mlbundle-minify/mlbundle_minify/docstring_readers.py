"""Which docstrings of a bundle stay because something may read them while it runs: decided over all modules together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hatch_mlbundle.modulesets.docstrings import why_shown
from hatch_mlbundle.optimizer import Json


@dataclass(slots=True)
class Readers:
    """What is known of all modules: `top` gives the package of each path, `found` what `examine_reader` says of it (None: no reader)."""

    top: Mapping[str, str]
    found: Mapping[str, Json]
    _named: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _functions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _classes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for path, facts in self.found.items():
            if facts:
                self._read(path, facts["imports"], facts["names"])
                self._functions[self.top[path]].update(facts["functions"])

    @property
    def functions(self) -> frozenset[str]:
        """The functions and classes that read docstrings of what they are given."""
        return frozenset().union(*self._functions.values())

    @property
    def methods(self) -> frozenset[str]:
        """The methods that do."""
        return frozenset(name for facts in self.found.values() if facts for name in facts["methods"])

    def take(self, facts: Mapping[str, Json]) -> None:
        """Learn from what `examine_docstrings` says of all modules what is given to readers, and which classes descend from one."""
        for path, each in facts.items():
            if each.get("given"):
                self._read(path, each["imports"], each["given"])
        self._classes = {name for each in self.found.values() if each for name in each["classes"]}
        known = [(name, set(bases)) for each in facts.values() for name, bases in each.get("bases", ())]
        while new := {name for name, bases in known if bases & self._classes} - self._classes:
            self._classes |= new

    def why_kept(self, path: str, facts: Json) -> str | None:
        """Return why all docstrings of a module stay, or None."""
        if self.found.get(path):
            return "it reads docstrings, or sources"
        if shown := why_shown(self.top[path], facts["imports"]):
            return shown
        packages = (self.top[path], *facts["imports"])
        if used := [name for name in facts["uses"] if any(name in self._functions[package] for package in packages)]:
            return f"it uses {used[0]}, which reads docstrings"
        return None

    def removable(self, path: str, rows: Iterable[Json]) -> Iterator[int]:
        """Yield the lines of the docstrings that nothing is known to read."""
        named = self._named[self.top[path]]
        for line, name, kind, is_marked, bases in rows:
            inherits = kind == "class" and (name in self._classes or not self._classes.isdisjoint(bases))
            if not (is_marked or inherits or name in named):
                yield line

    def _read(self, path: str, imports: Iterable[str], names: Iterable[str]) -> None:
        for package in {self.top[path], *imports}:
            self._named[package].update(names)
