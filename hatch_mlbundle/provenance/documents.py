"""Put into a changed wheel what tells of it: the record of what was done, and SBOMs that fit what it holds now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.wheel_artifact import RECORD_NAME
from hatch_mlbundle.config import Settings
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import Bundle, File, Finding, MemoryContent
from hatch_mlbundle.pipeline import Outcome

from . import inventory
from .changes import FileChanges
from .cyclonedx import Updated, updated_text
from .grafted import is_grafted
from .inventory import Author
from .recording import Recorder

_LARGEST = 1 << 26
"""Bytes of an SBOM that nobody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What tells of a wheel: its dist-info, who writes, and which documents are asked for.

    `private` are folders of this machine that no document may name: the project's, the user's.
    """

    settings: Settings
    author: Author
    private: tuple[Path, ...]

    def put_into(self, before: Side, outcome: Outcome) -> Outcome:
        """Return an outcome that changed a wheel with the documents in its bundle as well."""
        dist_info = _dist_info(before.bundle)
        changes = FileChanges(before=before.bundle, after=outcome.bundle)
        findings: list[Finding] = []
        folder = f"{dist_info}/sboms/"
        own = {f"{folder}{inventory.NAME}": inventory.inventory(outcome.bundle, dist_info, self.author)} if self.settings.sbom else {}
        documents = {**dict(_Sboms(changes=changes, folder=folder, findings=findings).updated(own)), **own}
        written = outcome.bundle.replacing(_file(outcome.bundle, dist_info, path, data) for path, data in documents.items())
        if self.settings.record:
            written = self._with_record(written, f"{dist_info}/{RECORD_NAME}", before, outcome, findings)
        return replace(outcome, bundle=written, findings=(*outcome.findings, *findings))

    def _with_record(self, bundle: Bundle, path: str, before: Side, outcome: Outcome, findings: list[Finding]) -> Bundle:
        """Return the bundle with the record; without, where the steps saved less than it takes."""
        try:
            data = Recorder(author=self.author, private=self.private).record(path, before, outcome)
        except ManifestError as error:
            message = f"stays as it is, and nothing is added to it: {str(error).removeprefix(f'{path}: ')}"
            findings.append(Finding(code="MB953", path=path, message=message))
            return bundle
        return bundle.replacing([_file(bundle, path.rpartition("/")[0], path, data)]) if data else bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sboms:
    """The SBOMs in `folder` (PEP 770: `NAME.dist-info/sboms/`); `findings` takes what is to be told of them."""

    changes: FileChanges
    folder: str
    findings: list[Finding]

    def updated(self, without: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield those that must be written anew, but for those whose paths are in `without`."""
        known: set[str] = set()
        generators = []
        for path, file in self.changes.after.items():
            if not path.startswith(self.folder) or path in without or file.size > _LARGEST:
                continue
            data = file.read()
            document = _cyclonedx(data)
            if document is None or "signature" in document:
                self._warn(path, data, "is signed, and" if document else "is no CycloneDX document in JSON, and")
                continue
            try:
                update = Updated(document, self.changes)
            except RecursionError:
                self._warn(path, data, "is nested too deeply, and")
                continue
            known |= update.known
            generators += [path] if path.endswith("/auditwheel.cdx.json") else []
            if update.changed:
                yield path, updated_text(data, document)
        self._tell_of_strangers(known, generators)

    def _warn(self, path: str, data: bytes, why: str) -> None:
        """Tell of a document that stays as it is although it names what was dropped or changed, by path or hash."""
        lowered = data.lower()
        for changed, file in self.changes.touched.items():
            if changed.encode(errors="replace").lower() in lowered or file.sha256.encode() in lowered:
                self.findings.append(
                    Finding(code="MB951", path=path, message=f"{why} stays as it is, but {changed} is no longer as it says")
                )
                return

    def _tell_of_strangers(self, known: set[str], generators: Sequence[str]) -> None:
        """Tell of grafted libraries that were dropped although auditwheel's SBOM tells of their packages, of which one cannot say which."""
        for path in generators:
            strangers = [each for each in self.changes.touched if is_grafted(each) and each not in self.changes.after and each not in known]
            for each in strangers:
                message = f"may still name the package that {each} came from, which was dropped: what it says does not tell which that is"
                self.findings.append(Finding(code="MB952", path=path, message=message))


def _cyclonedx(data: bytes) -> dict[str, Any] | None:
    """Return a CycloneDX document, None for anything else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("bomFormat") == "CycloneDX" else None


def _dist_info(bundle: Bundle) -> str:
    """Return the name of a wheel's dist-info, which has RECORD in it."""
    return next(path for path in bundle if path.endswith(".dist-info/RECORD") and path.count("/") == 1).partition("/")[0]


def _file(bundle: Bundle, dist_info: str, path: str, data: bytes) -> File:
    model = bundle.get(path, bundle[f"{dist_info}/RECORD"])
    kind = identify(path, data[:HEAD])
    return replace(
        model, path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(), kind=kind, content=MemoryContent(data), mode=0o644
    )
