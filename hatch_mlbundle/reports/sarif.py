"""SARIF 2.1.0: breaches of the budget and findings, at the lines of pyproject.toml that they come from.

The format: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0"; what GitHub shows of it: docs.github.com, "SARIF
support for code scanning".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from hatch_mlbundle import __version__
from hatch_mlbundle.budget import BudgetCheck, LimitResult, breach_line
from hatch_mlbundle.budget_groups import project_name
from hatch_mlbundle.canonical import digest
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Finding
from hatch_mlbundle.printable import printable
from hatch_mlbundle.toml_lines import Key, line_of, toml_lines

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_BUDGET = "budget"
_TABLES: Sequence[Key] = (
    ("tool", "hatch", "build", "targets", "wheel", "hooks", "mlbundle"),
    ("tool", "hatch", "build", "targets", "frozen", "mlbundle"),
    ("tool", "hatch", "build", "hooks", "mlbundle"),
)
"""Tables that are laid over [tool.mlbundle]."""
_OURS: Key = ("tool", "mlbundle")
_ABOUT_THE_BUDGET = "MB82"
"""The codes of findings on the budget: those of the check count, not those of the build that the manifest is of."""
_MOST = 5_000
"""Results that GitHub takes of one upload."""

_Json = dict[str, Any]


def sarif_report(check: BudgetCheck, manifest: Manifest, pyproject: str, place: str = "pyproject.toml") -> str:
    """Return the JSON text, ASCII alone.

    `pyproject` is the text of the file that the locations point into, `place` its path in the repository, with `/` between its parts.
    """
    lines = toml_lines(pyproject)
    name = project_name(manifest.artifact)
    findings = [each for each in manifest.findings if not each.code.startswith(_ABOUT_THE_BUDGET)]
    results = [result for each in check.results if (result := _of_limit(each, lines))]
    results += [_of_finding(each, lines) for each in (*check.findings, *findings)]
    rules = [_rule(each) for each in sorted({result["ruleId"] for result in results})]
    location = {"uri": quote(place.encode(errors="surrogateescape")), "uriBaseId": "%SRCROOT%"}
    for result in results:
        (found,) = result["locations"]
        found["physicalLocation"]["artifactLocation"] = location
        result["ruleIndex"] = [rule["id"] for rule in rules].index(result["ruleId"])
    driver = {"name": "mlbundle", "version": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"mlbundle/{quote(printable(name), safe='')}/"},
        "columnKind": "unicodeCodePoints",
        "results": results[:_MOST],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _of_limit(result: LimitResult, lines: Mapping[Key, int]) -> _Json | None:
    """Return the result of a limit that is exceeded; what was not measured is among the check's findings."""
    if result.status not in ("over", "overridden"):
        return None
    level = "error" if result.status == "over" else "note"
    reason = f"; overridden: {printable(result.reason)}" if result.reason is not None else ""
    line = _line(lines, (_BUDGET, *_key(result.key)))
    return _result(_BUDGET, level, f"{breach_line(result)}{reason}", line, ["limit", result.limit])


def _of_finding(finding: Finding, lines: Mapping[Key, int]) -> _Json:
    """Return a finding, at the table of the step that it comes from; the message has the path, which is inside the artifact."""
    table: Key = (finding.optimizer,) if finding.optimizer else (_BUDGET,) if finding.code.startswith(_ABOUT_THE_BUDGET) else ()
    identity = ["finding", finding.optimizer, finding.path, re.sub(r"\d+", "0", finding.message)]
    return _result(finding.code, "warning", printable(finding.line()), _line(lines, table), identity)


def _result(rule: str, level: str, message: str, line: int, identity: list[str | None]) -> _Json:
    """Return one result; where the file is comes later. Its fingerprint has nothing that changes with every build: sizes, lines."""
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": message},
        "locations": [{"physicalLocation": {"region": {"startLine": line}}}],
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


def _line(lines: Mapping[Key, int], key: Key) -> int:
    """Return the line of a key of [tool.mlbundle], where a table laid over that has none of its own."""
    for table in _TABLES:
        if key and (*table, key[0]) in lines:
            return line_of(lines, (*table, *key))
    return line_of(lines, (*_OURS, *key))


def _key(path: str) -> Iterator[str | int]:
    """Yield the parts of a TOML path like `rules[0].installed`."""
    for name, position in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        yield int(position) if position else name
