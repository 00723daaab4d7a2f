from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import hatch_mlbundle
from docs.our_plugins import our_optimizers
from hatch_mlbundle import hookspecs
from tests.contents.inspecting import inspecting, parts_of

PACKAGE = Path(hatch_mlbundle.__file__).parent
DOCS = PACKAGE.parent / "docs"
FINDINGS = DOCS / "findings.md"
CODE = re.compile(r"\bMB\d{3}\b")


def codes_in_the_source() -> set[str]:
    packages = [PACKAGE, *PACKAGE.parent.glob("plugins/*/mlbundle_*")]
    sources = (path for package in packages for path in package.rglob("*.py"))
    return {code for path in sources for code in CODE.findall(path.read_text(encoding="utf-8"))}


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


def headings(page: str) -> list[str]:
    """Return the steps that have a section on a page, in its order."""
    return re.findall(r"^## `(\w+)`$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)


def rows_of(text: str) -> set[frozenset[str]]:
    """Return the cells of each row with figures, in a table or in columns, however they are set."""
    made_anew = re.sub(r"<!-- steps -->.*?<!-- end -->", "", text, flags=re.DOTALL).replace("`", "").replace("\N{MINUS SIGN}", "-")
    lines = [line for line in made_anew.splitlines() if re.search(r"\d", line)]
    return {frozenset(filter(None, map(str.strip, re.split(r"\||  +", line)))) for line in lines}


def test_every_step_has_its_section_on_what_it_may_break() -> None:
    assert headings("what-may-break.md") == [each.name for each in our_optimizers()]


def test_what_steps_were_measured_to_do_is_said_elsewhere_too() -> None:
    page = DOCS / "what-may-break.md"
    others = [path for each in ("README.md", "docs/*.md", "plugins/*/README.md") for path in DOCS.parent.glob(each) if path != page]
    known = {row for path in others for row in rows_of(path.read_text(encoding="utf-8"))}
    tables = "\n".join(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|"))
    own = rows_of(tables)
    assert len(own) > 15
    assert [row for row in own if not any(row <= other for other in known)] == []


def test_the_evaluator_in_the_documentation_can_be_registered() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (DOCS / "accuracy.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "accuracy.md", "exec"), names)
    (evaluator,) = names["mlbundle_register_evaluators"]()
    assert evaluator().fits(Path("model.mine"))
    assert not evaluator().fits(Path("model.onnx"))


def test_the_inspector_in_the_documentation_can_be_registered(tmp_path: Path) -> None:
    sources = re.findall(r"```python\n(.*?)```", (DOCS / "configuration.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    (source,) = (each for each in sources if "mlbundle_register_inspectors" in each)
    names: dict[str, Any] = {}
    exec(compile(source, "configuration.md", "exec"), names)
    (inspector,) = names["mlbundle_register_inspectors"]()
    path = tmp_path / "x.weights"
    path.write_bytes((3).to_bytes(8, "little") + bytes(12) + bytes(10))
    assert parts_of(path, "tensors", inspecting(inspector())) == {"F32": 12, "F16": 10, "(headers)": 8}
    path.write_bytes((30).to_bytes(8, "little"))
    assert parts_of(path, "tensors", inspecting(inspector())) is None


def test_every_hook_is_documented() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("mlbundle_")]
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    assert len(hooks) >= 3
    assert [name for name in hooks if f"def {name}(" not in text] == []


def test_every_benchmark_is_listed() -> None:
    listed = re.findall(r"^\| `benchmarks/(\w+\.py)` \|", (DOCS / "contributing.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (DOCS.parent / "benchmarks").glob("*.py") if path.name != "common.py")
