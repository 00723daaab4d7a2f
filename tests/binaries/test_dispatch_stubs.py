from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.cpu_level import Level
from hatch_mlbundle.binaries.dispatch_stubs import has_stubs, plan_kernels
from hatch_mlbundle.binaries.dispatch_trial import why_not_chosen
from hatch_mlbundle.binaries.edits import Edit, EditedReader
from hatch_mlbundle.binaries.elf import dynamic_symbols, read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.binaries.x86_64_functions import read_functions
from hatch_mlbundle.binaries.x86_64_relocations import RELATIVE, leave_null, read_relocations, target_of
from hatch_mlbundle.errors import BinaryError
from tests.elfsmith import compile_elf, need
from tests.torchsmith import build_torch, functions

ONLY_DEFAULT = {"default_add", "behind_add", "default_mul"}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_torch(tmp_path_factory.mktemp("torch") / "lib")


def edits_of(library: Path, level: Level) -> Sequence[Edit]:
    with Reader(library) as reader:
        return plan_kernels(reader, read_elf(reader), level).edits


def dead(library: Path, level: Level = "x86-64-v3") -> set[str]:
    """Return the functions whose first byte is to go; code is at the same place in the file as in memory."""
    with Reader(library) as reader:
        elf = read_elf(reader)
        ranges = plan_kernels(reader, elf, level).dead
        shift = next(load.vaddr - load.offset for load in elf.loads if load.flags & 1)
    return {name for name, address in functions(library).items() if any(start <= address - shift < end for start, end in ranges)}


def refusal(library: Path) -> str:
    with Reader(library) as reader, pytest.raises(BinaryError) as caught:
        plan_kernels(reader, read_elf(reader), "x86-64-v3")
    return str(caught.value).removeprefix(f"{library}: ")


def test_what_only_lesser_cpus_run_and_what_only_that_calls(library: Path) -> None:
    with Reader(library) as reader:
        elf = read_elf(reader)
        assert has_stubs(reader, elf)
        assert plan_kernels(reader, elf, "x86-64-v3").kernels == 2
        assert plan_kernels(reader, elf, "x86-64-v4").kernels == 3
    assert dead(library) == ONLY_DEFAULT
    assert dead(library, "x86-64-v4") == ONLY_DEFAULT | {"avx2_add"}


def test_what_is_called_in_another_way_too_stays(tmp_path: Path) -> None:
    assert dead(build_torch(tmp_path / "lib", "-DDIRECT")) == ONLY_DEFAULT - {"default_mul"}


def test_what_a_table_of_differences_leads_to_stays(tmp_path: Path) -> None:
    assert dead(build_torch(tmp_path / "lib", "-DDIFFERENCES")) == ONLY_DEFAULT - {"default_mul"}


def test_what_only_the_dynamic_section_names_stays(tmp_path: Path) -> None:
    flags = '-DKERNEL=__attribute__((noinline,visibility("hidden"))) int', "-Wl,-init=_ZN2at6native11default_mulEi"
    assert dead(build_torch(tmp_path / "lib", *flags)) == ONLY_DEFAULT - {"default_mul"}


def test_functions_without_a_name_are_none_of_those_before_them(library: Path, tmp_path: Path) -> None:
    need("objcopy")
    nameless = tmp_path / library.name
    subprocess.run(["objcopy", "--strip-symbol=_ZN2at6nativeL8avx2_addEi", library, nameless], check=True)
    assert dead(nameless) == ONLY_DEFAULT


@pytest.mark.parametrize("flag", ["-DOFFSETS", "-mcmodel=large"])
def test_addresses_that_are_added_up(flag: str, tmp_path: Path) -> None:
    assert refusal(build_torch(tmp_path / "lib", flag)).endswith("adds up addresses, as in the large code model, which are not followed")


@pytest.mark.parametrize(
    "flags",
    [
        ("-fuse-ld=gold",),
        pytest.param(("-Wl,-z,now", "-fcf-protection"), marks=pytest.mark.slow),
        pytest.param(("-fno-plt",), marks=pytest.mark.slow),
        pytest.param(("-O0",), marks=pytest.mark.slow),
    ],
)
def test_code_of_other_compilers_and_linkers(flags: Sequence[str], tmp_path: Path) -> None:
    if "-fuse-ld=gold" in flags:
        need("gold")
    assert dead(build_torch(tmp_path / "lib", *flags)) == ONLY_DEFAULT


def test_a_kernel_that_is_exported_stays(tmp_path: Path) -> None:
    assert dead(build_torch(tmp_path / "lib", "-DKERNEL=__attribute__((noinline)) int")) == set()


