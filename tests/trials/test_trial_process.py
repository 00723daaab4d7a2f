"""Commands within bounds, and nothing left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hatch_mlbundle.errors import TrialError
from hatch_mlbundle.trials.process import Bounds, Command, Ended, run

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

Try = Callable[..., Ended]


@pytest.fixture
def attempt(tmp_path: Path) -> Try:
    """Run Python code in an empty folder."""

    def run_code(code: str, *, stdin: bytes = b"", **bounds: float) -> Ended:
        (tmp_path / "work").mkdir(exist_ok=True)
        command = Command(
            arguments=(sys.executable, "-I", "-S", "-c", code),
            folder=tmp_path / "work",
            environment={**os.environ, "MARK": "x"},
            stdin=stdin,
        )
        limits = Bounds(**{"seconds": 30.0, "written": 10**7, "processes": 50, **bounds})  # type: ignore[arg-type]
        return run(command, limits, tmp_path / "into")

    return run_code


def pids(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()]


def is_alive(number: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text() if sys.platform == "linux" else os.kill(number, 0) is None
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_output_status_and_input(attempt: Try, tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['MARK'], sys.stdin.read()); print('e', file=sys.stderr); sys.exit(3)"
    ended = attempt(code, stdin="grüß".encode())
    assert (ended.status, ended.overrun, ended.left) == (3, None, 0)
    assert ended.stdout.read_text() == f"{tmp_path / 'work'} x grüß\n"
    assert ended.stderr.read_text() == "e\n"
    assert sorted(path.name for path in (tmp_path / "into").iterdir()) == ["stderr", "stdout"]


def test_nothing_is_inherited_but_the_three_streams(attempt: Try) -> None:
    ended = attempt("import os; print(sorted(int(fd) for fd in os.listdir('/dev/fd'))[:3], os.getsid(0) == os.getpid())")
    assert ended.stdout.read_text() == "[0, 1, 2] True\n"


def test_a_signal_is_a_negative_status_and_leaves_no_core(attempt: Try, tmp_path: Path) -> None:
    ended = attempt("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (ended.status, ended.overrun) == (-signal.SIGSEGV, None)
    assert list((tmp_path / "work").iterdir()) == []


def test_time_and_memory_are_those_of_the_command(attempt: Try) -> None:
    small = attempt("import time; time.sleep(0.5)")
    large = attempt("data = bytes(200_000_000 - 1); data = bytearray(b'x') * 200_000_000")
    assert 0.5 <= small.seconds < 1.5
    assert 2_000_000 < small.peak_memory < 50_000_000
    assert 200_000_000 < large.peak_memory < 600_000_000


def test_memory_of_a_child_counts(attempt: Try) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-I', '-S', '-c', \"x = bytearray(b'x') * 100_000_000\"])"
    assert attempt(code).peak_memory > 100_000_000


def test_what_hangs_is_ended(attempt: Try) -> None:
    start = time.monotonic()
    code = "import signal, time\nfor n in (2, 15, 1): signal.signal(n, signal.SIG_IGN)\nprint('on', flush=True)\nwhile True: time.sleep(9)"
    ended = attempt(code, seconds=1.0)
    assert (ended.status, ended.overrun) == (None, "took more than 1 s")
    assert ended.stdout.read_text() == "on\n"
    assert 1.0 <= ended.seconds < 3
    assert time.monotonic() - start < 6


@linux
@pytest.mark.parametrize("detached", [False, True])
def test_a_fork_bomb_is_ended_with_all_of_it(attempt: Try, tmp_path: Path, detached: bool) -> None:
    code = f"""
import os, time
for _ in range(300):
    if os.fork() == 0:
        {"os.setsid()" if detached else ""}
        os.write(1, b"%d\\n" % os.getpid())
        time.sleep(100)
