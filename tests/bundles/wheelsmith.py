"""Small inputs for the tests of bundles: valid wheels from a dict, and zip archives with any header wrong."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hatch_mlbundle.bundles import zip_format

DIST_INFO = "demo-1.0.dist-info"
FILE_NAME = "demo-1.0-py3-none-any.whl"
FILES = {
    "demo/__init__.py": b"answer = 42\n",
    "demo/_native.so": b"\x7fELF" + bytes(range(256)) * 40,
    "demo/noise.bin": hashlib.shake_256(b"noise").digest(3000),
    "demo/empty.py": b"",
    "demo.libs/libx.so": b"\x7fELF" + b"x" * 5000,
    "top.py": b"import demo\n",
    "demo-1.0.data/purelib/extra/__init__.py": b"extra = 1\n",
    "demo-1.0.data/scripts/run": b"#!python\nimport demo\n",
}
METADATA = {
    "METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
    "WHEEL": b"Wheel-Version: 1.0\nGenerator: wheelsmith\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
LISTED = {**FILES, **{f"{DIST_INFO}/{name}": data for name, data in METADATA.items()}}
"""All files of the wheel but RECORD."""


def record_row(path: str, data: bytes, algorithm: str = "sha256") -> str:
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).decode().rstrip("=")
    return f"{path},{algorithm}={digest},{len(data)}\n"


def build_wheel(
    folder: Path,
    files: Mapping[str, bytes] = FILES,
    *,
    record: str | None = None,
    unlisted: Mapping[str, bytes] | None = None,
    dist_info: str = DIST_INFO,
    metadata: Mapping[str, bytes] = METADATA,
    name: str = FILE_NAME,
    stream: Any = None,
) -> Path:
    """Write a wheel with these files; `record` replaces RECORD's text, `unlisted` files are not in RECORD."""
    path = folder / name
    listed = {**files, **{f"{dist_info}/{entry}": data for entry, data in metadata.items()}}
    if record is None:
        record = "".join(record_row(entry, data) for entry, data in listed.items()) + f"{dist_info}/RECORD,,\n"
    with zipfile.ZipFile(stream or path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in {**listed, **(unlisted or {}), f"{dist_info}/RECORD": record.encode()}.items():
            info = zipfile.ZipInfo(entry, (2021, 3, 4, 5, 6, 8))
            info.external_attr = (0o100755 if entry.endswith((".so", "/run")) else 0o100644) << 16
            info.compress_type = zipfile.ZIP_STORED if entry.endswith(".bin") else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


class Unseekable(io.RawIOBase):
    """A stream that can only be written on, as a pipe: zipfile puts data descriptors behind the members."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member to craft: `local` and `central` replace header fields, `behind` follows the data."""

    name: bytes
    data: bytes = b""
    deflated: bool = False
    local: Mapping[str, int] = field(default_factory=dict)
    central: Mapping[str, int] = field(default_factory=dict)
    local_name: bytes | None = None
    local_extra: bytes = b""
    central_extra: bytes = b""
    behind: bytes = b""

    def raw(self) -> bytes:
        if not self.deflated:
            return self.data
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflater.compress(self.data) + deflater.flush()


def craft(*members: Member, end: Mapping[str, int] | None = None, before: bytes = b"", comment: bytes = b"") -> bytes:
    """Return a zip archive of these members, with every field as it should be but for those replaced."""
    body, directory = before, b""
    for member in members:
        common = {
            "version_needed": 20,
            "flags": 0,
            "method": 8 if member.deflated else 0,
            "time": 0,
            "date": 0x21,
            "crc32": zlib.crc32(member.data),
            "compressed_size": len(member.raw()),
            "size": len(member.data),
        }
        local_name = member.name if member.local_name is None else member.local_name
        lengths = {"name_length": len(local_name), "extra_length": len(member.local_extra)}
        local = zip_format.LocalHeader(signature=b"PK\x03\x04", **{**common, **lengths, **member.local})  # type: ignore[arg-type]
        rest = {"version_made_by": 0x314, "comment_length": 0, "disk": 0, "internal_attributes": 0}
        rest |= {"external_attributes": 0o100644 << 16, "offset": len(body)}
        lengths = {"name_length": len(member.name), "extra_length": len(member.central_extra)}
        central = zip_format.CentralHeader(signature=b"PK\x01\x02", **{**common, **rest, **lengths, **member.central})  # type: ignore[arg-type]
        body += zip_format.LOCAL.pack(*local) + local_name + member.local_extra + member.raw() + member.behind
        directory += zip_format.CENTRAL.pack(*central) + member.name + member.central_extra
    count = len(members)
    record = zip_format.EndRecord(b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), len(comment))
    return body + directory + zip_format.END.pack(*record._replace(**(end or {}))) + comment
