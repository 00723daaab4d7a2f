"""The hatch target `frozen`: PyInstaller, then everything that makes its folder small, then one-file and archives."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from hatchling.builders.config import BuilderConfig
from hatchling.builders.plugin.interface import BuilderInterface
from hatchling.plugin.manager import PluginManager

from hatch_mlbundle.adapters.ending import ended_by_termination, one_line, summary_lines
from hatch_mlbundle.adapters.project import FROZEN, project_config
from hatch_mlbundle.application import finish_frozen
from hatch_mlbundle.atomic import leftovers, make_folder, temporary_name
from hatch_mlbundle.beside import COMPANIONS, TELLING, beside
from hatch_mlbundle.bundles.archives.pack import CHECKSUM, archive_of
from hatch_mlbundle.bundles.atomic_folder import remove_folder
from hatch_mlbundle.config import ArchiveFormat
from hatch_mlbundle.errors import ConfigurationError, MlbundleError
from hatch_mlbundle.freezing.freeze import freeze, missing_requirements, pyinstaller_version
from hatch_mlbundle.freezing.options import TABLE, Project, Target, read_target
from hatch_mlbundle.freezing.running import check_unused
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import ToolRow
from hatch_mlbundle.models.left_models import models_folder
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.progress import Progress, Silence
from hatch_mlbundle.reports.progress import terminal_progress
from hatch_mlbundle.storage import storage_errors

_UNASKED_HOOKS = ("vcs", "version")
"""With these hooks alone hatch does not ask a target what it requires (hatch's `HatchBuildFrontend.get_required_build_deps`)."""


class FrozenBuilder(BuilderInterface[BuilderConfig, PluginManager]):
    """Builds the folder, or the one file, that `[tool.hatch.build.targets.frozen]` asks for."""

    PLUGIN_NAME = "frozen"

    _ready: tuple[Target, Job] | None = None

    def get_version_api(self) -> dict[str, Callable[..., str]]:
        """Return the one version there is."""
        return {"standard": self.build_standard}

    def build(self, *, directory: str | None = None, clean_only: bool | None = False, **options: Any) -> Generator[str, None, None]:
        """Check everything, then build as hatch does, its other hooks included."""
        if not clean_only:
            with one_line(self.app.abort):
                self._ready = self._prepare()
                make_folder(Path(directory or self.config.directory))
        yield from super().build(directory=directory, clean_only=clean_only, **options)

    def build_standard(self, directory: str, **build_data: Any) -> str:
        """Freeze, make small, put in place; return the path of the result."""
        with one_line(self.app.abort, "what was built before is untouched"), ended_by_termination():
            asked, job = self._ready or self._prepare()
            target = self._result(asked, Path(directory))
            check_unused(target)
            self.app.display_info(f"PyInstaller {pyinstaller_version()} freezes {asked.name}")
            with _work_folder(target) as folder, self._progress() as progress:
                frozen = freeze(asked, folder, progress, self.app.display_debug)
                check_unused(target)
                tools = (*job.tools, ToolRow(name="pyinstaller", version=pyinstaller_version()))
                shown = replace(job, progress=progress, tools=tools)
                result = finish_frozen(shown, frozen.folder, target, one_file=asked.options.one_file, findings=frozen.findings)
            for line in summary_lines(job, result, target):
                self.app.display_info(line)
        return str(target)

    def clean(self, directory: str, versions: list[str]) -> None:
        """Remove the bundle that the configuration names and what lies beside it, nothing else."""
        with one_line(self.app.abort, "nothing was removed"):
            faults: list[str] = []
            asked = self._target(faults)
            job = self._job(faults)
            target = self._result(asked, Path(directory))
            check_unused(target)
            archives = [archive_of(target, each) for each in get_args(ArchiveFormat)]
            checksums = [each.with_name(each.name + CHECKSUM) for each in archives]
            told = (beside(job, target, each) for each in (*TELLING, COMPANIONS))
            for path in (target, models_folder(target), *told, *archives, *checksums):
                if path.is_dir() and not path.is_symlink():
                    remove_folder(path)
                else:
                    path.unlink(missing_ok=True)

    def _prepare(self) -> tuple[Target, Job]:
        """Check the options, the configuration and the programs they need; raises MlbundleError."""
        faults: list[str] = []
        target = self._target(faults)
        job = self._job(faults)
        pyinstaller_version()
        self._check_dependencies()
        return target, job

    def _target(self, faults: list[str]) -> Target:
        core = self.metadata.core
        project = Project(root=Path(self.root).resolve(), name=core.raw_name, scripts=core.scripts, gui_scripts=core.gui_scripts)
        return read_target(self.target_config, project, faults)

    def _job(self, faults: list[str]) -> Job:
        """Return the job; raises ConfigurationError with these faults and those of `[tool.mlbundle]`."""
        registry = load_registry()
        root = Path(self.root)
        try:
            config = project_config(root, registry, places=FROZEN)
        except ConfigurationError as error:
            raise ConfigurationError([*faults, *error.faults]) from error
        if faults:
            raise ConfigurationError(faults)
        return prepare(config, registry, project=root)

    def _check_dependencies(self) -> None:
        core = self.metadata.core
        features = [each for name in self.config.require_runtime_features for each in core.optional_dependencies[name]]
        missing = missing_requirements([*core.dependencies, *features])
        if missing:
            lacks = f"the build environment lacks dependencies of the project ({', '.join(missing)})"
            raise MlbundleError(f"{lacks}; {self._remedy()}")

    def _remedy(self) -> str:
        """Return what brings the project's dependencies into the build environment."""
        remedies = []
        if not self.config.require_runtime_dependencies:
            remedies.append(f"set require-runtime-dependencies = true in {TABLE}")
        if not set(self.config.hook_config).difference(_UNASKED_HOOKS):
            remedies.append(f"add an empty table [{TABLE}.hooks.mlbundle], because hatch reads that of targets with a hook only")
        return " and ".join(remedies) or "install them there"

    def _result(self, target: Target, directory: Path) -> Path:
        suffix = ".exe" if target.options.one_file and sys.platform == "win32" else ""
        return directory / f"{target.name}{suffix}"

    def _progress(self) -> AbstractContextManager[Progress]:
        shown = sys.stderr.isatty() and self.app.verbosity >= 0
        return terminal_progress() if shown else nullcontext(Silence())


@contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """Give a new folder beside the target, gone afterwards; those of killed builds go first. Raises StorageError."""
    for path in leftovers(target, "freeze"):
        remove_folder(path)
    folder = temporary_name(target, "freeze")
    with storage_errors(target):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
