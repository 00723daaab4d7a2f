"""Put into a bundle what is to be said of code that was taken out of its libraries, and keep right what was said before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from posixpath import dirname, join, normpath

from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.frozenmodules import FrozenModules
from hatch_mlbundle.importpaths import installed
from hatch_mlbundle.links import resolve
from hatch_mlbundle.model import Bundle, File, Finding, Kind, MemoryContent
from hatch_mlbundle.optimizer import ArtifactKind
from hatch_mlbundle.pipeline import Done, Outcome
from hatch_mlbundle.runtime.machine.statements import (
    CPU_STEP,
    FILE_NAME,
    GPU_STEP,
    IMAGE_FOLDER,
    LARGEST,
    base_of,
    import_folders,
    import_path,
    is_statement,
    numbered,
)

from .machine_statement import CpuCode, GpuCode, Library, code_told, read_statement, statement_text


def with_statements(
    before: Bundle, outcome: Outcome, kind: ArtifactKind, is_fixed: Callable[[str], bool], sources: Iterable[Path] = ()
) -> Outcome:
    """Return an outcome that changed the bundle `before`, with statements in it that fit; `is_fixed` says what there cannot be replaced.

    `sources` are the statements of the distributions that a frozen bundle was made from: what they say is true of it, too.
    A library that some statement tells of is told of there, any other by a new one: in the dist-info of a wheel, in the folder of contents
    of a frozen bundle, in an image under `usr/share`, and elsewhere beside the dist-infos that the library lies below, or at the root.
    """
    stating = _Stating(before=before, bundle=outcome.bundle, kind=kind, is_fixed=is_fixed)
    stating.read()
    for source in sources:
        stating.bring(source)
    for path, code in _told(outcome.stages, outcome.bundle):
        stating.tell(path, code)
    return replace(outcome, bundle=stating.told(), findings=(*outcome.findings, *stating.findings))


def _told(stages: tuple[Done, ...], bundle: Bundle) -> Iterator[tuple[str, GpuCode | CpuCode]]:
    """Yield what steps said of each library that is still there."""
    for done in stages:
        if done.stage.name in (GPU_STEP, CPU_STEP):
            for each in done.changes:
                if each.detail is not None and each.path in bundle:
                    yield each.path, code_told(done.stage.name, each.detail, each.path)


@dataclass(kw_only=True)
class _Stating:
    """What statements say, by the statement's path and then the library's, both in the bundle."""

    before: Bundle
    bundle: Bundle
    kind: ArtifactKind
    is_fixed: Callable[[str], bool]
    findings: list[Finding] = field(default_factory=list)
    _said: dict[str, dict[str, Library]] = field(default_factory=dict)

    def read(self) -> None:
        """Read the statements that there are, but for what was not true any more before, and for libraries that are gone now."""
        statements = [file for path, file in self.bundle.items() if is_statement(path) and file.link is None and file.size <= LARGEST]
        places = {installed(path): path for path in self.bundle} if statements else {}
        for file in statements:
            try:
                libraries = read_statement(file.read(), file.path)
            except ManifestError as error:
                message = f"stays as it is, and nothing is added to it: {str(error).removeprefix(f'{file.path}: ')}"
                self.findings.append(Finding(code="MB441", path=file.path, message=message))
                continue
            found = ((places.get(normpath(join(base_of(file.path), each.path))), each) for each in libraries)
            self._said[file.path] = {place: each for place, each in found if place is not None and _size(self.before, place) == each.size}

    def bring(self, source: Path) -> None:
        """Say what a statement elsewhere says of libraries that were collected from there as they were."""
        try:
            libraries = read_statement(source.read_bytes(), str(source))
        except (OSError, ManifestError):  # of a distribution that may have nothing to do with this
            return
        known = {path for said in self._said.values() for path in said}
        base, folders = base_of(source.absolute().as_posix()) or "/", import_folders()
        for each in libraries:
            relative = import_path(base, each.path, folders)
            path = f"{self._contents}{relative}"
            if relative and path not in known and path in self.bundle and _size(self.before, path) == each.size:
                self._said.setdefault(self._home(path), {})[path] = replace(each, path=relative)

    def tell(self, path: str, code: GpuCode | CpuCode) -> None:
        """Say of a library what was taken out of it, and what was taken out before."""
        earlier = next((place for place, said in self._said.items() if path in said), None)
        place = self._home(path) if earlier is None or self.is_fixed(earlier) else earlier
        base = base_of(place)
        relative = installed(path).removeprefix(f"{base}/" if base else "")
        library = Library(path=relative, size=0) if earlier is None else replace(self._said[earlier][path], path=relative)
        self._said.setdefault(place, {})[path] = library.after(code)

    def told(self) -> Bundle:
        """Return the bundle with statements that say all this; those of which nothing is left to say are left out."""
        files, empty = [], []
        for place, said in self._said.items():
            if self.is_fixed(place):
                continue
            sizes = ((library, _size(self.bundle, path)) for path, library in said.items())
            libraries = [replace(library, size=size) for library, size in sizes if size is not None]
            if libraries:
                files.append(self._file(place, statement_text(libraries)))
            else:
                empty.append(place)
        return self.bundle.without(empty).replacing(files)

    def _home(self, path: str) -> str:
        """Return where a library is told of that nothing told of before: not in what has to stay, or cannot be read."""
        folder = self._folder(path)
        places = (join(folder, FILE_NAME if number == 1 else numbered(number)) for number in count(1))
        return next(place for place in places if place not in self.bundle or (place in self._said and not self.is_fixed(place)))

    def _folder(self, path: str) -> str:
        if self.kind == "wheel":
            return next(dirname(each) for each in self.bundle if each.endswith(".dist-info/RECORD") and each.count("/") == 1)
        if self.kind == "image":
            return IMAGE_FOLDER
        if self.kind == "frozen":
            return self._contents.rstrip("/") if path.startswith(self._contents) else ""
        return max((root for root in self._roots if not root or path.startswith(f"{root}/")), key=len, default="")

    @cached_property
    def _contents(self) -> str:
        """The folder of contents of a frozen bundle, with a `/` at its end, or empty."""
        return FrozenModules(self.bundle).contents

    @cached_property
    def _roots(self) -> frozenset[str]:
        """The folders that dist-infos lie in."""
        return frozenset(dirname(dirname(each)) for each in self.bundle if dirname(each).endswith(".dist-info"))

    def _file(self, path: str, data: bytes) -> File:
        sha256 = hashlib.sha256(data).hexdigest()
        earlier = self.bundle.get(path)
        if earlier:
            return replace(earlier, size=len(data), sha256=sha256, content=MemoryContent(data))
        owner = path.partition("/")[0]
        return File(path=path, size=len(data), sha256=sha256, mode=0o644, kind=Kind.METADATA, owner=owner, content=MemoryContent(data))


def _size(bundle: Bundle, path: str) -> int | None:
    """Return the bytes of what a path leads to, None where that is nothing."""
    file = resolve(bundle, path)
    return file.size if file else None
