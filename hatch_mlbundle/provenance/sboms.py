"""Keep the SBOMs in a wheel's dist-info right (PEP 770), and tell of those that cannot be."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hatch_mlbundle.model import Finding

from .changes import FileChanges
from .cyclonedx import Updated, updated_text
from .grafted import is_grafted

_LARGEST = 1 << 26
"""Bytes of an SBOM that nobody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sboms:
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
                text = updated_text(data, document) if update.changed else data
            except (ValueError, RecursionError):
                self._warn(path, data, "is nested too deeply, or has more references or other numbers than it may, and")
                continue
            known |= update.known
            generators += [path] if path.endswith("/auditwheel.cdx.json") else []
            if update.changed:
                yield path, text
        self._tell_of_strangers(known, generators)

    def _warn(self, path: str, data: bytes, why: str) -> None:
        """Tell of a document that stays as it is although it names what was dropped or changed, by path or hash."""
        lowered = data.lower()
        for changed, file in self.changes.touched.items():
            named = "/" in changed and changed.encode(errors="replace").lower() in lowered
            if named or file.sha256.encode() in lowered:
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
