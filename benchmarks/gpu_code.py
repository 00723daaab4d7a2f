"""GPU code and what goes with it: bytes of an installation before and after, time against copying it, and memory.

python benchmarks/gpu_code.py                       # NCCL's wheel alone: 0.3 GB of download, 1.5 GB of disk
python benchmarks/gpu_code.py --whole               # torch 2.9.1 with all that it needs: 4 GB of download, 26 GB of disk
python benchmarks/gpu_code.py --site FOLDER         # a site-packages that is there already; it is only read
python benchmarks/gpu_code.py --wheel FILE          # the size of a wheel before and after, as its GPU code goes for 8.0

Each run has a cold cache, and its files brought to the disk within its time, as those of the copies (`cp -r`) that alternate with the runs.
Memory is that of mlbundle, and beside it that of the largest process in which it tried whether a library loads.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import DOWNLOADS, describe_machine, download, link_or_copy, row, run

TORCH, SMALLEST = "torch==2.9.1", "nvidia-nccl-cu12==2.27.5"
TARGETS = (("8.0",), ("9.0",), ("8.0", "9.0"))
MOST_TIME, MOST_MEMORY = 3.0, 300e6
LEAST_SAVED = {"default": 1.2e9, "all": 3.4e9}
"""Bytes to be saved of the whole of torch at 8.0."""
_WIDTHS = (18, 12, 12, 12, 9, 9, 10, 10)
_HEADINGS = ("", "before MB", "after MB", "saved MB", "seconds", "ratio", "memory", "loading")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A run: wall time in seconds, peak memory in bytes of mlbundle and of what it started, the result's bytes."""

    seconds: float
    own: int
    others: int
    size: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="torch and all that it needs")
    parser.add_argument("--site", type=Path, help="a folder to take instead")
    parser.add_argument("--wheel", type=Path, help="measure this wheel only")
    parser.add_argument("--scratch", type=Path, help="where to write (default: the temporary folder)")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        scratch = Path(name)
        if options.wheel:
            measure_wheel(options.wheel, scratch)
            return
        site = options.site or installed(scratch / "site", whole=options.whole)
        fits = measure(site.resolve(), scratch, whole=options.whole or bool(options.site))
        if options.whole:
            (wheel,) = whole_wheels().glob("torch-*.whl")
            measure_wheel(wheel, scratch)
    sys.exit(not fits)


