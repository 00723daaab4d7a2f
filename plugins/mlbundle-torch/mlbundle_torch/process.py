"""Have work done by the worker (worker/), in a process of its own, within bounds: whatever happens there is one line here."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatch_mlbundle.errors import MissingLibraryError, ModelError, ProgramError, TrialError, UnsoundResultError
from hatch_mlbundle.optimizer import Json
from hatch_mlbundle.trials.process import Bounds, Command, Ended, run

WORKER = Path(__file__).with_name("worker")
"""Run by its path, so that an interpreter without this distribution can do the work, too."""

_MOST_WRITTEN = 10**12
_SETTLED = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
"""No network, no graphics card, one thread: the same numbers each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python with torch, and what work in it may take: `seconds`, and `memory` in bytes of its own (Linux; 0 means any)."""

    python: Path
    seconds: float
    memory: int

    def ask(self, request: Mapping[str, Json], scratch: Path) -> dict[str, Any]:
        """Return the worker's result for a request; `scratch` is an empty folder for it.

        Raises MissingLibraryError, ModelError for a model that is not as it must be, UnsoundResultError, ProgramError for a crash or
        what took too long.
        """
        asked, answered = scratch / "request.json", scratch / "answer.json"
        asked.write_text(json.dumps({**request, "memory": self.memory}), encoding="utf-8")
        command = Command(
            arguments=(str(self.python), str(WORKER), str(asked.absolute()), str(answered.absolute())),
            folder=scratch,
            environment={**os.environ, **_SETTLED},
        )
        try:
            ended = run(command, Bounds(seconds=self.seconds, written=_MOST_WRITTEN), scratch / "output")
        except TrialError as error:
            raise MissingLibraryError(f"{error}; correct `python`") from error
        if ended.status or ended.overrun or not answered.is_file():
            raise ProgramError(_ending(ended))
        return _result(json.loads(answered.read_text(encoding="utf-8")))

    def versions(self, distributions: Sequence[str], scratch: Path) -> dict[str, str | None]:
        """Return the interpreter's version and those of distributions it has, by name, without importing any."""
        found = self.ask({"action": "versions", "distributions": list(distributions)}, scratch)
        return {"python with torch": found["python"], **found["distributions"]}


def interpreter(python: str, project: Path, seconds: float, memory: int) -> Interpreter:
    """Return the interpreter that an option names, relative to `project`; this one where it names none."""
    path = Path(sys.executable) if not python else project / Path(python).expanduser()
    return Interpreter(python=path, seconds=seconds, memory=memory)


def _result(answer: Mapping[str, Any]) -> dict[str, Any]:
    if "error" not in answer:
        result: dict[str, Any] = answer["result"]
        return result
    if missing := answer.get("missing"):
        raise MissingLibraryError(f"{missing} is not installed where torch is; pip install '{_remedy(missing)}' there, or set `python`")
    if answer.get("unsound"):
        raise UnsoundResultError(answer["error"])
    raise ModelError(answer["error"])


def _remedy(library: str) -> str:
    heavy = library.split(".")[0] in ("transformers", "sentence_transformers", "tokenizers")
    return "mlbundle-torch[transformers]" if heavy else "mlbundle-torch"


def _ending(ended: Ended) -> str:
    """Return in one line how work ended that gave no answer."""
    if ended.overrun:
        return f"the process with torch {ended.overrun}; raise `seconds`, or look at what hangs"
    if ended.status is not None and ended.status < 0:
        name = signal.Signals(-ended.status).name if -ended.status in set(signal.Signals) else f"signal {-ended.status}"
        return f"the process with torch was killed by {name}; is there enough memory?"
    lines = ended.stderr.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"the process with torch failed with exit status {ended.status}: {lines[-1][:300] if lines else 'no message'}"
