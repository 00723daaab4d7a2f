"""A clean root, made by bubblewrap and by our own launcher."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from hatch_mlbundle.errors import TrialError
from hatch_mlbundle.trials.bundle_files import bundle_mounts
from hatch_mlbundle.trials.jail import available, jail
from hatch_mlbundle.trials.mounts import Mount
from hatch_mlbundle.trials.process import Bounds, Command, Ended, run
from hatch_mlbundle.trials.python_files import libraries_of, python_mounts

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a clean root needs Linux"),
    pytest.mark.skipif(available() is not None, reason=str(available())),
]

CPP = '#include <iostream>\n#include <string>\nint main() { std::string s("runs"); std::cout << s << std::endl; }\n'
Try = Callable[..., Ended]


@pytest.fixture
def attempt(tmp_path: Path, maker: str) -> Try:
    """Run a command in a clean root with a bundle, an empty working folder, and what else is given."""
    bundle, work = tmp_path / "bundle", tmp_path / "work"
    bundle.mkdir(exist_ok=True)
    work.mkdir()

    def inside(*arguments: object, more: list[Mount] | None = None, seconds: float = 30.0, **environment: str) -> Ended:
        wrap = jail([Mount.of(bundle), Mount.of(work, writable=True), *(more or [])], tmp_path / "scratch")
        command = Command(arguments=tuple(map(str, arguments)), folder=work, environment=environment)
        ended = run(command, Bounds(seconds=seconds), tmp_path / "into", wrap)
        assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) in (["etc"], ["etc", "jail.json", "root"])
        assert not (tmp_path / "scratch" / "root").exists() or list((tmp_path / "scratch" / "root").iterdir()) == []
        return ended

    return inside


def python(attempt: Try, code: str, **options: float) -> Ended:
    return attempt(
        sys.executable, "-I", "-S", "-c", code, more=[*python_mounts(Path(sys.executable)), Mount.of(Path(sys.prefix))], **options
    )


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C++ program that needs libstdc++ of its system."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "app.cpp").write_text(CPP)
    subprocess.run(["g++", folder / "app.cpp", "-o", folder / "app"], check=True, timeout=120)
    return folder / "app"


@pytest.fixture(scope="session")
def environment_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C program that prints its environment."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    folder = tmp_path_factory.mktemp("c")
    (folder / "env.c").write_text("#include <stdio.h>\nint main(int c, char **v, char **e) { for (; *e; e++) puts(*e); }")
    subprocess.run(["gcc", folder / "env.c", "-o", folder / "env"], check=True, timeout=120)
    return folder / "env"


def test_a_library_of_this_machine_hides_no_missing_one(attempt: Try, program: Path, tmp_path: Path) -> None:
    app = tmp_path / "bundle" / "app"
    shutil.copy(program, app)
    outside = run(Command(arguments=(str(app),), folder=tmp_path, environment={}), Bounds(), tmp_path / "outside")
    assert (outside.status, outside.stdout.read_text()) == (0, "runs\n")
    ended = attempt(app)
    assert ended.status == 127
    assert "libstdc++.so.6: cannot open shared object file" in ended.stderr.read_text()
    for name, path in libraries_of([program]).items():
        shutil.copy(path, tmp_path / "bundle" / name)
    assert {"libstdc++.so.6", "libgcc_s.so.1"} <= {path.name for path in (tmp_path / "bundle").iterdir()}
    complete = attempt(app, LD_LIBRARY_PATH=str(tmp_path / "bundle"))
    assert (complete.status, complete.stdout.read_text(), complete.stderr.read_text()) == (0, "runs\n", "")


def test_what_there_is_and_what_is_not(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "bundle" / "data").write_text("data")
    code = f"""
import glob, os, pwd, socket
print(os.getcwd() == {str(tmp_path / "work")!r}, open({str(tmp_path / "bundle" / "data")!r}).read())
open("made", "w").write("made")
try:
    open({str(tmp_path / "bundle" / "data")!r}, "a")
except OSError as error:
    print(error.strerror)
print(sorted(os.listdir("/etc")), os.path.exists("/home"), os.path.exists("/bin/sh"), glob.glob("/tmp/*") != [])
print(pwd.getpwuid(os.getuid()).pw_uid == {os.getuid()}, os.getuid() == {os.getuid()}, socket.gethostbyname("localhost"))
open("/dev/null", "w").write("x"); open("/tmp/x", "w"); open("/dev/shm/x", "w")
print(len(os.urandom(3)), len([name for name in os.listdir("/proc") if name.isdigit()]) < 6, os.cpu_count() == {os.cpu_count()})
"""
    ended = python(attempt, code)
    assert ended.stderr.read_text() == ""
    assert ended.status == 0
    expected = ["True data", "Read-only file system", "['group', 'hosts', 'nsswitch.conf', 'passwd'] False False True"]
    assert ended.stdout.read_text().splitlines() == [*expected, "True True 127.0.0.1", "3 True True"]
    assert (tmp_path / "work" / "made").read_text() == "made"
    assert not Path("/tmp/x").exists()


def test_there_is_no_network_but_a_loopback(attempt: Try) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        code = f"""
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()[:2], timeout=5)
print("connected", [name for _, name in socket.if_nameindex()])
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=5)
except OSError as error:
    print(type(error).__name__)
