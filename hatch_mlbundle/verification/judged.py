"""What is left of the pipeline's outcome once it was verified, or where it was not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from hatch_mlbundle.model import Finding
from hatch_mlbundle.pipeline import Outcome

from .report import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is left of an outcome after verification, and the report, None where there was none."""

    outcome: Outcome
    report: Verification | None


class Proof(Protocol):
    """Judges what the pipeline did."""

    def judge(self, outcome: Outcome) -> Judged:
        """Return what is left of an outcome; raises VerificationError where it is not to be had."""


@dataclass(frozen=True, slots=True)
class Trust:
    """A proof that nobody asked for, or that cannot be had: `findings` says why."""

    findings: tuple[Finding, ...] = ()

    def judge(self, outcome: Outcome) -> Judged:
        """Return the outcome as it is."""
        return Judged(outcome=replace(outcome, findings=(*outcome.findings, *self.findings)), report=None)
