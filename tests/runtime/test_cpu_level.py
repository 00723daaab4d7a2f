from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.runtime.cpu import LEVELS, problem

PENTIUM = "processor\t: 0\nflags\t\t: fpu sse sse2 ssse3 sse4_1 sse4_2 popcnt xsave movbe\n\nprocessor\t: 1\nflags\t: avx2 fma\n"


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(PENTIUM)
    return path


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "hatch_mlbundle.runtime", "cpu", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_what_a_lesser_cpu_lacks(cpuinfo: Path) -> None:
    said = (
        "this program needs a CPU of level x86-64-v3, and this one lacks abm, avx, avx2, bmi1, bmi2, f16c, fma; get a bundle for any x86-64"
    )
    assert problem("x86-64-v3", str(cpuinfo)) == said
    assert "avx512vl" in (problem("x86-64-v4", str(cpuinfo)) or "")


def test_a_cpu_that_lacks_nothing(cpuinfo: Path) -> None:
    cpuinfo.write_text(f"flags : {' '.join(LEVELS['x86-64-v3'])}\n")
    assert problem("x86-64-v3", str(cpuinfo)) is None
    assert "lacks avx512bw, avx512cd, avx512dq, avx512f, avx512vl;" in (problem("x86-64-v4", str(cpuinfo)) or "")


@pytest.mark.parametrize("text", [None, "", "Features\t: asimd\n"])
def test_where_it_cannot_be_told(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert problem("x86-64-v4", str(tmp_path / "cpuinfo")) is None


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match="'x86-64-v9' is no level; there are x86-64-v3 and x86-64-v4"):
        problem("x86-64-v9")
    assert run("x86-64-v9") == (2, "mlbundle: cpu takes one level: x86-64-v3 or x86-64-v4\n")


def test_the_command_and_the_function_say_the_same() -> None:
    said = problem("x86-64-v4")
    assert run("x86-64-v4") == ((1, f"mlbundle: {said}\n") if said else (0, ""))
    program = "from hatch_mlbundle.runtime.cpu import require; require('x86-64-v4'); print('started')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == ((1, "") if said else (0, "started\n"))