"""
        ended = python(attempt, code)
    assert ended.stdout.read_text() == "connected ['lo']\nConnectionRefusedError\n", ended.stderr.read_text()


def test_exit_statuses_and_signals_are_those_of_a_shell(attempt: Try) -> None:
    assert python(attempt, "raise SystemExit(3)").status == 3
    assert python(attempt, "import os; os.abort()").status == 128 + signal.SIGABRT
    assert python(attempt, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").status == 128 + signal.SIGSEGV


def test_what_hangs_or_stays_is_ended(attempt: Try) -> None:
    code = "import os, time\nif os.fork() == 0: os.setsid()\nopen(f'{os.getpid() % 2}', 'w')\ntime.sleep(100)"
    assert python(attempt, code, seconds=1.5).overrun == "took more than 1.5 s"
    code = "import os, time\nprint(os.getpid())\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)"
    ended = python(attempt, code)
    assert (ended.status, ended.seconds < 5) == (0, True)
    assert not _runs("time.sleep(100)")


def _runs(text: str) -> bool:
    """Say whether a process whose parent is this one or nobody's was started with this text."""
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return any(text.encode() in line and b"test_jail" not in line and b"pytest" not in line for line in lines)


def test_a_virtual_environment_runs(attempt: Try, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    (tmp_path / "venv" / "lib").joinpath(f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages", "own.py").write_text(
        "X = 7"
    )
    program = tmp_path / "venv" / "bin" / "python"
    code = "import own, sys, ssl, sqlite3, ctypes, lzma, hashlib; print(own.X, sys.prefix != sys.base_prefix)"
    ended = attempt(program, "-c", code, more=[Mount.of(tmp_path / "venv"), *python_mounts(program)])
    assert (ended.stdout.read_text(), ended.stderr.read_text()) == ("7 True\n", "")


def test_the_python_of_the_system_runs_without_the_rest_of_its_prefix(attempt: Try) -> None:
    system = Path("/usr/bin/python3")
    if not system.exists():
        pytest.skip("the system has no Python")
    code = "import sys, os, ctypes, hashlib, zlib; print(sys.prefix, sorted(os.listdir('/usr/bin')))"
    ended = attempt(system, "-c", code, more=python_mounts(system))
    assert ended.stderr.read_text() == ""
    assert ended.stdout.read_text().startswith("/usr ['python3")
    assert len(ended.stdout.read_text()) < 100


def test_a_folder_under_another_name_is_there_under_both(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    more = [*python_mounts(Path(sys.executable)), Mount.of(Path(sys.prefix)), Mount.of(tmp_path / "link")]
    code = f"print(open({str(tmp_path / 'link/x')!r}).read(), open({str(tmp_path / 'real/x')!r}).read())"
    ended = attempt(sys.executable, "-I", "-c", code, more=more)
    assert (ended.stdout.read_text(), ended.stderr.read_text()) == ("x x\n", "")


def test_a_program_or_interpreter_that_is_not_in_the_root_is_told(attempt: Try, tmp_path: Path) -> None:
    script = tmp_path / "bundle" / "run.sh"
    script.write_text("#!/bin/sh\necho x\n")
    script.chmod(0o755)
    with pytest.raises(TrialError, match=r"run\.sh: its interpreter /bin/sh is not in the clean root"):
        attempt(script)
    with pytest.raises(TrialError, match=r"^/bin/ls: is not in the clean root, which holds the artifact and the C library only"):
        attempt("/bin/ls")
    (tmp_path / "bundle" / "link").symlink_to("/bin/ls")
    with pytest.raises(TrialError, match=r"link: is not in the clean root"):
        attempt(tmp_path / "bundle" / "link")
    with pytest.raises(TrialError, match="is not there, and is to be seen in the clean root"):
        attempt(script, more=[Mount.of(tmp_path / "absent")])
    ended = attempt("ls", PATH="/usr/bin:/bin")
    assert ended.status not in (0, None)
    assert "ls: " in ended.stderr.read_text()
    assert ended.stderr.read_text().count("\n") == 1


def test_the_environment_is_the_one_given(attempt: Try, environment_program: Path, tmp_path: Path) -> None:
    ended = attempt(shutil.copy(environment_program, tmp_path / "bundle"), A="1", B="x=\n")
    assert {line for line in ended.stdout.read_text().split("\n") if not line.startswith("PWD=")} == {"A=1", "B=x=", ""}


def test_a_bundle_gets_from_the_system_what_its_bootloader_cannot_do_without(attempt: Try, tmp_path: Path) -> None:
    loaders = pytest.importorskip("PyInstaller").__path__[0]
    loader = next((path for path in Path(loaders, "bootloader").glob("*/run") if "libz.so.1" in libraries_of([path])), None)
    if loader is None:
        pytest.skip("this bootloader needs nothing")
    app = shutil.copy(loader, tmp_path / "bundle" / "app")
    assert "libz.so.1: cannot open shared object file" in attempt(app).stderr.read_text()
    started = attempt(app, more=bundle_mounts(tmp_path / "bundle"))
    assert "libz" not in started.stderr.read_text()
    assert "[PYI-" in started.stderr.read_text()  # it misses its archive, and says so itself


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="there is no bubblewrap")
def test_where_namespaces_are_forbidden_the_reason_is_one_line(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from hatch_mlbundle.trials import jail
print(jail.available())
try:
    jail.jail([], Path("scratch"))
except Exception as error:
    print(error)
"""
    forbidding = ["bwrap", "--unshare-user", "--uid", "1000", "--disable-userns", "--dev-bind", "/", "/"]
    done = subprocess.run([*forbidding, sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    if "disable-userns" in done.stderr:
        pytest.skip("this bubblewrap cannot forbid namespaces")
    reason, error = done.stdout.splitlines()
    assert reason.startswith("no clean root can be made here (bwrap: ")
    assert "mlbundle: " in reason
    assert error == f"{reason}; run without one (jail = false)"
