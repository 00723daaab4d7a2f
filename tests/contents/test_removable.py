"""What is told that libraries could lose is what the steps take out of them: to the byte, from a file and from a stream of it."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import analyze, optimize
from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.gpu_targets import Target
from hatch_mlbundle.binaries.library_pruning import Wanted
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.bundles.images.streamed_contents import watcher
from hatch_mlbundle.contents.removable import CAPABILITIES, EACH, removable
from hatch_mlbundle.errors import BinaryError, ConfigurationError
from hatch_mlbundle.identify import HEAD
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Kind
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.removable import GpuCodeRow, KeepingRow, RemovableRow
from tests.elfsmith import Code, Part, compile_elf, fatbin, need
from tests.fatbinsmith import fatbin_library
from tests.gpusmith import containers, gpu_library, payload
from tests.imagesmith import layer, oci_layout

NCCL, OTHER = "nvidia/lib/libnccl.so.2", "nvidia/lib/libother.so"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library with symbols, debug data, and code for five architectures; one of its fat binaries has PTX, too."""
    data = containers(70, 75, 80, 86, 90) + fatbin(Code(80, payload(1)), Code(90, payload(2, 70_000)), Code(70, payload(3, 9_000), kind=1))
    return gpu_library(tmp_path_factory.mktemp("gpu") / "lib.so", data, "-g3")


@pytest.fixture
def root(tmp_path: Path, library: Path) -> Path:
    """Return a folder with the library under a name whose licence is known, and under one whose is not."""
    folder = tmp_path / "bundle"
    (folder / "nvidia/lib").mkdir(parents=True)
    for path in (NCCL, OTHER):
        shutil.copy(library, folder / path)
    shutil.copy(compile_elf(tmp_path / "plain.so", "-g"), folder)
    return folder


def job(folder: Path, **tables: Any) -> Job:
    registry = load_registry()
    return prepare(project_config(folder, registry, {"cache": {"enabled": False}, **tables}), registry, project=folder)


def gpu_code(*targets: str, **options: Any) -> dict[str, Any]:
    return {"gpu_code": {"targets": list(targets), **options}}


def rows(manifest: Manifest) -> Mapping[str, RemovableRow]:
    assert [row.path for row in manifest.removable] == sorted(row.path for row in manifest.removable)
    return {row.path: row for row in manifest.removable}


def only(row: RemovableRow) -> KeepingRow:
    assert row.gpu is not None
    (keeping,) = row.gpu.keeping
    return keeping


def of(path: Path, wanted: Wanted = EACH) -> RemovableRow | None:
    """Return what a library could lose; told from a stream of it, in pieces of any size, that is the same."""
    with Reader(path) as reader:
        found = removable(reader, path.name, wanted)
    for step in (1 << 20, 4096 + 7):
        assert streamed(path.read_bytes(), path.name, wanted, step) == found
    return found


def streamed(data: bytes, name: str, wanted: Wanted = EACH, step: int = 1 << 20) -> RemovableRow | None:
    watch = watcher(name, Kind.ELF, data[:HEAD], len(data), wanted)
    assert watch is not None
    for start in range(0, len(data), step):
        watch.feed(data[start : start + step])
    return watch.told().removable


@pytest.mark.parametrize("targets", [["8.0"], ["7.5", "9.0"], ["8.9"], ["12.0"], ["5.0"]])
def test_what_is_told_is_what_the_steps_save(tmp_path: Path, root: Path, targets: list[str]) -> None:
    """Code for 8.9 is that for 8.6, for 12.0 the PTX, and for 5.0 nothing: then it all stays."""
    tables = gpu_code(*targets, libraries=["libother.so"])
    told = rows(analyze(job(tmp_path, **tables), root))
    assert list(told) == [NCCL, OTHER, "plain.so"]
    assert told[NCCL].strip == told[OTHER].strip
    assert only(told[NCCL]) == only(told[OTHER])
    assert bool(only(told[NCCL]).saves) == (targets != ["5.0"])
    expected = {
        "strip": lambda row: row.strip.saves,
        "gpu_code": lambda row: only(row).saves if row.gpu else 0,
        "strip gpu_code": lambda row: only(row).with_strip if row.gpu else row.strip.saves,
    }
    for optimizers, saves in expected.items():
        manifest = optimize(job(tmp_path, optimizers=optimizers.split(), **tables), root, tmp_path / optimizers.replace(" ", "-")).manifest
        files = {row.path: row for row in manifest.files}
        saved = {path: row.before.size - row.after.size for path, row in files.items() if row.before and row.after}
        assert saved == {path: saves(row) for path, row in told.items()}
        assert sum(saved.values()) == sum(step.saved.installed for step in manifest.steps)
        left = rows(manifest)
        assert all(row.strip is None for row in left.values()) == ("strip" in optimizers)
        assert not any(row.gpu and only(row).saves for row in left.values()) or "gpu_code" not in optimizers


def test_each_capability_that_there_is_code_for_is_told_by_itself(tmp_path: Path, root: Path) -> None:
    each = rows(analyze(job(tmp_path), root))[NCCL].gpu
    assert each is not None
    assert each.licence == "BSD-3-Clause"
    assert [keeping.targets for keeping in each.keeping] == [("7.0",), ("7.5",), ("8.0",), ("8.6",), ("9.0",)]
    for keeping in each.keeping:
        assert rows(analyze(job(tmp_path, **gpu_code(*keeping.targets)), root))[NCCL].gpu == GpuCodeRow(
            licence="BSD-3-Clause", keeping=(keeping,)
        )
    assert all(row.gpu is None or row.gpu.licence == "" for path, row in rows(analyze(job(tmp_path), root)).items() if path != NCCL)


