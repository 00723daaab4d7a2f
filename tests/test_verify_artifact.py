from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.cli import main
from hatch_mlbundle.manifest import SUFFIX
from tests.bundles.wheelsmith import build_wheel
from tests.imagesmith import as_tar, layer, oci_layout
from tests.projects import environment

FILES = {
    "pkg/__init__.py": b"x = 1\n",
    "pkg/data.txt": bytes(range(256)) * 40,
    "pkg/tests/test_a.py": b"def test_a():\n    assert 1\n" * 30,
}


class Verify:
    """Runs `mlbundle verify --json`, and holds what it says on the side."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.error = ""

    def __call__(self, *arguments: object) -> tuple[int, Any]:
        code = main(["verify", "--json", *map(str, arguments)])
        said = self._capsys.readouterr()
        self.error = said.err
        return code, json.loads(said.out) if said.out else None

    def differences(self, *arguments: object) -> list[tuple[str, str, str]]:
        code, told = self(*arguments)
        assert code == 1
        assert told["same"] is False
        assert self.error.startswith("mlbundle: ")
        assert self.error.count("\n") == 1
        return [(each["part"], each["status"], each["path"]) for each in told["differences"]]


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    return Verify(capsys)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which has no configuration."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def wheel(home: Path) -> Path:
    """A wheel with the manifest of what was done to it beside it."""
    made = build_wheel(home, FILES)
    assert main(["optimize", "-q", str(made)]) == 0
    return made


@pytest.fixture
def folder(home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with the manifest of an analysis beside it."""
    root = home / "app"
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return analyzed(root, capsys)


