"""Run a check in a process of its own, and compare what came of it: digests of results, or errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NO_IMAGE = "no kernel image is available"
"""CUDA's words (cudaErrorNoKernelImageForDevice) for code that is not there for the GPU."""
_MOST_TOLD = 10
_MOST_ERRORS = 0.1
"""The share of operations that may end in the same error: some devices lack some of them; where all do, nothing was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a process printed: by name a digest, or `error: ...`; `ending` is what it said where it did not end well, else empty."""

    results: Mapping[str, str]
    strays: Sequence[str]
    ending: str

    @property
    def errors(self) -> list[str]:
        """The names of what ended in an error."""
        return [name for name, result in self.results.items() if result.startswith("error")]


def outcome_of(script: Path, *arguments: str | Path, loading: str = "LAZY", tree: Path | None = None, seconds: float = 900) -> Outcome:
    """Run a script of this folder; `loading` is CUDA_MODULE_LOADING, `tree` what Python finds before its own installation."""
    before = [str(tree)] if tree else []
    environment = {
        **os.environ,
        "CUDA_MODULE_LOADING": loading,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS is not deterministic
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([*before, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, str(script), *map(str, arguments)]
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=seconds)
        output, ending = ended.stdout, f"ended with {ended.returncode}: {ended.stderr.strip()[-400:]}" if ended.returncode else ""
    except subprocess.TimeoutExpired as error:
        output, ending = (error.stdout or b"").decode(), f"took more than {seconds:g} s"
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")]
    results = {row["name"]: row.get("digest") or f"error: {row['error']}" for row in rows if "paths" not in row}
    strays = [path for row in rows for path in row.get("paths", ())]
    return Outcome(results=results, strays=strays, ending=ending)


def same(what: str, original: Outcome, again: Outcome | None, pruned: Outcome) -> bool:
    """Print whether a pruned library gave what the original gave, and where not; what the original gives otherwise `again` cannot count."""
    if problem := pruned.ending or original.ending or (again.ending if again else ""):
        print(f"FAILED  {what}: {problem}")
        return False
    if pruned.strays:
        print(f"FAILED  {what}: it used {pruned.strays[0]}, which is not under test")
        return False
    names = original.results.keys() | pruned.results.keys()
    unsteady = [name for name in names if again and again.results.get(name) != original.results.get(name)]
    differing = sorted(name for name in names if original.results.get(name) != pruned.results.get(name) and name not in unsteady)
    failed_alike = len(set(original.errors) & set(pruned.errors))
    fits = not differing and failed_alike <= _MOST_ERRORS * len(names) and bool(names)
    counts = f"{len(names) - len(unsteady) - len(differing):,} of {len(names):,} the same, to the bit"
    counts += f" ({failed_alike} of them errors)" if failed_alike else ""
    counts += f"; {len(unsteady)} are never twice the same" if unsteady else ""
    print(f"{'ok' if fits else 'FAILED'}  {what}: {counts}", flush=True)
    for name in differing[:_MOST_TOLD]:
        print(f"    {name}: {original.results.get(name, 'nothing')[:60]}, pruned: {pruned.results.get(name, 'nothing')[:200]}")
    return fits


def refused(what: str, outcome: Outcome) -> bool:
    """Print whether everything ended in an error, and CUDA's own one for code that is not there among them.

    What asks about a kernel, and does not launch it, has other words (`invalid device function`).
    """
    clear = [name for name in outcome.errors if NO_IMAGE in outcome.results[name]]
    fits = bool(clear) and len(outcome.errors) == len(outcome.results) and not outcome.ending
    told = f"{len(outcome.errors)} of {len(outcome.results)} end in errors, {len(clear)} of them '{NO_IMAGE}'"
    others = sorted({outcome.results[name] for name in outcome.errors} - {outcome.results[name] for name in clear})
    print(f"{'ok' if fits else 'FAILED'}  {what}: {told}{f'; others: {others[0][:80]}' if others else ''}", flush=True)
    if outcome.ending:
        print(f"    {outcome.ending}")
    return fits
