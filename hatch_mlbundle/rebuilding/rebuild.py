"""Say whether a project's release is reproducible: build it twice in surroundings that differ, or once more than was released."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hatch_mlbundle.atomic import make_folder
from hatch_mlbundle.canonical import sha256_of_file
from hatch_mlbundle.errors import RebuildError
from hatch_mlbundle.manifest import SUFFIX
from hatch_mlbundle.printable import printable
from hatch_mlbundle.progress import Progress

from .building import Builder, Built, Target, artifacts_in
from .causes import Clues, clues_of
from .differences import Difference, differences, modules_that_differ
from .project_copy import sources_of
from .surroundings import Variation, possible, surroundings

CHANCE = "the time or chance: it differs in the same surroundings as well"
_RESOLUTION = 2.1
"""Seconds after which the clock of a zip archive shows another time (APPNOTE.TXT, 4.4.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be rebuilt: a project's folder or an sdist, and what it is compared with: `against` a finished artifact, if there is one.

    With `twice` it is built in other surroundings as well; `why` has it built some more times to find what makes the difference; `keep`
    is a folder for what was built.
    """

    project: Path
    targets: tuple[Target, ...]
    twice: bool = True
    against: Path | None = None
    isolated: bool = False
    why: bool = False
    keep: Path | None = None
    seconds: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What was built: its name, bytes and SHA-256 in hex; both are None of a folder."""

    name: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a rebuild.

    `varied` differed between the two builds, `alike` did not, each with the reason. `fault` says why the second build failed, if it did.
    `cause` is what makes the first difference, where that was asked for and found.
    """

    project: str
    artifacts: tuple[Artifact, ...]
    varied: tuple[str, ...] = ()
    alike: dict[str, str] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    fault: str | None = None
    cause: str | None = None

    @property
    def reproducible(self) -> bool:
        """Whether nothing differs."""
        return not (self.differences or self.fault)


def rebuild(request: Request, progress: Progress) -> Verdict:
    """Carry a request out; the project and its `dist` stay as they are. Raises MlbundleError, also where the first build fails."""
    with tempfile.TemporaryDirectory(prefix="mlbundle-rebuild-", ignore_cleanup_errors=True) as name:
        return _Rebuild(request, Path(name).resolve(), progress).run()


class _Rebuild:
    """One request, in a folder of its own."""

    def __init__(self, request: Request, root: Path, progress: Progress) -> None:
        self._request = request
        self._root = root
        self._progress = progress
        sources = sources_of(request.project, root / "sdist")
        self._builder = Builder(sources=sources, targets=request.targets, isolated=request.isolated, seconds=request.seconds)
        self._builder.check()
        self._count = 0

    def run(self) -> Verdict:
        first = self._build(())
        if first.fault:
            raise RebuildError(f"{printable(str(self._request.project))}: cannot be built: {first.fault}")
        found = self._against(first, self._request.against) if self._request.against else []
        verdict = Verdict(project=self._request.project.resolve().name, artifacts=tuple(map(_artifact, _finished(first.folder))))
        if not self._request.twice:
            return replace(verdict, differences=tuple(found))
        reasons = possible(isolated=self._request.isolated)
        varied = [variation for variation, reason in reasons.items() if reason is None]
        if "clock" not in varied:
            time.sleep(max(first.began + _RESOLUTION - time.time(), 0))
        second = self._build(varied)
        between = [] if second.fault else _all_differences(first.folder, second.folder, clues_of(first, second))
        alike: dict[str, str] = {variation: reason for variation, reason in reasons.items() if reason is not None}
        verdict = replace(verdict, varied=tuple(varied), alike=alike, differences=(*between, *found), fault=second.fault)
        if self._request.why and between:
            return replace(verdict, cause=self._cause(first, varied, between[0]))
        return verdict

    def _build(self, varied: Collection[Variation]) -> Built:
        self._count += 1
        self._progress.start(f"build {self._count}", 0)
        built = self._builder.build(surroundings(self._root / str(self._count), varied))
        if self._request.keep:
            place = self._request.keep / f"build-{self._count}"
            make_folder(place)
            shutil.copytree(built.folder, place, symlinks=True, dirs_exist_ok=True)
        return built

    def _against(self, first: Built, finished: Path) -> list[Difference]:
        """Return how a finished artifact differs from the one of its name that was built."""
        built = first.folder / finished.name
        if not built.exists():
            names = ", ".join(path.name for path in _finished(first.folder))
            return [Difference(where=(finished.name,), what="is not what the build makes", first=finished.name, second=names)]
        return differences(finished, built, Clues(began=first.began))

    def _cause(self, first: Built, varied: Sequence[Variation], difference: Difference) -> str:
        """Build with fewer and fewer of the variations, as long as the difference is there."""
        if self._differs(first, (), difference):
            return CHANCE
        left = list(varied)
        while len(left) > 1:
            half = left[: len(left) // 2]
            left = half if self._differs(first, half, difference) else left[len(half) :]
        return left[0]

    def _differs(self, first: Built, varied: Collection[Variation], difference: Difference) -> bool:
        built = self._build(varied)
        found = [] if built.fault else _all_differences(first.folder, built.folder, clues_of(first, built))
        return any(each.is_of(difference) for each in found)


def _all_differences(first: Path, second: Path, clues: Clues) -> list[Difference]:
    """Return how two folders of artifacts differ: artifacts first, then what tells of them."""
    names = sorted({path.name for folder in (first, second) for path in artifacts_in(folder)}, key=lambda name: (_tells(name), name))
    found = []
    for name in names:
        one, other = first / name, second / name
        if not (one.exists() and other.exists()):
            told = ("there", "missing") if one.exists() else ("missing", "there")
            found.append(Difference(where=(name,), what="is made by one build only", first=told[0], second=told[1]))
            continue
        each = differences(one, other, clues)
        modules = modules_that_differ(one, other) if each and one.is_dir() else []
        found += [Difference(where=(name, module), what="its bytecode", first="", second="") for module in modules]
        found += each
    return found


def _tells(name: str) -> bool:
    return name.endswith((SUFFIX, ".sha256", ".mlbundle.html", ".mlbundle.md"))


def _finished(folder: Path) -> list[Path]:
    return [path for path in artifacts_in(folder) if not _tells(path.name)]


def _artifact(path: Path) -> Artifact:
    if path.is_dir():
        return Artifact(name=path.name, size=None, sha256=None)
    return Artifact(name=path.name, size=path.stat().st_size, sha256=sha256_of_file(path))
