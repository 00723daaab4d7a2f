"""What `cpu_code` makes of an installed PyTorch, how long it takes, and whether each operation gives the same bits as before.

python benchmarks/cpu_code.py --site FOLDER                         # a site-packages with torch, numpy, expecttest; it is only read
python benchmarks/cpu_code.py --site FOLDER --level x86-64-v4 --every 10

The operations are those that PyTorch's own tests list (torch.testing._internal), forward and backward in all of their types. What differs
from the original is compared with a second run of the original. The Python that runs this has to be one that the folder is for.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from common import MLBUNDLE, describe_machine, link_or_copy, run

SETTINGS = (
    {"ATEN_CPU_CAPABILITY": "avx512", "OMP_NUM_THREADS": "3"},
    {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"},
)
_OPERATIONS = Path(__file__).parent / "proof" / "torch_operations.py"
_LIBRARY = "torch/lib/libtorch_cpu.so"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, required=True)
    parser.add_argument("--level", default="x86-64-v3", choices=("x86-64-v3", "x86-64-v4"))
    parser.add_argument("--every", type=int, default=1, help="only each EVERYth operation")
    parser.add_argument("--scratch", type=Path, help="where to write: on the disk that --site is on, copies are links")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        pruned = prune(options.site.resolve(), Path(name), options.level)
        wrong = [fault for setting in usable(options.level) for fault in compare(options.site.resolve(), pruned, setting, options.every)]
    sys.exit(f"{len(wrong)} operations differ: {', '.join(wrong[:10])}" if wrong else 0)


def prune(site: Path, scratch: Path, level: str) -> Path:
    """Return a copy of the site's torch out of which kernels were taken."""
    before, after = scratch / "before", scratch / "after"
    shutil.copytree(site / "torch", before / "torch", copy_function=link_or_copy)
    (scratch / "pyproject.toml").write_text(f'[tool.mlbundle]\noptimizers = ["cpu_code"]\n[tool.mlbundle.cpu_code]\nlevel = "{level}"\n')
    done = run([*MLBUNDLE, "optimize", before, "-o", after, "--project", scratch, "--no-cache", "-q"])
    sizes = [(folder / _LIBRARY).stat().st_size / 1e6 for folder in (before, after)]
    print(f"{level}: {sizes[0]:.1f} -> {sizes[1]:.1f} MB in {done.seconds:.1f} s, {done.peak / 1e6:.0f} MB of memory")
    return after


def usable(level: str) -> list[dict[str, str]]:
    """Return the settings that the result is for, and that this CPU can run."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    chosen = SETTINGS if level == "x86-64-v3" else SETTINGS[:1]
    return [setting for setting in chosen if "avx512vl" in flags or setting["ATEN_CPU_CAPABILITY"] != "avx512"]


def compare(site: Path, pruned: Path, setting: dict[str, str], every: int) -> list[str]:
    """Return the operations that differ, though two runs of the original do not."""
    before, after = digests(site, site, setting, every), digests(pruned, site, setting, every)
    different = [name for name in before if after.get(name) != before[name]]
    again = digests(site, site, setting, every) if different else before
    unsteady = [name for name in different if again[name] != before[name]]
    words = " ".join(f"{key}={value}" for key, value in setting.items())
    print(f"{words}: {len(before):,} compared, {len(different)} differ, {len(unsteady)} of them between two runs of the original, too")
    for name in different:
        print(f"  {name}")
    return [name for name in different if name not in unsteady]


def digests(first: Path, site: Path, setting: dict[str, str], every: int) -> dict[str, str]:
    """Return the digest of each operation, with the packages of `first` before those of the site."""
    environment = {**setting, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(map(str, (first, site)))}
    found: dict[str, str] = json.loads(run([sys.executable, _OPERATIONS, str(every)], env=environment).output)
    return found


if __name__ == "__main__":
    main()
