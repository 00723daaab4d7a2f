"""Hold what was just built against the budget, before it takes the place of anything."""

from __future__ import annotations

from dataclasses import replace

from .budget import ABOUT_THE_BUDGET, BudgetCheck, Performance, check_budget
from .errors import BudgetError
from .job import Job
from .manifest import Manifest
from .verification.report import Verification

_TABLE = "budget"
"""The table of a configuration that sets the limits."""


def held(job: Job, manifest: Manifest, verification: Verification | None) -> BudgetCheck | None:
    """Return what came of the budget, None where it is switched off; raises BudgetError where a limit is exceeded."""
    settings = job.config.settings.budget
    if not settings.enabled:
        return None
    former = job.baseline.manifest if job.baseline else None
    checked = check_budget(settings, manifest, former, performance_of(verification))
    if checked.breaches:
        raise BudgetError(checked.lines())
    return checked


def held_anew(former: Manifest, now: Manifest) -> Manifest:
    """Return the earlier manifest of an artifact with what came of the budget now: limits, reasons and findings may be others."""
    configuration = {key: value for key, value in former.configuration.items() if key != _TABLE}
    if _TABLE in now.configuration:
        configuration[_TABLE] = now.configuration[_TABLE]
    findings = [finding for finding in former.findings if not finding.code.startswith(ABOUT_THE_BUDGET)]
    findings += [finding for finding in now.findings if finding.code.startswith(ABOUT_THE_BUDGET)]
    return replace(former, configuration=configuration, findings=tuple(findings), budget=now.budget)


def performance_of(verification: Verification | None) -> Performance | None:
    """Return the slowest command's seconds and the largest one's memory, None where nothing was verified."""
    if verification is None or not verification.commands:
        return None
    after = [row.after for row in verification.commands]
    return Performance(seconds=max(each.seconds for each in after), peak_memory=max(each.peak_memory for each in after))