def analyzed(artifact: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Path:
    assert main(["analyze", "--json", *options, str(artifact)]) == 0
    manifest_of(artifact).write_text(capsys.readouterr().out)
    return artifact


def manifest_of(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + SUFFIX)


def tamper(artifact: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest beside an artifact."""
    document = json.loads(manifest_of(artifact).read_text())
    change(document)
    manifest_of(artifact).write_text(json.dumps(document))


def rezipped(wheel: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Write a wheel anew with other members; its RECORD stays as it was."""
    with zipfile.ZipFile(wheel) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    change(members)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def test_what_was_written_is_what_the_manifest_says(wheel: Path, verify: Verify) -> None:
    code, told = verify(wheel)
    assert code == 0
    assert verify.error == ""
    assert told["same"] is True
    assert told["differences"] == []
    assert told["files"] == len(json.loads(manifest_of(wheel).read_text())["files"]) - 1  # the test that was dropped


@pytest.mark.parametrize("workers", [1, 4])
def test_each_file_of_a_wheel_that_differs_is_told(wheel: Path, verify: Verify, workers: int) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["pkg/__init__.py"] = b"x = 2\n"
        members["pkg/new.py"] = b""
        del members["pkg/data.txt"]

    rezipped(wheel, change)
    code, told = verify(wheel, "--workers", workers)
    assert code == 1
    by_path = {each["path"]: each for each in told["differences"]}
    assert by_path["pkg/__init__.py"]["status"] == "changed"
    assert by_path["pkg/__init__.py"]["expected"].keys() >= {"sha256"}
    assert by_path["pkg/new.py"]["status"] == "extra"
    assert by_path["pkg/data.txt"]["status"] == "missing"
    assert by_path["pkg/data.txt"]["expected"]["size"] == len(FILES["pkg/data.txt"])
    assert by_path[wheel.name]["expected"].keys() >= {"size", "sha256"}


def test_the_same_files_packed_otherwise_are_another_wheel(wheel: Path, verify: Verify) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    code, told = verify(wheel)
    assert code == 1
    data = next(each for each in told["differences"] if each["path"] == "pkg/data.txt")
    assert list(data["expected"]) == ["compressed"]


def test_a_flipped_bit_is_told_with_the_member_it_is_in(wheel: Path, verify: Verify) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entry = archive.getinfo("pkg/data.txt")
    data = bytearray(wheel.read_bytes())
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 1
    wheel.write_bytes(data)
    assert ("file", "unreadable", "pkg/data.txt") in verify.differences(wheel)


@pytest.mark.parametrize("spoil", [lambda data: data[:-30], lambda data: b"", lambda data: b"no zip at all"])
def test_what_is_no_wheel_any_more_differs(wheel: Path, verify: Verify, spoil: Callable[[bytes], bytes]) -> None:
    wheel.write_bytes(spoil(wheel.read_bytes()))
    assert [(part, status) for part, status, _ in verify.differences(wheel)] == [("artifact", "changed"), ("artifact", "unreadable")]


def test_a_wheel_of_another_name_is_another_wheel(wheel: Path, verify: Verify) -> None:
    other = wheel.with_name(wheel.name.replace("py3", "py2.py3"))
    wheel.rename(other)
    assert verify.differences(other, manifest_of(wheel)) == [("artifact", "changed", wheel.name)]
    assert other.name in verify.error


def test_each_file_of_a_folder_that_differs_is_told(folder: Path, verify: Verify) -> None:
    assert verify(folder)[0] == 0
    (folder / "pkg/__init__.py").write_bytes(b"x = 2\n")
    (folder / "pkg/data.txt").rename(folder / "pkg/moved.bin")
    assert verify.differences(folder) == [
        ("artifact", "changed", "app"),
        ("file", "changed", "pkg/__init__.py"),
        ("file", "missing", "pkg/data.txt"),
        ("file", "extra", "pkg/moved.bin"),
    ]


def test_a_folder_may_have_another_name_but_not_other_permissions(folder: Path, verify: Verify) -> None:
    other = folder.rename(folder.with_name("unpacked"))
    assert verify(other, manifest_of(folder))[0] == 0
    (other / "pkg/__init__.py").chmod(0o755)
    assert verify.differences(other, manifest_of(folder)) == [("artifact", "changed", "app")]
    assert "permissions" in verify.error


def test_a_link_to_elsewhere_is_told(home: Path, verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "app").mkdir()
    (home / "app/a").write_text("a")
    (home / "app/l").symlink_to("a")
    analyzed(home / "app", capsys)
    (home / "app/l").unlink()
    (home / "app/l").symlink_to("/etc/passwd")
    verify.differences(home / "app")
    assert "targets of links" in verify.error


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["files"][0]["after"].update(sha256="0" * 64),
        lambda document: document["files"][0]["after"].update(size=1),
        lambda document: document["files"].pop(0),
        lambda document: document["artifact"]["after"].update(structure=1),
        lambda document: document["artifact"]["after"].update(files=100),
        lambda document: document["files"][0].update(path="../../etc/passwd"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_found_out(wheel: Path, verify: Verify, change: Callable[[dict[str, Any]], object]) -> None:
    tamper(wheel, change)
    assert verify.differences(wheel)


def test_the_manifest_of_another_artifact(wheel: Path, folder: Path, verify: Verify) -> None:
    assert verify.differences(folder, manifest_of(wheel)) == [("artifact", "changed", wheel.name)]
    assert verify.differences(wheel, manifest_of(folder)) == [("artifact", "changed", "app")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.update(format_version="2.0"), "format version '2.0'"),
        (lambda document: document.update(format="other"), "is no size manifest"),
        (lambda document: document["files"].append(document["files"][0]), "two rows for"),
        (lambda document: document["artifact"]["after"].update(sha256=None), "no hashes"),
        (lambda document: document["files"][0]["after"].update(sha256=None), "no hashes"),
        (lambda document: document["companions"].append({"path": "../x", "size": 1, "sha256": "0" * 64}), "do not trust"),
        (
            lambda document: document["companions"].append({"path": "/etc/passwd", "size": 1, "sha256": "0" * 64, "model": "m"}),
            "do not trust",
        ),
        (lambda document: document["packed"].append({"name": "a/b.zip", "format": "zip", "size": 1, "sha256": "0" * 64}), "do not trust"),
        (lambda document: document.pop("files"), "files is missing"),
    ],
)
def test_a_manifest_that_proves_nothing_is_refused(
    folder: Path, verify: Verify, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    tamper(folder, change)
    code, told = verify(folder)
    assert (code, told) == (2, None)
    assert said in verify.error
    assert verify.error.count("\n") == 1


def test_a_later_minor_version_is_read(folder: Path, verify: Verify) -> None:
    tamper(folder, lambda document: document.update(format_version="1.99", novelty=[1]))
    assert verify(folder)[0] == 0


def test_sizes_alone_prove_nothing(folder: Path, verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    analyzed(folder, capsys, "--no-hashes")
    assert verify(folder)[0] == 2
    assert "--no-hashes" in verify.error


@pytest.mark.parametrize("missing", ["artifact", "manifest", "named"])
def test_what_is_not_there_is_wrong_use(wheel: Path, verify: Verify, missing: str) -> None:
    if missing == "artifact":
        wheel.unlink()
    elif missing == "manifest":
        manifest_of(wheel).unlink()
    assert verify(wheel, *(["nowhere.json"] if missing == "named" else []))[0] == 2


def test_the_manifest_alone_is_wrong_use(wheel: Path, verify: Verify) -> None:
    assert verify(manifest_of(wheel))[0] == 2
    assert "name the artifact first" in verify.error


def test_an_unreadable_file_in_a_folder_is_wrong_input(folder: Path, verify: Verify) -> None:
    os.mkfifo(folder / "pipe")
    assert verify(folder)[0] == 2


def test_companions_are_compared_where_they_are(wheel: Path, verify: Verify) -> None:
    place = wheel.with_name(f"{wheel.name}.companions") / "d/x.debug"
    row = {"path": "d/x.debug", "size": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}  # FIPS 180-2, B.1
    tamper(wheel, lambda document: document["companions"].append(row))
    code, told = verify(wheel)
    assert (code, told["unchecked"]) == (0, [f"{wheel.name}.companions"])
    assert verify.differences(wheel, "--complete") == [("companion", "missing", f"{wheel.name}.companions")]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"abc")
    code, told = verify(wheel, "--complete")
    assert (code, told["beside"]) == (0, 1)
    place.write_bytes(b"abd")
    (place.parent / "y.debug").write_bytes(b"")
    assert verify.differences(wheel) == [("companion", "changed", "d/x.debug"), ("companion", "extra", "d/y.debug")]
    place.unlink()
    place.symlink_to("/etc/passwd")
    assert ("companion", "missing", "d/x.debug") in verify.differences(wheel)


@pytest.mark.parametrize("archive_format", ["tar.gz", "tar.zst", "zip"])
def test_an_archive_is_compared_with_its_folder_s_manifest(home: Path, folder: Path, verify: Verify, archive_format: str) -> None:
    (folder / "pkg/link").symlink_to("data.txt")
    (home / "pyproject.toml").write_text(f'[tool.mlbundle]\noptimizers = ["test_data"]\narchive = ["{archive_format}"]\n')
    assert main(["optimize", "-q", str(folder)]) == 0
    archive = home / f"app.{archive_format}"
    assert verify(folder) == (0, verify(folder)[1])
    assert verify(folder)[1]["beside"] == 1
    assert verify(archive)[0] == 0
    data = archive.read_bytes()
    tamper(
        folder, lambda document: next(row for row in document["files"] if row["path"] == "pkg/data.txt")["after"].update(sha256="0" * 64)
    )
    assert verify.differences(archive) == [("file", "changed", "pkg/data.txt")]
    archive.write_bytes(data[: len(data) // 2])
    assert verify.differences(archive) == [("packed", "changed", archive.name), ("packed", "unreadable", archive.name)]
    assert ("packed", "changed", archive.name) in verify.differences(folder)


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_an_image_is_compared_by_layer_and_file(home: Path, verify: Verify, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    def image(name: str, text: bytes) -> Path:
        root = oci_layout(home / name, [layer(("etc/a", b"a" * 500)), layer(("app/b", text))])
        return as_tar(root, home / f"{name}.tar") if form == "tar" else root

    first, second = image("one", b"b" * 600), image("two", b"c" * 600)
    analyzed(first, capsys)
    assert verify(first)[0] == 0
    found = verify.differences(second, manifest_of(first))
    assert [each for each in found if each[0] != "artifact"] == [("layer", "changed", "2"), ("file", "changed", "app/b")]


@pytest.mark.skipif(not (shutil.which("gpg") and shutil.which("gpg-agent")), reason="gpg or its agent is not there")
def test_the_artifact_follows_from_a_manifest_that_is_signed(wheel: Path, verify: Verify) -> None:
    def gpg(*arguments: object) -> int:
        command = ["gpg", "--batch", "--quiet", "--passphrase", "", *map(str, arguments)]
        return subprocess.run(command, env={**os.environ, "GNUPGHOME": keys}, capture_output=True, check=False, timeout=60).returncode

    manifest = manifest_of(wheel)
    signature = f"{manifest}.asc"
    with tempfile.TemporaryDirectory(prefix="gpg") as keys:  # a socket's path may have 107 bytes
        try:
            assert gpg("--quick-generate-key", "release@example.org", "ed25519", "sign", "never") == 0
            assert gpg("--detach-sign", "--armor", manifest) == 0
            assert (gpg("--verify", signature, manifest), verify(wheel)[0]) == (0, 0)
            rezipped(wheel, lambda members: members.update({"pkg/__init__.py": b"x = 2\n"}))
            assert (gpg("--verify", signature, manifest), verify(wheel)[0]) == (0, 1)
            tamper(wheel, lambda document: document.update(generator="another"))
            assert gpg("--verify", signature, manifest) == 1
        finally:
            subprocess.run(["gpgconf", "--homedir", keys, "--kill", "all"], check=False, timeout=60)


def test_the_report_fits_a_terminal(wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(wheel)]) == 0
    assert "It is what the manifest describes." in capsys.readouterr().out
    rezipped(wheel, lambda members: [members.update({f"pkg/\x1b[31m{number}{'x' * 90}.py": b""}) for number in range(30)])
    assert main(["verify", str(wheel), "--top", "3"]) == 1
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 80


def test_quiet_says_what_is_wrong_alone(wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "-q", str(wheel)]) == 0
    assert capsys.readouterr() == ("", "")
    rezipped(wheel, lambda members: members.pop("pkg/data.txt"))
    assert main(["verify", "-q", str(wheel)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "and 4 more" in said.err


def test_a_wheel_that_is_written_to_meanwhile(home: Path, verify: Verify) -> None:
    """Reading 100 MB takes longer than it takes the child to write."""
    big = build_wheel(home, {"pkg/__init__.py": b"", "pkg/big.bin": bytes(1 << 20) * 100})
    assert main(["optimize", "-q", str(big)]) == 0
    writer = "import os, sys, time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: os.utime(sys.argv[1]); time.sleep(0.005)"
    child = subprocess.Popen([sys.executable, "-c", writer, str(big)], env=environment())
    try:
        before = big.stat().st_mtime_ns
        while big.stat().st_mtime_ns == before:
            pass
        assert verify(big)[0] == 2
    finally:
        child.kill()
        child.wait()
    assert "changed while it was read" in verify.error
