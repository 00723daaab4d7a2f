"""Let onnx and onnxruntime work on a model in a process of their own, with a time limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from hatch_mlbundle.errors import ProgramError
from hatch_mlbundle.optimizer import Json

_SCRIPT = Path(__file__).with_name("isolated.py")
_SECONDS = 900.0
_INHERITED = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")
_LONGEST = 300


def call(scratch: Path, action: str, *, seconds: float = _SECONDS, **arguments: Json) -> dict[str, Json]:
    """Return what the action of isolated.py answers; raises ProgramError where it fails, crashes, or takes longer than `seconds`.

    `scratch` is a folder for the request, and the one that the process works in. Paths in messages are cut down to names.
    """
    request = scratch / "request.json"
    request.write_text(json.dumps({"action": action, **arguments}), encoding="utf-8")
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        result = subprocess.run(
            [sys.executable, "-I", str(_SCRIPT), str(request)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch,
            env={**environment, "TMPDIR": str(scratch), "OPENBLAS_NUM_THREADS": "1"},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"was stopped after {seconds:g} seconds") from error
    answer = _answer(result)
    if "error" in answer:
        raise ProgramError(one_line(answer["error"], scratch))
    return answer


def one_line(text: str, *folders: Path) -> str:
    """Return a message in one line, without the folders that mean nothing to its reader, cut where it is absurdly long.

    What cannot be printed becomes a space: libraries repeat a model's names, which could steer a terminal.
    """
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(str(folder), "")
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _answer(result: subprocess.CompletedProcess[bytes]) -> dict[str, Json]:
    if result.returncode < 0:
        raise ProgramError(f"crashed (signal {-result.returncode}, {signal.strsignal(-result.returncode)})")
    try:
        answer: dict[str, Json] = json.loads(result.stdout)
    except ValueError as error:
        raise ProgramError(f"ended with status {result.returncode} and no answer") from error
    return answer
