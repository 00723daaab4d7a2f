"""The hook alone, without anybody who watches from outside, in every release of Python that applications are frozen with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hatch_mlbundle.tracing.records import read_records
from tests.projects import REPOSITORY
from tests.pythons import RELEASES, find_python

HOOK = REPOSITORY / "hatch_mlbundle" / "runtime" / "trace_hook.py"
START = """
import sys, types
records, root, early = sys.argv[1:4]
if early == "early":
    import pathlib
sys.path.insert(0, root)
hook = types.ModuleType("hook")
exec(compile(open({hook!r}).read(), "hook", "exec"), hook.__dict__)
hook.start(records, [root])
import importlib, importlib.util, glob, os, pathlib, shutil, subprocess
"""
USE = """
os.chdir(root)
importlib.import_module("pkg.one")
assert importlib.util.find_spec("pkg.two")
assert importlib.util.find_spec("pkg.none") is None
assert pathlib.Path(root, "exists").exists() and not pathlib.Path(root, "missing").exists()
assert pathlib.Path(root, "lstat").lstat().st_size == pathlib.Path(root, "stat").stat().st_size == 0
assert os.access("access", os.R_OK) and os.path.getsize(os.path.join("folder", "..", "size")) == 0
assert os.path.isfile(os.fsencode(root + "/bytes")) and os.readlink(root + "/link") == "target"
assert list(os.scandir(root + "/folder")) and glob.glob(root + "/folder/*")
try:
    os.stat(path=3.5)
except TypeError as error:
    assert "path should be" in str(error) or "should be" in str(error), error
folder = os.open(root, os.O_RDONLY)
os.stat("descriptor", dir_fd=folder, follow_symlinks=False)
assert os.stat(folder).st_ino == os.stat(root).st_ino
assert {os.stat, os.unlink, os.open} <= os.supports_dir_fd and os.stat in os.supports_follow_symlinks and os.stat in os.supports_fd
copied = records + "-copy"
shutil.copytree(root + "/copied", copied)
shutil.rmtree(copied)
assert shutil.rmtree.avoids_symlink_attacks
pid = os.fork()
if not pid:
    open("forked").close()
    os.kill(os.getpid(), 9)
os.waitpid(pid, 0)
os.closerange(3, 50)
open("after").close()
subprocess.run([root + "/program"], check=True)
os._exit(0)
"""
FILES = ("exists", "lstat", "stat", "access", "size", "bytes", "target", "descriptor", "forked", "after", "copied/file", "unused")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in (*FILES, "pkg/__init__.py", "pkg/one.py", "pkg/two.py", "pkg/three.py", "folder/file"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (folder / "link").symlink_to("target")
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    (tmp_path / "records").mkdir()
    return folder


@pytest.mark.parametrize("early", ["early", "late"])
@pytest.mark.parametrize("release", RELEASES)
def test_what_a_process_asks_for_is_written_down(release: str, early: str, root: Path, tmp_path: Path) -> None:
    python = find_python(release)
    if python is None:
        pytest.skip(f"needs Python {release}")
    script = START.format(hook=str(HOOK)) + USE
    command = [python, "-I", "-B", "-c", script, str(tmp_path / "records"), str(root), early]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    found = read_records(tmp_path / "records")
    names = {*FILES, "pkg/__init__.py", "pkg/one.py", "pkg/two.py", "folder", "link", "program"} - {"unused", "target"}
    assert names - found.paths == set()
    assert found.paths & {"unused", "pkg/three.py", "missing", "folder/file"} == set()
    assert found.ran == {""}


def test_a_record_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "1-0").write_bytes(b"sapp\0papp\0f_internal/a\0mapp/pkg.mod\0f_inter")
    (tmp_path / "2-0").write_bytes(b"fna\xc3\xafve/\xff\0")
    found = read_records(tmp_path)
    assert found.paths == {"_internal/a", "na\u00efve/\udcff"}
    assert found.modules == {"app": {"pkg.mod"}}
    assert (found.ran, found.watched) == ({"app"}, {"app"})
