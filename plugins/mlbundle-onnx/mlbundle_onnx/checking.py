"""Prove a changed model: its structure, that a session opens, and that it computes what the original does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatch_mlbundle.errors import ModelError, ProgramError, UnsoundResultError
from hatch_mlbundle.model import Finding
from hatch_mlbundle.optimizer import Context, Json
from hatch_mlbundle.units import format_size

from .comparing import Likeness, compare, is_telling, load_outputs
from .isolation import call, one_line
from .modelfile import read_model
from .sample_inputs import COUNT, feeds, inputs_of

_SECONDS = 120.0
_BYTES_A_SECOND = 10 * 10**6
"""How long a model may take to open and to run on all generated inputs: a hostile one could run for ever."""

GENERATED = "generated, which proves less than your own samples do"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The original as onnxruntime can open it: `files` are those of its external data, by location; `size` is all its bytes."""

    path: Path
    files: Mapping[str, Path]

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return sum(path.stat().st_size for path in {self.path, *self.files.values()})


def staged(path: Path, files: Mapping[str, Path], folder: Path) -> Subject:
    """Return the model as it can be opened: onnxruntime wants external data below the model's folder, with links resolved.

    Where the files' own folders do not serve, they get other names (or copies) in `folder`. Raises OSError.
    """
    real = path.resolve()
    resolved = {location: file.resolve() for location, file in files.items()}
    if all(file == real.parent / location for location, file in resolved.items()):
        return Subject(path=real, files=resolved)
    names = {path.name: real, **resolved}
    for name, file in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, folder / name)
        except OSError:
            shutil.copyfile(file, folder / name)
    return Subject(path=folder / path.name, files={location: folder / location for location in files})


class Comparer:
    """Runs the original once, and each candidate for it, on inputs that are made up.

    Models larger than `largest` bytes are not opened. Raises ModelError where the original cannot be opened: nothing could be proven.
    """

    def __init__(self, original: Subject, scratch: Path, largest: int) -> None:
        self._original = original
        self._scratch = scratch
        self._is_opened = original.size <= largest
        self._seconds = _SECONDS + original.size / _BYTES_A_SECOND
        self._feeds: list[Path] = []
        self._why = f"{format_size(original.size)} are more than `max-opened`" if not self._is_opened else ""
        scratch.mkdir(parents=True, exist_ok=True)
        if self._is_opened:
            self._run_original()

    def compare(self, candidate: Path, least: float) -> dict[str, Json]:
        """Return what the manifest says of a candidate; raises UnsoundResultError where it is no model, or its cosine is below `least`."""
        try:
            if not self._is_opened:
                call(self._scratch, "check", model=str(candidate))
                return {"inputs": None, "why": self._why}
            outputs = str(self._scratch / "candidate-")
            files = [str(path) for path in self._feeds]
            asked = {"model": str(candidate), "checks": True, "feeds": [files], "outputs": outputs}
            answer = call(self._scratch, "run", seconds=self._seconds, **asked)
        except ProgramError as error:
            raise UnsoundResultError(one_line(str(error), candidate.parent)) from error
        if not self._feeds or self._why:
            return {"inputs": None, "why": self._why}
        if answer["ran"] is None:
            raise UnsoundResultError(f"it does not run, as the original does: {one_line(answer['reason'])}")
        likeness = self._likeness("original-0-", "candidate-0-")
        if not likeness.keeps(least):
            cosine, relative = f"{likeness.cosine:.5f}", f"{likeness.relative_error:.3g}"
            told = f"its outputs have a cosine of {cosine} to the original's, and a relative error of {relative}"
            raise UnsoundResultError(f"{told}; `min-cosine` is {least:g}")
        return {"inputs": GENERATED, **described(likeness), "samples": len(self._feeds)}

    def report(self, context: Context, path: str) -> None:
        """Report where no outputs could be compared."""
        if self._why:
            message = f"its outputs were not compared with the original's ({self._why}); try it on samples of your own"
            context.report(Finding(code="MB723", path=path, message=message))

    def _run_original(self) -> None:
        model = read_model(self._original.path, self._original.files)
        sets: list[list[Path]] = []
        try:
            sets = [self._save(arrays, number) for number, arrays in enumerate(feeds(inputs_of(model)))]
            self._why = "" if sets else "its inputs are too large to be made up"
        except ModelError as error:
            self._why = str(error)
        outputs = str(self._scratch / "original-")
        names = [[str(path) for path in each] for each in sets]
        checks = not self._original.files  # onnx.checker refuses hard links, which a cache may have made
        try:
            asked = {"model": str(self._original.path), "checks": checks, "feeds": names, "outputs": outputs, "times": 2}
            answer = call(self._scratch, "run", seconds=self._seconds, **asked)
        except ProgramError as error:
            raise ModelError(f"the original itself fails: {one_line(str(error), self._original.path.parent)}") from error
        if answer["ran"] is None:
            self._why = self._why or f"the original does not run on generated inputs: {one_line(answer['reason'])}"
            return
        self._feeds = sets[answer["ran"]]
        if not self._likeness("original-0-", "original-1-").is_exact:
            self._why = "the original's outputs differ from run to run"
        elif not any(is_telling(load_outputs(self._scratch / f"original-0-{number}.npz")) for number in range(COUNT)):
            self._why = "no output holds a finite floating-point number"

    def _save(self, arrays: Iterator[list[Any]], number: int) -> list[Path]:
        import numpy as np

        paths = []
        for position, feed in enumerate(arrays):
            paths.append(self._scratch / f"feed-{number}-{position}.npz")
            np.savez(paths[-1], *feed)
        return paths

    def _likeness(self, before: str, after: str) -> Likeness:
        pairs = [(self._scratch / f"{before}{number}.npz", self._scratch / f"{after}{number}.npz") for number in range(COUNT)]
        return compare((load_outputs(first), load_outputs(second)) for first, second in pairs)


def described(likeness: Likeness) -> dict[str, Json]:
    """Return a likeness as the manifest holds it, rounded."""
    errors = {"relative_error": likeness.relative_error, "max_relative_error": likeness.largest_error}
    detail: dict[str, Json] = {"cosine": round(likeness.cosine, 6), **{name: float(f"{error:.3g}") for name, error in errors.items()}}
    return detail if likeness.equal is None else {**detail, "equal": round(likeness.equal, 4)}
