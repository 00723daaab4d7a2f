"""What lies beside an artifact: its manifest, and the files that belong to it but not into it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .atomic import make_folder, replace_atomically
from .budgeting import held_anew
from .canonical import sha256_of_file
from .config import ReportFormat
from .errors import ManifestError
from .job import Job
from .manifest import COMPANIONS as COMPANIONS
from .manifest import SUFFIX, CompanionRow, Manifest, load_artifact
from .storage import storage_errors
from .verification import report
from .verification.report import Verification

REPORTS: Mapping[ReportFormat, str] = {"html": ".mlbundle.html", "markdown": ".mlbundle.md"}
"""What is appended to an artifact's file name to name each of its reports."""

TELLING = (SUFFIX, report.SUFFIX, *REPORTS.values())
"""What ends the names of the files that tell of an artifact."""


def saved_manifest_path(job: Job, artifact: Path) -> Path | None:
    """Return where `optimize` saves an artifact's manifest, None where the configuration wants none."""
    return beside(job, artifact, SUFFIX) if job.config.settings.manifest else None


def beside(job: Job, artifact: Path, suffix: str = "") -> Path:
    """Return the artifact's own path, or the one in the configured folder, with something appended to the name."""
    folder = job.config.settings.manifest_folder
    return (job.project / Path(folder).expanduser() if folder else artifact.parent) / f"{artifact.name}{suffix}"


def write_manifest(job: Job, target: Path, manifest: Manifest, text: bytes, commits: ExitStack) -> Manifest | None:
    """Write a manifest, of which this is the text, to where one is wanted; it takes its place when `commits` end well.

    A second run finds nothing to save; the manifest of the first, which says what was saved and why, must outlive it. Then only what came
    of the budget is told anew. Returns what is written, None where nothing is.
    """
    place = saved_manifest_path(job, target)
    if place is None:
        return None
    row = manifest.artifact
    with suppress(ManifestError):
        former = load_artifact(place)
        if row.before.sha256 == row.after.sha256 == former.after.sha256 != former.before.sha256:
            earlier = Manifest.load(place)
            manifest = held_anew(earlier, manifest)
            if manifest == earlier:
                return None
            text = manifest.to_json().encode()
    make_folder(place.parent)
    commits.enter_context(replace_atomically(place)).write(text)
    return manifest


@contextmanager
def replacing_report(verification: Verification | None, job: Job, target: Path, sha256: str) -> Iterator[None]:
    """Write the report of a verification beside the artifact when the body ends well; one of an earlier build goes in any case."""
    place = beside(job, target, report.SUFFIX)
    if verification is None:
        yield
        place.unlink(missing_ok=True)
        return
    make_folder(place.parent)
    with replace_atomically(place) as stream:
        stream.write(verification.to_json(target.name, sha256).encode(errors="backslashreplace"))
        yield


@contextmanager
def replacing_companions(found: Iterable[tuple[str, Path]], target: Path) -> Iterator[tuple[CompanionRow, ...]]:
    """Copy the files that belong beside the artifact; they take the place of an earlier build's when the body ends well."""
    partial = target.with_name(f".{target.name}.mlbundle-partial")
    rows = []
    with storage_errors(target):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for name, path in found:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, partial / name)
                rows.append(CompanionRow(path=name, size=path.stat().st_size, sha256=sha256_of_file(path)))
            yield tuple(rows)
            shutil.rmtree(target, ignore_errors=True)
            if rows:
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
