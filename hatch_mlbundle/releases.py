"""What paths tell of releases: which distributions are there in which version, and what a file is called whatever the release."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from .importpaths import installed
from .manifest import Manifest

_INFO = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?P<what>dist-info|egg-info|data)", re.DOTALL)
"""NAME-VERSION.dist-info (PEP 376), NAME-VERSION[-pyX.Y].egg-info (setuptools), NAME-VERSION.data (PEP 427)."""
_VENDORED = re.compile(r"(?:^|/)_?vendor(?:ed)?/")
_ROOT = re.compile(r"\A(?:_internal/|(?:.*?/)?(?:site|dist)-packages/)", re.DOTALL)
"""Where PyInstaller, and where Python installs to: of a path, all that differs between a wheel and what it was installed into."""
_RELEASE = re.compile(
    r"(?P<hash>(?:-[0-9a-f]{8,})+(?=[^/]*\.(?:so|dll|dylib|pyd)\b))"  # auditwheel, delvewheel
    r"|(?P<tag>\.(?:cpython-\d|cp\d|pypy\d|abi3)[\w-]*(?=\.))"  # PEP 3149; PEP 3147 for bytecode
    r"|(?P<python>(?<=python3)\.?\d+)"
    r"|(?P<soname>(?<=\.so)(?:\.\d+)+$)"
    r"|(?P<number>(?:\.\d+)+(?=\.(?:so|dylib)\b))"
)
_DIGIT = re.compile(r"\d")
_MINOR = re.compile(r"python3\.?(\d+)|(?:cpython-|\.cp)3(\d+)")


@lru_cache(maxsize=8_192)  # asked of every file, of which a package has many
def owner_name(owner: str) -> str:
    """Return the name that an owner goes by in every kind of artifact, normalized (PEP 503): that of a distribution for its
    `NAME-1.0.dist-info`, `NAME.libs` and `_name`, too.
    """
    match = _INFO.fullmatch(owner)
    name = match["name"] if match else owner.removesuffix(".libs")
    return canonicalize_name(name).strip("-") or owner


def release_free(path: str) -> str:
    """Return a path without the folder that packages are installed to, and without version numbers and hashes of names."""
    if ".pyz/" in path or ".data/" in path:  # each test saves a search: there may be many thousand paths
        path = installed(path)
    if "-packages/" in path or path.startswith("_internal/"):
        path = _ROOT.sub("", path, count=1)
    if "-info" in path or ".data/" in path:
        path = "/".join(f"{owner_name(part)}.{match['what']}" if (match := _INFO.fullmatch(part)) else part for part in path.split("/"))
    return _RELEASE.sub("", path) if _DIGIT.search(path) else path


def distributions(manifest: Manifest) -> dict[str, str]:
    """Return the version of each distribution that an artifact names after all steps; several are told as `1.0, 2.0`.

    Those are the ones with metadata in it (not what others carry in a `_vendor` folder), and the one that a wheel is named for.
    """
    folders = {path[: path.index("-info") + 5] for row in manifest.files if row.after and "-info" in (path := row.path)}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for folder in folders:
        match = _INFO.fullmatch(folder.rpartition("/")[2])
        if match and not _VENDORED.search(folder):
            found[canonicalize_name(match["name"])].add(_normal(match["version"]))
    try:
        name, version, *_ = parse_wheel_filename(manifest.artifact.name)
        found[name] = found[name] or {str(version)}
    except InvalidWheelFilename:
        pass  # no wheel
    return {name: ", ".join(sorted(versions, key=_order)) for name, versions in sorted(found.items())}


def pythons(before: Manifest, after: Manifest) -> dict[str, tuple[str, str]]:
    """Return the versions, where both are known, of what a frozen bundle was made by: `python` and `pyinstaller`.

    A manifest's tools tell that of Python in the bundle only where they froze it; of others, paths tell the minor version.
    """
    tools = [{tool.name: tool.version for tool in manifest.tools} for manifest in (before, after)]
    if all("pyinstaller" in each and "python" in each for each in tools):
        return {name: (tools[0][name], tools[1][name]) for name in ("python", "pyinstaller")}
    minors = [_minor(row.path for row in manifest.files if row.after) for manifest in (before, after)]
    return {"python": (minors[0], minors[1])} if all(minors) else {}


def _minor(paths: Iterable[str]) -> str:
    """Return the one version of Python that paths name, as `3.11`; empty where they name none, or several."""
    found = {match[1] or match[2] for path in paths if "3" in path and (match := _MINOR.search(path))}
    return f"3.{found.pop()}" if len(found) == 1 else ""


def _normal(version: str) -> str:
    try:
        return str(Version(version))
    except InvalidVersion:
        return version


def _order(version: str) -> tuple[Version, str]:
    try:
        return Version(version), version
    except InvalidVersion:
        return Version("0"), version
