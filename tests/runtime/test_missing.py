"""What an optimized application says, when it runs, of what was left out of it: on a real one, frozen once."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import hatch_mlbundle
from hatch_mlbundle import application
from hatch_mlbundle.bundles.executable import find_executable
from hatch_mlbundle.bundles.missing_notice import NOTICE, REHEARSAL, LeftOut, read_notice
from hatch_mlbundle.bundles.scripts import entry_scripts
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.config import read_config
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.profile import FILE_NAME, Profile
from tests.frozensmith import pyinstaller
from tests.pythons import RELEASES, find_python

APP = """\
import ctypes, importlib.util, os, pkgutil, sys, threading
import pkg
root = sys._MEIPASS
data = os.path.join(root, "pkg", "data.txt")
def read():
    with open(data) as stream:
        return stream.read()
def main(what):
    if what == "lazy":
        import pkg.lazy
    elif what == "from":
        from pkg import lazy
    elif what == "guarded":
        try:
            import pkg.lazy
        except ImportError as error:
            print("without", type(error).__name__, error.name)
    elif what == "asked":
        print(importlib.util.find_spec("pkg.lazy"), pkgutil.find_loader("pkg.lazy") if sys.version_info < (3, 12) else None)
    elif what == "data":
        print(read())
    elif what == "relative":
        os.chdir(root)
        open("./pkg//data.txt")
    elif what == "wrapped":
        try:
            read()
        except OSError:
            raise RuntimeError("cannot go on") from None
    elif what == "thread":
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    elif what == "folder":
        os.listdir(os.path.join(root, "assets"))
    elif what == "library":
        ctypes.CDLL(os.path.join(root, "pkg", "libhelper.so"))
    elif what == "stranger":
        open(os.path.join(root, "never.txt"))
    elif what == "unknown":
        import nowhere
    elif what == "other":
        import pkg.other
    elif what == "exit":
        sys.exit(7)
    elif what == "default":
        print(sys.excepthook is sys.__excepthook__, threading.excepthook is threading.__excepthook__)
    print("done")
main(sys.argv[1])
"""
FILES = {
    "app.py": APP,
    "pkg/__init__.py": "",
    "pkg/lazy.py": "",
    "pkg/other.py": "",
    "pkg/data.txt": "some data",
    "pkg/libhelper.so": "no library",
    "assets/one.txt": "1",
    "assets/two.txt": "2",
}
GOES = ("_internal/app.pyz/pkg/lazy.pyc", "_internal/pkg/data.txt", "_internal/pkg/libhelper.so", "_internal/assets/one.txt")


def job_for(project: Path, **more: object) -> Job:
    registry = load_registry()
    table = {"optimizers": ["exclude", "prune_unused"], "exclude": {"paths": ["/_internal/assets/two.txt"]}, **more}
    return prepare(read_config(table, registry.option_types()), registry, project=project)


@dataclass(frozen=True)
class Application:
    """The application as PyInstaller made it, and without what is in `GOES`."""

    plain: Path
    small: Path
    project: Path


def optimized(project: Path, plain: Path, name: str, **more: object) -> Path:
    target = project / name
    application.optimize(job_for(project, **more), plain, target)
    return target


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Application:
    pytest.importorskip("PyInstaller")
    folder = tmp_path_factory.mktemp("missing")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    added = [f"--add-data={name}:{Path(name).parent}" for name in FILES if not name.endswith(".py")]
    result = pyinstaller(folder, *added, "--hidden-import=pkg.lazy", "--hidden-import=pkg.other", "app.py")
    assert result.returncode == 0, result.stderr
    plain = folder / "dist/app"
    nothing = load_registry()
    rows = application.analyze(prepare(read_config({"optimizers": []}, nothing.option_types()), nothing, project=folder), plain).files
    inventory = frozenset(row.path for row in rows)
    assert set(GOES) <= inventory
    Profile(used=inventory - set(GOES), unused=frozenset(GOES)).save(folder / FILE_NAME)
    return Application(plain, optimized(folder, plain, "small"), folder)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "app", *arguments], capture_output=True, text=True, check=False, timeout=60)


def notice_of(executable: Path) -> list[LeftOut]:
    with closing(SharedFile(executable)) as file:
        found = find_executable(file, "app")
        assert found is not None
        return read_notice(found)


KEEP = "in [tool.mlbundle.prune_unused], or trace a run that needs it (mlbundle trace)"


def test_an_import_of_what_was_left_out_names_the_step_and_the_line(made: Application) -> None:
    result = run(made.small, "lazy")
    told = (
        f"""ModuleNotFoundError: No module named 'pkg.lazy': mlbundle's step 'prune_unused' left it out; add "pkg.lazy" to `keep` {KEEP}"""
    )
    assert told in result.stderr.splitlines()
    assert "mlbundle: " not in result.stderr
    assert (result.returncode, run(made.plain, "lazy").returncode) == (1, 0)


