from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.pe_checksum import checksum_offset, pe_checksum
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.bundles.carchive import find_carchive
from hatch_mlbundle.bundles.executable import find_executable
from hatch_mlbundle.bundles.executable_writer import write_executable
from hatch_mlbundle.bundles.housing import why_not
from hatch_mlbundle.bundles.shared_file import SharedFile
from tests.elfsmith import readelf
from tests.frozensmith import craft, craft_pyz, frozen_folder, says

CODE = zlib.compress(b"code" * 100)
MODULES = craft_pyz([("a", (0, 17, len(CODE))), ("b", (0, 17 + len(CODE), len(CODE)))], CODE + CODE)


def carrying(program: Path, tail: bytes = b"") -> Path:
    """Append an archive with the modules a and b to a program."""
    program.write_bytes(craft([MODULES], head=program.read_bytes(), tail=tail))
    return program


def refusal(path: Path) -> str | None:
    with closing(SharedFile(path)) as file:
        archive = find_carchive(file)
        assert archive is not None
        return why_not(file, archive)


def without_a(path: Path, target: Path) -> None:
    with closing(SharedFile(path)) as file:
        executable = find_executable(file, "app")
        assert executable is not None
        write_executable(executable, ["app.pyz/b.pyc"], target)


def checksum(data: bytes, place: int) -> int:
    """Compute the checksum as `CheckSumMappedFile` does, word by word with the carry added at once."""
    data = data[:place] + bytes(4) + data[place + 4 :] + bytes(len(data) % 2)
    total = 0
    for (word,) in struct.iter_unpack("<H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.fixture
def windows_program(tmp_path: Path) -> Path:
    compiler = shutil.which("x86_64-w64-mingw32-gcc")
    if compiler is None:
        pytest.skip("x86_64-w64-mingw32-gcc is not on PATH")
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    subprocess.run([compiler, "-s", "-o", tmp_path / "app.exe", tmp_path / "a.c"], check=True)
    return tmp_path / "app.exe"


def test_a_windows_program_gets_its_checksum(windows_program: Path, tmp_path: Path) -> None:
    path = carrying(windows_program)
    data = bytearray(path.read_bytes())
    place = checksum_offset(bytes(data[:4096]))
    assert place is not None
    data[place : place + 4] = struct.pack("<I", checksum(data, place) + len(data))
    path.write_bytes(data)
    without_a(path, tmp_path / "out")
    out = (tmp_path / "out").read_bytes()
    assert len(out) < len(data)
    assert struct.unpack_from("<I", out, place)[0] == checksum(out, place) + len(out)
    start = len(data) - len(craft([MODULES], head=b""))
    assert out[:place] == data[:place]
    assert out[place + 4 : start] == data[place + 4 : start]


def test_a_windows_program_without_checksum_gets_none(windows_program: Path, tmp_path: Path) -> None:
    data = bytearray(windows_program.read_bytes())
    place = struct.unpack_from("<I", data, 60)[0] + 88
    data[place : place + 4] = bytes(4)
    windows_program.write_bytes(data)
    without_a(carrying(windows_program), tmp_path / "out")
    assert (tmp_path / "out").read_bytes()[: len(data)] == data


def test_a_windows_program_with_something_behind_is_refused(windows_program: Path) -> None:
    assert refusal(carrying(windows_program)) is None
    assert refusal(carrying(windows_program, tail=b"signature")) == "it is signed, or something else stands behind its archive"


@pytest.mark.parametrize("pieces", [[b"\1\2\3\4\5"], [b"\1", b"\2\3", b"", b"\4\5"], [b"\1\2", b"\3\4", b"\5"]])
def test_a_checksum_does_not_hang_on_how_the_bytes_come(pieces: list[bytes]) -> None:
    assert struct.unpack("<I", pe_checksum(pieces, 5))[0] == 0x0201 + 0x0403 + 0x05 + 5


@pytest.mark.parametrize("head", [b"", b"MZ", b"MZ" + bytes(100), b"MZ" + bytes(58) + b"\xff\xff\xff\x7f" + bytes(100)])
def test_what_is_no_windows_program_has_no_checksum(head: bytes) -> None:
    assert checksum_offset(head) is None


@pytest.mark.parametrize("cut", ["smaller", "larger"])
def test_an_elf_program_keeps_all_but_its_archive(tmp_path: Path, cut: str) -> None:
    app = frozen_folder(tmp_path) / "app"
    with closing(SharedFile(app)) as file:
        executable = find_executable(file, "app")
        assert executable is not None
        paths = [executable.path_of(module) for module in executable.modules]
        kept = [path for path in paths if cut == "larger" or not path.startswith("_internal/app.pyz/pets/")]
        if cut == "larger":  # the same modules, with an option besides
            from hatch_mlbundle.bundles.carchive import Entry
            from hatch_mlbundle.bundles.executable_writer import save
            from hatch_mlbundle.bundles.joined import RangeContent

            option = Entry(name="X utf8", type="o", offset=0, stored=0, size=0, compressed=False)
            save(executable.rebuilt(kept, [(option, RangeContent(file, 0, 0))]), tmp_path / "out")
        else:
            write_executable(executable, kept, tmp_path / "out")
        loaded = executable.archive.start
    with Reader(app) as one, Reader(tmp_path / "out") as other:
        before, after = read_elf(one), read_elf(other)
    assert after.segments == before.segments
    assert [section.name for section in after.sections] == [section.name for section in before.sections]
    assert [section.size for section in after.sections if section.offset != loaded] == [
        section.size for section in before.sections if section.offset != loaded
    ]
    start = (tmp_path / "out").read_bytes()
    assert start[64:loaded] == app.read_bytes()[64:loaded]
    assert "pydata" in readelf(tmp_path / "out", "-S")
    (tmp_path / "out").chmod(0o755)
    app.unlink()
    (tmp_path / "out").rename(app)
    assert says(app).endswith("2 3 data run")


def test_an_elf_program_with_an_archive_that_is_no_section_is_refused(tmp_path: Path) -> None:
    program = Path(shutil.copy("/bin/true", tmp_path / "app"))
    assert refusal(carrying(program)) == "its archive is no section of its own behind what is loaded"


def test_other_systems_and_damaged_programs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mac").write_bytes(craft([MODULES], head=b"\xcf\xfa\xed\xfe" + bytes(100)))
    assert "macOS" in str(refusal(tmp_path / "mac"))
    (tmp_path / "broken").write_bytes(craft([MODULES]))
    assert refusal(tmp_path / "broken")
