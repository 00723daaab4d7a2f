"""A folder that PyInstaller made, as a bundle: its files, and the modules inside its executables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.bundles.executable import Executable, is_module
from hatch_mlbundle.bundles.executable_writer import write_executable
from hatch_mlbundle.bundles.folder import FolderArtifact
from hatch_mlbundle.bundles.housing import why_not
from hatch_mlbundle.bundles.joined import sha256_of
from hatch_mlbundle.cache import Cache
from hatch_mlbundle.canonical import digest, sha256_of_file
from hatch_mlbundle.importpaths import PYZ
from hatch_mlbundle.model import Bundle, Change, DiskContent, Drop, File, Keep, Kind
from hatch_mlbundle.optimizer import ArtifactKind


class FrozenArtifact:
    """A folder with frozen executables, open as an artifact.

    A module that an executable's archive holds is a file of its own; the executable is what is left. `cache` knows the modules
    of executables that were read before; executables that change are written into `scratch`, an empty folder, and checked there.
    """

    kind: ArtifactKind = "frozen"

    def __init__(
        self, folder: FolderArtifact, executables: Mapping[str, Executable], pool: Executor, cache: Cache | None, scratch: Path
    ) -> None:
        self._folder = folder
        self._executables = executables
        self._pool = pool
        self._cache = cache
        self._scratch = scratch
        self._plain = Bundle()
        self._problems = {path: problem for path, each in executables.items() if (problem := why_not(each.file, each.archive))}

    def scan(self) -> Side:
        """Return the files and modules, each hashed; raises ArtifactError where one cannot be read."""
        side = self._folder.scan()
        self._plain = side.bundle
        files: list[File] = []
        for path, file in side.bundle.items():
            executable = self._executables.get(path)
            modules = self._modules(executable, file) if executable else []
            files.append(_rest(file, modules) if executable else file)
            files += modules
        return Side(bundle=Bundle(files), account=side.account)

    def refuses(self, change: Change) -> str | None:
        """Refuse to change executables as such, and modules in any way but to drop them, or where their executable cannot be written."""
        if isinstance(change, Keep):
            return None
        if change.path in self._executables:
            return "of an executable only its modules can be dropped"
        if not is_module(change.path):
            return None
        if not isinstance(change, Drop):
            return "a module in an executable can only be dropped"
        holder = change.path.partition(f"{PYZ}/")[0].rpartition("/")[2]
        return self._problems.get(holder)

    @contextmanager
    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> Iterator[Side]:
        """Write the folder, its executables with the modules that the bundle still has; raises UnsoundResultError, StorageError."""
        written = {path: self._written(executable, bundle) for path, executable in self._executables.items()}
        plain = Bundle(written.get(path, file) for path, file in bundle.items() if not is_module(path))
        with self._folder.rewriting(plain, target, compressor) as side:
            files = [_rest(written[path], self._held(path, bundle)) if path in written else file for path, file in bundle.items()]
            yield Side(bundle=Bundle(files), account=side.account)

    def _modules(self, executable: Executable, file: File) -> list[File]:
        """Return an executable's modules as files."""
        key = digest(["modules", 1, file.sha256])
        entry = self._cache.get(key) if self._cache else None
        modules = executable.modules
        if entry:
            hashes = list(entry.value)
        else:
            hashes = list(self._pool.map(lambda module: sha256_of(executable.code_of(module)), modules, chunksize=64))
            if self._cache:
                self._cache.put(key, hashes)
        return [
            File(
                path=executable.path_of(module),
                size=module.stored,
                sha256=sha256,
                mode=0o644,
                kind=Kind.BYTECODE,
                owner=module.name.partition(".")[0],
                content=executable.code_of(module),
            )
            for module, sha256 in zip(modules, hashes, strict=True)
        ]

    def _written(self, executable: Executable, bundle: Bundle) -> File:
        """Return the executable as a plain file, with the modules that the bundle has."""
        before = self._plain[executable.path]
        if all(executable.path_of(module) in bundle for module in executable.modules):
            return before
        path = self._scratch / executable.path
        write_executable(executable, bundle, path)
        return replace(before, size=path.stat().st_size, sha256=sha256_of_file(path), content=DiskContent(path))

    def _held(self, path: str, bundle: Bundle) -> list[File]:
        executable = self._executables[path]
        return [bundle[each] for module in executable.modules if (each := executable.path_of(module)) in bundle]


def _rest(file: File, modules: list[File]) -> File:
    """Return what is left of an executable beside its modules; its hash is that of the whole."""
    return replace(file, kind=Kind.FROZEN, owner="python", size=file.size - sum(module.size for module in modules))
