"""Bundles and real artifacts out of a dict of files, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from hatch_mlbundle.bundles.member_names import clash, name_fault
from hatch_mlbundle.bundles.record import format_record, own_line, record_line
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import Bundle, File, Kind, MemoryContent

_METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
_WHEEL = "Wheel-Version: 1.0\nGenerator: hatch-mlbundle-testing\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A file of a bundle in full: its bytes (text as UTF-8), its permission bits, or what it is a symbolic link to.

    `owner` is the distribution that it belongs to, by default the top folder.
    """

    data: bytes | str = b""
    mode: int = 0o644
    link: str | None = None
    owner: str = ""

    @property
    def content(self) -> bytes:
        """The bytes."""
        return self.data.encode() if isinstance(self.data, str) else self.data


Files: TypeAlias = Mapping[str, bytes | str | Given]
"""Files by their paths, relative, with `/` between the parts."""


def bundle_from(files: Files) -> Bundle:
    """Return a bundle of these files, in this order, each of the kind that its bytes or its name tell.

    Raises ValueError for paths that no bundle can have.
    """
    _check(files)
    return Bundle(_file(path, _given(each)) for path, each in files.items())


def folder_from(folder: Path, files: Files) -> Path:
    """Write the files below `folder`, which may be new, and return it; raises ValueError as `bundle_from` does."""
    _check(files)
    folder.mkdir(parents=True, exist_ok=True)
    for path, each in files.items():
        place, given = folder / path, _given(each)
        place.parent.mkdir(parents=True, exist_ok=True)
        if given.link is None:
            place.write_bytes(given.content)
            place.chmod(given.mode)
        else:
            place.symlink_to(given.link)
    return folder


def wheel_from(folder: Path, files: Files, *, name: str = "example", version: str = "1.0", tag: str = "py3-none-any") -> Path:
    """Write a wheel with these files into `folder` and return its path (binary distribution format, packaging.python.org).

    METADATA, WHEEL and RECORD are added where they are not given. `name` and `version` must be normalized as in the name of a wheel.
    Raises ValueError for paths that no wheel can have, and for links.
    """
    info = f"{name}-{version}.dist-info"
    pure = "true" if tag.endswith("-none-any") else "false"
    metadata: Files = {
        f"{info}/METADATA": _METADATA.format(name=name, version=version),
        f"{info}/WHEEL": _WHEEL.format(pure=pure, tag=tag),
    }
    members = {
        path: _given(each) for path, each in {**files, **{path: text for path, text in metadata.items() if path not in files}}.items()
    }
    linked = next((path for path, given in members.items() if given.link is not None), None)
    if linked:
        raise ValueError(f"{linked!r} is a link, which no wheel can carry")
    record = f"{info}/RECORD"
    if record not in members:
        lines = [record_line(path, hashlib.sha256(given.content).hexdigest(), len(given.content)) for path, given in members.items()]
        members[record] = Given(data=format_record([*lines, own_line(record)]))
    _check(members)
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for path, given in members.items():
            member = ZipInfo(path)
            member.compress_type, member.external_attr = ZIP_DEFLATED, (0o100000 | given.mode) << 16
            archive.writestr(member, given.content)
    return wheel


def _given(each: bytes | str | Given) -> Given:
    return each if isinstance(each, Given) else Given(data=each)


def _file(path: str, given: Given) -> File:
    data = b"" if given.link is not None else given.content
    return File(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mode=given.mode,
        kind=identify(path, data[:HEAD]) if given.link is None else Kind.LINK,
        owner=given.owner or path.partition("/")[0],
        content=MemoryContent(data),
        link=given.link,
    )


def _check(files: Files) -> None:
    for path in files:
        if fault := name_fault(path):
            raise ValueError(f"{path!r} {fault}")
    if fault := clash(files):
        raise ValueError(f"the bundle {fault}")
