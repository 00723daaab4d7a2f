"""Optimizing a frozen folder with mlbundle, cold and warm, against `cp -a` and `find | xargs -P2 strip` on it in the same run.

python benchmarks/frozen_time.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from common import MLBUNDLE, Run, cold, describe_machine, row, run

ROUNDS = 3
WIDTHS = (30, 10, 10, 14)


def by_hand(source: Path, target: Path) -> Run:
    script = f"cp -a '{source}' '{target}'\n"
    script += f"find '{target}' -type f -name '*.so*' -print0 | xargs -0 -P2 -n8 strip --strip-unneeded\n"
    return run(["bash", "-c", f"{script} true"])


def ours(source: Path, target: Path, cache: Path, project: Path) -> Run:
    return run([*MLBUNDLE, "optimize", "-q", "--project", project, "-o", target, source], env=cold(cache))


def main() -> None:
    source = Path(sys.argv[1]).resolve()
    times: list[tuple[float, float, float]] = []
    peak = 0
    with tempfile.TemporaryDirectory(dir=source.parent) as name:
        folder = Path(name)
        for number in range(ROUNDS):
            hand = by_hand(source, folder / "hand")
            results = [ours(source, folder / f"ours-{attempt}", folder / f"cache-{number}", folder) for attempt in ("cold", "warm")]
            times.append((hand.seconds, *(result.seconds for result in results)))  # type: ignore[arg-type]
            peak = max(peak, *(result.peak for result in results))
            for path in folder.glob("*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    hand_time, cold_time, warm_time = (median(column) for column in zip(*times, strict=True))
    print(describe_machine(), f"- median of {ROUNDS}")
    print(row("", "seconds", "ratio", "limit", widths=WIDTHS))
    print(row("cp -a, find | xargs -P2 strip", f"{hand_time:.1f}", "", "", widths=WIDTHS))
    print(row("mlbundle, cold", f"{cold_time:.1f}", f"{cold_time / hand_time:.2f}", "1.5", widths=WIDTHS))
    print(row("mlbundle, warm", f"{warm_time:.1f}", f"{warm_time / hand_time:.2f}", "15 s", widths=WIDTHS))
    print(f"peak memory {peak / 1e6:.0f} MB (limit 300 MB)")


if __name__ == "__main__":
    main()
