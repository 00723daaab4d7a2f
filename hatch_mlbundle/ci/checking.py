"""Check each artifact as `mlbundle check` does, with every report in a folder of its own, and keep the manifests for next time."""

from __future__ import annotations

import argparse
import glob
import io
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from hatch_mlbundle import cli
from hatch_mlbundle.atomic import make_folder
from hatch_mlbundle.beside import TELLING
from hatch_mlbundle.bundles.archives.pack import CHECKSUM
from hatch_mlbundle.errors import ArtifactError, ConfigurationError, ManifestError
from hatch_mlbundle.invocation import config_of
from hatch_mlbundle.manifest import SUFFIX, Manifest, Totals, load_artifact
from hatch_mlbundle.plugins import load_registry

from .baselines import find_baseline
from .slugs import slug

BASELINES = "baseline"
"""The folder of manifests that the next run compares with."""
_REPORTS = "reports"

_BESIDE = (*TELLING, CHECKSUM)
"""How files end that lie beside artifacts and are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to check: patterns of paths, the project whose limits count, a baseline, and the folder that reports go to.

    Without a baseline, growth is counted from the one that the project's configuration names, else from the manifests that a run before
    left in the folder.
    """

    name: str
    patterns: tuple[str, ...]
    project: Path
    baseline: str
    folder: Path

    @classmethod
    def of(cls, environment: Mapping[str, str], folder: Path) -> Request:
        """Return what the variables MLBUNDLE_... ask for; raises ConfigurationError."""
        patterns = tuple(line.strip() for line in environment.get("MLBUNDLE_ARTIFACT", "").splitlines() if line.strip())
        if not patterns:
            raise ConfigurationError(["artifact: is empty; name the file, the folder or the pattern to check, dist/*.whl for one"])
        project = Path(environment.get("MLBUNDLE_PROJECT") or ".")
        if project != Path() and not (project / "pyproject.toml").is_file():
            raise ConfigurationError([f"project: {project}: has no pyproject.toml; name the folder of the one that has the limits"])
        return cls(
            name=environment.get("MLBUNDLE_NAME") or "bundle",
            patterns=patterns,
            project=project,
            baseline=environment.get("MLBUNDLE_BASELINE", "").strip(),
            folder=folder,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of one artifact: its exit code, what was said, its sizes before and after (None where unknown), its reports' folder."""

    name: str
    exit_code: int
    said: str
    before: Totals | None
    after: Totals | None
    breaches: int
    folder: Path

    @property
    def markdown(self) -> Path:
        """The report for people."""
        return self.folder / "report.md"

    @property
    def sarif(self) -> Path:
        """The places in the configuration that breaches come from."""
        return self.folder / "report.sarif"


def check_all(request: Request) -> tuple[Checked, ...]:
    """Check every artifact; their manifests are the baseline of the next run, unless one could not be read. Raises MlbundleError."""
    paths = _artifacts(request.patterns)
    shutil.rmtree(request.folder / _REPORTS, ignore_errors=True)  # of a run before, where the folder is the same
    baselines = _baselines(request)
    fixed = _configured(request) or (baselines[0] if len(paths) == len(baselines) == 1 else None)
    names = [_name(path) for path in paths]
    folders = [slug(name) if names.count(name) == 1 else slug(str(path), always=True) for name, path in zip(names, paths, strict=True)]
    checked = tuple(
        _check(request, path, request.folder / _REPORTS / folder, fixed or find_baseline(name, folder, baselines))
        for path, name, folder in zip(paths, names, folders, strict=True)
    )
    if all(each.exit_code <= 1 for each in checked):
        _keep(checked, request.folder / BASELINES)
    return checked


def _artifacts(patterns: Iterable[str]) -> list[Path]:
    """Return the paths that the patterns match, each once; a manifest beside an artifact is no artifact where a pattern finds it."""
    found: dict[str, Path] = {}
    for pattern in patterns:
        matched = [Path(pattern)] if os.path.lexists(pattern) else _matching(pattern)
        if not matched:
            raise ArtifactError(pattern, f"there is no such artifact in {Path.cwd()}; build it before it is checked")
        for path in matched:
            found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - "a/../b" is "b", too
    return list(found.values())


def _matching(pattern: str) -> list[Path]:
    """Return what a pattern finds that may be an artifact."""
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - a pattern may be absolute
    return [path for path in map(Path, found) if not path.name.endswith(_BESIDE)]


def _configured(request: Request) -> Path | None:
    """Return the baseline that the project's configuration names, where it is there and the request names no other."""
    named = config_of(argparse.Namespace(project=request.project), load_registry()).settings.budget.baseline
    place = request.project / named
    return place if named and place.is_file() and not request.baseline else None


def _baselines(request: Request) -> list[Path]:
    """Return the manifests to compare with; what is named and none is analyzed first."""
    if not request.baseline:
        return list(_readable(_manifests(request.folder / BASELINES)))
    named = Path(request.baseline)
    if kept := _manifests(named):
        return kept
    if not named.exists():
        raise ArtifactError(request.baseline, "there is no such baseline; name a manifest, an artifact or a folder of manifests")
    if named.suffix == ".json":
        return [named]
    manifest = request.folder / "compared" / f"{slug(named.name)}{SUFFIX}"
    make_folder(manifest.parent)
    with manifest.open("w", encoding="utf-8") as sink, redirect_stdout(sink):
        code, said = _run("analyze", "--json", "--project", str(request.project), "--", str(named))
    if code:
        raise ArtifactError(request.baseline, f"cannot be the baseline: {said}")
    return [manifest]


def _manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def _readable(manifests: Iterable[Path]) -> Iterator[Path]:
    """Yield those that can be compared with: another release of mlbundle may have left them, and that must not stop everything."""
    for path in manifests:
        try:
            Manifest.load(path)
        except ManifestError as error:
            print(f"no baseline: {error}", file=sys.stderr)  # noqa: T201
        else:
            yield path


def _name(path: Path) -> str:
    return load_artifact(path).name if path.suffix == ".json" and path.is_file() else path.absolute().name


def _check(request: Request, path: Path, folder: Path, baseline: Path | None) -> Checked:
    make_folder(folder)
    wanted = {
        "markdown": "report.md",
        "html": "report.html",
        "junit": "junit.xml",
        "sarif": "report.sarif",
        "manifest": f"manifest{SUFFIX}",
    }
    outputs = [part for option, file in wanted.items() for part in (f"--{option}", str(folder / file))]
    compared = ["--baseline", str(baseline)] if baseline else []
    code, said = _run("check", "--project", str(request.project), *compared, *outputs, "--", str(path))
    done = code <= 1
    return Checked(
        name=_name(path),
        exit_code=code,
        said=said,
        before=load_artifact(baseline).after if baseline and done else None,
        after=load_artifact(folder / wanted["manifest"]).after if done else None,
        breaches=_failures(folder / wanted["junit"]) if done else 0,
        folder=folder,
    )


def _run(*arguments: str) -> tuple[int, str]:
    """Run a command of `mlbundle` and return its exit code and what it said on standard error."""
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            code = cli.main(arguments)
    except SystemExit as end:  # of argparse
        code = end.code if isinstance(end.code, int) else 2
    return code, told.getvalue().strip()


def _failures(junit: Path) -> int:
    return sum(1 for _ in ET.parse(junit).iter("failure"))  # noqa: S314 - written by ourselves a moment ago


def _keep(checked: Iterable[Checked], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    for each in checked:
        shutil.copyfile(each.folder / f"manifest{SUFFIX}", folder / f"{each.folder.name}{SUFFIX}")