def test_what_else_there_is_in_the_artifact_decides_what_is_told(tmp_path: Path, library: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "other").mkdir(parents=True)
    shutil.copy(library, folder / "lib.so")
    gpu_library(folder / "other/late.so", containers(120, 121))
    told = rows(analyze(job(tmp_path), folder))
    late = told["other/late.so"].gpu
    first = told["lib.so"].gpu
    assert first is not None
    assert late is not None
    assert [each.targets for each in first.keeping] == [each.targets for each in late.keeping]
    assert [each.targets[0] for each in late.keeping if each.serves] == ["12.0", "12.1"]
    assert [each.targets[0] for each in late.keeping if each.saves] == ["12.0", "12.1"]  # nothing would be left for another one
    assert all(each.saves for each in first.keeping)  # there is PTX for later ones


def test_an_image_and_the_folder_of_its_files_have_the_same(tmp_path: Path, root: Path) -> None:
    members = [(path, (root / path).read_bytes()) for path in (NCCL, OTHER, "plain.so")]
    image = oci_layout(tmp_path / "image", [layer(*members)])
    for tables in ({}, gpu_code("8.0")):
        assert analyze(job(tmp_path, **tables), image).removable == analyze(job(tmp_path, **tables), root).removable != ()


def test_symbols_debug_data_and_remarks_are_told_apart(tmp_path: Path) -> None:
    row = of(compile_elf(tmp_path / "lib.so", "-g", "-Wl,--build-id"))
    assert row is not None
    assert row.gpu is None
    assert row.strip is not None
    assert min(row.strip.symbols, row.strip.debug, row.strip.remarks) > 0
    assert row.strip.refusal == ""
    assert of(compile_elf(tmp_path / "bare.so", "-s", "-Wl,--strip-all", "-fno-ident")) in (None, row)


def test_names_beside_a_dynamic_section_far_behind_are_found_in_a_stream(tmp_path: Path) -> None:
    """patchelf puts both behind all else, in some files the table of sections, too: they come before the names could be asked for."""
    need("patchelf")
    path = compile_elf(tmp_path / "lib.so", "-g3", source="#include <stdio.h>\nint f(void) { return 1; } char data[14 << 20] = {1};")
    subprocess.run(["patchelf", "--add-needed", "libmore.so", str(path)], check=True)
    with Reader(path) as reader:
        elf = read_elf(reader)
    assert all(each.offset > 14 << 20 for each in elf.segments if each.type == fmt.PT_DYNAMIC)
    data = bytearray(path.read_bytes())
    table = slice(elf.header.shoff, elf.header.shoff + 64 * len(elf.sections))
    place = data.index(bytes(1 << 20), 4 << 20)  # in the middle of zeros that nothing needs
    data[place : place + table.stop - table.start] = data[table]
    data[table] = bytes(table.stop - table.start)
    struct.pack_into("<Q", data, 40, place)
    path.write_bytes(data)
    assert of(path) is not None


def test_a_refusal_is_told_and_saves_nothing(tmp_path: Path, library: Path) -> None:
    appended = tmp_path / "appended.so"
    appended.write_bytes(library.read_bytes() + b"payload")
    row = of(appended)
    assert row is not None
    assert row.strip is not None
    assert row.gpu is not None
    assert row.strip.refusal == row.gpu.refusal == "7 bytes of data are appended to it, which their reader may find by offset"
    assert row.strip.saves == sum(each.saves + each.with_strip for each in row.gpu.keeping) == 0
    assert all(each.drops for each in row.gpu.keeping)


def test_a_library_of_another_c_library_is_refused(tmp_path: Path) -> None:
    row = of(fatbin_library(tmp_path / "lib.so", containers(80, 90), others=[Part(".text", b"c" * 300_000, flags=6)]))
    assert row is not None
    assert row.gpu is not None
    assert "glibc" in row.gpu.refusal
    assert {each.saves for each in row.gpu.keeping} == {0}


def test_what_cannot_be_believed_is_a_refusal(tmp_path: Path, library: Path) -> None:
    data = bytearray(library.read_bytes())
    at = data.index((0xBA55ED50).to_bytes(4, "little"))
    data[at + 4] ^= 255
    path = tmp_path / "lib.so"
    path.write_bytes(data)
    row = of(path)
    assert row is not None
    assert row.strip is not None
    assert row.gpu == GpuCodeRow(licence="", keeping=(), refusal=f"the fat binary at byte {at} has another format")


def test_damage_is_refused_or_told_and_nothing_else(tmp_path: Path, library: Path) -> None:
    whole, chance, path = library.read_bytes(), random.Random(5), tmp_path / "lib.so"
    wanted = Wanted(targets=(Target(8, 0),), ptx="when-needed")
    for _ in range(50):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            place = chance.choice([chance.randrange(1024), len(data) - chance.randrange(1, 3000), chance.randrange(len(data))])
            data[place] = chance.choice([0, 1, 255, chance.randrange(256)])
        cut = bytes(data[: chance.randrange(len(data) // 2, len(data) + 1)]) if chance.random() < 0.3 else bytes(data)
        path.write_bytes(cut)
        try:
            with Reader(path) as reader:
                found = removable(reader, "lib.so", wanted)
        except BinaryError:
            found = None
        assert found is None or found.strip is None or found.strip.saves <= len(cut)
        streamed(cut, "lib.so", wanted)


def test_targets_that_are_none_are_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tool\.mlbundle\.gpu_code\.targets\[0\]: 'sm_80' is no compute capability"):
        job(tmp_path, **gpu_code("sm_80"))


def test_the_capabilities_are_in_order_and_each_is_there_once() -> None:
    assert list(CAPABILITIES) == sorted(set(CAPABILITIES))
