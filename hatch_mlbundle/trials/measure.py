"""How long a command takes from its start to its exit, and how much memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from hatch_mlbundle.errors import FailedRunError

from .evidence import signal_name, telling_line
from .process import Bounds, Command, Ended, Wrap, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Wall time from start to exit in seconds, and the median of the runs' peak memory in bytes (process.Ended says of what)."""

    runs: int
    seconds_median: float
    seconds_min: float
    seconds_max: float
    peak_memory_median: int


def measure(command: Command, bounds: Bounds, runs: int, *, warmup: int = 0, wrap: Wrap | None = None) -> Measurement:
    """Run a command several times, after `warmup` runs that do not count; raises FailedRunError where it does not exit with 0."""
    (measured,) = measure_in_turn([command], bounds, runs, warmup=warmup, wrap=wrap)
    return measured


def measure_in_turn(
    commands: Sequence[Command], bounds: Bounds, runs: int, *, warmup: int = 0, wrap: Wrap | None = None
) -> list[Measurement]:
    """Measure several commands in turn, so that what slows the machine for a while slows them all; raises as `measure` does."""
    kept: list[list[Ended]] = [[] for _ in commands]
    for number in range(warmup + runs):
        for command, done in zip(commands, kept, strict=True):
            ended = _succeed(command, bounds, wrap)
            if number >= warmup:
                done.append(ended)
    return [summary(done) for done in kept]


def summary(runs: Sequence[Ended]) -> Measurement:
    """Return what several runs of one command took together."""
    seconds = [each.seconds for each in runs]
    return Measurement(
        runs=len(runs),
        seconds_median=median(seconds),
        seconds_min=min(seconds),
        seconds_max=max(seconds),
        peak_memory_median=round(median(each.peak_memory for each in runs)),
    )


def _succeed(command: Command, bounds: Bounds, wrap: Wrap | None) -> Ended:
    with tempfile.TemporaryDirectory(prefix="mlbundle-") as scratch:
        ended = run(command, bounds, Path(scratch), wrap)
        if ended.status == 0:
            return ended
        said = telling_line(ended)
    name = signal_name(ended.status or 0)
    how = ended.overrun or (f"crashed: {name}" if name else f"exited with {ended.status}")
    raise FailedRunError(f"{command.arguments[0]}: {how}{': ' if said else ''}{said}; there is nothing to measure")
