"""What the guard costs: one step on a folder of 20,000 files, as one of ours and as a plugin's, turn by turn in the same run."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from common import describe_machine

from hatch_mlbundle.api import Bundle, Change, Context, Drop, File, Optimizer, Options, Rewrite, Task
from hatch_mlbundle.bundles.folder import FolderArtifact
from hatch_mlbundle.config import available_cores
from hatch_mlbundle.guard import OURS
from hatch_mlbundle.pipeline import Services, Stage, run
from hatch_mlbundle.progress import Silence
from hatch_mlbundle.sandbox import Rules
from hatch_mlbundle.workspace import temporary_workspace

FILES, ROUNDS = 20_000, 3
SIZE = 4000


def plan_names(bundle: Bundle, _: Context) -> Iterable[Change]:
    return [Drop(path=path, reason="by its name") for path in bundle if path.endswith("7.txt")]


def plan_contents(bundle: Bundle, context: Context) -> Iterable[Change]:
    def last_bytes(file: File) -> str:
        return file.read()[-8:].decode()

    facts = context.examine("ends", list(bundle.values()), last_bytes)
    return [Drop(path=path, reason="by its end") for path, end in facts.items() if end.strip().endswith("7")]


def plan_rewrites(bundle: Bundle, _: Context) -> Iterable[Change]:
    return [Rewrite(path=path, reason="shorter", saves=1) for path in bundle]


class Step(Optimizer[Options]):
    """Plans what it is given, and takes the blanks off the end of a file."""

    name = "step"
    version = "1"

    def __init__(self, planner: Callable[[Bundle, Context], Iterable[Change]]) -> None:
        super().__init__(Options())
        self._planner = planner

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return self._planner(bundle, context)

    def rewrite(self, task: Task, context: Context) -> None:
        task.target.write_bytes(task.source.read_bytes().rstrip())


def seconds(bundle: Bundle, planner: Callable[[Bundle, Context], Iterable[Change]], distribution: str) -> tuple[float, Bundle]:
    """Return the wall time of one run of the step, and what comes of it."""
    stage = Stage(optimizer=Step(planner), distribution=distribution, version="1", identity=["step"])
    workers = available_cores()
    with temporary_workspace() as workspace, ThreadPoolExecutor(workers) as pool:
        services = Services(
            workspace=workspace, cache=None, pool=pool, progress=Silence(), refuses=lambda _: None, rules=Rules(workers=workers)
        )
        start = time.perf_counter()
        outcome = run(bundle, [stage], services)
        taken = time.perf_counter() - start
    if outcome.findings or outcome.bundle == bundle:
        sys.exit(f"the step did not do its work: {outcome.findings[:1]}")
    return taken, Bundle(outcome.bundle.values())


def main() -> None:
    print(describe_machine(), f"- {FILES:,} files of {SIZE:,} bytes, median of {ROUNDS}")
    with tempfile.TemporaryDirectory() as name:
        for number in range(FILES):
            path = Path(name) / f"{number % 200:03}" / f"{number}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{number} ".ljust(SIZE - 9) + f"{number:7}" + "  ")
        with ThreadPoolExecutor(available_cores()) as pool:
            bundle = FolderArtifact(Path(name), pool).scan().bundle
        for title, planner in {"by names": plan_names, "by contents": plan_contents, "rewriting all": plan_rewrites}.items():
            pairs = [(seconds(bundle, planner, OURS), seconds(bundle, planner, "mlbundle-plugin")) for _ in range(ROUNDS)]
            bare, guarded = (median(each[0] for each in column) for column in zip(*pairs, strict=True))
            same = all(paths(one) == paths(other) for (_, one), (_, other) in pairs)
            print(f"{title:14} bare {bare:.2f} s, guarded {guarded:.2f} s: {guarded / bare:.2f}{'' if same else ', BUT ANOTHER RESULT'}")


def paths(bundle: Bundle) -> list[tuple[str, str]]:
    return [(path, file.sha256) for path, file in bundle.items()]


if __name__ == "__main__":
    main()
