"""`mlbundle measure`, and what it is made of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hatch_mlbundle.errors import FailedRunError
from hatch_mlbundle.trials.measure import measure, measure_in_turn
from hatch_mlbundle.trials.process import Bounds, Command
from tests.projects import environment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="times and memory are measured as POSIX has them")


def mlbundle(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatch_mlbundle", "measure", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=100)


def command(folder: Path, code: str) -> Command:
    return Command(arguments=(sys.executable, "-I", "-S", "-c", code), folder=folder, environment=os.environ)


def test_time_and_memory(tmp_path: Path) -> None:
    code = f"import time; open({str(tmp_path / 'runs')!r}, 'a').write('x'); x = bytearray(b'x') * 80_000_000; time.sleep(0.2)"
    measured = measure(command(tmp_path, code), Bounds(), 3, warmup=2)
    assert measured.runs == 3
    assert (tmp_path / "runs").read_text() == "xxxxx"
    assert 0.2 <= measured.seconds_min <= measured.seconds_median <= measured.seconds_max < 3
    assert 80_000_000 < measured.peak_memory_median < 200_000_000


def test_several_commands_take_turns(tmp_path: Path) -> None:
    writing = "open({!r}, 'a').write({!r})"
    place = str(tmp_path / "order")
    measured = measure_in_turn([command(tmp_path, writing.format(place, each)) for each in "ab"], Bounds(), 2, warmup=1)
    assert (len(measured), (tmp_path / "order").read_text()) == (2, "ababab")


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    told = {
        "raise ValueError('no model')": "exited with 1: ValueError: no model",
        "import os; os.abort()": "crashed: SIGABRT",
        "import time; time.sleep(9)": "took more than 0.5 s",
    }
    for code, how in told.items():
        with pytest.raises(FailedRunError) as caught:
            measure(command(tmp_path, code), Bounds(seconds=0.5), 1)
        assert str(caught.value) == f"{sys.executable}: {how}; there is nothing to measure"


def test_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "fast").write_text("#!/bin/sh\n[ $1 = --x ]\n")
    (tmp_path / "slow").write_text("#!/bin/sh\nsleep 0.2; [ $1 = --x ]\n")
    for name in ("fast", "slow"):
        (tmp_path / name).chmod(0o755)
    shown = mlbundle("--runs", 2, "--warmup", 0, "--against", "./fast", "--", "./slow", "--x", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["runs", "./slow", "./fast", "first"]
    assert float(lines[1].split()[0]) >= 0.2
    assert float(lines[3].split()[1]) < 0.9
    listed = mlbundle("--runs", 1, "--json", "--", "./fast", "--x", cwd=tmp_path)
    (row,) = json.loads(listed.stdout)
    assert (row["program"], row["runs"], row["seconds_min"] == row["seconds_max"]) == ("./fast", 1, True)


def test_wrong_use_is_one_line(tmp_path: Path) -> None:
    failed = mlbundle("--", "sh", "-c", "echo oops >&2; exit 3", cwd=tmp_path)
    assert (failed.returncode, failed.stderr) == (1, "mlbundle: sh: exited with 3: oops; there is nothing to measure\n")
    absent = mlbundle("--", "no-such-program", cwd=tmp_path)
    assert (absent.returncode, absent.stderr) == (2, "mlbundle: no-such-program: is not on PATH; install it, or give its path\n")
    for arguments in (["--runs", "0"], ["--timeout", "-1"], ["--timeout", "nan"], ["--warmup", "x"]):
        wrong = mlbundle(*arguments, "--", "true", cwd=tmp_path)
        assert wrong.returncode == 2
        assert f"argument {arguments[0]}" in wrong.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_nothing_is_left_after_an_interrupt(tmp_path: Path) -> None:
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'started'); time.sleep(100)"
    arguments = [sys.executable, "-m", "hatch_mlbundle", "measure", "--", sys.executable, "-c", code]
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)), stderr=subprocess.PIPE, text=True) as measuring:
        end = time.monotonic() + 30
        while not (tmp_path / "started").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        measuring.send_signal(signal.SIGINT)
        _, errors = measuring.communicate(timeout=20)
    assert (measuring.returncode, errors) == (130, "mlbundle: interrupted\n")
    assert not Path("/proc", (tmp_path / "started").read_text()).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["started"]