def whole_wheels() -> Path:
    """Return the folder with the wheels of torch and all that it needs; downloaded once."""
    folder = DOWNLOADS / f"{sysconfig.get_platform()}-{sysconfig.get_python_version()}" / f"{TORCH}-whole"
    if not list(folder.glob("torch-*.whl")):
        run([sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", folder, TORCH])
    return folder


def installed(site: Path, *, whole: bool) -> Path:
    """Return a site-packages with the wheels installed in it."""
    wheels = sorted(whole_wheels().glob("*.whl")) if whole else download(SMALLEST)
    run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--no-index", "--target", site, *wheels])
    return site


def measure(site: Path, scratch: Path, *, whole: bool) -> bool:
    """Print a table of the runs; return whether all is within the limits."""
    before = bytes_in(site)
    run(
        ["sh", "-c", f"find '{site}' -type f -print0 | xargs -0 cat > /dev/null"]
    )  # as much of it as fits is in memory, whoever comes first
    print(f"\n{site.name}: {before / 1e6:,.0f} MB; the ratio is to `cp -r` just before, memory in MB")
    print(row(*_HEADINGS, widths=_WIDTHS))
    fits = True
    for libraries in ("default", "all"):
        for targets in TARGETS:
            copying = timed(lambda: subprocess.run(["cp", "-r", site, scratch / "copy"], check=True), scratch / "copy")
            ours = optimized(site, scratch, targets, libraries)
            saved, ratio = before - ours.size, ours.seconds / copying
            cells = (before / 1e6, ours.size / 1e6, saved / 1e6)
            what = f"{libraries}, {'+'.join(targets)}"
            tail = (f"{ours.seconds:.1f}", f"{ratio:.2f}", f"{ours.own / 1e6:.0f}", f"{ours.others / 1e6:.0f}")
            print(row(what, *(f"{cell:,.0f}" for cell in cells), *tail, widths=_WIDTHS), flush=True)
            enough = not whole or targets != ("8.0",) or saved >= LEAST_SAVED[libraries]
            fits &= enough and ratio <= MOST_TIME and ours.own <= MOST_MEMORY
    limits = f"{MOST_TIME:g} times the copy, {MOST_MEMORY / 1e6:.0f} MB of memory"
    wanted = " and ".join(f"{size / 1e6:,.0f} MB ({which})" for which, size in LEAST_SAVED.items())
    print(f"{'within' if fits else 'OVER'} the limits: {limits}{f', at least {wanted} saved at 8.0' if whole else ''}")
    return fits


def optimized(source: Path, scratch: Path, targets: Sequence[str], libraries: str) -> Measured:
    """Prune and compact `source` into a new folder, measured, and remove it again."""
    target, peaks, sizes = scratch / "result", [0, 0], [0]

    def work() -> None:
        peaks[:] = map(int, _mlbundle(source, target, scratch, targets, libraries).splitlines()[-1].split())

    def look() -> None:
        sizes[:] = [bytes_in(next(target.glob("*.whl")) if source.suffix == ".whl" else target)]

    seconds = timed(work, target, scratch / "cache", scratch / "result.mlbundle.json", look=look)
    return Measured(seconds=seconds, own=peaks[0], others=peaks[1], size=sizes[0])


def prune(source: Path, target: Path, scratch: Path, targets: Sequence[str], libraries: str) -> Path:
    """Make `target` of the folder `source`, and return it: files that do not change are the same ones, where hard links are possible."""
    shutil.copytree(source, target, symlinks=True, copy_function=link_or_copy)
    _mlbundle(target, target, scratch, targets, libraries)
    return target


def _mlbundle(source: Path, target: Path, scratch: Path, targets: Sequence[str], libraries: str) -> str:
    """Run mlbundle with its cache and temporary files in `scratch`; return what it wrote to standard error."""
    project, temporary = scratch / "project", scratch / "tmp"
    for folder in (project, temporary):
        folder.mkdir(exist_ok=True)
    settings = ["[tool.mlbundle]", 'optimizers = ["gpu_code"]', "[tool.mlbundle.gpu_code]", f"targets = {list(targets)}"]
    settings += ['libraries = ["*"]'] if libraries == "all" else []
    (project / "pyproject.toml").write_text("\n".join(settings))
    command = [sys.executable, "-c", _MEASURED, "optimize", "-q", "--project", project, "-o", target, source]
    env = {**os.environ, "MLBUNDLE_CACHE_DIR": str(scratch / "cache"), "TMPDIR": str(temporary)}
    result = subprocess.run(command, env=env, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        sys.exit(f"mlbundle failed:\n{result.stderr}")
    return result.stderr


_MEASURED = """
import atexit, resource, sys
from hatch_mlbundle.cli import main
def tell():
    both = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(*(1024 * peak for peak in both), file=sys.stderr)
atexit.register(tell)
sys.exit(main(sys.argv[1:]))
"""


def timed(work: Callable[[], object], *made: Path, look: Callable[[], object] = lambda: None) -> float:
    """Return the seconds that it takes until what the work makes is on the disk; `look` at it, then remove it."""
    os.sync()
    start = time.perf_counter()
    work()
    os.sync()
    seconds = time.perf_counter() - start
    look()
    for path in made:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return seconds


def measure_wheel(wheel: Path, scratch: Path) -> None:
    """Print what a wheel has before and after, as a file."""
    before = wheel.stat().st_size
    ours = optimized(wheel.resolve(), scratch, ("8.0",), "default")
    shares = f"{before / 1e6:,.1f} MB before, {ours.size / 1e6:,.1f} MB after: {(before - ours.size) / before:.1%} less"
    print(f"\n{wheel.name}\n{shares}; {ours.seconds:.1f} s, {ours.own / 1e6:.0f} MB of memory")


def bytes_in(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(each.lstat().st_size for each in files if each.is_file() and not each.is_symlink())


if __name__ == "__main__":
    main()
