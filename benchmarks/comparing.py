"""How long two manifests of 20,000 files each take to read and compare, beside the time that `json.load` takes for both.

    python benchmarks/comparing.py [LIMIT]

A quarter of the files is in another folder in the second, a quarter changed. Processor time, the best of several. Fails where reading
and comparing takes more than LIMIT times (8) as long as `json.load`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from common import describe_machine, row

sys.path.insert(0, str(Path(__file__).parents[1]))

from hatch_mlbundle.compare import compare
from hatch_mlbundle.manifest import ArtifactRow, FileRow, FileState, Manifest, Saved, Totals
from hatch_mlbundle.reports.comparison import comparison_report
from hatch_mlbundle.reports.terminal import analysis, as_text

WIDTHS = (52, 12)
FILES = 20_000
TIMES = 7


def main(limit: float) -> int:
    before = manifest([state_row(number) for number in range(FILES)])
    after = manifest([later(file, number) for number, file in enumerate(before.files)])
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("before.json", "after.json")]
        for path, each in zip(paths, (before, after), strict=True):
            each.save(path)
        print(describe_machine())
        print(row(f"two manifests of {FILES:,} files", "ms", widths=WIDTHS))
        plain = show("json.load of both", lambda: [json.loads(path.read_bytes()) for path in paths])
        loaded = show("Manifest.load of both", lambda: [Manifest.load(path) for path in paths])
    compared = show("compare", lambda: compare(before, after))
    comparison = compare(before, after)
    show("the comparison's report for a terminal", lambda: as_text(comparison_report(comparison, top=10)))
    show("the comparison as JSON", comparison.to_json)
    show("the analysis of one for a terminal", lambda: as_text(analysis(before, top=10)))
    ratio = (loaded + compared) / plain
    print(f"load and compare: {ratio:.1f} times json.load (limit {limit})")
    return int(ratio > limit)


def manifest(rows: list[FileRow]) -> Manifest:
    installed = sum(file.after.size for file in rows if file.after)
    totals = Totals(size=installed, installed=installed, structure=0, files=len(rows), sha256=None)
    return Manifest(
        generator="benchmark",
        artifact=ArtifactRow(name="app", kind="frozen", before=totals, after=totals),
        tools=(),
        configuration={},
        steps=(),
        remainder=Saved(installed=0, compressed=None),
        files=tuple(sorted(rows, key=lambda file: file.path)),
        companions=(),
        findings=(),
    )


def state_row(number: int) -> FileRow:
    state = FileState(size=number % 70_001, compressed=None, sha256=hashlib.sha256(b"%d" % number).hexdigest())
    path = f"_internal/package{number % 97}/part{number % 1009}/module{number}.py"
    return FileRow(path=path, kind="python", owner=f"package{number % 97}", before=state, after=state)


def later(file: FileRow, number: int) -> FileRow:
    """Return every fourth file in another folder, every fourth with other bytes, the rest as they are."""
    if number % 4 == 0:
        return replace(file, path=file.path.replace("/part", "/moved/part"))
    state = FileState(size=number % 70_001 + 5, compressed=None, sha256=hashlib.sha256(b"new %d" % number).hexdigest())
    return replace(file, before=state, after=state) if number % 4 == 1 else file


def show(label: str, work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TIMES):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    print(row(label, f"{min(seconds) * 1000:.0f}", widths=WIDTHS))
    return min(seconds)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 8))
