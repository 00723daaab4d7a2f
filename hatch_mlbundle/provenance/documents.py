"""Put into a changed wheel what tells of it: the record of what was done, and SBOMs that fit what it holds now."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.wheel_artifact import RECORD_NAME
from hatch_mlbundle.config import Settings
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import Bundle, File, Finding, MemoryContent
from hatch_mlbundle.pipeline import Outcome

from .record import Author
from .recording import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Which documents are asked for, and who writes them.

    `private` are folders of this machine that no document may name: the project's, the user's.
    """

    settings: Settings
    author: Author
    private: tuple[Path, ...]

    def put_into(self, before: Side, outcome: Outcome) -> Outcome:
        """Return an outcome that changed a wheel with the documents in its bundle as well."""
        dist_info = _dist_info(before.bundle)
        findings: list[Finding] = []
        sboms = self._sboms(f"{dist_info}/sboms/", dist_info, before.bundle, outcome.bundle, findings)
        written = outcome.bundle.replacing(_file(outcome.bundle, dist_info, path, data) for path, data in sboms.items())
        if self.settings.record:
            written = self._with_record(written, f"{dist_info}/{RECORD_NAME}", before, outcome, findings)
        return replace(outcome, bundle=written, findings=(*outcome.findings, *findings))

    def _sboms(self, folder: str, dist_info: str, before: Bundle, after: Bundle, findings: list[Finding]) -> dict[str, bytes]:
        """Return the SBOMs to write, by path: what makes them takes time, and most wheels have none."""
        own: dict[str, bytes] = {}
        if self.settings.sbom:
            from . import inventory

            own[f"{folder}{inventory.NAME}"] = inventory.inventory(after, dist_info, self.author)
        if not any(path.startswith(folder) for path in after):
            return own
        from .changes import FileChanges
        from .sboms import Sboms

        sboms = Sboms(changes=FileChanges(before=before, after=after), folder=folder, findings=findings)
        return {**dict(sboms.updated(own)), **own}

    def _with_record(self, bundle: Bundle, path: str, before: Side, outcome: Outcome, findings: list[Finding]) -> Bundle:
        """Return the bundle with the record; without, where the steps saved less than it takes."""
        try:
            data = Recorder(author=self.author, private=self.private).record(path, before, outcome)
        except ManifestError as error:
            message = f"stays as it is, and nothing is added to it: {str(error).removeprefix(f'{path}: ')}"
            findings.append(Finding(code="MB953", path=path, message=message))
            return bundle
        return bundle.replacing([_file(bundle, path.rpartition("/")[0], path, data)]) if data else bundle


def _dist_info(bundle: Bundle) -> str:
    """Return the name of a wheel's dist-info, which has RECORD in it."""
    return next(path for path in bundle if path.endswith(".dist-info/RECORD") and path.count("/") == 1).partition("/")[0]


def _file(bundle: Bundle, dist_info: str, path: str, data: bytes) -> File:
    """Return a document as a file of the bundle, in place of the one there is, else as one of the same owner as RECORD."""
    model = bundle.get(path) or replace(bundle[f"{dist_info}/RECORD"], mode=0o644, kind=identify(path, data[:HEAD]))
    return replace(model, path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(), content=MemoryContent(data))
