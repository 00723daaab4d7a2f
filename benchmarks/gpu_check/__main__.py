"""Pruned libraries against the originals on a machine with a GPU: our own kernels, and a sweep of torch's operations.

python benchmarks/gpu_check                               # prepare and run, with the torch of this Python (which has to be a CUDA one)
python benchmarks/gpu_check prepare FOLDER [--python 3.12] [--torch torch==2.9.1]   # what a machine without internet lacks
python benchmarks/gpu_check run FOLDER [--site SITE-PACKAGES]                       # there

Each kernel and operation runs on the original and on the pruned library, loaded lazily and eagerly; the results have to be the same to the
bit. Then libraries with code for another GPU only have to end in CUDA's own error. Without a GPU, what needs none is done (the pruning,
loading what was pruned, and the sweep on the processor), it says what was not, and ends with 77.

Preparing takes 3 minutes and 50 MB, and 11 GB more with --torch. The run takes about 10 minutes with a GPU, 15 without, and half of
torch's size on the disk (3 GB; as much as torch again where the scratch folder is on another file system).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from comparing import outcome_of, refused, same
from driver import Gpu, find_gpu
from preparing import PROJECT, prepare, wrong_target
from trees import HERE, link_installation, prune

NO_GPU = 77
"""The exit code where only what needs no GPU was done (what `make check` takes for skipped)."""
STAND_IN = "8.0"
"""The target where there is no GPU."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", choices=("prepare", "run", "both"), default="both")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir(), "mlbundle-gpu-check"))
    parser.add_argument("--python", help="the version of Python that will run it (prepare)")
    parser.add_argument("--torch", metavar="REQUIREMENT", help="install this torch, too (prepare)")
    parser.add_argument("--site", type=Path, help="the site-packages with torch (run); otherwise the prepared one, or this Python's")
    parser.add_argument("--scratch", type=Path, help="where to put pruned trees, on the file system of torch if possible")
    parser.add_argument("--first", type=int, help="only so many operations of the sweep")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.step != "run":
        prepare(folder, options.python, torch=options.torch)
    if options.step != "prepare":
        sys.exit(check(folder, options))


def check(folder: Path, options: argparse.Namespace) -> int:
    """Run everything that this machine can; return the exit code."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), str(folder / "libraries")])
    gpu = find_gpu()
    print(f"{gpu.name}, compute capability {gpu.capability}, driver for CUDA {gpu.cuda}" if isinstance(gpu, Gpu) else f"NO GPU: {gpu}")
    with tempfile.TemporaryDirectory(dir=options.scratch or folder, prefix="scratch-") as name:
        scratch = Path(name)
        fits = check_kernels(folder / "kernels", scratch, gpu)
        prepared = folder / "site"
        site: Path = options.site or (prepared if prepared.is_dir() else Path(sysconfig.get_path("purelib")))
        extra = ["--first", str(options.first)] if options.first else []
        if (site / "torch").is_dir():
            fits &= check_torch(site.resolve(), scratch, gpu, extra)
        else:
            print(f"NOT RUN: the sweep, because there is no torch in {site}")
    if not isinstance(gpu, Gpu):
        print(
            "NOT RUN for want of a GPU: our kernels, empty containers, the sweep with eager and lazy loading, CUDA's error for a wrong GPU"
        )
        return NO_GPU if fits else 1
    return not fits


def check_kernels(kernels: Path, scratch: Path, gpu: Gpu | str) -> bool:
    """Run our kernels as built and pruned, for this GPU and for another."""
    target = gpu.capability if isinstance(gpu, Gpu) else STAND_IN
    pruned, wrong = scratch / "kernels", scratch / "wrong"
    prune(kernels, pruned, scratch, [target])
    prune(kernels, wrong, scratch, [wrong_target(target)], ptx="none")
    fits = True
    for library in sorted(kernels.glob("*.so")):
        before, after = library.stat().st_size, (pruned / library.name).stat().st_size
        shrunk = after < before or library.stem == "libkernels_ptx"  # has no code but what is needed
        print(f"{'ok' if shrunk else 'FAILED'}  {library.name}: {before:,} bytes, pruned for {target} {after:,}")
        fits &= shrunk
        if not isinstance(gpu, Gpu):
            continue
        for loading in ("LAZY", "EAGER"):
            places = (library, pruned / library.name, wrong / library.name)
            runs = [outcome_of(HERE / "kernels.py", place, loading=loading) for place in places]
            fits &= same(f"{library.name}, {loading.lower()}", runs[0], None, runs[1])
            fits &= refused(f"{library.name} for {wrong_target(target)}, {loading.lower()}", runs[2])
    if isinstance(gpu, Gpu):
        fits &= check_empty_containers(wrong / "libkernels_compressed.so")
    return fits


def check_empty_containers(library: Path) -> bool:
    """Load a container with code for another GPU only, and an empty one: the driver has to say the same of both."""
    fits = True
    for loading in ("LAZY", "EAGER"):
        runs = [outcome_of(HERE / "containers.py", library, *flags, loading=loading) for flags in ((), ("--empty",))]
        fits &= same(f"a container for another GPU and an empty one, {loading.lower()}", runs[0], None, runs[1])
    return fits


def check_torch(site: Path, scratch: Path, gpu: Gpu | str, extra: list[str]) -> bool:
    """Run the sweep on torch as installed and pruned, for this GPU and for another."""
    original, pruned = scratch / "original", scratch / "pruned"
    size = link_installation(site, original)
    os.environ["PYTHONPATH"] = os.pathsep.join([os.environ["PYTHONPATH"], str(site)])
    target = gpu.capability if isinstance(gpu, Gpu) else STAND_IN
    prune(original, pruned, scratch, [target])
    after = sum(path.stat().st_size for path in pruned.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"torch and what it needs of NVIDIA's: {size / 1e6:,.0f} MB, pruned for {target} {after / 1e6:,.0f} MB", flush=True)
    sweep = HERE / "sweep.py"
    if not isinstance(gpu, Gpu):
        runs = [outcome_of(sweep, "--device", "cpu", *extra, tree=tree) for tree in (original, original, pruned)]
        return same("the sweep on the processor", *runs)
    first, again = (outcome_of(sweep, *extra, tree=original, loading=loading) for loading in ("LAZY", "EAGER"))
    fits = True
    for loading in ("LAZY", "EAGER"):
        fits &= same(f"the sweep, {loading.lower()}", first, again, outcome_of(sweep, *extra, tree=pruned, loading=loading))
    shutil.rmtree(pruned)
    prune(original, pruned, scratch, [wrong_target(target)], ptx="none")
    only = ["--only", "abs float32", "--first", "1"]  # a kernel of torch's own: its libraries have other words
    return refused(f"torch for {wrong_target(target)}", outcome_of(sweep, *only, tree=pruned)) and fits


if __name__ == "__main__":
    main()
