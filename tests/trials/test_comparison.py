"""What differs, in one line."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hatch_mlbundle.errors import TrialError
from hatch_mlbundle.trials.comparison import difference
from hatch_mlbundle.trials.evidence import frames, named, telling_line
from hatch_mlbundle.trials.observation import Observation, Written, observe
from hatch_mlbundle.trials.process import Bounds, Command
from hatch_mlbundle.verify_settings import VerifyCommand

pytestmark = pytest.mark.skipif(os.name != "posix", reason="commands end as POSIX has it")

EQUAL, NUMERIC, IGNORED = VerifyCommand(), VerifyCommand(output="numeric"), VerifyCommand(output="ignore")


Tell = Callable[..., "str | None"]


def observed(folder: Path, code: str, *, seconds: float = 30.0, files: tuple[str, ...] = ("*",)) -> Observation:
    """Run Python code for real, in an empty folder."""
    work = folder / "work"
    work.mkdir(parents=True)
    command = Command(arguments=(sys.executable, "-I", "-S", "-c", code), folder=work, environment={"PATH": os.environ["PATH"]})
    return observe(command, Bounds(seconds=seconds), folder / "seen", files=files)


@pytest.fixture
def told(tmp_path: Path) -> Tell:
    """Return what differs between two programs, after the same check in both directions of what does not."""
    numbers = iter(range(1000))

    def tell(before: str, after: str, how: VerifyCommand = EQUAL, seconds: float = 30.0) -> str | None:
        first = observed(tmp_path / str(next(numbers)), before)
        second = observed(tmp_path / str(next(numbers)), after, seconds=seconds)
        assert difference(first, first, how, folder=tmp_path) is None
        return difference(first, second, how, folder=tmp_path)

    return tell


def test_an_observation_keeps_output_and_files(tmp_path: Path) -> None:
    code = """
