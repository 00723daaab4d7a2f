"""What a frozen application tells, when it starts, of a machine that its libraries lost code for: on a real one, frozen once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle import application
from hatch_mlbundle.bundles.executable import find_executable
from hatch_mlbundle.bundles.machine_script import MACHINE_SCRIPT
from hatch_mlbundle.bundles.scripts import entry_scripts
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.config import read_config
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.plugins import load_registry
from tests.frozensmith import pyinstaller
from tests.gpusmith import containers, gpu_library
from tests.nvmlsmith import LOGGED, fake_driver

pytestmark = pytest.mark.slow

LIBRARY = "torch/lib/libx.so"
STATEMENT = "_internal/mlbundle-machine.json"
APP = """\
import ctypes, multiprocessing, os, sys
def more(number):
    return number + 1
if __name__ == "__main__":
    multiprocessing.freeze_support()
    for method in sys.argv[1:]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            pool.map(more, [1])
    print(ctypes.CDLL(os.path.join(sys._MEIPASS, "torch/lib/libx.so")).answer(b"gpu"))
"""
SAID = "21\n"
T4, A10 = "GPU-a|Tesla T4|7.5", "GPU-b|NVIDIA A10|8.6"
LINE = (
    f"mlbundle: this bundle lacks code for GPU 0 (Tesla T4, 7.5): it was made for compute capability 8.0 ({LIBRARY});"
    " get one for 7.5, or choose another GPU with CUDA_VISIBLE_DEVICES\n"
)


def job_for(project: Path, **more: Any) -> Job:
    registry = load_registry()
    table = {"optimizers": ["gpu_code"], "gpu_code": {"targets": ["8.0"], "libraries": ["libx.so"]}, "manifest": False, **more}
    return prepare(read_config({**table, "cache": {"enabled": False}}, registry.option_types()), registry, project=project)


@dataclass(frozen=True)
class Made:
    """The application as PyInstaller made it, and for an A100 alone; `driver` is where the library is that stands for the driver."""

    plain: Path
    small: Path
    driver: Path
    project: Path

    def run(self, executable: Path | str, *arguments: str, **more: str) -> tuple[int, str, str]:
        given = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(self.driver), **more}
        result = subprocess.run([executable, *arguments], env=given, capture_output=True, text=True, check=False, timeout=60)
        return result.returncode, result.stdout, result.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    pytest.importorskip("PyInstaller")
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "app.py").write_text(APP)
    library = gpu_library(folder / "libx.so", containers(75, 80, 90))
    result = pyinstaller(folder, f"--add-binary={library}:torch/lib", "app.py")
    assert result.returncode == 0, result.stderr
    plain, small = folder / "dist/app", folder / "small"
    application.optimize(job_for(folder), plain, small)
    return Made(plain, small, fake_driver(folder), folder)


def scripts_of(folder: Path) -> list[str]:
    with closing(SharedFile(folder / "app")) as file:
        found = find_executable(file, "app")
        assert found is not None
        return [entry.name for entry in found.archive.entries if entry.name == MACHINE_SCRIPT]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_tells_of_a_gpu_without_code_and_runs_on(made: Made, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert made.run(made.small / "app", FAKE_GPUS=T4, FAKE_LOG=str(log)) == (0, SAID, LINE)
    assert log.read_text() == LOGGED
    assert made.run(made.plain / "app", FAKE_GPUS=T4) == (0, SAID, "")


@pytest.mark.parametrize(
    "more",
    [
        {"FAKE_GPUS": A10},
        {"FAKE_GPUS": f"{A10}\n{T4}", "CUDA_VISIBLE_DEVICES": "GPU-b"},
        {"FAKE_GPUS": T4, "CUDA_VISIBLE_DEVICES": ""},
        {"FAKE_GPUS": T4, "MLBUNDLE_MACHINE_CHECK": "off"},
        {},
        {"LD_LIBRARY_PATH": ""},
    ],
    ids=["served", "chosen", "hidden", "switched off", "no driver loaded", "no driver"],
)
def test_it_is_quiet_otherwise(made: Made, more: dict[str, str]) -> None:
    assert made.run(made.small / "app", **more) == (0, SAID, "")


def test_the_processes_that_it_starts_do_not_tell_it_again(made: Made) -> None:
    assert made.run(made.small / "app", "spawn", "forkserver", "fork", FAKE_GPUS=T4) == (0, SAID, LINE)


def test_a_second_run_changes_nothing_and_other_steps_keep_it(made: Made, tmp_path: Path) -> None:
    again = tmp_path / "again"
    application.optimize(job_for(made.project), made.small, again)
    assert files_of(again) == files_of(made.small)
    stripped = tmp_path / "stripped"
    application.optimize(job_for(made.project, optimizers=["strip"]), made.small, stripped)
    row, before = (json.loads((each / STATEMENT).read_bytes())["libraries"][0] for each in (stripped, made.small))
    assert row == {**before, "size": (stripped / "_internal" / LIBRARY).stat().st_size}
    assert row["size"] < before["size"]
    assert made.run(stripped / "app", FAKE_GPUS=T4) == (0, SAID, LINE)


def test_narrower_targets_are_told_of_next(made: Made, tmp_path: Path) -> None:
    wide, narrow = tmp_path / "wide", tmp_path / "narrow"
    libraries = {"libraries": ["libx.so"]}
    application.optimize(job_for(made.project, gpu_code={"targets": ["7.5", "8.0"], **libraries}), made.plain, wide)
    assert made.run(wide / "app", FAKE_GPUS=T4) == (0, SAID, "")
    application.optimize(job_for(made.project), wide, narrow)
    assert made.run(narrow / "app", FAKE_GPUS=T4) == (0, SAID, LINE)
    assert len(scripts_of(narrow)) == 1


def test_it_ends_where_there_is_no_code_for_the_cpu(made: Made, tmp_path: Path) -> None:
    plain, small, cpuinfo = Path(shutil.copytree(made.plain, tmp_path / "plain", symlinks=True)), tmp_path / "small", tmp_path / "cpuinfo"
    row = {"path": LIBRARY, "size": (plain / "_internal" / LIBRARY).stat().st_size, "cpu": {"level": "x86-64-v3"}}
    (plain / STATEMENT).write_text(json.dumps({"format": "mlbundle-machine", "format_version": "1.0", "libraries": [row]}))
    application.optimize(job_for(made.project), plain, small)
    assert json.loads((small / STATEMENT).read_bytes())["libraries"][0]["cpu"] == row["cpu"]
    cpuinfo.write_text("flags : avx bmi1 bmi2 f16c fma abm movbe xsave\n")
    elsewhere = ["unshare", "-m", "sh", "-c", f"mount --bind {cpuinfo} /proc/cpuinfo && exec {small}/app"]
    if subprocess.run([*elsewhere[:3], "-c", f"mount --bind {cpuinfo} /proc/cpuinfo"], capture_output=True, check=False).returncode:
        pytest.skip("another CPU cannot be shown here")
    needs = "mlbundle: this program needs a CPU of level x86-64-v3, and this one lacks avx2; get a bundle for any x86-64"
    assert made.run(*elsewhere) == (1, "", f"{needs}, or start it all the same with MLBUNDLE_MACHINE_CHECK=off\n")
    assert made.run(*elsewhere, MLBUNDLE_MACHINE_CHECK="off") == (0, SAID, "")


def test_one_file_tells_it_too(made: Made, tmp_path: Path) -> None:
    built = Path(shutil.copytree(made.plain, tmp_path / "built", symlinks=True))
    application.finish_frozen(job_for(made.project), built, tmp_path / "one", one_file=True)
    assert made.run(tmp_path / "one", FAKE_GPUS=T4) == (0, SAID, LINE)


def test_it_can_be_switched_off_and_names_nothing_that_is_used(made: Made, tmp_path: Path) -> None:
    application.optimize(job_for(made.project, **{"runtime-messages": False}), made.plain, tmp_path / "silent")
    assert (scripts_of(tmp_path / "silent"), scripts_of(made.small)) == ([], [MACHINE_SCRIPT])
    assert (tmp_path / "silent" / STATEMENT).is_file()
    with application.open_session(job_for(made.project), made.small, None) as session:
        assert all(MACHINE_SCRIPT not in script.path for script in entry_scripts(session.artifact.scan().bundle))
