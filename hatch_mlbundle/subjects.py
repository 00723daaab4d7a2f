"""What reports are made from: a manifest as it is, or an artifact, which is analyzed first."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .adapters.project import place_of, places_of
from .config import Config, decisive_settings, selected
from .errors import ConfigurationError, ManifestError, without_path
from .invocation import check_path, config_of, places_for, project_of, reading_job, settings_of
from .manifest import SUFFIX, ArtifactRow, Manifest, Saved, Totals, load_artifact
from .model import Finding

if TYPE_CHECKING:
    from .budget import Performance
    from .config import Settings
    from .suggestions import Trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A manifest, and what the verification beside it measured, None where there is none of this very artifact."""

    manifest: Manifest
    performance: Performance | None = None


def load_subject(path: Path, options: argparse.Namespace) -> Subject:
    """Return what is at `path`: a manifest (`.json`), or an artifact, which is analyzed as a command's options say.

    Of an artifact whose manifest lies beside it and still tells of it, that is taken: it says what was done. Images are always hashed.
    Raises MlbundleError.
    """
    suggests, hashes = getattr(options, "suggest", False), getattr(options, "hashes", True)
    if _is_manifest(path):
        if suggests:
            raise ConfigurationError([f"{path}: is a manifest, of which nothing can be tried for --suggest; name the artifact itself"])
        return _measured(Manifest.load(path), path.with_name(path.name.removesuffix(SUFFIX)))
    if path.name in ("", ".."):
        path = path.resolve()
    if hashes or _is_image(path):
        return _analyzed(path, options)
    if suggests:
        raise ConfigurationError(["--suggest has to read the files; leave --no-hashes out"])
    return Subject(manifest=_surveyed(path, settings_of(options, places_for(path))))


def settings_for(path: Path, options: argparse.Namespace) -> Settings:
    """Return the settings of the project for what is at `path`, as `load_subject` takes it; raises MlbundleError."""
    if not _is_manifest(path):
        return settings_of(options, places_for(path))
    return settings_of(options, places_of(load_artifact(path).kind))


def _is_image(path: Path) -> bool:
    """Say whether this is to be read as a container image: to know its files takes as long as to hash them."""
    check_path(path)
    if path.is_dir():
        return os.path.isfile(path / "oci-layout")  # noqa: PTH113 - what it takes to read images costs more than to look at a folder
    from .bundles.images.tar_layout import may_be_tar

    return path.suffix != ".whl" and path.is_file() and may_be_tar(path)


def _is_manifest(path: Path) -> bool:
    """Say whether this is to be read as a manifest; whether it is one, reading it tells."""
    return path.suffix == ".json" and os.path.isfile(path)  # noqa: PTH113 - unlike Path.is_file, it stands names that are too long


def _surveyed(path: Path, settings: Settings) -> Manifest:
    """Return a manifest of sizes alone."""
    from .bundles.survey import survey

    limits = settings.limits
    found = survey(path, max_ratio=limits.max_ratio, max_size=limits.max_size)
    installed = sum(row.after.size for row in found.files if row.after)
    totals = Totals(size=found.size, installed=installed, structure=found.structure, files=len(found.files), sha256=None)
    return Manifest(
        generator=f"hatch-mlbundle {__version__}",
        artifact=ArtifactRow(name=path.name, kind=found.kind, before=totals, after=totals),
        tools=(),
        configuration=decisive_settings(Config(settings=settings, steps=())),
        steps=(),
        remainder=Saved(installed=0, compressed=0 if found.packs else None),
        files=found.files,
        companions=(),
        findings=(),
    )


def _analyzed(path: Path, options: argparse.Namespace) -> Subject:
    from .application import analyze
    from .beside import beside

    trials = _trials(path, options) if getattr(options, "suggest", False) else None
    with reading_job(options, path) as job:
        manifest, place = analyze(job, path, trials), beside(job, path)
    subject = _measured(_saved(manifest, place), place)
    findings = selected(job.config.settings, subject.manifest.findings)
    return replace(subject, manifest=replace(subject.manifest, findings=findings))


def _trials(path: Path, options: argparse.Namespace) -> Trials:
    from .plugins import load_registry
    from .suggestions import find_trials

    registry, places, project = load_registry(), places_for(path), project_of(options)
    config = config_of(options, registry, places)
    every = config_of(argparse.Namespace(**{**vars(options), "optimizers": list(registry)}), registry, places)
    table = place_of("optimizers", project, places)
    return find_trials(config, every, registry, project, table=table, artifact=path.name)


def _saved(manifest: Manifest, artifact: Path) -> Manifest:
    """Return what the manifest beside an artifact says of these very bytes, with what only the analysis knows; else the analysis."""
    place = artifact.with_name(artifact.name + SUFFIX)
    if not os.path.isfile(place):  # noqa: PTH113 - unlike Path.is_file, it stands names that are too long
        return manifest
    try:
        saved = Manifest.load(place)
    except ManifestError as error:
        return _left_aside(manifest, place, error)
    if saved.artifact.after.sha256 != manifest.artifact.after.sha256:
        message = f"{place.name} beside it tells of other bytes: the artifact was changed or built anew since"
        return _noted(manifest, Finding(code="MB812", message=message))
    findings = (*saved.findings, *manifest.findings)
    saved = replace(saved, contents=saved.contents or manifest.contents, removable=manifest.removable)  # for the targets of now
    return replace(saved, suggestions=manifest.suggestions, findings=findings)


def _measured(manifest: Manifest, artifact: Path) -> Subject:
    """Return a manifest with what the verification beside the artifact measured, if that was of these very bytes."""
    from .budgeting import performance_of
    from .verification.report import SUFFIX as REPORT
    from .verification.report import load_verification

    place = artifact.with_name(artifact.name + REPORT)
    if not os.path.isfile(place):  # noqa: PTH113
        return Subject(manifest=manifest)
    try:
        verification = load_verification(place, manifest.artifact.after.sha256)
    except ManifestError as error:
        return Subject(manifest=_left_aside(manifest, place, error))
    return Subject(manifest=manifest, performance=performance_of(verification))


def _left_aside(manifest: Manifest, place: Path, error: ManifestError) -> Manifest:
    """Say that a file beside the artifact cannot be read: what it would tell is missing, and nothing else."""
    return _noted(manifest, Finding(code="MB811", message=f"{place.name} beside it is left aside: {without_path(error, place)}"))


def _noted(manifest: Manifest, finding: Finding) -> Manifest:
    return replace(manifest, findings=(*manifest.findings, finding))
