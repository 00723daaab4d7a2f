"""A folder that PyInstaller made, as a bundle: its files, and the modules inside its executables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from hatch_mlbundle.bundles.artifact import Side, Written
from hatch_mlbundle.bundles.atomic_folder import replace_by_file
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.bundles.executable import Executable
from hatch_mlbundle.bundles.executable_writer import write_executable
from hatch_mlbundle.bundles.folder import FolderArtifact, check_replaceable, plain_side
from hatch_mlbundle.bundles.frozen_owner import check_names
from hatch_mlbundle.bundles.housing import why_not
from hatch_mlbundle.bundles.loader import is_loadable, needs_loader, with_loader
from hatch_mlbundle.bundles.machine_script import with_machine_script
from hatch_mlbundle.bundles.missing_notice import REHEARSAL, LeftOut, Scripts, with_notice
from hatch_mlbundle.bundles.model_script import is_descriptor, with_model_script
from hatch_mlbundle.bundles.onefile import check_one_file
from hatch_mlbundle.bundles.onefile_writer import write_one_file
from hatch_mlbundle.bundles.pyz import stored_code
from hatch_mlbundle.cache import Cache
from hatch_mlbundle.canonical import digest, sha256_of_file
from hatch_mlbundle.errors import ArtifactError, MlbundleError
from hatch_mlbundle.importpaths import PYZ, is_in_pyz
from hatch_mlbundle.manifest import PackedRow
from hatch_mlbundle.model import Add, Bundle, Change, DiskContent, Drop, File, Keep, Kind, Rewrite
from hatch_mlbundle.optimizer import ArtifactKind


class FrozenArtifact:
    """A folder with frozen executables, open as an artifact.

    A module that an executable's archive holds is a file of its own; the executable is what is left. `cache` knows the modules
    of executables that were read before; executables that change are written into `scratch`, an empty folder, and checked there.
    `tells` says that they are to say, when they run, what was left out, and which machines they have no code for.
    """

    kind: ArtifactKind = "frozen"

    def __init__(
        self,
        folder: FolderArtifact,
        executables: Mapping[str, Executable],
        pool: Executor,
        cache: Cache | None,
        scratch: Path,
        *,
        tells: bool = True,
    ) -> None:
        self._folder = folder
        self._executables = executables
        self._pool = pool
        self._cache = cache
        self._scratch = scratch
        self._tells = tells
        self._plain = Bundle()
        self._scanned = Bundle()
        self._made: dict[tuple[object, ...], File] = {}
        self._problems = {path: problem for path, each in executables.items() if (problem := why_not(each.file, each.archive))}

    def scan(self) -> Side:
        """Return the files and modules, each hashed; raises ArtifactError where one cannot be read."""
        side = self._folder.scan()
        self._plain = side.bundle
        check_names(side.bundle)
        files: list[File] = []
        for path, file in side.bundle.items():
            executable = self._executables.get(path)
            modules = self._modules(executable, file) if executable else []
            files.append(_rest(file, modules) if executable else file)
            files += modules
        self._scanned = Bundle(files)
        return Side(bundle=self._scanned, account=side.account)

    def refuses(self, change: Change) -> str | None:
        """Refuse to change executables as such, and modules in any way but to drop or rewrite them, or where theirs cannot be written."""
        if isinstance(change, Keep):
            return None
        if change.path in self._executables:
            return "of an executable only its modules can be changed"
        if isinstance(change, Add) and needs_loader(change.path):
            return self._why_no_loader(change.path)
        if not is_in_pyz(change.path):
            return None
        if not isinstance(change, Drop | Rewrite):
            return "a module in an executable can only be dropped or made anew"
        holder = change.path.partition(f"{PYZ}/")[0].rpartition("/")[2]
        return self._problems.get(holder)

    def on_disk(self, bundle: Bundle, left_out: Sequence[LeftOut] | None = None) -> Bundle:
        """Return the files as they lie on disk: executables with the modules that the bundle has; raises UnsoundResultError.

        What says what was `left_out` runs in them as it will in the end, where that is None with nothing to say.
        """
        if left_out is not None:
            return self._plain_form(bundle, left_out)
        is_smaller = self._tells and any(path not in bundle for path in self._scanned)
        return self._plain_form(bundle, (REHEARSAL,) if is_smaller else ())

    @contextmanager
    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor, left_out: Sequence[LeftOut] = ()) -> Iterator[Written]:
        """Write the folder, its executables with the modules that the bundle still has; raises UnsoundResultError, StorageError.

        When they run, they say what was `left_out` if that is missing.
        """
        plain = self._plain_form(bundle, left_out)
        with self._folder.rewriting(plain, target, compressor) as written:
            yield replace(written, side=self._side(bundle, plain))

    @contextmanager
    def packing(
        self, bundle: Bundle, target: Path, compressor: Compressor, workers: int, left_out: Sequence[LeftOut] = ()
    ) -> Iterator[Written]:
        """Write one executable that holds all of the bundle; what it unpacks is compared with the bundle before it takes its place.

        Gives the sizes of the folder that it stands for. Raises ArtifactError where there is not just one executable.
        """
        executable, scripts = self._startup(self._with_changes(self._only_executable(), bundle), bundle, left_out)
        plain = self._plain_form(bundle, left_out)
        check_replaceable(target)
        folder = Path(mkdtemp(dir=self._scratch))
        with replace_by_file(target) as stream:
            write_one_file(executable, plain, bundle, stream, scripts=scripts, compressor=compressor, workers=workers, folder=folder)
            stream.flush()
            path = Path(stream.name)
            path.chmod(0o755)
            check_one_file(path, executable, plain, self._pool)
            row = PackedRow(name=target.name, format="one-file", size=path.stat().st_size, sha256=sha256_of_file(path))
            yield Written(side=self._side(bundle, plain), path=path, packed=(row,))

    def _only_executable(self) -> Executable:
        names = list(self._executables)
        if len(names) > 1:
            raise ArtifactError(", ".join(names), "are several executables, which cannot be one file; build one folder")
        if names[0] in self._problems:
            raise ArtifactError(names[0], f"cannot be packed into one file: {self._problems[names[0]]}")
        return self._executables[names[0]]

    def _plain_form(self, bundle: Bundle, left_out: Sequence[LeftOut]) -> Bundle:
        """Return the files as they lie on disk: executables with their modules in them."""
        written = {path: self._written(executable, bundle, left_out) for path, executable in self._executables.items()}
        return Bundle(written.get(path, file) for path, file in bundle.items() if not is_in_pyz(path))

    def _side(self, bundle: Bundle, plain: Bundle) -> Side:
        files = [_rest(plain[path], self._held(path, bundle)) if path in self._executables else file for path, file in bundle.items()]
        return Side(bundle=Bundle(files), account=plain_side(plain).account)

    def _modules(self, executable: Executable, file: File) -> list[File]:
        """Return an executable's modules as files, hashed unless the cache knows them."""
        key = digest(["modules", 1, file.sha256])
        entry = self._cache.get(key) if self._cache else None
        files = executable.files(self._pool, entry.value if entry else None)
        if self._cache and not entry:
            self._cache.put(key, [module.sha256 for module in files])
        return files

    def _written(self, executable: Executable, bundle: Bundle, left_out: Sequence[LeftOut]) -> File:
        """Return the executable as a plain file, with the modules that the bundle has."""
        before = self._plain[executable.path]
        executable = self._with_changes(executable, bundle)
        bare, scripts = self._startup(executable, bundle, left_out)
        if not (scripts or executable.changed) and all(executable.path_of(module) in bundle for module in executable.modules):
            return before
        held = (executable.path, frozenset((file.path, file.sha256) for file in self._held(executable.path, bundle)), *scripts)
        if held not in self._made:
            path = Path(mkdtemp(dir=self._scratch)) / executable.path
            write_executable(bare, bundle, path, scripts)
            self._made[held] = replace(before, size=path.stat().st_size, sha256=sha256_of_file(path), content=DiskContent(path))
        return self._made[held]

    def _with_changes(self, executable: Executable, bundle: Bundle) -> Executable:
        """Return an executable that holds those of its modules that were made anew."""
        new = [file for file in self._held(executable.path, bundle) if file.sha256 != self._scanned[file.path].sha256]
        return replace(executable, changed={file.path: stored_code(file.read()) for file in new}) if new else executable

    def _why_no_loader(self, path: str) -> str | None:
        """Return why an executable cannot be given what loads a packed file at this path, or None."""
        for name, problem in self._problems.items():
            return f"{name} cannot be given what loads it: {problem}"
        added = replace(next(iter(self._plain.values())), path=path)
        try:
            for executable in self._executables.values():
                with_loader(executable, self._scanned.replacing([added]))
        except MlbundleError as error:
            return str(error)
        return None

    def _startup(self, executable: Executable, bundle: Bundle, left_out: Sequence[LeftOut]) -> tuple[Executable, Scripts]:
        """Return an executable and the scripts to put into it; those that load packed weights where there are new ones."""
        if executable.path in self._problems:
            return executable, ()
        executable, notice = with_notice(executable, left_out, bundle)
        executable, models = self._model_script(executable, bundle)
        executable, machine = with_machine_script(executable, bundle) if self._tells else (executable, ())
        scripts = (*notice, *models, *machine)
        new = [path for path in bundle if is_loadable(path) and path not in self._scanned]
        if not new:
            return executable, scripts
        try:
            executable, loader = with_loader(executable, bundle)
        except MlbundleError:
            if any(map(needs_loader, new)):
                raise
            return executable, scripts
        return executable, (*scripts, *loader)

    def _model_script(self, executable: Executable, bundle: Bundle) -> tuple[Executable, Scripts]:
        """Return an executable and the script that finds models, where the bundle has a descriptor that is new."""
        contents = executable.archive.contents_folder
        if not any(is_descriptor(path, contents) and bundle[path] != self._scanned.get(path) for path in bundle):
            return executable, ()
        try:
            return with_model_script(executable, bundle)
        except MlbundleError:  # an application that asks for models has imported what finds them
            return executable, ()

    def _held(self, path: str, bundle: Bundle) -> list[File]:
        executable = self._executables[path]
        return [bundle[each] for module in executable.modules if (each := executable.path_of(module)) in bundle]


def _rest(file: File, modules: list[File]) -> File:
    """Return what is left of an executable beside its modules; its hash is that of the whole."""
    return replace(file, kind=Kind.FROZEN, owner="python", size=file.size - sum(module.size for module in modules))
