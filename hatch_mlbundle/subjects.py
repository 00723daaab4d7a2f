"""What reports are made from: a manifest as it is, or an artifact, which is analyzed first."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from .application import analyze
from .budget import Performance
from .invocation import job_of
from .manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A manifest, and what the verification beside it measured, None where there is none of this very artifact."""

    manifest: Manifest
    performance: Performance | None = None


def load_subject(path: Path, options: argparse.Namespace) -> Subject:
    """Return what is at `path`: a manifest (`.json`), or an artifact, which is analyzed as a command's options say.

    Of an artifact whose manifest lies beside it and still tells of it, that is taken: it says what was done. Raises MlbundleError.
    """
    if path.suffix == ".json" and path.is_file():
        return Subject(manifest=Manifest.load(path))
    with job_of(options, path) as job:
        return Subject(manifest=analyze(job, path))