import os
print("out")
os.makedirs("sub/deep")
for name in ("a.txt", "b.bin", "sub/deep/c.txt"): open(name, "w").write(name)
os.symlink("../a.txt", "sub/link.txt"); os.symlink("sub", "folder.txt"); os.mkfifo("pipe.txt")
"""
    seen = observed(tmp_path, code, files=("*.txt",))
    assert list(seen.files) == ["a.txt", "folder.txt", "sub/deep/c.txt", "sub/link.txt"]
    assert seen.files["a.txt"] == Written(size=5, sha256=hashlib.sha256(b"a.txt").hexdigest())
    assert seen.output == hashlib.sha256(b"out\n").hexdigest()
    assert (seen.folder / "files" / "sub" / "deep" / "c.txt").read_text() == "sub/deep/c.txt"
    assert (seen.folder / "files" / "sub" / "link.txt").readlink() == Path("../a.txt")
    assert sorted(path.name for path in seen.folder.iterdir()) == ["files", "stderr", "stdout"]
    assert seen.stdout.read_text() == "out\n"
    again = observe(
        Command(arguments=("true",), folder=tmp_path / "work", environment={"PATH": os.environ["PATH"]}), Bounds(), tmp_path / "seen"
    )
    assert (list(again.files), list((tmp_path / "seen" / "files").iterdir())) == ([], [])


def test_bounds_signals_and_exit_statuses(told: Tell) -> None:
    assert told("print(1)", "import time; time.sleep(9)", seconds=0.5) == "takes more than 0.5 s"
    assert told("print(1)", "import os; os.kill(os.getpid(), 11)") == "crashes: SIGSEGV"
    assert told("print(1)", "raise SystemExit(139)") == "crashes: SIGSEGV"
    assert told("print(1)", "raise SystemExit(3)") == "exits with 3 instead of 0"
    assert told("print(1)", "raise SystemExit(200)") == "exits with 200 instead of 0"
    assert told("print(1)", "import no_such") == "exits with 1 instead of 0: ModuleNotFoundError: No module named 'no_such'"
    assert told("raise SystemExit(2)", "print(1)") == "exits with 0 instead of 2"
    assert told("print(1); raise SystemExit(2)", "print(1); raise SystemExit(2)") is None


def test_standard_error_alone_is_no_difference(told: Tell) -> None:
    assert told("print(1)", "import sys; print(1); print('warning', file=sys.stderr)") is None


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (r"a\nb\n0.13\n", r"a\nb\n0.12\n", "line 3 of its output is '0.12' instead of '0.13'"),
        (r"a\nb\n", r"a\n", "its output ends before line 2, 'b'"),
        (r"a\n", r"a\nb\n", "its output has one more line 2, 'b'"),
        (r"a\n", "a", r"line 1 of its output is 'a' instead of 'a\n'"),
        (r"a\n", r"a\r\n", r"line 1 of its output is 'a\r\n' instead of 'a\n'"),
        (r"\x1b[31m\n", r"\x1b[32m\n", r"line 1 of its output is '\x1b[32m' instead of '\x1b[31m'"),
    ],
)
def test_the_first_line_that_differs(told: Tell, before: str, after: str, line: str) -> None:
    write = "import sys; sys.stdout.write('{}')"
    assert told(write.format(before), write.format(after)) == line


def test_long_lines_are_shown_where_they_differ(told: Tell) -> None:
    line = told("print('x' * 1000 + 'abc' * 100)", "print('x' * 1000 + 'abd' * 100)")
    assert line
    assert line.startswith("line 1 of its output is '...xxxxxxxxxxxxxxxxxxabdabd")
    assert len(line) < 200


def test_binary_output(told: Tell) -> None:
    write = "import sys; sys.stdout.buffer.write(bytes(3_000_000) + {!r})"
    assert told(write.format(b"ab"), write.format(b"ac")) == "its output differs from byte 3,000,001 on"
    assert told(write.format(b"ab"), write.format(b"ab")) is None
    assert told(write.format(b"ab"), write.format(b"a"), NUMERIC) == "its output differs from byte 3,000,001 on"


def test_numbers_within_tolerances(told: Tell) -> None:
    assert told("print('loss 0.5')", "print('loss  0.500001')", NUMERIC) is None
    assert told("print('loss 0.5')", "print('loss 0.6')", NUMERIC) == "line 1 of its output is 0.6 instead of 0.5 (off by 0.1)"


def test_tolerances_are_those_configured(told: Tell) -> None:
    loose = VerifyCommand(output="numeric", relative_tolerance=0.1, absolute_tolerance=0.0)
    assert told("print(1.0, 0.0)", "print(1.1, 0.0)", loose) is None
    assert told("print(1.0, 0.0)", "print(1.2, 0.0)", loose) == "line 1 of its output is 1.2 instead of 1.0 (off by 0.2)"
    assert told("print(1.0, 0.0)", "print(1.0, 1e-12)", loose) == "line 1 of its output is 1e-12 instead of 0.0 (off by 1e-12)"


def test_files_written(told: Tell) -> None:
    write = "open({!r}, 'w').write({!r})"
    assert told(write.format("a", "1\n"), "pass") == "does not write the file 'a'"
    assert told("pass", f"{write.format('b', '')}; {write.format('a', '')}") == "also writes the file 'a' and 1 others"
    assert told(write.format("a", "1\n2\n"), write.format("a", "1\n3\n")) == "line 2 of the file 'a' is '3' instead of '2'"
    assert told(write.format("a", "1\n"), write.format("a", "1.0000001\n"), NUMERIC) is None
    assert told(write.format("a", "1\n"), write.format("a", "1.0000001\n"), IGNORED) is not None
    assert told("print(1)", "print(2)", IGNORED) is None
    assert told(write.format("a", "\0a"), write.format("a", "\0b")) == "the file 'a' differs from byte 1 on"
    assert told("import os; os.symlink('x', 'a')", "import os; os.symlink('y', 'a')") == "writes the file 'a' as another link"


def test_the_comparator_decides_instead(told: Tell, tmp_path: Path) -> None:
    script = tmp_path / "compare.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "old, new = ((Path(each) / 'stdout').read_text().split()[0] for each in sys.argv[1:3])\n"
        "assert (Path(sys.argv[1]) / 'files').is_dir()\n"
        "if old != new: print('looking\\nfirst words differ'); sys.exit(1)\n"
    )
    how = VerifyCommand(comparator=(sys.executable, "compare.py", "{before}", "{after}"))
    assert told("print('a b')", "print('a c')", how) is None
    assert told("print('a b')", "print('b b')", how) == "is not the same to its comparator: first words differ (exit code 1)"
    assert told("print('a b')", "raise SystemExit(1)", how) == "exits with 1 instead of 0"
    slow = VerifyCommand(
        comparator=(sys.executable, "-c", "import sys, time\nif sys.argv[1] != sys.argv[2]: time.sleep(9)", "{before}", "{after}"),
        timeout=1.0,
    )
    assert told("pass", "pass", slow) == "is not the same to its comparator (took more than 1 s)"
    with pytest.raises(TrialError, match=r"no-such: is not there; correct the command"):
        told("pass", "pass", VerifyCommand(comparator=("./no-such",)))


@pytest.mark.parametrize(
    ("code", "line", "names"),
    [
        ("import pkg_x.sub", "ModuleNotFoundError: No module named 'pkg_x'", ["pkg_x"]),
        ("from json import nothing", "ImportError: cannot import name 'nothing' from 'json'", ["json.nothing", "json"]),
        ("open('data/words.txt')", "FileNotFoundError: [Errno 2] No such file or directory: 'data/words.txt'", ["data/words.txt"]),
        (
            "import ctypes; ctypes.CDLL('libnone.so.3')",
            "OSError: libnone.so.3: cannot open shared object file: No such file or directory",
            ["libnone.so.3"],
        ),
        (
            "import importlib.metadata as m; m.version('Some-Dist')",
            "importlib.metadata.PackageNotFoundError: No package metadata was found for Some-Dist",
            ["Some_Dist.dist-info", "Some-Dist"],
        ),
        ("import ctypes; ctypes.CDLL('./bad.so')", None, ["./bad.so"]),
        ("import importlib; importlib.import_module('_data-x86')", "ModuleNotFoundError: No module named '_data-x86'", ["_data-x86"]),
        ("raise ValueError('some-dist>=1.2: need=1.2')", "ValueError: some-dist>=1.2: need=1.2", ["some_dist.dist-info", "some-dist"]),
    ],
)
def test_what_a_failing_run_names(tmp_path: Path, code: str, line: str | None, names: list[str]) -> None:
    seen = observed(tmp_path, f"open('bad.so', 'wb').write(bytes(64))\n{code}")
    assert line is None or telling_line(seen).startswith(line)
    assert named(seen)[: len(names)] == names


def test_frames_of_tracebacks_come_last_first(tmp_path: Path) -> None:
    seen = observed(tmp_path, "import json; json.loads('x')")
    assert [Path(name).name for name in frames(seen)] == ["decoder.py", "__init__.py", "<string>"]


def test_what_the_bootloader_adds_is_not_the_telling_line(tmp_path: Path) -> None:
    code = """
import sys
sys.stderr.write('''Traceback (most recent call last):
  File "app.py", line 3, in <module>
ValueError: no such model
[PYI-4711:ERROR] Failed to execute script 'app' due to unhandled exception!
''')
"""
    assert telling_line(observed(tmp_path, code)) == "ValueError: no such model"


def test_a_crash_tells_what_it_said(told: Tell) -> None:
    code = "import os, sys; sys.stderr.write('terminate called after throwing X\\n'); sys.stderr.flush(); os.abort()"
    assert told("pass", code) == f"crashes: {signal.SIGABRT.name}: terminate called after throwing X"
