"""The record in a wheel's dist-info of what was done to it (docs/provenance.md). Nothing in it depends on time, place or machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hatch_mlbundle.decode import decode, foreign_version
from hatch_mlbundle.errors import ManifestError

FORMAT = "mlbundle-record"
FORMAT_VERSION = "1.0"
"""Major and minor: a new minor adds keys, a new major changes what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who writes a record or an SBOM, and when: seconds since 1970, None where no moment is to be told."""

    name: str
    version: str
    moment: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The wheel that a run began with: its SHA-256 in hex and its bytes, the number of its files and their bytes as installed.

    Neither RECORD nor this record count among the files.
    """

    sha256: str
    size: int
    files: int
    installed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the steps of a run left, counted as in Input; the wheel that holds the record cannot tell its own hash."""

    files: int
    installed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStep:
    """A step that changed something: its options where they are not the defaults, and the number of files by what became of them."""

    optimizer: str
    distribution: str
    version: str
    lossless: bool
    options: Mapping[str, Any]
    changes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """One run that changed the wheel."""

    generator: str
    before: Input
    after: Output
    steps: tuple[RecordedStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    runs: tuple[RecordedRun, ...]


def extended_record(data: bytes, where: str, run: RecordedRun) -> bytes:
    """Return a record, as UTF-8 JSON, with one more run; `data` is the record there is, empty where there is none.

    Keys of a later minor version stay. Raises ManifestError for what is no record, also for a major version other than ours.
    """
    document = _recorded(data, where) if data else {"format": FORMAT, "format_version": FORMAT_VERSION, "runs": []}
    head = [f" {_line(key)}: {_line(value)}" for key, value in document.items() if key != "runs"]
    runs = ",\n".join(_run_text(each) for each in (*document["runs"], asdict(run)))
    text = "{\n" + ",\n".join([*head, f' "runs": [\n{runs}\n ]']) + "\n}\n"
    return text.encode(errors="backslashreplace")


def _recorded(data: bytes, where: str) -> dict[str, Any]:
    """Return a record of ours as JSON has it."""
    try:
        document = json.loads(data)
        json.dumps(document, allow_nan=False)  # 1e999 is JSON, but what it is read as is not
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: is no JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ManifestError(f'{where}: is no record of mlbundle (it lacks "format": "{FORMAT}")')
    if problem := foreign_version(document, FORMAT_VERSION):
        raise ManifestError(f"{where}: {problem}")
    decode(_Document, document, where)
    return document


def _run_text(run: Mapping[str, Any]) -> str:
    lines = [f"   {_line(key)}: {_line(value)}" for key, value in run.items() if key != "steps"]
    steps = ",\n".join(f"    {_line(step)}" for step in run["steps"])
    lines.append(f'   "steps": [\n{steps}\n   ]')
    return "  {\n" + ",\n".join(lines) + "\n  }"


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
