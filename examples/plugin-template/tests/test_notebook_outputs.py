from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hatch_mlbundle.api import File
from hatch_mlbundle.testing import Files, assert_laws, optimize, run, wheel_from

from mlbundle_notebook_outputs.notebook_outputs import NotebookOutputs

PICTURE = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=" * 200}, "metadata": {}}


def code(*source: str, outputs: list[Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"cell_type": "code", "execution_count": 3, "metadata": metadata, "outputs": outputs or [], "source": source}


def notebook(*cells: dict[str, Any]) -> str:
    text = {"cell_type": "markdown", "metadata": {}, "source": ["# Plots é"]}
    return json.dumps({"cells": [text, *cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


FILES: Files = {
    "pkg/plots.ipynb": notebook(code("plot(1e-5)", outputs=[PICTURE]), code("x = 1")),
    "pkg/kept.ipynb": notebook(code("plot()", outputs=[PICTURE], tags=["keep-output"])),
    "pkg/__init__.py": "",
}


def without_outputs(file: File) -> Any:
    found = json.loads(file.read())
    for cell in found["cells"]:
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
    return found


def test_outputs_go_and_the_rest_stays() -> None:
    result = run(NotebookOutputs, FILES)
    assert result.changed == {"pkg/plots.ipynb": "1 outputs, which running it makes again"}
    after = json.loads(result.files["pkg/plots.ipynb"])
    assert [cell.get("outputs") for cell in after["cells"]] == [None, [], []]
    assert result.saved > len(PICTURE["data"]["image/png"])  # type: ignore[index]


def test_options() -> None:
    assert run(NotebookOutputs, FILES, {"min-size": "1 MB"}).changed == {}
    assert sorted(run(NotebookOutputs, FILES, {"keep-tag": "mine"}).changed) == ["pkg/kept.ipynb", "pkg/plots.ipynb"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"nbformat": 3, "worksheets": []}', "it is no notebook of format 4"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "its cells are not as nbformat 4 has them"),
        ('{"nbformat": 4, "nbformat": 4}', "it is no JSON that can be written again (a key stands twice)"),
        ('{"nbformat": 4, "cells": [NaN]}', "it is no JSON that can be written again (NaN is no JSON)"),
    ],
)
def test_what_cannot_be_read_stays_and_is_told(text: str, problem: str) -> None:
    result = run(NotebookOutputs, {"a.ipynb": text}, {"min-size": 0})
    assert result.changed == {}
    (finding,) = result.findings
    assert (finding.code, finding.path, finding.message) == ("NBO001", "a.ipynb", f"{problem}; it stays as it is")


def test_what_cannot_be_written_again_stays() -> None:
    nested = "[" * 700 + "]" * 700
    for source in ('"\\ud800"', nested):
        text = notebook(code("x", outputs=[PICTURE])).replace('"x"', source)
        result = run(NotebookOutputs, {"a.ipynb": text})
        assert list(result.kept) == ["a.ipynb"]
        assert (result.findings, result.misdeeds) == ((), ())


def test_the_laws() -> None:
    assert_laws(
        NotebookOutputs,
        FILES,
        {"min-size": 0},
        equivalent=lambda before, after: without_outputs(before) == without_outputs(after),
    )


def test_a_real_wheel(tmp_path: Path) -> None:
    manifest = optimize(NotebookOutputs, wheel_from(tmp_path, FILES))
    assert manifest.artifact.after.installed < manifest.artifact.before.installed
