"""What is in a wheel, an sdist or a folder, as two of them are compared."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

Source: TypeAlias = Path | bytes

_TOLD = frozenset({"mtime", "path", "linkpath", "uid", "gid", "uname", "gname", "size"})
"""Extended headers that say more exactly what the other traits are (POSIX pax, "pax Extended Header Keyword")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file, link or folder. `open` gives its bytes; `traits` are what is said of it beside them: mode, time, owner, compression."""

    path: str
    kind: str
    open: Callable[[], BinaryIO]
    traits: dict[str, str] = field(default_factory=dict)


@contextmanager
def members_of(source: Source) -> Iterator[list[Member] | None]:
    """Give the members of an archive or a folder in its order, None where it is neither; they can be read until the context ends.

    Raises OSError, zipfile.BadZipFile, tarfile.TarError for what is damaged.
    """
    if isinstance(source, Path) and source.is_dir():
        yield list(_of_folder(source))
    elif zipfile.is_zipfile(_opened(source)):
        with zipfile.ZipFile(_opened(source)) as archive:
            yield list(_of_zip(archive))
    elif isinstance(source, Path) and source.name.endswith((".tar.gz", ".tgz", ".tar")):
        with tarfile.open(source) as tar:
            yield list(_of_tar(tar))
    else:
        yield None


def gzip_header(source: Source) -> str | None:
    """Return what the header of a gzip file says of its making: time, file name and system (RFC 1952, 2.3); None for another file."""
    with _stream(source) as stream:
        head = stream.read(10)
    if len(head) < 10 or head[:2] != b"\x1f\x8b":
        return None
    return f"time {int.from_bytes(head[4:8], 'little')}, flags {head[3]}, system {head[9]}"


def _of_folder(root: Path) -> Iterator[Member]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*files, *folders]):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            kind = "link" if stat.S_ISLNK(mode) else "folder" if stat.S_ISDIR(mode) else "file"
            traits = {"mode": f"{stat.S_IMODE(mode):o}"} if kind != "link" else {"target": os.fspath(path.readlink())}
            yield Member(path=path.relative_to(root).as_posix(), kind=kind, open=_opener(path, kind), traits=traits)


def _of_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        traits = {
            "mode": f"{info.external_attr >> 16:o}" if info.external_attr >> 16 else f"{info.external_attr:#x}",
            "time": "{}-{:02}-{:02} {:02}:{:02}:{:02}".format(*info.date_time),
            "compression": f"{info.compress_type} ({info.compress_size} bytes)",
            "system": str(info.create_system),
            "extra fields": info.extra.hex() or "none",
        }
        kind = "folder" if info.is_dir() else "file"
        yield Member(path=info.filename, kind=kind, open=_zip_opener(archive, info), traits=traits)


def _of_tar(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        kind = "file" if info.isreg() else "folder" if info.isdir() else "link" if info.issym() or info.islnk() else "other"
        traits = {
            "mode": f"{info.mode:o}",
            "time": str(info.mtime),
            "owner": f"{info.uid}:{info.gid} {info.uname}:{info.gname}",
            "target": info.linkname,
            "headers": str(sorted(item for item in info.pax_headers.items() if item[0] not in _TOLD)),
        }
        yield Member(path=info.name, kind=kind, open=_tar_opener(archive, info), traits=traits)


def _opener(path: Path, kind: str) -> Callable[[], BinaryIO]:
    return (lambda: path.open("rb")) if kind == "file" else _nothing


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    return lambda: archive.open(info)  # type: ignore[return-value]


def _tar_opener(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], BinaryIO]:
    return lambda: archive.extractfile(info) or _nothing() if info.isreg() else _nothing()  # type: ignore[return-value]


def _nothing() -> BinaryIO:
    return io.BytesIO()


def _opened(source: Source) -> Path | BinaryIO:
    return source if isinstance(source, Path) else io.BytesIO(source)


@contextmanager
def _stream(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    with source.open("rb") as stream:
        yield stream


def ungzipped(source: Source) -> BinaryIO:
    """Return the bytes that a gzip file unpacks to."""
    return gzip.open(source if isinstance(source, Path) else io.BytesIO(source))  # type: ignore[return-value]
