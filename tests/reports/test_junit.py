from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from hatch_mlbundle.reports.junit import junit_report
from tests.budgetsmith import HOSTILE, MB, checked, file_row, manifest_of

NOW = manifest_of([file_row("torch/lib.so", 97 * MB, owner="torch"), file_row("app/a.py", MB)])
TABLE = {
    "installed": "100 MB",
    "files": 1,
    "startup": 1.5,
    "rules": [{"owner": "torch", "installed": "90 MB"}],
    "overrides": [{"limit": "torch: installed", "reason": "the new <kernels> & more"}],
}
SUITES = {"name", "time", "tests", "failures", "disabled", "errors"}
SUITE = {*SUITES, "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url", "version"}
CASE = {"name", "assertions", "time", "classname", "status", "class", "file", "line"}
ATTRIBUTES = {
    "testsuites": SUITES,
    "testsuite": SUITE,
    "testcase": CASE,
    "failure": {"message", "type"},
    "skipped": {"message", "type"},
    "system-out": set(),
}
"""What Jenkins' junit-10.xsd lets an element have, of those that are written here."""
CHILDREN = {"testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "skipped", "system-out"}}


def valid(text: str) -> ET.Element:
    """Parse the document and hold it to the rules of junit-10.xsd; return its one suite."""
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag]
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        for count in {"tests", "failures", "errors", "skipped"} & set(element.attrib):
            assert element.attrib[count].isdecimal()
    (suite,) = root
    assert {"name", "tests"} <= set(suite.attrib)
    cases = suite.findall("testcase")
    assert all(case.get("name") and case.get("classname") for case in cases)
    assert int(suite.attrib["tests"]) == len(cases)
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
    assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
    return suite


def test_each_limit_is_a_case() -> None:
    suite = valid(junit_report(checked(TABLE, NOW)))
    assert [case.get("name") for case in suite] == ["installed", "files", "startup", "torch: installed"]
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["skipped"], ["system-out"]]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "budget: files is 2, 1 over the 1 allowed (app 1, torch 1)"
    assert failure.text == "tool.mlbundle.budget.files"
    assert suite.findtext("testcase/system-out") == "overridden: the new <kernels> & more"


def test_no_limits_are_an_empty_suite() -> None:
    assert len(valid(junit_report(checked({}, NOW)))) == 0


@pytest.mark.parametrize("name", [HOSTILE, "]]>", "\ufffe\uffff\x00", "-->", "x" * 300])
def test_names_that_xml_cannot_hold(name: str) -> None:
    manifest = manifest_of([file_row("x", MB, owner=name)], name=name)
    rule = {"files": "*", "name": "".join(filter(str.isprintable, name)) or "x", "count": 0}
    text = junit_report(checked({"installed": 0, "rules": [rule]}, manifest))
    suite = valid(text)
    assert text.encode()
    assert (suite.get("name") or "").isprintable()


def test_the_text_is_the_same_each_time() -> None:
    assert junit_report(checked(TABLE, NOW)) == junit_report(checked(TABLE, NOW))