def test_an_import_by_from_tells_it_in_a_line_of_its_own(made: Application) -> None:
    result = run(made.small, "from")
    assert "ImportError: cannot import name 'lazy' from 'pkg'" in result.stderr
    line = f"mlbundle: pkg.lazy: step 'prune_unused' left it out; add \"pkg.lazy\" to `keep` {KEEP}"
    assert line in result.stderr.splitlines()


@pytest.mark.parametrize("what", ["data", "relative", "wrapped", "thread"])
def test_a_missing_file_is_told_behind_the_traceback(what: str, made: Application) -> None:
    result = run(made.small, what)
    lines = result.stderr.splitlines()
    path = "_internal/pkg/data.txt"
    assert f"mlbundle: step 'prune_unused' left out {path}; add \"/{path}\" to `keep` {KEEP}" in lines
    assert sum("mlbundle" in line for line in lines) == 1
    assert any("Traceback" in line for line in lines)
    assert result.returncode == (0 if what == "thread" else 1)
    assert run(made.plain, what).returncode == 0


def test_a_folder_of_which_nothing_is_left_is_told(made: Application) -> None:
    folder = "_internal/assets/"
    line = run(made.small, "folder").stderr.splitlines()[-2:]
    assert any(f'left out {folder}; add "/{folder}" to `exclude` in [tool.mlbundle.exclude]' in each for each in line)


def test_a_library_that_cannot_be_loaded_is_told(made: Application) -> None:
    path = "_internal/pkg/libhelper.so"
    assert f'left out {path}; add "/{path}" to `keep`' in run(made.small, "library").stderr


@pytest.mark.parametrize("what", ["guarded", "asked", "stranger", "unknown", "other", "default", "exit"])
def test_whatever_else_happens_is_as_before(what: str, made: Application) -> None:
    process_ids = re.compile(r"PYI-\d+")
    before, after = run(made.plain, what), run(made.small, what)
    assert "mlbundle" not in after.stderr
    assert after.returncode == before.returncode
    if what == "guarded":
        assert (before.stdout, after.stdout) == ("done\n", "without ModuleNotFoundError pkg.lazy\ndone\n")
    elif what == "asked":
        assert after.stdout == "None None\ndone\n"
    else:
        assert after.stdout == before.stdout
        assert process_ids.sub("", after.stderr.replace(str(made.small), str(made.plain))) == process_ids.sub("", before.stderr)


def test_the_same_bytes_come_every_time(made: Application, tmp_path: Path) -> None:
    script = f"""\
import sys
from pathlib import Path
from tests.runtime.test_missing import optimized
optimized(Path({str(made.project)!r}), Path({str(made.plain)!r}), sys.argv[1], cache={{"enabled": False}})
"""
    again = tmp_path / "again"
    subprocess.run([sys.executable, "-c", script, again], check=True, env={"PYTHONHASHSEED": "5", "PATH": "", "PYTHONPATH": sys.path[0]})
    assert (again / "app").read_bytes() == (made.small / "app").read_bytes()


def test_a_second_step_later_adds_to_the_list(made: Application, tmp_path: Path) -> None:
    table = {"optimizers": ["exclude"], "exclude": {"paths": ["_internal/app.pyz/pkg/other.pyc"]}}
    registry = load_registry()
    job = prepare(read_config(table, registry.option_types()), registry, project=tmp_path)
    application.optimize(job, made.small, tmp_path / "smaller")
    executable = tmp_path / "smaller" / "app"
    steps = {each.step: set(each.paths) for each in notice_of(executable)}
    assert steps == {"prune_unused": set(GOES), "exclude": {"_internal/assets/two.txt", "_internal/app.pyz/pkg/other.pyc"}}
    with closing(SharedFile(executable)) as file:
        found = find_executable(file, "app")
        assert found is not None
        assert [entry.name for entry in found.archive.entries].count(NOTICE) == 1
    wanted = 'left it out; add "/_internal/app.pyz/pkg/other.pyc" to `exclude` in [tool.mlbundle.exclude]'
    assert wanted in run(executable.parent, "other").stderr
    assert 'add "pkg.lazy" to `keep`' in run(executable.parent, "lazy").stderr


