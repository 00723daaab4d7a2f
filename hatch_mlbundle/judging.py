"""The judge of accuracy as one piece of work sees it: what nothing can run is told once, with the model's path in the bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .model import Finding
from .optimizer import Judge, Measured, SearchBy

_UNMEASURED = (
    "nothing that is installed runs such a model, so that its accuracy was not measured; install what does (mlbundle-onnx, "
    "mlbundle-torch), or measure it by a `command` in [tool.mlbundle.accuracy]"
)


@dataclass(slots=True, kw_only=True)
class TellingJudge:
    """Implements Judge by another one, and reports a finding about `path` where that measures nothing."""

    judge: Judge
    path: str
    report: Callable[[Finding], None]
    told: bool = field(default=False, init=False)

    @property
    def search(self) -> SearchBy:
        """How the smallest result within the bound is to be searched for."""
        return self.judge.search

    def measure(self, original: Path, candidate: Path) -> Measured | None:
        """Return how the candidate does, None where nothing can run such a model; raises AccuracyError."""
        measured = self.judge.measure(original, candidate)
        if measured is None and not self.told:
            self.told = True
            self.report(Finding(code="MB751", path=self.path, message=_UNMEASURED))
        return measured
