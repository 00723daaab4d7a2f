"""Freeze an application with PyInstaller: always into one folder, which is made small before anything is packed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from hatch_mlbundle.errors import ArtifactError, MissingProgramError, ProgramError
from hatch_mlbundle.model import Finding
from hatch_mlbundle.progress import Progress
from hatch_mlbundle.storage import fatal_storage_error

from .log import HOOK, error_number, failure, findings, missing_modules, stage
from .options import Target
from .process import clean_environment, run_python
from .search import find
from .spec import collecting_spec, makespec_arguments, script_of

_OLDEST = Version("6.10")
"""The oldest PyInstaller that is known to work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The folder that PyInstaller made, and what it found out."""

    folder: Path
    findings: tuple[Finding, ...]


def pyinstaller_version() -> str:
    """Return the version of PyInstaller in this environment; raises MissingProgramError where there is none, or too old a one."""
    remedy = 'requires = ["hatchling", "hatch-mlbundle[frozen]"] under [build-system] brings one'
    try:
        found = version("pyinstaller")
    except PackageNotFoundError as error:
        raise MissingProgramError(f"PyInstaller is not in the build environment; {remedy}") from error
    if Version(found) < _OLDEST:
        raise MissingProgramError(f"PyInstaller {found} is too old, {_OLDEST} is needed; {remedy}")
    return found


def missing_requirements(requirements: Iterable[str]) -> list[str]:
    """Return those of a project's requirements (PEP 508) that this environment does not meet, sorted."""
    missing = []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            missing.append(text)
        else:
            if not requirement.specifier.contains(found, prereleases=True):
                missing.append(f"{text} ({found} is there)")
    return sorted(missing)


def freeze(target: Target, folder: Path, progress: Progress, hear: Callable[[str], None]) -> Frozen:
    """Run PyInstaller in the empty folder `folder`, and return what it made there; `hear` is told each line that it says.

    Raises ProgramError with PyInstaller's own last error where it fails, StorageError where the file system refused,
    ArtifactError where a spec does not make one folder.
    """
    run = _Runs(target, folder, _Listener(progress, hear))
    spec = target.spec or _write_specs(target, folder, run.python)
    run.python("-m", "PyInstaller", "-y", "--distpath", folder / "dist", "--workpath", folder / "work", spec)
    made = _made(target, folder / "dist")
    lines = run.lines()
    asked = [name for each in target.executables for name in each.hidden_imports]
    found = [*_missing(target, folder / "work"), *findings(lines, asked)]
    return Frozen(folder=made, findings=tuple(dict.fromkeys(found)))


class _Listener:
    """Tells of each line, and shows what PyInstaller works on and how many hooks it has run."""

    def __init__(self, progress: Progress, hear: Callable[[str], None]) -> None:
        self._progress = progress
        self._hear = hear
        self._shown = ""
        self._hooks = 0

    def __call__(self, line: str) -> None:
        self._hear(line)
        told = stage(line)
        if told and told != self._shown:
            self._shown = told
            self._hooks += told.startswith(HOOK)
            self._progress.start(f"PyInstaller: {told}", 0)
            self._progress.advance(self._hooks)


class _Runs:
    """Runs this Python for a target, in the project's folder and a clean environment, with one log."""

    def __init__(self, target: Target, folder: Path, listener: _Listener) -> None:
        self._target = target
        self._listener = listener
        self._log = folder / "pyinstaller.log"
        self._environment = clean_environment(target.paths, folder / "config", target.options.environment)

    def python(self, *arguments: str | Path) -> None:
        """Run it with these arguments; raises ProgramError or StorageError where it fails."""
        status = run_python(arguments, folder=self._target.root, environment=self._environment, log=self._log, hear=self._listener)
        if status:
            raise self._failed(status)

    def lines(self) -> list[str]:
        """Return what was said until now."""
        return self._log.read_text(encoding="utf-8", errors="backslashreplace").splitlines()

    def _failed(self, status: int) -> Exception:
        lines = self.lines()
        refused = fatal_storage_error(OSError(error_number(lines) or 0, ""), self._log.parent)
        if refused:
            return refused
        if status < 0:
            why = f"was killed by signal {-status}{', as a system does that runs out of memory' if status == -9 else ''}"
        else:
            why = f"failed: {failure(lines, self._target.root)}"
        with tempfile.NamedTemporaryFile("wb", prefix="mlbundle-pyinstaller-", suffix=".log", delete=False) as kept:
            kept.write(self._log.read_bytes())
        return ProgramError(f"PyInstaller {why}; all that it said is in {kept.name}")


def _write_specs(target: Target, folder: Path, python: Callable[..., None]) -> Path:
    """Write a spec file for each executable, and the one that collects them; return its path."""
    scripts, specs, spec = (folder / name for name in ("scripts", "specs", f"{target.name}.spec"))
    scripts.mkdir()
    specs.mkdir()
    for executable in target.executables:
        script = script_of(executable, scripts)
        python("-m", "PyInstaller.utils.cliutils.makespec", *makespec_arguments(target, executable, script, specs))
    spec.write_text(collecting_spec(target, specs), encoding="utf-8")
    return spec


def _made(target: Target, dist: Path) -> Path:
    """Return the one folder that PyInstaller made; raises ArtifactError where there is another number of them."""
    made = sorted(path for path in dist.iterdir() if path.suffix != ".app") if dist.is_dir() else []
    folders = [path for path in made if path.is_dir()]
    if len(folders) == 1:
        return folders[0]
    spec = target.options.spec
    if folders:
        raise ArtifactError(
            spec, f"makes {len(folders)} folders ({', '.join(path.name for path in folders)}); one COLLECT can take several EXEs"
        )
    if made:
        raise ArtifactError(spec, "makes a single file; let it make a folder (COLLECT), and set one-file = true")
    raise ArtifactError(spec, "makes nothing; it needs Analysis, PYZ, EXE and COLLECT")


def _missing(target: Target, work: Path) -> Iterable[Finding]:
    """Yield what PyInstaller's files of warnings say of the project's own modules."""

    def is_own(importer: str) -> bool:
        path = Path(importer)
        if path.is_absolute():
            return path.is_relative_to(target.root)
        spec = find(importer, target.paths)
        origin = Path(spec.origin) if spec and spec.origin else None
        return origin is not None and any(origin.is_relative_to(folder) for folder in target.paths) and "site-packages" not in origin.parts

    for path in sorted(work.glob("*/warn-*.txt")):
        yield from missing_modules(path.read_text(encoding="utf-8", errors="replace"), is_own)
