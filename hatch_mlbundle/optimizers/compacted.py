"""Libraries out of which loaded ranges were taken: programs that rewrite ELF files know nothing of such holes, and break them."""

from __future__ import annotations

from collections.abc import Sequence

from hatch_mlbundle.model import Finding
from hatch_mlbundle.optimizer import Context

COMPACTED = "loaded ranges were taken out of it, which only our own writer keeps right"
"""Why such a library stays."""


def report_compacted(paths: Sequence[str], program: str, context: Context) -> None:
    """Report once that a program is not let at such libraries, if there are any."""
    if paths:
        more = f", like {len(paths) - 1} more" if len(paths) > 1 else ""
        message = f"left alone{more}: loaded ranges were taken out (cpu_code, gpu_code), and what {program} makes of that does not load"
        context.report(Finding(code="MB436", path=paths[0], message=message))
