"""JUnit XML, as Jenkins and GitLab read it: each limit of the budget as a test case.

The format is that of Jenkins' junit-10.xsd (jenkinsci/xunit-plugin); GitLab reads the same (docs.gitlab.com, "Unit test reports").
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hatch_mlbundle.budget import BudgetCheck, LimitResult, breach_line
from hatch_mlbundle.printable import printable

_INVALID = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document can hold, not even escaped (section 2.2, "Char")."""


def junit_report(check: BudgetCheck) -> str:
    """Return the XML text: a breach is a failure, what was not measured is skipped, an override tells its reason."""
    failures = len(check.breaches)
    skipped = sum(result.status == "unmeasured" for result in check.results)
    totals = {"name": "mlbundle budget", "tests": str(len(check.results)), "failures": str(failures), "errors": "0"}
    root = ET.Element("testsuites", totals)
    suite = ET.SubElement(root, "testsuite", {**totals, "name": _text(check.artifact), "skipped": str(skipped)})
    for result in check.results:
        _add_case(suite, result)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add_case(suite: ET.Element, result: LimitResult) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": "mlbundle.budget", "name": _text(result.limit)})
    if result.status == "unmeasured":
        ET.SubElement(case, "skipped", {"message": _text(result.note)})
    elif result.status == "over":
        failure = ET.SubElement(case, "failure", {"message": breach_line(result), "type": "over-budget"})
        failure.text = f"tool.mlbundle.budget.{result.key}"
    if result.reason is not None:
        ET.SubElement(case, "system-out").text = _text(f"overridden: {result.reason}")


def _text(text: str) -> str:
    """Return the text with what XML cannot hold, and whatever else is not printable, escaped."""
    return _INVALID.sub(lambda match: match[0].encode("unicode_escape").decode(), printable(text))
