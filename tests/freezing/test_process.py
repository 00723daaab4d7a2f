from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from hatch_mlbundle.freezing.process import clean_environment, run_python

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are watched as POSIX has them")


def run(folder: Path, code: str, **environment: str) -> tuple[int, list[str], str]:
    heard: list[str] = []
    status = run_python(["-c", code], folder=folder, environment={**os.environ, **environment}, log=folder / "log", hear=heard.append)
    return status, heard, (folder / "log").read_text(encoding="utf-8")


def test_lines_are_heard_and_kept(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd()); print('ü', file=sys.stderr); sys.exit(3)"
    assert run(tmp_path, code, PYTHONUTF8="1", PYTHONUNBUFFERED="1") == (3, [str(tmp_path), "ü"], f"{tmp_path}\nü\n")


def test_what_is_no_utf_8_is_kept_readable(tmp_path: Path) -> None:
    assert run(tmp_path, "import os; os.write(1, b'\\xff\\n')") == (0, ["\\xff"], "\\xff\n")


def test_a_signal_is_told(tmp_path: Path) -> None:
    assert run(tmp_path, "import os; os.kill(os.getpid(), 9)")[0] == -signal.SIGKILL


@pytest.mark.parametrize("stubborn", [False, True])
def test_what_it_started_ends_with_it(tmp_path: Path, stubborn: bool) -> None:
    ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    code = (
        f"{ignoring}import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {ignoring!r} 'import time; time.sleep(60)'])\n"
    )
    code += "print(child.pid, flush=True)\nchild.wait()\n"
    numbers: list[int] = []

    def interrupt(line: str) -> None:
        numbers.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_python(["-c", code], folder=tmp_path, environment=os.environ, log=tmp_path / "log", hear=interrupt)
    (number,) = numbers
    for _ in range(200):
        if not is_alive(number):
            break
        time.sleep(0.02)
    assert not is_alive(number)


def is_alive(number: int) -> bool:
    """Say whether a process runs, a finished one that nobody has asked for aside."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text() if sys.platform == "linux" else os.kill(number, 0) is None
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_of_the_users_but_what_finds_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PYTHONHOME", "PYTHONSTARTUP", "PYI_LOG_LEVEL", "UPX", "LD_PRELOAD", "HTTPS_PROXY", "WANTED"):
        monkeypatch.setenv(name, "x")
    own = Path(sys.base_prefix) / "lib"
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/opt/other:{own}:")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    made = clean_environment([tmp_path, tmp_path / "src"], tmp_path / "config", ["WANTED", "UNSET", "PYTHONHASHSEED"])
    assert (
        set(made) & {"PYTHONHOME", "PYTHONSTARTUP", "PYI_LOG_LEVEL", "UPX", "LD_PRELOAD", "HTTPS_PROXY", "UNSET", "PYTHONHASHSEED"} == set()
    )
    assert (made["WANTED"], made["PATH"], made["LD_LIBRARY_PATH"]) == ("x", os.environ["PATH"], str(own))
    assert (made["PYTHONPATH"], made["SOURCE_DATE_EPOCH"]) == (f"{tmp_path}:{tmp_path / 'src'}", "1580601600")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    assert clean_environment([], tmp_path, ["LD_LIBRARY_PATH"])["SOURCE_DATE_EPOCH"] == "7"
    assert clean_environment([], tmp_path, ["LD_LIBRARY_PATH"])["LD_LIBRARY_PATH"].startswith("/opt/other")
