"""A frozen application with and without `mlbundle trace`, run in turn: wall time from start to exit, and its ratio against the limit.

python benchmarks/trace_overhead.py PROGRAM [ARGUMENT ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from common import MLBUNDLE, describe_machine, row, run

ROUNDS = 7
LIMIT = 1.15
WIDTHS = (24, 10, 10, 10)


def main() -> None:
    program, *arguments = sys.argv[1:]
    command = [str(Path(program).resolve()), *arguments]
    plain, traced = [], []
    with tempfile.TemporaryDirectory() as folder:
        tracing = [*MLBUNDLE, "trace", "-o", str(Path(folder) / "profile.json"), "--", *command]
        run(command)
        for _ in range(ROUNDS):
            plain.append(run(command).seconds)
            traced.append(run(tracing).seconds)
    print(describe_machine(), f"- {ROUNDS} rounds")
    print(row("", "median", "fastest", "ratio", widths=WIDTHS))
    print(row("plain", f"{median(plain):.2f}", f"{min(plain):.2f}", "", widths=WIDTHS))
    ratio = median(traced) / median(plain)
    print(row("mlbundle trace", f"{median(traced):.2f}", f"{min(traced):.2f}", f"{ratio:.3f}", widths=WIDTHS))
    print(f"limit {LIMIT}: {'kept' if ratio <= LIMIT else 'broken'}")


if __name__ == "__main__":
    main()
