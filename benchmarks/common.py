"""What the benchmarks share: wheels from the registry, timed commands, memory as the operating system counts it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DOWNLOADS = Path(os.environ.get("MLBUNDLE_BENCHMARKS", Path.home() / ".cache" / "mlbundle-benchmarks")) / "wheels"
"""Where downloaded wheels stay from one run to the next."""

MLBUNDLE = (sys.executable, "-m", "hatch_mlbundle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished command: wall time in seconds, peak memory in bytes of its largest process, standard output."""

    seconds: float
    peak: int
    output: str


def run(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Run:
    """Run a command; end the benchmark with its output where it fails."""
    wrapped = [sys.executable, "-c", _MEASURE, *map(str, command)]
    start = time.perf_counter()
    result = subprocess.run(wrapped, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{result.stdout}{result.stderr}")
    *_, peak = result.stderr.splitlines()
    return Run(seconds=seconds, peak=int(peak), output=result.stdout)


_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024), file=sys.stderr)
sys.exit(code)
"""


def download(*requirements: str) -> list[Path]:
    """Return the wheels of these requirements, without what they depend on; downloaded once for each platform and Python."""
    folder = DOWNLOADS / f"{sysconfig.get_platform()}-{platform.python_version()}"
    folder.mkdir(parents=True, exist_ok=True)
    wheels = []
    for requirement in requirements:
        place = folder / requirement
        if not list(place.glob("*.whl")):
            run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", place, requirement])
        wheels += place.glob("*.whl")
    return wheels


def link_or_copy(source: str, target: str) -> str:
    """Link a file where that is possible; nothing writes into it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def cold(folder: Path) -> dict[str, str]:
    """Return the environment of a run whose cache is a new, empty folder."""
    return {"MLBUNDLE_CACHE_DIR": str(folder)}


def row(*cells: object, widths: Sequence[int]) -> str:
    """Return a line of a table: the first cell to the left, the others to the right."""
    first, *rest = zip(map(str, cells), widths, strict=True)
    return first[0].ljust(first[1]) + "".join(text.rjust(width) for text, width in rest)


def describe_machine() -> str:
    """Return what the figures were measured on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"
