"""SARIF 2.1.0: breaches of the budget and findings, at the lines of pyproject.toml that they come from.

The format: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0"; what GitHub shows of it: docs.github.com, "SARIF
support for code scanning".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hatch_mlbundle import __version__
from hatch_mlbundle.budget import ABOUT_THE_BUDGET, BudgetCheck, LimitResult, breach_line, findings_of
from hatch_mlbundle.budget_groups import project_name
from hatch_mlbundle.canonical import digest
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Finding
from hatch_mlbundle.printable import printable
from hatch_mlbundle.toml_lines import Key, line_of, toml_lines

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_BUDGET = "budget"
_OURS: Key = ("tool", "mlbundle")
_MOST = 5_000
"""Results that GitHub takes of one upload."""

_Json = dict[str, Any]


def sarif_report(
    check: BudgetCheck, manifest: Manifest, pyproject: str, place: str = "pyproject.toml", *, overlays: Sequence[Sequence[str]] = ()
) -> str:
    """Return the JSON text, ASCII alone.

    `pyproject` is the text of the file that the locations point into, `place` its path in the repository, with `/` between its parts.
    Of `overlays`, the tables that may be laid over [tool.mlbundle] for this artifact, the first that is there counts.
    """
    lines = toml_lines(pyproject)
    there = (tuple(table) for table in overlays if any(key[: len(table)] == tuple(table) for key in lines))
    source = _Source(uri=quote(place.encode(errors="surrogateescape")), lines=lines, overlay=next(there, _OURS))
    findings = [each for each in manifest.findings if not each.code.startswith(ABOUT_THE_BUDGET)]  # those of the check count
    results = [_of_limit(each, source) for each in check.results if each.status in ("over", "overridden")]
    keys = {finding: tuple(_key(each.key)) for each in check.results for finding in findings_of(each)}
    results += [_of_finding(each, (_BUDGET, *keys.get(each, ())), source) for each in check.findings]
    results += [_of_finding(each, (each.optimizer,) if each.optimizer else (), source) for each in findings]
    rules = [_rule(each) for each in sorted({result["ruleId"] for result in results})]
    run = {
        "tool": {"driver": {"name": "mlbundle", "version": __version__, "rules": rules}},
        "automationDetails": {"id": f"mlbundle/{quote(printable(project_name(manifest.artifact)), safe='')}/"},
        "columnKind": "unicodeCodePoints",
        "results": results[:_MOST],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The file that locations point into, the lines of its keys, and the table that is laid over [tool.mlbundle]."""

    uri: str
    lines: Mapping[Key, int]
    overlay: Key

    def location(self, key: Key) -> _Json:
        """Return where a key of [tool.mlbundle] is, or where the table that is laid over it has one of its own."""
        depth = len(self.overlay) + 1
        overlaid = any(each[:depth] == (*self.overlay, *key[:1]) for each in self.lines)
        line = line_of(self.lines, (*(self.overlay if overlaid else _OURS), *key))
        artifact = {"uri": self.uri, "uriBaseId": "%SRCROOT%"}
        return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": line}}}


def _of_limit(result: LimitResult, source: _Source) -> _Json:
    """Return a limit that is exceeded; what was not measured is among the check's findings."""
    level = "error" if result.status == "over" else "note"
    reason = f"; overridden: {printable(result.reason)}" if result.reason is not None else ""
    location = source.location((_BUDGET, *_key(result.key)))
    return _result(_BUDGET, level, f"{breach_line(result)}{reason}", location, ["limit", result.limit])


def _of_finding(finding: Finding, key: Key, source: _Source) -> _Json:
    """Return a finding at a key: its own path is one inside the artifact, and stands in the message."""
    identity = ["finding", finding.optimizer, finding.path, re.sub(r"\d+", "0", finding.message)]
    return _result(finding.code, "warning", finding.line(), source.location(key), identity)


def _result(rule: str, level: str, message: str, location: _Json, identity: list[str | None]) -> _Json:
    """Return one result. Its fingerprint has nothing that changes with every build, like sizes and lines."""
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": message},
        "locations": [location],
        "partialFingerprints": {"mlbundle/v1": digest([rule, *identity])},
    }


def _rule(code: str) -> _Json:
    """Return what is to be known of a code: where its section in the documentation is."""
    if code == _BUDGET:
        text = "An artifact is over a limit of [tool.mlbundle.budget]."
        helped = "Make it smaller, raise the limit, or override it with a written reason: docs/budgets.md of hatch-mlbundle."
        return _reporting(code, text, helped, "error")
    text = f"Finding {code} of hatch-mlbundle."
    return _reporting(code, text, f"What it means and what to do: docs/findings.md of hatch-mlbundle, section {code}.", "warning")


def _reporting(code: str, text: str, helped: str, level: str) -> _Json:
    return {"id": code, "shortDescription": {"text": text}, "help": {"text": helped}, "defaultConfiguration": {"level": level}}


def _key(path: str) -> Iterator[str | int]:
    """Yield the parts of a TOML path like `rules[0].installed`."""
    for name, position in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        yield int(position) if position else name