def test_messages_can_be_switched_off(made: Application, tmp_path: Path) -> None:
    silent = optimized(made.project, made.plain, str(tmp_path / "silent"), **{"runtime-messages": False})
    assert notice_of(silent / "app") == []
    assert run(silent, "lazy").stderr.splitlines()[-2] == "ModuleNotFoundError: No module named 'pkg.lazy'"


def test_one_file_tells_it_too(made: Application, tmp_path: Path) -> None:
    built = Path(shutil.copytree(made.plain, tmp_path / "built", symlinks=True))
    application.finish_frozen(job_for(made.project), built, tmp_path / "app", one_file=True)
    assert 'add "/_internal/pkg/data.txt" to `keep`' in run(tmp_path, "data").stderr
    assert 'add "pkg.lazy" to `keep`' in run(tmp_path, "lazy").stderr


def test_verification_runs_executables_with_a_notice_that_says_nothing(made: Application, tmp_path: Path) -> None:
    with application.open_session(job_for(made.project), made.plain, None) as session:
        bundle = session.artifact.scan().bundle
        whole, smaller = (session.artifact.on_disk(each) for each in (bundle, bundle.without(GOES)))
        assert whole is not None
        assert smaller is not None
        assert whole["app"].sha256 == hashlib.sha256((made.plain / "app").read_bytes()).hexdigest()
        (tmp_path / "app").write_bytes(smaller["app"].read())
    assert notice_of(tmp_path / "app") == [REHEARSAL]
    (tmp_path / "app").chmod(0o755)
    (tmp_path / "_internal").symlink_to(made.plain / "_internal")
    result = run(tmp_path, "lazy")
    assert result.stderr.splitlines()[-2] == "ModuleNotFoundError: No module named 'pkg.lazy'"


def test_the_names_in_the_notice_are_no_uses(made: Application) -> None:
    registry = load_registry()
    job = prepare(read_config({"optimizers": []}, registry.option_types()), registry, project=made.project)
    with application.open_session(job, made.small, None) as session:
        scripts: Sequence[str] = [file.path for file in entry_scripts(session.artifact.scan().bundle)]
    assert not [path for path in scripts if NOTICE in path]
    assert any(path.endswith("/app.pyc") for path in scripts)


@pytest.mark.parametrize("name", load_registry())
def test_every_step_says_what_to_do_in_its_own_table(name: str) -> None:
    optimizer = load_registry()[name].optimizer
    made = optimizer(optimizer.options_type())
    of_module, of_file = made.remedy("{path}", "{module}"), made.remedy("{path}", None)
    assert f"[tool.mlbundle.{name}]" in of_module
    assert f"[tool.mlbundle.{name}]" in of_file
    assert ("{module}" in of_module) == ("`keep`" in of_module)
    assert "/{path}" in of_file


ELSEWHERE = """\
import sys, zlib, importlib.util, threading
from pathlib import Path
sys._MEIPASS = str(Path(sys.argv[2]))
space = {"__name__": "mlbundle_missing"}
exec(compile(Path(sys.argv[1]).read_text(), "mlbundle_missing.py", "exec"), space)
paths = ["_internal/app.pyz/pkg/__init__.pyc", "_internal/app.pyz/pkg/sub/mod.pyc", "_internal/python3.1/lib-dynload/_gone.cpython-31-x.so"]
packed = b"left out:" + zlib.compress("\\0".join(["step", "M {module}", "F {path}", *paths, "_internal/data.txt"]).encode())
space["install"]("_internal/", " _gone pkg ", packed)
sys.path.insert(0, sys._MEIPASS)
for name in ("pkg", "_gone", "nowhere"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error, "|", importlib.util.find_spec(name))
def read():
    open(Path(sys._MEIPASS) / "data.txt")
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("release", RELEASES)
def test_it_runs_on_every_release_of_python(release: str, tmp_path: Path) -> None:
    python = find_python(release)
    if python is None:
        pytest.skip(f"needs Python {release}")
    source = Path(hatch_mlbundle.__file__).parent / "runtime" / "missing.py"
    result = subprocess.run([python, "-I", "-c", ELSEWHERE, source, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "No module named 'pkg': mlbundle's step 'step' left it out; M pkg | None",
        "No module named '_gone': mlbundle's step 'step' left it out; M _gone | None",
        "No module named 'nowhere' | None",
    ]
    assert result.stderr.splitlines()[-1] == "mlbundle: step 'step' left out _internal/data.txt; F _internal/data.txt"
