"""What `mlbundle` says of bad input, and what stays: one clear line, the right exit code, nothing lost."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundles.wheelsmith import DIST_INFO, FILE_NAME, LISTED, METADATA, Member, build_wheel, craft, record_row
from tests.projects import HOOK, build, environment, tiny_project

Spoil = Callable[[Path], object]


def mlbundle(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatch_mlbundle", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False, timeout=120)


def rewritten(data: Callable[[bytes], bytes]) -> Spoil:
    return lambda wheel: wheel.write_bytes(data(wheel.read_bytes()))


def crafted(*members: Member) -> Spoil:
    """Return what writes a wheel of these members, whose RECORD lists them."""
    metadata = [Member(name=f"{DIST_INFO}/{name}".encode(), data=data) for name, data in METADATA.items()]
    listed = [*members, *metadata]
    rows = "".join(record_row(member.name.decode(), member.data) for member in listed) + f"{DIST_INFO}/RECORD,,\n"
    record = Member(name=f"{DIST_INFO}/RECORD".encode(), data=rows.encode())
    return lambda wheel: wheel.write_bytes(craft(*listed, record))


def with_record(change: Callable[[str], str]) -> Spoil:
    rows = "".join(record_row(path, data) for path, data in LISTED.items()) + f"{DIST_INFO}/RECORD,,\n"
    return lambda wheel: build_wheel(wheel.parent, record=change(rows))


BAD: dict[str, tuple[Spoil, str]] = {
    "empty": (rewritten(lambda data: b""), "empty"),
    "no zip": (rewritten(lambda data: b"this is no archive" * 10), "zip"),
    "truncated": (rewritten(lambda data: data[: len(data) // 2]), "download it again"),
    "cut in front": (rewritten(lambda data: data[100:]), "archive"),
    "flipped bit": (rewritten(lambda data: data[:60] + bytes([data[60] ^ 16]) + data[61:]), "damaged"),
    "wrong hash": (with_record(lambda rows: rows.replace("sha256=", "sha256=A", 1)[:-1]), "RECORD"),
    "file not listed": (with_record(lambda rows: rows.replace(rows.splitlines()[0] + "\n", "")), "not in RECORD"),
    "file missing": (with_record(lambda rows: "ghost.py,sha256=x,1\n" + rows), "ghost.py"),
    "duplicate member": (crafted(Member(name=b"a.py", data=b"1"), Member(name=b"a.py", data=b"2")), "a.py"),
    "leaves the tree": (crafted(Member(name=b"../../etc/passwd", data=b"x")), "../../etc/passwd"),
    "absolute": (crafted(Member(name=b"/etc/passwd", data=b"x")), "/etc/passwd"),
    "through a link": (crafted(Member(name=b"a", data=b"/etc", central={"external_attributes": 0o120777 << 16})), "link"),
    "encrypted": (crafted(Member(name=b"a.py", data=b"x" * 20, central={"flags": 1}, local={"flags": 1})), "encrypted"),
    "bomb": (crafted(Member(name=b"a.bin", data=bytes(150 * 10**6), deflated=True)), "max-ratio"),
    "lying bomb": (
        crafted(Member(name=b"a.bin", data=bytes(5 * 10**6), deflated=True, central={"size": 1000}, local={"size": 1000})),
        "a.bin",
    ),
    "no RECORD": (lambda wheel: wheel.write_bytes(craft(Member(name=f"{DIST_INFO}/WHEEL".encode()))), "METADATA"),
    "signed": (lambda wheel: build_wheel(wheel.parent, unlisted={f"{DIST_INFO}/RECORD.jws": b"{}"}), "allow-signed"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_wheel_is_one_line_and_stays(tmp_path: Path, name: str) -> None:
    spoil, hint = BAD[name]
    wheel = build_wheel(tmp_path)
    spoil(wheel)
    before = wheel.read_bytes()
    result = mlbundle("optimize", wheel)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("mlbundle: ")
    assert str(wheel) in line
    assert hint in line
    assert result.stdout == ""
    assert wheel.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name]


def test_bounds_of_a_bomb_can_be_raised(tmp_path: Path) -> None:
    wheel = tmp_path / FILE_NAME
    BAD["bomb"][0](wheel)
    (tmp_path / "pyproject.toml").write_text("[tool.mlbundle]\nlimits = {max-ratio = 2000}\n")
    assert mlbundle("optimize", wheel, cwd=tmp_path).returncode == 0
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle]\nlimits = {max-ratio = 2000, max-size = "100 MB"}\n')
    result = mlbundle("optimize", wheel, cwd=tmp_path)
    assert result.returncode == 2
    assert "max-size" in result.stderr


def test_signed_wheel_loses_its_signature_where_it_is_allowed(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, {"demo/__init__.py": b"", "demo/a.h": b"int a;"}, unlisted={f"{DIST_INFO}/RECORD.jws": b"{}"})
    settings = 'allow-signed = true\n[tool.mlbundle.exclude]\ngroups = ["headers"]\n'
    (tmp_path / "pyproject.toml").write_text(f"[tool.mlbundle]\n{settings}")
    assert mlbundle("optimize", wheel, cwd=tmp_path).returncode == 0
    assert sorted(zipfile.ZipFile(wheel).namelist()) == sorted(
        ["demo/__init__.py", *(f"{DIST_INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD"))]
    )


def test_full_disk_leaves_the_wheel(tmp_path: Path) -> None:
    wheel = build_wheel(
        tmp_path, {"demo/__init__.py": b"", "demo/noise.bin": os.urandom(3 << 20), "demo/tests/test_a.py": b"def test_a(): 0"}
    )
    before = wheel.read_bytes()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", "--no-cache", str(wheel)]
    result = subprocess.run(command, env=environment(), preexec_fn=limit, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "free some space" in line
    assert wheel.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name]


def test_read_only_folder_leaves_the_wheel(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    wheel = build_wheel(tmp_path)
    tmp_path.chmod(0o555)
    result = mlbundle("optimize", wheel)
    tmp_path.chmod(0o755)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "make it writable" in result.stderr


def test_killed_build_leaves_the_wheel_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    files = {f"demo/noise{number}.bin": os.urandom(1 << 20) for number in range(40)} | {"demo/tests/test_a.py": b"def test_a(): 0"}
    wheel = build_wheel(tmp_path, files)
    before = wheel.read_bytes()
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", "--no-cache", str(wheel)]
    process = subprocess.Popen(command, env=environment(TMPDIR=str(tmp_path)), stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob(".*mlbundle-partial")):
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert wheel.read_bytes() == before or process.returncode == 0
    assert mlbundle("optimize", wheel).returncode == 0
    assert list(tmp_path.glob(".*")) == []
    assert zipfile.ZipFile(wheel).testzip() is None


@pytest.mark.parametrize("tool", ["binutils", "llvm", "elfutils"])
def test_missing_tool_is_named_before_anything_is_done(tmp_path: Path, tool: str) -> None:
    wheel = build_wheel(tmp_path)
    (tmp_path / "pyproject.toml").write_text(f'[tool.mlbundle.strip]\ntool = "{tool}"\n')
    result = mlbundle("optimize", wheel, cwd=tmp_path, PATH=str(tmp_path))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "strip" in line
    assert "install" in line


def test_damaged_cache_is_made_anew(tmp_path: Path, own_cache: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "a.c"
    source.write_text(
        "int answer(void) { return 42; }\n" + "".join(f"int f{number}(void) {{ return {number}; }}\n" for number in range(2000))
    )
    subprocess.run([compiler, "-g", "-shared", "-fPIC", "-o", tmp_path / "a.so", source], check=True)
    files = {"demo/__init__.py": b"", "demo/a.so": (tmp_path / "a.so").read_bytes()}
    results = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        wheel = build_wheel(folder, files)
        assert mlbundle("optimize", wheel).returncode == 0
        results.append((wheel.read_bytes(), Path(f"{wheel}.mlbundle.json").read_bytes()))
        for entry in own_cache.rglob("*"):
            if entry.is_file() and number == 0:
                entry.write_bytes(entry.read_bytes()[:-1] + b"!")
    assert results[0] == results[1] == results[2]


def test_a_build_with_a_damaged_library_succeeds_and_says_so(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, HOOK)
    (project / "tiny_app" / "broken.so").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(20))
    result = build(project)
    assert result.returncode == 0
    assert "MB201 strip: tiny_app/broken.so" in " ".join(result.stderr.split())
