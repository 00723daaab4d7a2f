from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.freezing.running import check_unused, users_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc says who runs what")

WAIT = "import sys; print(flush=True); sys.stdin.read()"


@contextmanager
def waiting(*command: object) -> Iterator[int]:
    """Run a command that prints a line and then waits for the end of its input; give its number."""
    with subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def test_an_executable_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "prüf ordner"
    folder.mkdir()
    sleeper = Path(shutil.copy(shutil.which("cat") or "", folder / "app"))
    with subprocess.Popen([sleeper], stdin=subprocess.PIPE) as process:
        while not list(users_of(folder)):
            assert process.poll() is None
        assert list(users_of(folder)) == [(process.pid, "app")]
        assert list(users_of(sleeper)) == [(process.pid, "app")]
        with pytest.raises(ArtifactError, match=rf"in use by process {process.pid} \(app\); end it, then build again"):
            check_unused(folder)
        assert process.stdin is not None
        process.stdin.close()
    check_unused(folder)


def test_a_library_that_is_loaded(tmp_path: Path) -> None:
    import _ctypes_test

    folder = tmp_path / "app"
    folder.mkdir()
    library = shutil.copy(_ctypes_test.__file__, folder / "library.so")
    with waiting(sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(library)!r}); {WAIT}") as number:
        assert [user[0] for user in users_of(folder)] == [number]
        assert list(users_of(tmp_path / "ap")) == []


def test_what_is_not_there_is_used_by_nobody(tmp_path: Path) -> None:
    check_unused(tmp_path / "none")
