"""What package managers and distributions wrote of themselves into an image: names and versions."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hatch_mlbundle.printable import shortened

LARGEST_OS_RELEASE = 1 << 14
"""Bytes; real ones have under a thousand."""

_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
"""Where it may be, the first of them counts (os-release(5))."""
_STATUS = "var/lib/dpkg/status"
_FIRST = ("etc/os-", "usr/lib/os-", "var/lib/dpkg/status")
_STATUS_OF_ONE = re.compile(r"var/lib/dpkg/status\.d/[^/]+(?<!\.md5sums)")
"""What is left of dpkg in images without it."""
_APK = re.compile(r"(?:usr/)?lib/apk/db/installed")
_CONDA = re.compile(r"((?:.*/)?)conda-meta/([^/]+)-([^-/]+)-[^-/]+\.json")
"""NAME-VERSION-BUILD.json, a file for each package (conda, "Package specification", `conda-meta`)."""
_INFO = re.compile(r"\.(?:dist|egg)-info(?:/|$)")
_FOR_PYTHON = re.compile(r"-py\d.*")
_FILES = re.compile(r'"files"\s*:\s*(?=\[)')
_LONGEST = 60


def is_told(path: str) -> bool:
    """Say whether a file of this name tells of packages or of the distribution, beside listings of files (listings.py)."""
    return path.startswith(_FIRST) and (path == _STATUS or path in _OS_RELEASE or _STATUS_OF_ONE.fullmatch(path) is not None)


def condensed(path: str, data: bytes) -> bytes:
    """Return what is kept of a file that `is_told` or is a listing: all that anybody here looks at."""
    if path == _STATUS or _STATUS_OF_ONE.fullmatch(path):
        return "\n".join(f"{name} {version}" for name, version in _dpkg(data.decode("utf-8", "replace"))).encode()
    if path in _OS_RELEASE:
        return data[:LARGEST_OS_RELEASE]
    if conda_package(path):
        return "\n".join(_conda_files(data)).encode("utf-8", "surrogatepass")
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions of packages by their names, and of the distribution what it calls itself, "" where it does not."""

    system: Mapping[str, str] = field(default_factory=dict)
    conda: Mapping[str, str] = field(default_factory=dict)
    python: Mapping[str, str] = field(default_factory=dict)
    distribution: str = ""
    distribution_version: str = ""


def read_versions(told: Mapping[str, bytes | None]) -> Versions:
    """Return the versions that an image tells; `told` are all its files, those that are kept of with their condensed bytes."""
    system, conda, python = dict[str, str](), dict[str, str](), dict[str, set[str]]()
    for path, data in told.items():
        if data is not None and (path == _STATUS or _STATUS_OF_ONE.fullmatch(path)):
            lines = data.decode("utf-8", "replace").split("\n")
            system |= dict(line.split(" ", 1) for line in lines if " " in line)
        elif data is not None and _APK.fullmatch(path):
            system |= dict(_apk(data.decode("utf-8", "replace")))
        elif match := conda_package(path):
            conda[match[2]] = match[3]
        elif "-info" in path and (found := _python(path)):
            python.setdefault(found[0], set()).add(found[1])
    release = next((_os_release(data) for path in _OS_RELEASE if (data := told.get(path)) is not None), {})
    return Versions(
        system=system,
        conda=conda,
        python={name: ", ".join(sorted(found)) for name, found in python.items()},
        distribution=shortened(release.get("NAME", ""), _LONGEST),
        distribution_version=shortened(release.get("VERSION_ID", ""), _LONGEST),
    )


def conda_package(path: str) -> re.Match[str] | None:
    """Return prefix (with its slash), name and version of the package of conda that a file of this name describes, None for others."""
    return _CONDA.fullmatch(path) if path.endswith(".json") else None


def _python(path: str) -> tuple[str, str] | None:
    """Return name and version of the Python distribution that a file describes, None for others (PEP 376; `NAME-VERSION-pyX.egg-info`)."""
    match = _INFO.search(path)
    if match is None:
        return None
    folder = path[path.rfind("/", 0, match.start()) + 1 : match.start()]
    name, dash, version = _FOR_PYTHON.sub("", folder).rpartition("-")
    return (name, version) if dash else None


def _conda_files(data: bytes) -> list[str]:
    """Return the paths under "files", nothing where there is no such list: of all the rest, which is more, nothing is read."""
    text = data.decode("utf-8", "replace")
    start = _FILES.search(text)
    try:
        files, _ = json.JSONDecoder().raw_decode(text, start.end()) if start else ([], 0)
    except (ValueError, RecursionError):
        return []
    return [each for each in files if isinstance(each, str) and "\n" not in each]


def _dpkg(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of each package (deb822(5); dpkg-query(1))."""
    name = ""
    for line in io.StringIO(text, newline="\n"):
        key, _, value = line.partition(":")
        if key == "Package":
            name = value.strip()
        elif key == "Version" and name:
            yield name, value.strip()


def _apk(text: str) -> Iterator[tuple[str, str]]:
    name = ""
    for line in io.StringIO(text, newline="\n"):
        letter, _, value = line.rstrip("\n").partition(":")
        if letter == "P":
            name = value
        elif letter == "V" and name:
            yield name, value


def _os_release(data: bytes) -> dict[str, str]:
    """Return the assignments of os-release(5); what is no assignment is passed over."""
    lines = (line.strip().partition("=") for line in data.decode("utf-8", "replace").split("\n"))
    return {key: value.strip("\"'") for key, equals, value in lines if equals and key.isidentifier()}
