"""Memory does not grow with the files: measured in a process of its own, with a member of 320 MB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 120
"""MB of memory that may be resident at most; Python and the imports take about 30."""

WORK = """
import sys
from dataclasses import replace
from pathlib import Path
from hatch_mlbundle.atomic import replace_atomically
from hatch_mlbundle.bundles.compressor import deflate_compressor
from hatch_mlbundle.bundles.wheel import WheelSource
from hatch_mlbundle.bundles.wheel_writer import write_wheel
from hatch_mlbundle.model import DiskContent

wheel, large, target = map(Path, sys.argv[1:])
with WheelSource.open(wheel) as source:
    bundle = source.scan(4)
    original = bundle["demo/large.bin"]
    changed = replace(original, path="demo/copy.bin", content=DiskContent(large))
    with deflate_compressor(level=1, workers=4, scratch=target.parent) as compressor, replace_atomically(target) as stream:
        written = write_wheel(source, bundle.replacing([changed]), stream, compressor=compressor, workers=4)
    assert written.compressed_sizes["demo/copy.bin"] < 0.6 * original.size
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024 // 10**6)
"""

BUILD = """
import sys, random
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from wheelsmith import build_wheel
half = random.Random(0).randbytes(1 << 20)
data = (half + bytes(1 << 20)) * 160
folder = Path(sys.argv[1])
(folder / "large.bin").write_bytes(data)
build_wheel(folder, {"demo/__init__.py": b"", "demo/large.bin": data})
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of one process is read from Linux's /proc")
def test_scan_deflate_and_write_in_bounded_memory(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BUILD, tmp_path, Path(__file__).parent], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "out" / wheel.name
    target.parent.mkdir()
    ran = subprocess.run([sys.executable, "-c", WORK, wheel, tmp_path / "large.bin", target], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < LIMIT