time.sleep(100)
"""
    ended = attempt(code)
    assert (ended.status, ended.overrun) == (None, "had more than 50 processes and threads at once")
    numbers = pids(ended.stdout)
    assert len(numbers) > 45
    assert not any(map(is_alive, numbers))


@linux
def test_threads_count(attempt: Try) -> None:
    code = (
        "import threading, time\nfor _ in range(60): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\ntime.sleep(100)"
    )
    assert attempt(code).overrun == "had more than 50 processes and threads at once"


def test_a_flood_of_output_is_ended(attempt: Try) -> None:
    ended = attempt("import sys\nwhile True: sys.stdout.write('y\\n' * 10000)")
    assert (ended.status, ended.overrun) == (None, "wrote more than 10.0 MB")
    assert ended.stdout.stat().st_size <= 10**7 + 1


@linux
def test_a_flood_of_files_is_ended(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "before").write_bytes(bytes(8_000_000))
    ended = attempt("n = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'w').write('x' * 10000)")
    assert (ended.status, ended.overrun) == (None, "wrote more than 10.0 MB")
    assert sum(path.stat().st_size for path in (tmp_path / "work").iterdir()) < 500_000_000


def test_a_file_that_outgrows_the_bound_is_told_though_the_command_ended_by_itself(attempt: Try) -> None:
    ended = attempt("open('x', 'wb').write(bytes(20_000_000))")
    assert (ended.status, ended.overrun) == (None, "wrote more than 10.0 MB")


def test_what_was_there_before_does_not_count(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "before").write_bytes(bytes(20_000_000))
    assert attempt("open('x', 'wb').write(bytes(5_000_000))").status == 0


@linux
def test_a_daemon_is_ended_and_counted(attempt: Try) -> None:
    code = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(1, b"%d" % os.getpid())
        time.sleep(100)
    os._exit(0)
os.wait()
time.sleep(0.1)
"""
    ended = attempt(code)
    assert (ended.status, ended.overrun, ended.left) == (0, None, 1)
    assert ended.seconds < 2
    assert not any(map(is_alive, pids(ended.stdout)))


@linux
def test_a_helper_that_ends_by_itself_is_left_in_peace(attempt: Try, tmp_path: Path) -> None:
    ended = attempt("import os, time\nif os.fork() == 0:\n    time.sleep(0.2)\n    open('tidied', 'w')")
    assert (ended.status, ended.left) == (0, 0)
    assert (tmp_path / "work" / "tidied").exists()


PARENT = """
import os, sys
from pathlib import Path
from hatch_mlbundle.trials.process import Bounds, Command, run
code = '''
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(f"{os.getpid()} {os.getppid()}")
        os.rename(sys.argv[1], sys.argv[2])
    time.sleep(100)
time.sleep(100)
'''
folder = Path(sys.argv[1])
command = Command(arguments=(sys.executable, "-c", code, str(folder / "a"), str(folder / "b")), folder=folder, environment=os.environ)
run(command, Bounds(), folder / "into")
"""


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_when_the_one_who_asked_is_interrupted_or_killed(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], stderr=subprocess.PIPE, text=True) as parent:
        wait_for((tmp_path / "b").exists)
        parent.send_signal(number)
        _, errors = parent.communicate(timeout=20)
    assert parent.returncode in (-number, 130)
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    found = pids(tmp_path / "b")
    assert len(found) == 2
    wait_for(lambda: not any(map(is_alive, found)))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@linux
def test_other_children_of_the_caller_are_left_alone(attempt: Try) -> None:
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as other:
        assert attempt("pass").status == 0
        assert other.poll() is None
        other.kill()


def command(folder: Path, *arguments: str, **environment: str) -> Command:
    return Command(arguments=arguments, folder=folder, environment=environment or {"PATH": os.environ["PATH"]})


def test_commands_that_cannot_be_started(tmp_path: Path) -> None:
    for name, data, mode in (("text", "hello", 0o644), ("script", "#!/no/such/sh -e\n", 0o755), ("bin", "\x01\x02", 0o755)):
        (tmp_path / name).write_text(data)
        (tmp_path / name).chmod(mode)
    told = {
        (): "a command needs a program; name one",
        ("no-such-program",): "no-such-program: is not on PATH; install it, or give its path",
        ("./no",): f"{tmp_path}/no: is not there; correct the command",
        ("./text",): f"{tmp_path}/text: is no program; make it executable (chmod +x), or name the interpreter that runs it first",
        ("./script",): "./script: cannot be started: its interpreter /no/such/sh -e: No such file or directory",
        ("./bin",): "./bin: cannot be started: Exec format error",
        ("/bin/echo", "a\0b"): "/bin/echo: its arguments or variables hold a NUL character; remove it",
    }
    for arguments, line in told.items():
        with pytest.raises(TrialError) as caught:
            run(command(tmp_path, *arguments), Bounds(), tmp_path / "into")
        assert str(caught.value) == line
    with pytest.raises(TrialError, match="is no folder to run true in"):
        run(command(tmp_path / "no", "true"), Bounds(), tmp_path / "into")


def test_a_wrapped_command_runs_in_what_wraps_it(tmp_path: Path) -> None:
    ended = run(command(tmp_path, "echo", "x"), Bounds(), tmp_path / "into", wrap=lambda arguments: ["env", "A=1", "sh", "-c", "env"])
    assert "A=1\n" in ended.stdout.read_text()
