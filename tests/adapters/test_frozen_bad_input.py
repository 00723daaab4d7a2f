"""What the target `frozen` says where it cannot build: one clear line, the right exit code, the former bundle intact."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.projects import build, environment, frozen_project

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits, mounts and processes as Linux has them")

OPTIONS = 'entry-point = "tiny_app.main:main"\n'
UNTOUCHED = " (what was built before is untouched)"


def project_with_former_bundle(folder: Path, options: str = OPTIONS, project: str = "") -> Path:
    made = frozen_project(folder, options, project)
    former = made / "dist" / "Tiny_App"
    former.mkdir(parents=True)
    (former / "precious").write_text("of an earlier build")
    return made


def assert_former_bundle(project: Path) -> None:
    """Assert that the former bundle is as it was, and that nothing else is beside it."""
    assert [path.name for path in (project / "dist").iterdir()] == ["Tiny_App"]
    assert [path.read_text() for path in (project / "dist" / "Tiny_App").iterdir()] == ["of an earlier build"]


def refused(project: Path, *, code: int = 2, **more: str) -> str:
    """Return the last line of a build that fails as it should."""
    result = build(project, "-t", "frozen", **more)
    assert result.returncode == code, result.stderr
    *before, line = result.stderr.splitlines()
    assert [each for each in before if not each.startswith("PyInstaller ")] == []
    assert line.startswith("mlbundle: ")
    return line


def test_all_faults_of_the_configuration_before_anything_is_done(tmp_path: Path) -> None:
    options = 'entry-point = "tiny_app.man:main"\nicon = "x.ico"\n[tool.hatch.build.targets.frozen.mlbundle]\nstrct = true\n'
    project = project_with_former_bundle(tmp_path, options)
    (project / "pyproject.toml").write_text((project / "pyproject.toml").read_text() + "[tool.mlbundle]\nworkers = 'two'\n")
    result = build(project, "-t", "frozen")
    table = "mlbundle: tool.hatch.build.targets.frozen"
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"{table}.entry-point: there is no module tiny_app.man, neither in the project nor in the build environment",
        f"{table}.icon: there is no file x.ico",
        f"{table}.mlbundle.strct: unknown key or optimizer; did you mean 'strict'?",
        "mlbundle: tool.mlbundle.workers: must be an integer, not 'two' (nothing was built)",
    ]
    assert_former_bundle(project)


def test_missing_dependencies_and_what_to_do(tmp_path: Path) -> None:
    wanted = 'dependencies = ["no-such-thing>=1", "rich<1", "pluggy", "absent; python_version<\'3\'"]\n'
    project = project_with_former_bundle(tmp_path, OPTIONS, wanted)
    table = "tool.hatch.build.targets.frozen"
    require = f"set require-runtime-dependencies = true in {table}"
    hook = f"add an empty table [{table}.hooks.mlbundle], because hatch reads that of targets with a hook only"
    line = refused(project)
    assert "lacks dependencies of the project (no-such-thing>=1, rich<1 (" in line
    assert line.endswith(f"; {require} and {hook} (nothing was built)")
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(OPTIONS, OPTIONS + "require-runtime-dependencies = true\n"))
    assert refused(project).endswith(f"; {hook} (nothing was built)")
    pyproject.write_text(pyproject.read_text() + f"[{table}.hooks.mlbundle]\n")
    assert refused(project).endswith("; install them there (nothing was built)")
    assert_former_bundle(project)


def test_no_pyinstaller(tmp_path: Path) -> None:
    project = project_with_former_bundle(tmp_path / "project")
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (here,) = {Path(path) for path in sys.path if path.endswith("site-packages") and (Path(path) / "hatchling").is_dir()}
    for each in here.iterdir():
        if "pyinstaller" not in each.name.lower():
            (site / each.name).symlink_to(each)
    command = [tmp_path / "venv" / "bin" / "python", "-m", "hatchling", "build", "-t", "frozen"]
    result = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    remedy = 'requires = ["hatchling", "hatch-mlbundle[frozen]"] under [build-system] brings one'
    assert result.returncode == 2
    assert result.stderr.splitlines() == [f"mlbundle: PyInstaller is not in the build environment; {remedy} (nothing was built)"]
    assert_former_bundle(project)


BAD_SPECS = {
    "a = Analysis(['x.py']\n": "PyInstaller failed: SyntaxError: '(' was never closed (bad.spec, line 1); all that it",
    "import os\nimport nixda\n": "PyInstaller failed: ModuleNotFoundError: No module named 'nixda' (bad.spec, line 2); all",
    "a = Analysis(['x.py'])\n": "PyInstaller failed: script '",
    "import os\nos.kill(os.getpid(), 9)\n": "PyInstaller was killed by signal 9, as a system does that runs out of memory; all that",
    "print('hello')\n": "bad.spec: makes nothing; it needs Analysis, PYZ, EXE and COLLECT",
    "for name in 'ab': os.makedirs(os.path.join(DISTPATH, name))\n": "bad.spec: makes 2 folders (a, b); one COLLECT can take several EXEs",
    "open(os.path.join(DISTPATH, 'a'), 'w').close()\n": "bad.spec: makes a single file; let it make a folder (COLLECT), and set",
}


@pytest.mark.parametrize("spec", BAD_SPECS)
def test_a_spec_that_fails(tmp_path: Path, spec: str) -> None:
    project = project_with_former_bundle(tmp_path / "project", 'spec = "bad.spec"\n')
    (project / "bad.spec").write_text(spec)
    line = refused(project, TMPDIR=str(tmp_path))
    assert line.startswith(f"mlbundle: {BAD_SPECS[spec]}")
    assert line.endswith(UNTOUCHED)
    if "PyInstaller " in line:
        log = Path(line.removesuffix(UNTOUCHED).rpartition(" is in ")[2])
        assert "INFO: PyInstaller: " in log.read_text()
    assert_former_bundle(project)


def test_an_argument_that_pyinstaller_does_not_know(tmp_path: Path) -> None:
    project = project_with_former_bundle(tmp_path / "project", OPTIONS + 'pyinstaller-arguments = ["--frobnicate"]\n')
    assert "PyInstaller failed: unrecognized arguments: --frobnicate;" in refused(project, TMPDIR=str(tmp_path))
    assert_former_bundle(project)


def test_a_script_that_is_no_python(tmp_path: Path) -> None:
    project = project_with_former_bundle(tmp_path / "project", 'script = "run.py"\n')
    (project / "run.py").write_text("x = 1\ndef f(:\n")
    assert "PyInstaller failed: SyntaxError: invalid syntax (run.py, line 2);" in refused(project, TMPDIR=str(tmp_path))
    assert_former_bundle(project)


def test_a_file_in_the_place_of_the_output_folder(tmp_path: Path) -> None:
    project = frozen_project(tmp_path, OPTIONS)
    (project / "dist").write_text("in the way")
    assert f"cannot create the folder {project / 'dist'}: a file is in its place" in refused(project)
    assert (project / "dist").read_text() == "in the way"


def test_a_read_only_output_folder(tmp_path: Path) -> None:
    project = project_with_former_bundle(tmp_path)
    mounted = f"mount --bind dist dist && mount -o remount,ro,bind dist && exec {sys.executable} -m hatchling build -t frozen"
    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*alone, "mount --bind . ."], cwd=project, capture_output=True, check=False).returncode:
        pytest.skip("no namespaces to mount in")
    result = subprocess.run([*alone, mounted], cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f"mlbundle: the file system is read-only while writing {project / 'dist' / 'Tiny_App'}; make it writable")
    assert_former_bundle(project)


@pytest.mark.parametrize("limit", [1 << 20, 2000], ids=["by PyInstaller", "by its log"])
def test_a_full_disk(tmp_path: Path, limit: int) -> None:
    project = project_with_former_bundle(tmp_path)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "frozen"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    unmeasured = {name: value for name, value in environment().items() if not name.startswith("COVERAGE")}  # it writes files, too
    result = subprocess.run(command, cwd=project, env=unmeasured, preexec_fn=limited, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"mlbundle: file size limit reached while writing {project / 'dist'}")
    assert "free some space" in result.stderr.splitlines()[-1]
    assert_former_bundle(project)


def test_a_bundle_that_is_being_run(tmp_path: Path) -> None:
    project = project_with_former_bundle(tmp_path)
    program = Path(shutil.copy(shutil.which("cat") or "", project / "dist" / "Tiny_App" / "Tiny_App"))
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x\n")
        process.stdin.flush()
        process.stdout.readline()
        line = refused(project)
        cleaned = build(project, "-t", "frozen", "--clean-only")
        process.stdin.close()
    used = f"mlbundle: {project / 'dist' / 'Tiny_App'}: is in use by process {process.pid} (Tiny_App); end it, then build again"
    assert line == used + UNTOUCHED
    assert (cleaned.returncode, cleaned.stderr.strip()) == (2, used + " (nothing was removed)")
    program.unlink()
    assert_former_bundle(project)


def started(project: Path, **more: str) -> subprocess.Popen[str]:
    """Start a build, and return when PyInstaller is at work."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "frozen"]
    process = subprocess.Popen(command, cwd=project, env=environment(**more), stderr=subprocess.PIPE, text=True)
    while not any("base_library" in log.read_text() for log in (project / "dist").glob(".*mlbundle-freeze/pyinstaller.log")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def at_work(project: Path) -> list[Path]:
    """Return the processes that work for this project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(project).encode() in (process / "cmdline").read_bytes():
                found.append(process)
        except OSError:
            continue
    return found


def soon(holds: Callable[[], bool]) -> bool:
    """Say whether something comes to hold within ten seconds."""
    for _ in range(500):
        if holds():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, code: int) -> None:
    project = project_with_former_bundle(tmp_path)
    process = started(project)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == code
    assert said.splitlines()[1:] == (["mlbundle: interrupted" + UNTOUCHED] if code == 130 else [])
    assert at_work(project) == []
    assert_former_bundle(project)


def test_what_a_killed_build_left_is_swept_by_the_next(tmp_path: Path) -> None:
    project = project_with_former_bundle(tmp_path)
    process = started(project)
    process.kill()
    process.communicate()
    assert soon(lambda: at_work(project) == [])
    assert [path.name for path in (project / "dist").glob(".*")] == [f".Tiny_App.{process.pid}.mlbundle-freeze"]
    (project / "src" / "tiny_app" / "main.py").unlink()
    (project / "bad.spec").write_text("1 / 0\n")
    text = (project / "pyproject.toml").read_text().replace(OPTIONS, 'spec = "bad.spec"\n')
    (project / "pyproject.toml").write_text(text)
    assert "ZeroDivisionError" in refused(project, TMPDIR=str(tmp_path.parent))
    assert_former_bundle(project)