def test_a_stub_that_is_read_in_another_way(tmp_path: Path) -> None:
    assert "DispatchStubIPFiiENS0_8add_typeE" in refusal(build_torch(tmp_path / "lib", "-DODD_READER"))


def test_a_pointer_whose_address_is_in_data(tmp_path: Path) -> None:
    assert refusal(build_torch(tmp_path / "lib", "-DIN_DATA")).endswith("is in data, where it cannot be told what reads it")


def test_bytes_among_functions_that_are_no_code(tmp_path: Path) -> None:
    assert refusal(build_torch(tmp_path / "lib", "-DNO_CODE")).endswith("there is something else than code")


def test_mkl_is_not_disassembled(tmp_path: Path) -> None:
    library = build_torch(tmp_path / "lib", "-DMKL")
    assert dead(library) == ONLY_DEFAULT
    at = functions(library)["mkl_blas_gemm"]
    with Reader(library) as reader:
        found = read_functions(reader, read_elf(reader))
    assert found is not None
    assert found.number_of(at) is None


def test_without_a_symbol_table(library: Path, tmp_path: Path) -> None:
    need("strip")
    stripped = tmp_path / library.name
    subprocess.run(["strip", "-o", stripped, library], check=True)
    assert refusal(stripped) == "its symbol table is gone, which says where its functions are: cpu_code has to come before strip"


def test_other_libraries_have_nothing_to_choose_among(tmp_path: Path) -> None:
    with Reader(compile_elf(tmp_path / "libx.so")) as reader:
        elf = read_elf(reader)
        assert not has_stubs(reader, elf)
        assert plan_kernels(reader, elf, "x86-64-v3").kernels == 0


def test_pointers_are_null_and_what_else_is_relocated_is_the_same(library: Path) -> None:
    with Reader(library) as reader:
        elf = read_elf(reader)
        edited = EditedReader(reader, edits_of(library, "x86-64-v3"))
        symbols = list(dynamic_symbols(reader, elf))
        before = {each.place: target_of(each, symbols) for each in read_relocations(reader, elf)}
        after = {each.place: target_of(each, symbols) for each in read_relocations(edited, elf)}
        assert all(before[place] == target for place, target in after.items())
        gone = {functions(library)[name] for name in ("default_add", "default_mul")}
        assert {before[place] for place in before.keys() - after.keys()} == gone
        load = elf.loads[-1]
        assert all(edited.is_zero(place - load.vaddr + load.offset, 8) for place in before.keys() - after.keys())


def test_a_relocation_without_another_of_its_kind(library: Path) -> None:
    with Reader(library) as reader:
        elf = read_elf(reader)
        every = [each for each in read_relocations(reader, elf) if each.type == RELATIVE]
        with pytest.raises(BinaryError, match="has no other relocation like that at 0x"):
            leave_null(reader, elf, every)


def test_relocations_of_another_form(library: Path, tmp_path: Path) -> None:
    with Reader(library) as reader:
        first = next(iter(read_relocations(reader, read_elf(reader))))
    data = bytearray(library.read_bytes())
    data[first.record + 8 : first.record + 12] = struct.pack("<I", 99)
    damaged = tmp_path / library.name
    damaged.write_bytes(data)
    assert refusal(damaged) == "a relocation has the type 99, which is not known here"


@pytest.mark.parametrize(
    ("section", "field", "value", "reason"),
    [
        (".rela.plt", 4, struct.pack("<I", 1), "it has other relocations than its section headers say"),
        (".text", 16, bytes(8), "its section '.text' is not what is loaded at that address"),
        (".fini", 8, bytes(8), "there is code that no section tells of"),
    ],
)
def test_section_headers_that_do_not_tell_what_is_loaded(
    section: str, field: int, value: bytes, reason: str, library: Path, tmp_path: Path
) -> None:
    data = bytearray(library.read_bytes())
    with Reader(library) as reader:
        elf = read_elf(reader)
    number = next(number for number, part in enumerate(elf.sections) if part.name == section)
    at = elf.header.shoff + number * elf.encoding.section.size + field
    data[at : at + len(value)] = value
    (tmp_path / library.name).write_bytes(data)
    assert refusal(tmp_path / library.name).endswith(reason)


def test_libraries_that_choose_as_expected_or_otherwise(library: Path, tmp_path: Path) -> None:
    assert why_not_chosen(library) is None
    other = "it does not choose among kernels as the releases of PyTorch do that are known here"
    assert why_not_chosen(build_torch(tmp_path / "lib", "-DFALLS_BACK")) == other
    assert why_not_chosen(compile_elf(tmp_path / "libx.so")) == other
    (tmp_path / "libtorch_cpu.so").write_bytes(b"\x7fELF")
    assert (why_not_chosen(tmp_path / "libtorch_cpu.so") or "").startswith("it does not load here")
