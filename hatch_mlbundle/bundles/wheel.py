"""Read a wheel: check its shape, and go once through all its bytes to check them against RECORD and tell what each file is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from email.parser import HeaderParser
from pathlib import Path
from types import TracebackType

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Bundle, File

from .record import SIGNATURES, RecordRow, parse_record
from .wheel_scan import Faults, MemberFacts, describe, examine_all, listing_faults
from .zip_reader import Limits, ZipMember, ZipReader

_LARGEST_WHEEL = 1 << 20
_LARGEST_RECORD = 1 << 28
_IMPORTABLE = ("purelib", "platlib")

REQUIRED = ("WHEEL", "METADATA", "RECORD")
"""The files in dist-info that make an archive a wheel (PEP 427, "The .dist-info directory")."""


class WheelSource(AbstractContextManager["WheelSource"]):
    """A wheel open for reading; use it in a `with` statement, for the files of its bundle are read from it.

    `members` maps path to zip member in the archive's order, `record` path to RECORD's row; `dist_info` is that folder's
    name and `signatures` holds the paths of files that sign RECORD. `size` is the wheel's in bytes; `compressed_sizes` by
    path and `structure_size` (headers, central directory, gaps) add up to it.
    """

    def __init__(self, path: Path, archive: ZipReader) -> None:
        self.path = path
        self._archive = archive
        self.members: Mapping[str, ZipMember] = archive.members
        self.size = archive.size
        self.structure_size = archive.structure_size
        self.dist_info = self._find_dist_info()
        self.record_path = f"{self.dist_info}/RECORD"
        self.signatures = tuple(signed for name in SIGNATURES if (signed := f"{self.dist_info}/{name}") in self.members)
        self._check_wheel_version()
        self.record: Mapping[str, RecordRow] = self._read_record()

    @classmethod
    def open(cls, path: Path, *, limits: Limits | None = None, allow_signed: bool = False) -> WheelSource:
        """Open a wheel; raises ArtifactError where it is damaged, hostile or no wheel, and for a signed one unless allowed."""
        archive = ZipReader(path, limits or Limits())
        try:
            source = cls(path, archive)
            if source.signatures and not allow_signed:
                raise source.fault(
                    f"is signed ({source.signatures[0]}), and any change breaks the signature; "
                    "`allow-signed = true` in `[tool.mlbundle]` drops the signature files"
                )
        except BaseException:
            archive.close()
            raise
        return source

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the wheel: the files of its bundle cannot be read any more."""
        self._archive.close()

    def sha256(self) -> str:
        """Return the SHA-256, in hex, of the wheel that is open, whatever stands under its name by now."""
        return self._archive.sha256()

    @property
    def compressed_sizes(self) -> Mapping[str, int]:
        """Bytes that each member takes up in the archive, by path."""
        return {path: member.compressed_size for path, member in self.members.items()}

    def scan(self, workers: int, known: Mapping[str, MemberFacts] | None = None, folder: Path | None = None) -> Bundle:
        """Return the wheel's files, after reading each once on `workers` threads.

        Raises ArtifactError where a member is damaged, or RECORD lacks it, lists more, or gives another hash or size. What
        `known` holds from an earlier scan of the same wheel (same SHA-256!) is believed and not read again. Native files
        and models that are read are left unpacked in `folder`, if there is one.
        """
        known = known or {}
        exempt = {self.record_path, *self.signatures}
        rows = {path: row for path, row in self.record.items() if path not in exempt}
        self._refuse(listing_faults(self.members.keys() - exempt, rows.keys()))
        unread = [member for path, member in self.members.items() if path not in known]
        read, faults = examine_all(unread, rows, workers, folder)
        self._refuse(faults)
        facts = {**known, **read}
        return Bundle(self._file(member, facts[path]) for path, member in self.members.items())

    def owner_of(self, path: str) -> str:
        """Return the top-level package or module that a path belongs to, or a `.data` scheme's name.

        What lies in dist-info and in `NAME.libs` belongs to what the wheel is named for: mostly the package.
        """
        parts = path.split("/")
        if parts[0] == f"{self.dist_info.removesuffix('.dist-info')}.data" and len(parts) > 2:
            if parts[1] not in _IMPORTABLE:
                return parts[1]
            parts = parts[2:]
        if len(parts) == 1:
            return parts[0].partition(".")[0] or parts[0]
        return self.dist_info.partition("-")[0] if parts[0] == self.dist_info else parts[0].removesuffix(".libs")

    def fault(self, problem: str) -> ArtifactError:
        """Return the error that says `problem` of this wheel."""
        return ArtifactError(str(self.path), problem)

    def _refuse(self, faults: Faults) -> None:
        problem = describe(faults)
        if problem:
            raise self.fault(f"RECORD does not fit the wheel ({problem}); build the wheel again")

    def _file(self, member: ZipMember, facts: MemberFacts) -> File:
        return File(
            path=member.path,
            size=member.size,
            sha256=facts.sha256,
            mode=member.mode,
            kind=facts.kind,
            owner=self.owner_of(member.path),
            content=member,
        )

    def _find_dist_info(self) -> str:
        folders = sorted({top for path in self.members if (top := path.partition("/")[0]) != path and top.endswith(".dist-info")})
        if len(folders) != 1:
            raise self.fault(f"is no wheel: {len(folders)} dist-info folders where there must be one; build it again")
        try:
            expected = parse_wheel_filename(self.path.name)[:2]
        except InvalidWheelFilename as error:
            raise self.fault(f"is not named as a wheel: {error}; give it back the name it was built with") from None
        name, _, version = folders[0].removesuffix(".dist-info").partition("-")
        try:
            found = canonicalize_name(name), Version(version)
        except InvalidVersion:
            found = None
        if found != expected:
            raise self.fault(f"holds {folders[0]}, which is not what its file name says; give it back the name it was built with")
        for required in REQUIRED:
            if f"{folders[0]}/{required}" not in self.members:
                raise self.fault(f"is no wheel: it has no {folders[0]}/{required}; build it again")
        return folders[0]

    def _check_wheel_version(self) -> None:
        """Refuse other major versions of the format (PEP 427, "The .dist-info directory")."""
        headers = HeaderParser().parsestr(self._read_text(f"{self.dist_info}/WHEEL", _LARGEST_WHEEL))
        version = str(headers.get("Wheel-Version", "")).strip()
        if version.partition(".")[0] != "1":
            raise self.fault(f"has Wheel-Version {version!r}; this release of mlbundle knows 1.x")

    def _read_record(self) -> Mapping[str, RecordRow]:
        try:
            return parse_record(self._read_text(self.record_path, _LARGEST_RECORD))
        except ValueError as error:
            raise self.fault(f"{error}; build the wheel again") from None

    def _read_text(self, path: str, largest: int) -> str:
        member = self.members[path]
        if member.size > largest:
            raise self.fault(f"has a {path} of {member.size} bytes; mlbundle reads {largest} at most")
        try:
            return b"".join(member.chunks()).decode("utf-8")
        except UnicodeDecodeError:
            raise self.fault(f"{path} is not UTF-8; build the wheel again") from None
