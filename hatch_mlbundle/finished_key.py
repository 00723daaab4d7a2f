"""What a finished wheel is kept under in the cache: everything that decides its bytes and its manifest's."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from . import __version__
from .canonical import digest, sha256_of_file
from .config import decisive_settings, options_to_dict
from .contents.removable import identity_of
from .job import Job
from .manifest import FORMAT_VERSION
from .model import Finding
from .provenance.record import FORMAT_VERSION as RECORD_VERSION
from .runtime.machine.statements import FORMAT_VERSION as MACHINE_VERSION


def wheel_digest(path: Path) -> str | None:
    """Return a wheel's SHA-256, None for what is no wheel or cannot be read: others say so better."""
    readable = path.suffix == ".whl" and os.access(path, os.R_OK) and path.is_file()
    return sha256_of_file(path) if readable else None


def finished_key(job: Job, sha256: str, wheel: Path, target: Path, findings: Sequence[Finding]) -> str:
    """Return the key of everything that decides a wheel and its manifest."""
    settings = job.config.settings
    steps = [[stage.identity, options_to_dict(stage.optimizer.options)] for stage in job.stages]
    baseline = job.baseline.sha256 if job.baseline else None
    decisive = [decisive_settings(job.config), options_to_dict(settings.limits), list(job.config.idle), baseline]
    surroundings = [
        [__version__, FORMAT_VERSION, RECORD_VERSION, MACHINE_VERSION],
        [each.identity for each in job.inspecting],
        identity_of(job.wanted),
        sys.platform,
        platform.machine(),
        [asdict(tool) for tool in job.tools],
        os.environ.get("SOURCE_DATE_EPOCH"),
    ]
    told = [asdict(finding) for finding in (*findings, *job.findings)]
    return digest(["finished", sha256, wheel.name, target.name, steps, decisive, surroundings, told])
