from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle import application
from hatch_mlbundle.bundles.executable import find_executable
from hatch_mlbundle.bundles.onefile_writer import write_one_file
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.cli import main
from hatch_mlbundle.errors import ArtifactError, MlbundleError
from hatch_mlbundle.model import Bundle
from tests.builders import file_of
from tests.bundles.test_folder import Incompressible
from tests.bundles.test_frozen import job_for, shape
from tests.frozensmith import SAID, Item, craft, frozen_file, frozen_folder, packed, says
from tests.projects import environment


def test_every_byte_of_a_one_file_executable_has_an_owner(tmp_path: Path) -> None:
    path = frozen_file(tmp_path)
    before = shape(tmp_path)
    manifest = application.analyze(job_for(tmp_path), path)
    size = path.stat().st_size
    assert manifest.artifact.before.size == size
    assert sum(row.before.compressed or 0 for row in manifest.files if row.before) + manifest.artifact.before.structure == size
    assert {"one.pyz/pets/cat.pyc", "d\u00e4ta/run", "base_library.zip"} <= {row.path for row in manifest.files}
    assert shape(tmp_path) == before


def test_its_binaries_are_made_of_the_same_as_those_of_the_folder(tmp_path: Path) -> None:
    one = application.analyze(job_for(tmp_path), frozen_file(tmp_path)).contents
    folder = application.analyze(job_for(tmp_path), frozen_folder(tmp_path)).contents
    assert len(one) > 5
    assert all(sum(row.parts.values()) > 0 for row in one)
    assert {(row.path, row.view): row.parts for row in one} == {
        (row.path.removeprefix("_internal/"), row.view): row.parts for row in folder
    }
    assert not any(row.path in ("app", "one") for row in (*folder, *one))  # the modules in them have rows of their own


def test_it_is_proved_by_the_manifest_of_its_analysis(tmp_path: Path) -> None:
    path = frozen_file(tmp_path)
    application.analyze(job_for(tmp_path), path).save(tmp_path / "one.mlbundle.json")
    assert main(["verify", "-q", str(path)]) == 0
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)
    assert main(["verify", "-q", str(path)]) == 1


