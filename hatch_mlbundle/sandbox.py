"""What a step's code works in: ours in the common workspace, that of another distribution apart, within limits, and watched."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .apart import Apart
from .cache import Cache, Entry
from .errors import SpoiltError
from .guard import Caution, Guard
from .model import Bundle
from .optimizer import Judge, Measured, Optimizer, SearchBy
from .workspace import Workspace
from .writewatch import Places


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How far steps of other distributions may go: calls at once, places that they may never write to, and the project's folder."""

    workers: int = 1
    forbidden: tuple[Path, ...] = ()
    project: Path | None = None


class Sandbox:
    """Where a step of ours works: among the other steps' files, its results kept at once."""

    def __init__(self, guard: Guard, workspace: Workspace, cache: Cache | None) -> None:
        self.guard, self.workspace, self.cache = guard, workspace, cache

    def shown(self, bundle: Bundle) -> Bundle:
        """Return the bundle as the step is to see it."""
        return bundle

    def asked(self, judge: Judge | None) -> Judge | None:
        """Return the judge as the step is to see it."""
        return judge

    def check(self) -> None:
        """Raise DistrustError where the step did what it may not and nobody noticed until now."""

    def check_files(self, paths: tuple[str, ...]) -> None:
        """Raise SpoiltError where the step changed one of these files of the bundle."""

    def strays(self) -> list[str]:
        """Return files that the step left where they do not belong, by their paths in the bundle."""
        return []

    def keep(self) -> None:
        """Keep what it made in the cache."""

    def close(self) -> None:
        """Remove what only the step needed."""


class Quarantine(Sandbox):
    """Where a step of another distribution works: on copies, watched; its results are kept when all of it is known to be well."""

    def __init__(self, optimizer: Optimizer[Any], distribution: str, workspace: Workspace, cache: Cache | None, rules: Rules) -> None:
        self._apart = Apart(workspace.new_folder())
        self._pending = _Pending(cache) if cache else None
        self._optimizer, self._options = optimizer, deepcopy(optimizer.options)
        places = Places(own=self._apart.root, forbidden=(workspace.root, *rules.forbidden), project=rules.project)
        self._caution = Caution(distribution, seconds=optimizer.options.timeout, places=places, workers=rules.workers)
        super().__init__(self._caution, self._apart, self._pending)

    def shown(self, bundle: Bundle) -> Bundle:
        """Return a bundle of the same files that nobody else looks at; of no others does it get copies."""
        self._apart.bundle = bundle
        return Bundle(bundle.values())

    def asked(self, judge: Judge | None) -> Judge | None:
        """Return a judge whose time does not count as the step's."""
        return _OutsideJudge(judge, self._caution) if judge else None

    def check(self) -> None:
        """Raise DistrustError for a hang that it hid, files and options that it changed, and writes that were refused to its threads."""
        self._caution.check()
        self._apart.check()
        if self._optimizer.options != self._options:
            raise SpoiltError("changed its own options")

    def check_files(self, paths: tuple[str, ...]) -> None:
        """Raise SpoiltError where it changed one of these files, which it gets anew the next time."""
        self._apart.check(paths)

    def strays(self) -> list[str]:
        """Return what it left in its copy of the bundle."""
        return self._apart.strays()

    def keep(self) -> None:
        """Put what it made into the cache."""
        if self._pending:
            self._pending.keep()

    def close(self) -> None:
        """Remove its copy of the bundle, and give it back its options; what a call that was given up still does there is lost."""
        self._apart.remove()
        self._optimizer.options = self._options


class _OutsideJudge:
    """A judge that a step of another distribution asks."""

    def __init__(self, judge: Judge, guard: Guard) -> None:
        self._judge, self._guard = judge, guard

    @property
    def search(self) -> SearchBy:
        return self._judge.search

    def measure(self, original: Path, candidate: Path) -> Measured | None:
        with self._guard.outside():
            return self._judge.measure(original, candidate)


class _Pending(Cache):
    """A cache into which results go together, when they are known to be good."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._results: list[tuple[str, Any, Mapping[str, Path] | None, Mapping[str, str] | None]] = []

    def get(self, key: str) -> Entry | None:
        return self._cache.get(key)

    def put(self, key: str, value: Any, files: Mapping[str, Path] | None = None, known: Mapping[str, str] | None = None) -> None:
        self._results.append((key, value, files, known))

    def keep(self) -> None:
        for result in self._results:
            self._cache.put(*result)
