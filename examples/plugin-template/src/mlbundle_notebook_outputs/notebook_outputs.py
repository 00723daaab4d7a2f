"""Take outputs out of Jupyter notebooks (nbformat 4, https://nbformat.readthedocs.io/en/latest/format_description.html)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from hatch_mlbundle.api import (
    Bundle,
    Change,
    Context,
    Detail,
    File,
    Finding,
    Json,
    KeptError,
    Optimizer,
    Options,
    Rewrite,
    Risk,
    Size,
    Task,
    UnsoundResultError,
    option,
)

LARGEST = 100 * 10**6
"""Bytes of a notebook, at most, that is read into memory."""


@dataclass(frozen=True, kw_only=True)
class NotebookOutputsOptions(Options):
    """Which outputs go."""

    keep_tag: str = option("Cells with this tag keep their outputs.", default="keep-output")
    min_size: Size = option("Notebooks smaller than this stay as they are.", default=1000)


class NotebookOutputs(Optimizer[NotebookOutputsOptions]):
    """Takes the outputs out of Jupyter notebooks; source and Markdown stay as they are."""

    name = "notebook_outputs"
    version = "1"  # raise it whenever the result for the same notebook may differ: the cache goes by it
    risk: ClassVar[Risk] = "low"
    options_type = NotebookOutputsOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each notebook that has outputs."""
        notebooks = [
            bundle[path] for path in sorted(bundle) if path.endswith(".ipynb") and self._is_wanted(bundle[path])
        ]
        facts = context.examine("outputs", [file for file in notebooks if context.selects(file.path)], self._examine)
        for path, fact in facts.items():
            if "problem" in fact:
                context.report(Finding(code="NBO001", path=path, message=f"{fact['problem']}; it stays as it is"))
            elif fact["outputs"]:
                yield Rewrite(path=path, reason=f"{fact['outputs']} outputs, which running it makes again")

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        """Write the notebook without its outputs, formatted as Jupyter does."""
        notebook = _read(task.source)
        cleared = sum(self._clear(cell) for cell in _cells(notebook))
        if not cleared:
            raise KeptError("no cell has outputs")
        task.target.write_bytes(_written(notebook))
        return {"cells-cleared": cleared}

    def check(self, task: Task, context: Context) -> None:
        """Prove that only outputs are gone."""
        before, after = _read(task.source), _read(task.target)
        for cell in _cells(before):
            self._clear(cell)
        if before != after:
            raise UnsoundResultError("more than outputs has changed")

    def _is_wanted(self, file: File) -> bool:
        return file.link is None and self.options.min_size <= file.size <= LARGEST

    def _examine(self, file: File) -> dict[str, Any]:
        """Return how many outputs a notebook has, or what is wrong with it: by its bytes and the options alone."""
        try:
            cells = _cells(_parse(file.read()))
        except ValueError as error:
            return {"problem": str(error)}
        return {"outputs": sum(len(cell["outputs"]) for cell in cells if self._goes(cell))}

    def _goes(self, cell: dict[str, Any]) -> bool:
        tags = cell.get("metadata", {}).get("tags", [])
        return cell["cell_type"] == "code" and bool(cell["outputs"]) and self.options.keep_tag not in tags

    def _clear(self, cell: dict[str, Any]) -> bool:
        """Take the outputs out of a cell; return whether there were any."""
        goes = self._goes(cell)
        if goes:
            cell["outputs"], cell["execution_count"] = [], None
        return goes


def _read(path: Path) -> Json:
    try:
        return _parse(path.read_bytes())
    except ValueError as error:
        raise UnsoundResultError(str(error)) from error


def _parse(data: bytes) -> Json:
    """Return the JSON in a notebook; raises ValueError where it is none, or where writing it again would change it."""
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_exact)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON that can be written again ({error})") from error


def _written(notebook: Json) -> bytes:
    """Return a notebook as Jupyter writes it; raises KeptError where UTF-8 or Python's stack does not hold it."""
    try:
        return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise KeptError(f"it cannot be written again ({error})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _exact(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


def _cells(notebook: Json) -> list[dict[str, Any]]:
    """Return the cells of a notebook, each of the form that nbformat 4 gives it; raises ValueError where one is not."""
    if not (isinstance(notebook, dict) and notebook.get("nbformat") == 4):
        raise ValueError("it is no notebook of format 4")
    cells = notebook.get("cells")
    if not (isinstance(cells, list) and all(map(_is_cell, cells))):
        raise ValueError("its cells are not as nbformat 4 has them")
    return cells


def _is_cell(cell: Json) -> bool:
    if not (isinstance(cell, dict) and isinstance(cell.get("metadata", {}), dict)):
        return False
    tags = cell.get("metadata", {}).get("tags", [])
    return isinstance(tags, list) and (cell.get("cell_type") != "code" or isinstance(cell.get("outputs"), list))
