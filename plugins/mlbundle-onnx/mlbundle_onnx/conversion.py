"""Carry out one conversion: make candidates of a model, prove them, and take the one that is good."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from posixpath import dirname, join, relpath

from hatch_mlbundle.errors import KeptError, ProgramError, UnsoundResultError
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Json, Measured

from .checking import Comparer, staged
from .isolation import call, one_line
from .modelfile import locations, read_graph

Make = Callable[[Path], dict[str, Json]]
"""Writes a candidate, with its external data, into an empty folder laid out as the bundle is; returns what the manifest is to say."""


class Conversion:
    """One model on its way; `least` is the cosine that generated inputs have to keep, models above `largest` bytes are not opened.

    Raises ModelError, OSError.
    """

    def __init__(self, task: ConvertTask, context: Context, *, least: float, largest: int) -> None:
        self._task = task
        self._context = context
        self._least = least
        self._largest = largest
        self._comparer: Comparer | None = None
        path = task.change.path
        places = {location: join(dirname(path), location) for location in locations(read_graph(task.sources[path]))}
        self.files = {location: task.sources[place] for location, place in places.items()}
        self.original = staged(task.sources[path], self.files, task.scratch / "original")

    @property
    def path(self) -> str:
        """The model's path in the bundle."""
        return self._task.change.path

    @property
    def location(self) -> str:
        """What the model is to call its external data."""
        data = [each for each in self._task.change.outputs if each != self.path]
        return relpath(data[0], dirname(self.path) or ".") if data else ""

    def data_path(self, folder: Path) -> Path:
        """Return where in a folder the external data goes; a name that is not used where there is to be none."""
        return folder / dirname(self.path) / (self.location or ".none")

    def folder(self, name: str) -> Path:
        """Return a new, empty folder for work, in place of the one that had this name before."""
        folder = self._task.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def size(self, folder: Path) -> int:
        """Return the bytes of a candidate's files."""
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def measured(self, folder: Path) -> Measured | None:
        """Return how a candidate does on the user's samples; None where there are none, or nothing runs it. Raises AccuracyError."""
        judge = self._context.judge
        return judge.measure(self.original.path, folder / self.path) if judge else None

    def compared(self, folder: Path) -> dict[str, Json]:
        """Return how a candidate does on generated inputs; raises UnsoundResultError, ModelError."""
        if self._comparer is None:
            self._comparer = Comparer(self.original, self._task.scratch / "runs", self._largest)
        return self._comparer.compare(folder / self.path, self._least)

    def checked(self, folder: Path, measured: Measured | None) -> dict[str, Json]:
        """Return the proof of a candidate for the manifest: the samples', or else the generated inputs'."""
        if measured is None:
            return self.compared(folder)
        if not measured.keeps:
            raise KeptError(f"{measured.metric} {measured.value:.6g} does not keep the bound of [tool.mlbundle.accuracy]")
        try:
            call(self._task.scratch, "check", model=str(folder / self.path))
        except ProgramError as error:
            raise UnsoundResultError(one_line(f"onnx.checker refuses it: {error}", folder)) from error
        return {"inputs": "samples", "metric": measured.metric, "value": float(f"{measured.value:.6g}")}

    def take(self, folder: Path, detail: Mapping[str, Json]) -> dict[str, Detail]:
        """Let a candidate be the result, and return the details of its model."""
        if self._comparer is not None:
            self._comparer.report(self._context, self.path)
        for output in self._task.change.outputs:
            if (folder / output).exists():
                (self._task.target / output).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(folder / output, self._task.target / output)
        return {self.path: dict(detail)}

    def single(self, make: Make) -> dict[str, Detail]:
        """Make one candidate, and take it where it is proven."""
        folder = self.folder("candidate")
        detail = make(folder)
        if self.size(folder) >= sum(self._task.sources[path].stat().st_size for path in self._task.change.sources):
            raise KeptError("not smaller when rewritten")
        return self.take(folder, {**detail, "comparison": self.checked(folder, self.measured(folder))})