LINK = Item(name=b"a", type=b"n", data=b"x" * 5000)
BOMB, BOMB_SIZE = packed(bytes(200_000_000))
LIE, _ = packed(bytes(5_000_000))
HOSTILE = {
    "above": (craft([Item(name=b"../a", data=b"x")]), "'..'"),
    "above, Windows": (craft([Item(name=b"..\\a", data=b"x")]), "'..'"),
    "absolute": (craft([Item(name=b"/etc/passwd", data=b"x")]), "is absolute"),
    "drive": (craft([Item(name=b"C:\\x", data=b"x")]), "names a drive"),
    "NUL": (craft([Item(name=b"a\0b", data=b"x")]), "control character"),
    "empty": (craft([Item(name=b"", data=b"x")]), "empty part"),
    "twice": (craft([Item(name=b"a", data=b"x"), Item(name=b"a", data=b"y")]), "two members"),
    "through a file": (craft([Item(name=b"a", data=b"x"), Item(name=b"a/b", data=b"y")]), "both as a file and as a folder"),
    "a module's place": (craft([Item(name=b"app.pyz/m.pyc", data=b"x")]), "ends in .pyz"),
    "long link": (craft([LINK]), "a link with a target of 5,000 bytes"),
    "bomb": (craft([Item(name=b"a", data=BOMB, size=BOMB_SIZE, compressed=1)]), "more than `limits` allows"),
    "lying bomb": (craft([Item(name=b"a", data=LIE, size=100, compressed=1)]), "unpack to more than 100"),
    "too short": (craft([Item(name=b"a", data=zlib.compress(b"x"), size=2, compressed=1)]), "unpacks to 1 bytes, not 2"),
    "no zlib": (craft([Item(name=b"a", data=b"xxxxxxxx", size=9, compressed=1)]), "cannot be unpacked"),
    "cut off": (craft([Item(name=b"a", data=zlib.compress(b"x" * 99)[:-3], size=99, compressed=1)]), "ends too early"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    data, hint = HOSTILE[name]
    (tmp_path / "app").write_bytes(data)
    with pytest.raises(MlbundleError) as caught:
        application.analyze(job_for(tmp_path), tmp_path / "app")
    assert hint in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_packed_into_one_file_runs_and_pyinstaller_reads_it(tmp_path: Path) -> None:
    built = frozen_folder(tmp_path, "built")
    application.finish_frozen(job_for(tmp_path), built, tmp_path / "app", one_file=True)
    assert says(tmp_path / "app") == SAID == says(built / "app")
    from PyInstaller.archive.readers import CArchiveReader

    archive = CArchiveReader(str(tmp_path / "app"))
    for path in (built / "_internal").rglob("*"):
        name = path.relative_to(built / "_internal").as_posix()
        if path.is_symlink():
            assert archive.extract(name) == os.readlink(path).encode() + b"\0"  # noqa: PTH115
        elif path.is_file():
            assert archive.extract(name) == path.read_bytes()


def test_the_same_bytes_whatever_surrounds_the_packing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from hatch_mlbundle import application; from tests.bundles.test_frozen import job_for;"
        "application.finish_frozen(job_for(Path(sys.argv[1]), (), int(sys.argv[3])), Path(sys.argv[1]), Path(sys.argv[2]), one_file=True)"
    )
    results = []
    for umask, seed, workers in ((0o022, "0", "1"), (0o077, "77", "3")):
        folder = tmp_path / seed
        folder.mkdir()
        command = [sys.executable, "-c", script, frozen_folder(folder, "built"), folder / "app", workers]
        run = environment(PYTHONHASHSEED=seed, PYTHONPATH=os.pathsep.join(sys.path))
        subprocess.run(command, env=run, umask=umask, check=True, timeout=120)
        results.append(((folder / "app").read_bytes(), (folder / "app").stat().st_mode, (folder / "app.mlbundle.json").read_bytes()))
    assert results[0] == results[1]


def test_files_outside_the_contents_cannot_be_packed(tmp_path: Path) -> None:
    built = frozen_folder(tmp_path, "built")
    (built / "LICENSE").write_text("free")
    with pytest.raises(ArtifactError, match="LICENSE lies outside of _internal; build one folder"):
        application.finish_frozen(job_for(tmp_path), built, tmp_path / "app", one_file=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["built"]


def test_names_that_are_no_utf_8_cannot_be_packed(tmp_path: Path) -> None:
    built = frozen_folder(tmp_path, "built")
    with open(os.fsencode(built) + b"/_internal/\xff", "wb") as stream:  # noqa: PTH123 - a name that no str literal has
        stream.write(b"x")
    with pytest.raises(ArtifactError, match="has a name that is no UTF-8; build one folder"):
        application.finish_frozen(job_for(tmp_path), built, tmp_path / "app", one_file=True)


def test_more_than_an_archive_can_hold_is_refused(tmp_path: Path) -> None:
    """The large file is never read, the large executable is a hole."""
    option = Item(name=b"pyi-contents-directory _internal", type=b"o")
    (tmp_path / "small").write_bytes(craft([option]))
    with (tmp_path / "large").open("wb") as stream:
        stream.seek(1 << 32)
        stream.write(craft([option]))
    huge = replace(file_of("_internal/huge", b""), size=1 << 32)
    for name, files, told in (("small", [huge], "'_internal/huge' has 4,294,967,296 bytes"), ("large", [], "4 GiB are the limit")):
        with closing(SharedFile(tmp_path / name)) as file:
            executable = find_executable(file, name)
            assert executable is not None
            folder = tmp_path / f"{name}-folder"
            folder.mkdir()
            with pytest.raises(ArtifactError, match=told):
                write_one_file(executable, Bundle(files), (), io.BytesIO(), compressor=Incompressible(), workers=1, folder=folder)


@pytest.mark.parametrize("command", ["optimize", "plan"])
def test_a_one_file_executable_is_only_analyzed(tmp_path: Path, command: str) -> None:
    path = frozen_file(tmp_path)
    run = [sys.executable, "-m", "hatch_mlbundle", command, path]
    result = subprocess.run(run, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "is a one-file executable, which can be analyzed only" in line
    assert [each.name for each in tmp_path.iterdir()] == ["one"]


def test_the_analysis_of_one_file_fits_80_columns(tmp_path: Path) -> None:
    path = frozen_file(tmp_path)
    run = [sys.executable, "-m", "hatch_mlbundle", "analyze", path]
    result = subprocess.run(run, cwd=tmp_path, env=environment(COLUMNS="80"), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "libpython3" in result.stdout or "python" in result.stdout
