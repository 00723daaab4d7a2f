from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import hatch_mlbundle

PACKAGE = Path(hatch_mlbundle.__file__).parent
DOCS = PACKAGE.parent / "docs"
FINDINGS = DOCS / "findings.md"
CODE = re.compile(r"\bMB\d{3}\b")


def codes_in_the_source() -> set[str]:
    return {code for path in PACKAGE.rglob("*.py") for code in CODE.findall(path.read_text(encoding="utf-8"))}


def sections() -> dict[str, str]:
    """Return the text below each heading that names a code."""
    found: dict[str, str] = {}
    for section in re.split(r"^#+ ", FINDINGS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        for code in CODE.findall(heading):
            assert code not in found, f"{code} has two headings"
            found[code] = text.strip()
    return found


def test_every_finding_has_its_section_and_every_section_its_finding() -> None:
    assert codes_in_the_source() == set(sections())


def test_every_section_says_something() -> None:
    assert [code for code, text in sections().items() if len(text.split()) < 10] == []


def test_sections_stand_in_order() -> None:
    assert list(sections()) == sorted(sections())


def test_the_tables_of_options_are_up_to_date() -> None:
    checked = subprocess.run([sys.executable, DOCS / "update.py", "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_evaluator_in_the_documentation_can_be_registered() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (DOCS / "accuracy.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "accuracy.md", "exec"), names)
    (evaluator,) = names["mlbundle_register_evaluators"]()
    assert evaluator().fits(Path("model.mine"))
    assert not evaluator().fits(Path("model.onnx"))
