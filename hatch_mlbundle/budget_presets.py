"""Limits that others set: of registries, hosts and formats, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

PresetName: TypeAlias = Literal["pypi", "lambda", "lambda-zip", "github-release", "one-file"]

Measured: TypeAlias = Literal["uploads", "installed", "zip", "one-file"]
"""What a preset measures: each file that is uploaded (a wheel, a one-file executable, an archive), the files as unpacked, only archives
of the format zip, only one-file executables. Of several files the largest counts.
"""

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A limit in bytes; `remedy` is what to do where there is nothing to be measured."""

    measured: Measured
    allowed: int
    remedy: str


_ARCHIVE = 'nothing is packed that could be uploaded; list an archive in `archive`, like "tar.zst"'

PRESETS: Mapping[PresetName, Preset] = {
    "pypi": Preset(measured="uploads", allowed=100 * MIB, remedy=_ARCHIVE),
    "lambda": Preset(measured="installed", allowed=250 * MIB, remedy=""),
    "lambda-zip": Preset(
        measured="zip", allowed=50 * 10**6, remedy='there is no zip archive; add "zip" to `archive` of a folder or frozen bundle'
    ),
    "github-release": Preset(measured="uploads", allowed=2 * GIB - 1, remedy=_ARCHIVE),
    "one-file": Preset(
        measured="one-file",
        allowed=4 * GIB - 1,
        remedy="there is no one-file executable; set one-file = true in [tool.hatch.build.targets.frozen]",
    ),
}
"""Where the numbers come from:

- `pypi`: a file's default limit, `MAX_FILESIZE = 100 * ONE_MIB` in warehouse/constants.py; told at docs.pypi.org, "Storage limits".
- `lambda`: "250 MB (unzipped), including layers and custom runtimes", AWS Lambda Developer Guide, "Lambda quotas"; the service's own error
  says "Unzipped size must be smaller than 262144000 bytes", which are 250 MiB.
- `lambda-zip`: "50 MB (zipped, when uploaded through the Lambda API or SDKs)" on the same page, taken as decimal, to be safe; larger ones
  go through S3.
- `github-release`: "Each file included in a release must be under 2 GiB", docs.github.com, "About releases".
- `one-file`: lengths and offsets of PyInstaller's CArchive have 32 bits, unsigned (cookie `!8sIIII64s`, PyInstaller/archive/writers.py,
  `CArchiveWriter._COOKIE_FORMAT`), and Windows starts no larger executable.
"""


def upload(allowed: int) -> Preset:
    """Return a limit of one's own on each file that is uploaded, in bytes."""
    return Preset(measured="uploads", allowed=allowed, remedy=_ARCHIVE)
