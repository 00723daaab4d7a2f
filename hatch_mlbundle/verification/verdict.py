"""Does the result behave as the untouched artifact does? If not, which changes are to be put back?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hatch_mlbundle.importpaths import ImportPaths
from hatch_mlbundle.model import Bundle, Finding
from hatch_mlbundle.pipeline import Done
from hatch_mlbundle.trials.evidence import frames, named, signal_name
from hatch_mlbundle.trials.observation import Observation

from .baseline import Expected, by_status_alone, flaky
from .replay import Site, changes, replay
from .runner import Runner, title
from .search import Found, OutOfRunsError, find_guilty
from .suspicion import Clues, by_folder, weigh

_SLOWER = 5.0
_PATIENCE = 10.0
"""While guilty files are looked for, a command hangs that takes so many times as long as before, and so many seconds more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A command that behaves otherwise than before: what is wrong, in words that follow its name, and what it and its tracebacks named.

    `ends_otherwise` where more than its output differs: its exit status, or a bound that it overran.
    """

    position: int
    expected: Expected
    problem: str
    ends_otherwise: bool
    is_crash: bool
    named: tuple[str, ...]
    frames: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Court:
    """Tries changes: `before` is the untouched artifact, `stages` what was done to it."""

    runner: Runner
    before: Bundle
    stages: Sequence[Done]
    expected: list[Expected]
    findings: list[Finding] = field(default_factory=list)
    problems: dict[frozenset[Site], Broken] = field(default_factory=dict)
    _passed: dict[frozenset[Site], list[Observation]] = field(default_factory=dict)
    _last: Broken | None = None
    _runs: int = 0

    def first_look(self) -> Broken | None:
        """Run every command on the result; return what is broken, None where nothing is. Flaky output is told apart, by another run."""
        if not changes(self.stages):
            return None
        while True:
            broken = self._try(frozenset())
            if broken is None or broken.expected.is_flaky or broken.ends_otherwise:
                return broken
            again = self._look(broken.position, replay(self.before, self.stages, ()).bundle)
            if isinstance(again, Broken):
                return broken
            self.findings.append(flaky(broken.expected.command, broken.problem))
            self.expected[broken.position] = by_status_alone(broken.expected)

    def find(self) -> Found[Site]:
        """Return the changes to put back so that every command behaves as before, after `first_look` found something broken."""
        everything = changes(self.stages)
        modules = ImportPaths(self.before)
        used = frozenset().union(*(each.used for each in self.expected))

        def suspicion() -> Mapping[Site, float]:
            last = self._last
            clues = Clues(used=used, named=last.named, frames=last.frames, crashed=last.is_crash) if last else Clues(used=used)
            return weigh(everything, clues, modules)

        return find_guilty(list(everything), self._works_with, suspicion, by_folder)

    def problem_of(self, site: Site) -> str:
        """Return what went wrong with a change: in the run that had most others put back."""
        without = [put_back for put_back in self.problems if site not in put_back]
        broken = self.problems[max(without, key=len)] if without else next(iter(self.problems.values()))
        return f"{title(broken.expected.command)!r} {broken.problem}"

    def observed(self, put_back: frozenset[Site]) -> list[Observation]:
        """Return what each command does with these changes put back, as it was seen to or is now."""
        if put_back.issuperset(changes(self.stages)):
            return [each.observation for each in self.expected]
        if put_back not in self._passed:
            bundle = replay(self.before, self.stages, put_back).bundle
            self._passed[put_back] = [self.runner.run(bundle, each.command) for each in self.expected]
        return self._passed[put_back]

    def _works_with(self, put_back: frozenset[Site]) -> bool:
        if put_back not in self._passed and put_back not in self.problems:
            self._try(put_back, searching=True)
        return put_back in self._passed

    def _try(self, put_back: frozenset[Site], *, searching: bool = False) -> Broken | None:
        bundle = replay(self.before, self.stages, put_back).bundle
        observed = {}
        for position in self._most_telling_first():
            seen = self._look(position, bundle, searching=searching)
            if isinstance(seen, Broken):
                self.problems[put_back] = self._last = seen
                return seen
            observed[position] = seen
        self.problems.pop(put_back, None)
        self._passed[put_back] = [observed[position] for position in range(len(self.expected))]
        return None

    def _most_telling_first(self) -> list[int]:
        last = self._last.position if self._last else 0
        return sorted(range(len(self.expected)), key=lambda position: position != last)

    def _look(self, position: int, bundle: Bundle, *, searching: bool = False) -> Observation | Broken:
        expected, limit = self.expected[position], None
        if searching:
            if self._runs == self.runner.settings.max_runs:
                raise OutOfRunsError
            self._runs += 1
            limit = expected.observation.seconds * _SLOWER + _PATIENCE
        observation = self.runner.run(bundle, expected.command, seconds=limit)
        problem = self.runner.difference(expected.observation, observation, expected.command)
        if problem is None:
            return observation
        broken = Broken(
            position=position,
            expected=expected,
            problem=problem,
            ends_otherwise=observation.overrun is not None or observation.status != expected.observation.status,
            is_crash=signal_name(observation.status or 0) is not None,
            named=tuple(named(observation)),
            frames=tuple(frames(observation)),
        )
        self.runner.forget(observation)
        return broken
