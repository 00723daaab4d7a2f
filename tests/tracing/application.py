"""A real application, frozen once a session, that uses its files in every way that a trace must see."""

from __future__ import annotations

import atexit
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.frozensmith import pyinstaller

_READER = """\
#include <stdio.h>
int read_first(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return -1;
    int first = fgetc(file);
    fclose(file);
    return first;
}
"""
_APP = """\
import ctypes, importlib, importlib.util, multiprocessing, os, pathlib, subprocess, sys, threading
from pets import cat

ROOT = getattr(sys, "_MEIPASS", None) or os.path.dirname(os.path.abspath(__file__))
FILES = os.path.join(ROOT, "files")


def in_a_thread():
    open(os.path.join(FILES, "thread.txt")).close()


def spawned():
    import pets.cow
    open(os.path.join(FILES, "spawned.txt")).close()


def forked():
    pid = os.fork()
    if not pid:
        import pets.fox
        open(os.path.join(FILES, "forked.txt")).close()
        os._exit(0)
    os.waitpid(pid, 0)


def use_everything():
    importlib.import_module("pets.dog")
    assert importlib.util.find_spec("pets.bird") is not None
    (pathlib.Path(FILES) / "opened.txt").read_text()
    assert os.path.exists(os.path.join(FILES, "asked.txt"))
    assert (pathlib.Path(FILES) / "asked-by-pathlib.txt").is_file()
    assert os.stat in os.supports_dir_fd and os.stat in os.supports_follow_symlinks
    os.stat(b"%s/bytes.txt" % os.fsencode(FILES))
    folder = os.open(FILES, os.O_RDONLY)
    os.stat("descriptor.txt", dir_fd=folder)
    os.close(folder)
    open(os.path.join(FILES, "link.txt")).close()
    assert os.listdir(os.path.join(FILES, "listed"))
    assert ctypes.CDLL(os.path.join(ROOT, "libreader.so")).read_first(os.fsencode(os.path.join(FILES, "native.txt"))) == 110
    threads = [threading.Thread(target=in_a_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    forked()
    process = multiprocessing.get_context("spawn").Process(target=spawned)
    process.start()
    process.join()
    again = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, __file__]
    small = {} if getattr(sys, "frozen", False) else only("PYTHONPATH", "MLBUNDLE_TRACE", "MLBUNDLE_TRACE_ROOTS")
    print(subprocess.run([*again, "child"], env=small, check=True, capture_output=True, text=True).stdout, end="")
    print(cat.NAME, sys.stdin.readline().strip(), *sys.argv[1:])
    sys.stdout.flush()
    os._exit(3 if "fail" in sys.argv else 0)


def only(*names):
    return {name: os.environ[name] for name in names if name in os.environ}


def main():
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "child":
        open(os.path.join(FILES, "child.txt")).close()
        print("child")
    elif command == "pickle":
        import copy, inspect, pickle
        assert pickle.loads(pickle.dumps(os.stat)) is os.stat and copy.deepcopy(os.stat) is os.stat
        print(os.stat.__name__, os.stat.__module__, callable(os.stat), "path" in inspect.signature(os.stat).parameters)
    elif command == "leave":
        subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL)
        print("left")
    elif command == "killed":
        open(os.path.join(FILES, "opened.txt")).close()
        os.kill(os.getpid(), 9)
    elif command == "wait":
        try:
            print("waiting", flush=True)
            threading.Event().wait(60)
        except KeyboardInterrupt:
            print("bye", flush=True)
    elif command == "daemon":
        os.closerange(3, 100)
        mine = open(sys.argv[2], "w")
        open(os.path.join(FILES, "opened.txt")).close()
        mine.write("only mine")
    else:
        use_everything()


if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()
"""
PETS = ("cat", "dog", "bird", "cow", "fox", "owl")
TEXTS = ("opened", "asked", "asked-by-pathlib", "bytes", "descriptor", "target", "native", "thread", "spawned", "forked", "child", "unused")
USED = {
    *(f"pets/{name}" for name in ("__init__", "cat", "dog", "bird", "cow", "fox")),
    *(f"files/{name}.txt" for name in TEXTS if name != "unused"),
    *("files/link.txt", "files/listed/small.txt", "libreader.so"),
}
"""What a run without arguments uses of `pets` and `files`, modules without their suffix."""
UNUSED = {"pets/owl", "files/unused.txt", "files/listed/large.txt"}


def write_application(folder: Path) -> Path:
    """Write the sources and the native library."""
    (folder / "pets").mkdir(parents=True)
    (folder / "pets/__init__.py").write_text("")
    for name in PETS:
        (folder / f"pets/{name}.py").write_text(f"NAME = {name!r}\n")
    (folder / "files/listed").mkdir(parents=True)
    for name in TEXTS:
        (folder / f"files/{name}.txt").write_text(name)
    (folder / "files/link.txt").symlink_to("target.txt")
    (folder / "files/listed/small.txt").write_text("small")
    (folder / "files/listed/large.txt").write_text("larger than the other")
    (folder / "reader.c").write_text(_READER)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "libreader.so", "reader.c"], cwd=folder, check=True)
    (folder / "app.py").write_text(_APP)
    return folder


@cache
def _built() -> Path:
    folder = write_application(Path(mkdtemp(prefix="mlbundle-tests-traced-")))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    hidden = [argument for name in PETS for argument in ("--hidden-import", f"pets.{name}")]
    result = pyinstaller(folder, "--add-data", "files:files", "--add-binary", "libreader.so:.", *hidden, "app.py")
    assert result.returncode == 0, result.stderr
    bundle = folder / "dist/app"
    link = bundle / "_internal/files/link.txt"
    if not link.is_symlink():  # older releases collect what a link points to
        link.unlink()
        link.symlink_to("target.txt")
    (bundle / "_internal/pets").mkdir()
    (bundle / "_internal/pets/source.py").write_text("# a source\n")
    return bundle


def traced_application(place: Path) -> Path:
    """Return a copy of the frozen application as a folder."""
    pytest.importorskip("PyInstaller")
    return Path(shutil.copytree(_built(), place / "app", symlinks=True))
