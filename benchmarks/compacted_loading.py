"""Compacted libraries against the originals: how long they take to load, and the memory that they take once loaded.

python benchmarks/compacted_loading.py                              # NCCL's wheel alone: 0.3 GB of download
python benchmarks/compacted_loading.py --site FOLDER                # each library with GPU code in a site-packages, and `import torch`
python benchmarks/compacted_loading.py --site FOLDER --compacted FOLDER   # what was made of it already

Every run is a process of its own; original, original once more and compacted take turns, so that what the second column says of the
first is the noise. `own` is memory that no file backs. Of a file's pages the kernel maps more or fewer by how they came to lie in memory:
all libraries are read anew first, which holds where no other process uses them. Torch is imported by the Python that runs this, which has
to be one that the installation is for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from common import describe_machine, row
from gpu_code import installed, prune

ROUNDS = 15
SLACK = 0.02
"""What a median of memory may be above the original's: pages that the kernel maps around a fault are its own choice."""
MAPPING = 2.0
"""Milliseconds that a single library may take longer: it is mapped in up to 256 pieces, each by two system calls of some microseconds."""
_WIDTHS = (38, 11, 11, 11)
_COLUMNS = ("original", "again", "compacted")

_RUN = """
import ctypes, importlib, json, os, sys, time
what = sys.argv[1]
start, used = time.perf_counter(), time.process_time()
importlib.import_module(what) if what.isidentifier() else ctypes.CDLL(what, os.RTLD_NOW)
seconds, processor = time.perf_counter() - start, time.process_time() - used
with open("/proc/self/smaps_rollup") as stream:
    rows = (line.partition(":") for line in stream)
    sizes = {name: int(rest.split()[0]) * 1024 / 1e6 for name, _, rest in rows if name in ("Rss", "Pss", "Anonymous")}
memory = {"RSS MB": sizes["Rss"], "PSS MB": sizes["Pss"], "own MB": sizes["Anonymous"]}
print(json.dumps({"ms": 1000 * seconds, "CPU ms": 1000 * processor, **memory}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, help="a folder to take instead of NCCL's wheel; it is only read")
    parser.add_argument("--compacted", type=Path, help="what was made of it")
    parser.add_argument("--scratch", type=Path, help="where to write (default: the temporary folder)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    print(describe_machine(), f"- medians of {options.rounds}")
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        scratch = Path(name)
        site = (options.site or installed(scratch / "site", whole=False)).resolve()
        compacted = (options.compacted or prune(site, scratch / "compacted", scratch, ("8.0",), "all")).resolve()
        for folder in (site, compacted):
            read_anew(folder)
        changed = [path for path in sorted(site.rglob("*.so*")) if is_changed(path, compacted / path.relative_to(site))]
        print(f"{len(changed)} libraries were compacted")
        subjects = [path.relative_to(site).as_posix() for path in changed] + ["torch"] * (site / "torch").is_dir()
        fits = [compare(what, site, compacted, options.rounds) for what in subjects if loads(what, site)]
    print("none is slower or larger than noise" if all(fits) else f"OVER for {fits.count(False)} of {len(fits)}")
    sys.exit(not all(fits))


def read_anew(folder: Path) -> None:
    """Let the libraries be in memory by being read: what was just written lies there in other pieces, of which a fault maps more."""
    os.sync()
    for path in folder.rglob("*.so*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb", buffering=0) as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                while stream.read(1 << 20):
                    pass


def is_changed(original: Path, result: Path) -> bool:
    """Say whether a library was compacted: nothing else changes its size here."""
    return original.is_file() and not original.is_symlink() and result.exists() and result.stat().st_size != original.stat().st_size


def compare(what: str, site: Path, compacted: Path, rounds: int) -> bool:
    """Print the medians for a library (a path in both folders) or a module; return whether the compacted one is no worse."""
    folders = (site, site, compacted)
    runs: list[list[Mapping[str, float]]] = [[], [], []]
    for _ in range(rounds):
        for column, folder in zip(runs, folders, strict=True):
            column.append(measured(what, folder))
    print(row(what.rpartition("/")[2], *_COLUMNS, widths=_WIDTHS))
    fits = True
    for unit in runs[0][0]:
        columns = [[each[unit] for each in column] for column in runs]
        print(row(f"  {unit}", *(f"{median(column):.1f}" for column in columns), widths=_WIDTHS), flush=True)
        fits &= is_no_worse(columns[0] + columns[1], columns[2], *_allowance(what, unit))
    return fits


def is_no_worse(originals: Sequence[float], compacted: Sequence[float], share: float, more: float) -> bool:
    """Say whether the median is within the originals' noise, twice the way from their median to their third quartile, or allowed."""
    middle, upper = median(originals), sorted(originals)[len(originals) * 3 // 4]
    return median(compacted) <= (middle + 2 * (upper - middle)) * (1 + share) + more


def _allowance(what: str, unit: str) -> tuple[float, float]:
    """Return what a median may be above noise, as a share and in its unit."""
    if unit.endswith("MB"):
        return SLACK, 0
    return 0, 0 if what.isidentifier() else MAPPING


def loads(what: str, folder: Path) -> bool:
    """Say, and print where not, whether the original loads by itself: some libraries leave symbols to those that load them."""
    result = _run(what, folder)
    if result.returncode:
        print(f"{what} does not load by itself, as it was: {result.stderr.strip().splitlines()[-1][:100]}")
    return not result.returncode


def measured(what: str, folder: Path) -> Mapping[str, float]:
    """Return what loading takes in a new process."""
    result = _run(what, folder)
    if result.returncode:
        sys.exit(f"{folder / what} does not load:\n{result.stderr}")
    found: Mapping[str, float] = json.loads(result.stdout)
    return found


def _run(what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    subject = what if what.isidentifier() else str(folder / what)
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-W", "ignore", "-c", _RUN, subject], env=env, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
