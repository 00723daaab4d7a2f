"""What a usage profile of five runs adds to the default steps: sizes, and the output for ten sets of arguments that it did not see.

python benchmarks/usage_profile.py minilm | onnx FOLDER [ONE_FILE]

FOLDER is the example as PyInstaller froze it (examples/frozen-*, with `optimizers = []`). The outputs are compared by verification, in a
clean root where the system makes one. ONE_FILE is the same as PyInstaller's own one file: starts are then compared.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from common import MLBUNDLE, describe_machine, row, run
from frozen_sizes import ARGUMENTS, size_of

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import Result, finish_frozen, optimize
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.trials.jail import available
from hatch_mlbundle.trials.measure import measure_in_turn
from hatch_mlbundle.trials.process import Bounds, Command

TRACED = [
    ["The weather is fine today."],
    ["Where is the station?", "Two trains leave at noon."],
    ["lorem ipsum dolor sit amet " * 120],
    ["Ein Satz auf Deutsch, mit Umlauten: äöü.", "Une phrase en français."],
    [f"line {number} of eight" for number in range(8)],
]
STEPS = ["exclude_modules", "python_sources", "test_data", "exclude", "prune_unused", "strip", "deduplicate"]
LIMITS = {"minilm": (565, 250, 205), "onnx": (195, None, None)}
"""What is wanted of the folder, the one file and the archive, in MB."""
WIDTHS = (34, 12, 12)


def job(project: Path, **settings: object) -> Job:
    registry = load_registry()
    return prepare(project_config(project, registry, settings), registry, project=project)


def trace(program: Path, profile: Path) -> None:
    for arguments in TRACED:
        run([*MLBUNDLE, "trace", "-o", profile, "--", program, *arguments])


def verify(name: str) -> dict[str, object]:
    commands = [{"name": f"set {number}", "run": [f"{{bundle}}/{name}", *each]} for number, each in enumerate(ARGUMENTS)]
    return {"jail": available() is None, "commands": commands}


def starts(files: list[Path]) -> list[float]:
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": tempfile.gettempdir()}
    commands = [Command(arguments=(str(file), "A cat."), folder=file.parent, environment=environment) for file in files]
    return [each.seconds_median for each in measure_in_turn(commands, Bounds(), runs=3, warmup=1)]


def show(label: str, size: int, limit: int | None) -> None:
    print(row(label, f"{size / 1e6:.1f}", f"{limit}" if limit else "", widths=WIDTHS), flush=True)


def main() -> None:
    application, source = sys.argv[1], Path(sys.argv[2]).resolve()
    folder_limit, file_limit, archive_limit = LIMITS[application]
    print(describe_machine(), "- MB, limit")
    with tempfile.TemporaryDirectory(dir=source.parent) as name:
        work = Path(name)
        show("as PyInstaller froze it", size_of(source), None)
        run([*MLBUNDLE, "optimize", "-q", "--project", work, "-o", work / "default" / source.name, source])
        show("default steps", size_of(work / "default" / source.name), None)
        trace(work / "default" / source.name / source.name, work / "mlbundle-profile.json")
        shutil.rmtree(work / "default")
        target = work / "pruned" / source.name
        archive = {"archive": ["tar.zst"], "packing": {"zstd-level": 22, "zstd-window": 27}}
        result = optimize(job(work, optimizers=STEPS, verify=verify(source.name), **archive), source, target)
        show("with a profile of five runs", size_of(target), folder_limit)
        show("tar.zst", result.manifest.packed[0].size, archive_limit)
        print(verdict(result))
        one_file(work, source, work / "one" / source.name, file_limit, *map(Path, sys.argv[3:]))


def verdict(result: Result) -> str:
    """Return what verification says of the ten sets of arguments."""
    verification = result.verification
    assert verification is not None
    place = "in a clean root" if verification.jail else "outside of a clean root"
    reverted = f"{len(verification.reverted)} changes put back"
    return f"output of {len(verification.commands)} sets of arguments, {place}: the same, {reverted}"


def one_file(work: Path, source: Path, target: Path, limit: int | None, plain: Path | None = None) -> None:
    built = work / "built" / source.name
    shutil.copytree(source, built, symlinks=True)
    target.parent.mkdir()
    finish_frozen(job(work, optimizers=STEPS, **{"compression-level": 12}), built, target, one_file=True)
    show("one file (compression-level 12)", target.stat().st_size, limit)
    if plain is not None:
        theirs, ours = starts([plain, target])
        print(f"start of the one file: {ours:.2f} s, PyInstaller's {theirs:.2f} s: {ours / theirs:.2f} (limit 0.5)")


if __name__ == "__main__":
    main()
