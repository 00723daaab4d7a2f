"""Run an evaluator, or the user's command, as a process of its own: a crash or a hang ends in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hatch_mlbundle.errors import AccuracyError, TrialError
from hatch_mlbundle.trials.process import Bounds, Command, Ended, run

from .evaluator import Evaluator

_WRITTEN = 50 * 10**9
"""Bytes that a run may write."""

_TAIL = 1 << 16
"""Bytes at the end of an output in which the last line is looked for."""

_LONGEST = 300
_COMMAND = "the command in [tool.mlbundle.accuracy]"
_FIXED = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
"""What decides outputs though it is no matter of the model; nothing is fetched while a model is measured."""


def outputs_of(evaluator: Evaluator, model: Path, samples: Path, folder: Path, seconds: float) -> Path:
    """Return the file (outputs.py) with what the model gives for the samples; `folder` is an empty one. Raises AccuracyError."""
    cls = type(evaluator)
    request, outputs, fault = (folder / name for name in ("request.json", "outputs.zip", "fault"))
    (folder / "work").mkdir()
    asked = {
        "evaluator": f"{cls.__module__}:{cls.__qualname__}",
        "model": str(model.absolute()),
        "samples": str(samples.absolute()),
        "outputs": str(outputs.absolute()),
        "fault": str(fault.absolute()),
    }
    request.write_text(json.dumps(asked), encoding="utf-8")
    command = Command(
        arguments=(sys.executable, "-m", "hatch_mlbundle.accuracy.worker", str(request.absolute())),
        folder=folder / "work",
        environment={**os.environ, **_FIXED, "PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path)},  # noqa: PTH109
    )
    ended = _run(command, folder, seconds)
    if fault.exists():
        raise AccuracyError(f"evaluator {evaluator.name}: {fault.read_text(encoding='utf-8')}")
    if ended.status != 0 or not outputs.exists():
        raise AccuracyError(f"evaluator {evaluator.name}: {_ending(ended)}")
    return outputs


def number_of(arguments: Sequence[str], places: Mapping[str, str], folder: Path, seconds: float) -> float:
    """Return the number in the last line that a command prints; `places` are its placeholders, `folder` is an empty one.

    Raises AccuracyError.
    """
    (folder / "work").mkdir()
    filled = tuple(re.sub(r"\{(\w+)\}", lambda match: places.get(match[1], match[0]), each) for each in arguments)
    ended = _run(Command(arguments=filled, folder=folder / "work", environment={**os.environ, "PYTHONHASHSEED": "0"}), folder, seconds)
    if ended.status != 0:
        raise AccuracyError(f"{_COMMAND}: {_ending(ended)}")
    line = _last_line(ended.stdout)
    try:
        return float(line)
    except ValueError as error:
        raise AccuracyError(f"{_COMMAND}: its last line is no number: {line!r}" if line else f"{_COMMAND}: it prints nothing") from error


def _run(command: Command, folder: Path, seconds: float) -> Ended:
    try:
        return run(command, Bounds(seconds=seconds, written=_WRITTEN), folder / "said")
    except TrialError as error:
        raise AccuracyError(str(error)) from error


def _ending(ended: Ended) -> str:
    if ended.status is None:
        return f"it {ended.overrun}; raise `timeout` in [tool.mlbundle.accuracy], or take fewer samples"
    how = f"it was killed by {_signal(-ended.status)}" if ended.status < 0 else f"it failed with exit status {ended.status}"
    line = _last_line(ended.stderr)
    return f"{how}: {line}" if line else how


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(path: Path) -> str:
    """Return the last line of an output that is not empty, without control characters, cut where it is absurdly long."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        lines = stream.read().decode(errors="replace").splitlines()
    line = next((line for line in reversed(lines) if line.strip()), "")
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", line).strip()[:_LONGEST]
