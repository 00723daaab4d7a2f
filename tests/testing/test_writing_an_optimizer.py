"""What docs/writing-an-optimizer.md shows works as it stands there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from hatch_mlbundle.testing import LAWS
from tests.projects import REPOSITORY

PAGE = (REPOSITORY / "docs" / "writing-an-optimizer.md").read_text(encoding="utf-8")


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL)
    assert [name for name, _ in blocks] == ["mlbundle_maps.py", "try_it.py", "test_maps.py"]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("try_it.py")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == (
        "{'pkg/app.js': 'it names a source map that goes', 'pkg/app.js.map': 'only a debugger in a browser reads source maps'}"
    )
    assert printed[1] == r"b'run()\n' 34"
    assert int(printed[3]) == (tmp_path / "dist" / "example-1.0-py3-none-any.whl").stat().st_size
    runpy.run_path("test_maps.py")["test_the_laws"]()


def test_every_law_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE.partition("## The laws")[2].partition("### With")[0], flags=re.MULTILINE)
    assert rows == list(LAWS)
