"""How an artifact was verified, for a terminal: each command with its time and memory before and after, and each step's where asked for."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.units import format_size
from hatch_mlbundle.verification.report import Measured, StepResult, Verification


def verification_report(verification: Verification) -> RenderableType:
    """Return the table of commands, that of steps where they were verified one by one, and one line that sums it up."""
    parts: list[RenderableType] = [_commands(verification)]
    if verification.steps:
        parts.append(_steps(verification))
    return Group(*parts, _verdict(verification))


def _commands(verification: Verification) -> Table:
    table = _table("verified by", "start to exit", "memory")
    for row in verification.commands:
        table.add_row(row.name, _change(_seconds(row.before), _seconds(row.after)), _change(_memory(row.before), _memory(row.after)))
    return table


def _steps(verification: Verification) -> Table:
    """The figures are those of the first command; of the problems, the first counts."""
    table = _table("after step", "installed", "start", "memory", "accuracy", "risk")
    for step in verification.steps:
        first = step.measured[0]
        table.add_row(step.step, format_size(step.installed), _seconds(first), _memory(first), _accuracy(step), step.risk)
    return table


def _accuracy(step: StepResult) -> str:
    if any(step.problems):
        return "broken"
    return "same" if not step.deviation else f"within {step.deviation:.1e}"


def _verdict(verification: Verification) -> Text:
    place = " in a clean root" if verification.jail else ""
    put_back = f", {len(verification.reverted):,} changes put back" if verification.reverted else ""
    return Text(f"works as before{place}: {verification.runs:,} runs{put_back}", style="green")


def _seconds(measured: Measured) -> str:
    return f"{measured.seconds:.2f} s"


def _memory(measured: Measured) -> str:
    return format_size(measured.peak_memory)


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold", ratio=1)
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table
