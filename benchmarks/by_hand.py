"""Stripping a wheel with mlbundle, cold and warm, against `wheel unpack`, `find | xargs -P2 strip`, `wheel pack` in the same run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from common import MLBUNDLE, cold, describe_machine, download, row, run

WHEELS = ("scipy", "numpy", "numba", "tokenizers")
ROUNDS = 3
WIDTHS = (12, 10, 10, 10, 12, 12)


def by_hand(wheel: Path, folder: Path) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tool = f"{sys.executable} -m wheel"
    script = f"{tool} unpack -q -d . '{wheel}' 2>/dev/null || {tool} unpack -d . '{wheel}'\n"
    script += "find . -name '*.so*' -print0 | xargs -0 -P2 -n8 strip --strip-unneeded\n"
    script += f"mkdir out && {tool} pack -d out ./*-*/"
    return run(["bash", "-e", "-c", script], cwd=folder).seconds


def ours(wheel: Path, folder: Path, cache: Path) -> float:
    return run([*MLBUNDLE, "optimize", "-q", "-O", "strip", "-o", folder, wheel], cwd=folder, env=cold(cache)).seconds


def main() -> None:
    print(describe_machine(), f"- median of {ROUNDS}")
    print(row("wheel", "by hand", "cold", "warm", "cold ratio", "warm ratio", widths=WIDTHS))
    for wheel in download(*WHEELS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            times: list[tuple[float, float, float]] = []
            for number in range(ROUNDS):
                cache = folder / f"cache-{number}"
                hand = by_hand(wheel, folder / "hand")
                times.append((hand, ours(wheel, folder, cache), ours(wheel, folder, cache)))
        hand, first, second = (median(column) for column in zip(*times, strict=True))
        ratios = (f"{hand / first:.1f} x", f"{hand / second:.1f} x")
        print(row(wheel.name.partition("-")[0], f"{hand:.2f} s", f"{first:.2f} s", f"{second:.2f} s", *ratios, widths=WIDTHS))
    print("wanted: at least 2 x cold, 10 x warm")


if __name__ == "__main__":
    main()
