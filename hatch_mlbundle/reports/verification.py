"""How an artifact was verified, for a terminal: each command with its time and memory before and after, and each step's where asked for."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.units import format_size
from hatch_mlbundle.verification.report import IN_ALL, Measured, StepResult, Verification


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
    """Draw a row for each step: the time of the slowest command, the memory of the one that takes the most."""
    table = _table("after step", "installed", "change", "start", "memory", "accuracy", "risk")
    compared = any(row.compared not in ("ignore", "exit status") for row in verification.commands)
    first, *others = verification.steps
    before = first
    table.add_row(first.step, format_size(first.installed), "", _slowest(first), _largest(first))
    for step in others:
        change = step.installed - (first if step.step == IN_ALL else before).installed
        cells = format_size(step.installed), format_size(change) if change else "", _slowest(step), _largest(step)
        table.add_row(step.step, *cells, _accuracy(step, compared=compared), step.risk or "")
        before = step
    return table


def _slowest(step: StepResult) -> str:
    return f"{max(each.seconds for each in step.measured):.2f} s"


def _largest(step: StepResult) -> str:
    return format_size(max(each.peak_memory for each in step.measured))


def _accuracy(step: StepResult, *, compared: bool) -> str:
    if step.is_broken:
        return "broken"
    if step.put_back and step.step != IN_ALL:
        return f"{step.put_back:,} put back"
    return f"off {step.deviation:.1e}" if step.deviation else "same" if compared else "-"


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
