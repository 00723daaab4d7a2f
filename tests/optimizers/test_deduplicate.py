from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.job import prepare
from hatch_mlbundle.model import Bundle, Change, Keep, Kind, Link
from hatch_mlbundle.optimizers.deduplicate import Deduplicate, DeduplicateOptions
from hatch_mlbundle.plugins import load_registry
from tests.elfsmith import compile_elf
from tests.fakes import FakeContext, bundle_of

BYTES = bytes(range(256)) * 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def put(root: Path, path: str, data: bytes = BYTES, mode: int = 0o644) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(mode)


def library(root: Path, path: str, *flags: str, source: str = "int f(void) { return 1; }\n") -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    made = compile_elf(root / path, *flags, source=source)
    made.with_name(f"{made.name}.c").unlink()
    return made


def copy(root: Path, source: str, target: str) -> None:
    put(root, target, (root / source).read_bytes(), (root / source).stat().st_mode & 0o777)


def frozen(root: Path) -> Bundle:
    """Return the bundle with an executable in it that PyInstaller might have made."""
    put(root, "app", b"#!frozen" + BYTES, 0o755)
    bundle = bundle_of(root)
    return bundle.replacing([replace(bundle["app"], kind=Kind.FROZEN)])


def plan(root: Path, bundle: Bundle | None = None, **options: object) -> tuple[dict[str, Change], FakeContext]:
    context = FakeContext(root)
    optimizer = Deduplicate(DeduplicateOptions(**options))  # type: ignore[arg-type]
    return {change.path: change for change in optimizer.plan(bundle_of(root) if bundle is None else bundle, context)}, context


def links(root: Path, bundle: Bundle | None = None, **options: object) -> dict[str, str]:
    return {path: change.target for path, change in plan(root, bundle, **options)[0].items() if isinstance(change, Link)}


def reason(root: Path, path: str, bundle: Bundle | None = None) -> str:
    change = plan(root, bundle)[0][path]
    assert isinstance(change, Keep)
    return change.reason


def test_the_highest_copy_stays_and_the_others_link_to_it(root: Path) -> None:
    for path in ("pkg/a/deep/w.bin", "pkg/b/w.bin", "pkg/w.bin"):
        put(root, path)
    put(root, "pkg/other.bin", BYTES[1:])
    assert links(root) == {"pkg/a/deep/w.bin": "../../w.bin", "pkg/b/w.bin": "../w.bin"}


def test_what_a_link_leads_to_stays_so_that_no_link_leads_to_a_link(root: Path) -> None:
    for path in ("pkg/a.bin", "pkg/x/b.bin", "pkg/y/c.bin", "pkg/z/d.bin"):
        put(root, path)
    (root / "pkg" / "to_c").symlink_to("y/c.bin")
    (root / "pkg" / "to_d").symlink_to("z/d.bin")
    assert links(root) == {"pkg/a.bin": "y/c.bin", "pkg/x/b.bin": "../y/c.bin"}
    assert "the link pkg/to_d leads to it" in reason(root, "pkg/z/d.bin")


def test_the_order_of_the_bundle_changes_nothing(root: Path) -> None:
    for path in ("pkg/b.bin", "pkg/a.bin", "pkg/c/a.bin"):
        put(root, path)
    bundle = bundle_of(root)
    turned = Bundle(reversed(list(bundle.values())))
    assert list(plan(root, bundle)[0].values()) == list(plan(root, turned)[0].values())


def test_modes_and_small_sizes_are_told_apart(root: Path) -> None:
    put(root, "pkg/run.bin", mode=0o755)
    put(root, "pkg/data.bin", mode=0o644)
    put(root, "pkg/small1.bin", b"x" * 100)
    put(root, "pkg/small2.bin", b"x" * 100)
    put(root, "pkg/empty1.bin", b"")
    put(root, "pkg/empty2.bin", b"")
    assert links(root) == {}
    assert links(root, min_size=0) == {"pkg/small2.bin": "small1.bin"}


def test_python_modules_stay(root: Path) -> None:
    for folder in ("a", "b"):
        put(root, f"pkg/{folder}/m.py", b"#" * 5000)
        put(root, f"pkg/{folder}/n.pyc")
        put(root, f"pkg/{folder}/app.pyz/n.pyc", b"p" * 5000)
    library(root, "pkg/a/ext.cpython-311-x86_64-linux-gnu.so", "-Wl,-soname,e", source="void PyInit_ext(void) {}\n")
    copy(root, "pkg/a/ext.cpython-311-x86_64-linux-gnu.so", "pkg/b/ext.cpython-311-x86_64-linux-gnu.so")
    changes, _ = plan(root)
    assert {type(change) for change in changes.values()} == {Keep}
    assert "pkg/b/m.py" in changes
    assert "pkg/b/ext.cpython-311-x86_64-linux-gnu.so" in changes
    assert not any(".pyz" in path for path in changes)


@pytest.mark.parametrize(
    ("name", "said"),
    [("page/index.html", "web server"), ("model.onnx", "external data"), ("cache.sqlite3", "may be written to")],
)
def test_files_that_somebody_reads_in_a_way_of_his_own_stay(root: Path, name: str, said: str) -> None:
    put(root, f"pkg/a/{name}")
    put(root, f"pkg/b/{name}")
    assert links(root) == {}
    assert said in reason(root, f"pkg/b/{name}")


def test_external_data_of_onnx_models_stays(root: Path) -> None:
    name = b"weights.bin"
    put(root, "pkg/m/model.onnx", b"x" * (1 << 20) + b"location" + name)
    put(root, "pkg/m/weights.bin")
    put(root, "pkg/m/vocab.bin")
    put(root, "pkg/weights.bin")
    assert links(root) == {"pkg/m/vocab.bin": "../weights.bin"}
    assert "external data of pkg/m/model.onnx" in reason(root, "pkg/m/weights.bin")


def test_a_name_that_lies_across_two_pieces_of_a_model_is_found(root: Path) -> None:
    put(root, "pkg/m/model.onnx", b"x" * ((1 << 20) - 5) + b"weights.bin")
    put(root, "pkg/m/weights.bin")
    put(root, "pkg/weights.bin")
    assert links(root) == {}


def test_paths_that_differ_in_case_alone_are_not_linked(root: Path) -> None:
    put(root, "pkg/A.bin")
    put(root, "pkg/a.bin")
    assert "where case does not count" in reason(root, "pkg/a.bin")


def test_distributions_share_files_only_where_none_is_upgraded_by_itself(root: Path) -> None:
    for package in ("one", "two"):
        put(root, f"{package}/cacert.pem")
        put(root, f"{package}/LICENSE", BYTES + b"licence")
    assert links(root) == {}
    assert "upgraded by itself" in reason(root, "two/cacert.pem")
    assert links(root, frozen(root)) == {"two/cacert.pem": "../one/cacert.pem"}
    assert "it goes with two" in reason(root, "two/LICENSE", frozen(root))


def test_frozen_executables_stay(root: Path) -> None:
    put(root, "bin/tool1", mode=0o755)
    put(root, "bin/tool2", mode=0o755)
    bundle = bundle_of(root)
    bundle = bundle.replacing([replace(file, kind=Kind.FROZEN) for file in bundle.values()])
    assert links(root, bundle) == {}
    assert "its modules in its own file" in reason(root, "bin/tool2", bundle)


def test_copies_of_a_library_in_one_folder_become_what_they_were(root: Path) -> None:
    library(root, "pkg.libs/libx.so.1", "-Wl,-soname,libx.so.1")
    copy(root, "pkg.libs/libx.so.1", "pkg.libs/libx.so")
    copy(root, "pkg.libs/libx.so.1", "pkg.libs/a.so")
    assert links(root) == {"pkg.libs/libx.so": "libx.so.1", "pkg.libs/a.so": "libx.so.1"}


def test_copies_without_a_soname_keep_their_own_data(root: Path) -> None:
    library(root, "pkg/a.so")
    copy(root, "pkg/a.so", "pkg/b.so")
    assert "data of their own" in reason(root, "pkg/b.so")


def test_copies_in_two_folders_are_linked_under_their_soname_only(root: Path) -> None:
    library(root, "one.libs/libx.so.1", "-Wl,-soname,libx.so.1")
    copy(root, "one.libs/libx.so.1", "two.libs/libx.so.1")
    copy(root, "one.libs/libx.so.1", "three.libs/other.so")
    assert links(root, frozen(root)) == {"two.libs/libx.so.1": "../one.libs/libx.so.1"}
    assert "not both the SONAME" in reason(root, "three.libs/other.so", frozen(root))


def test_a_library_that_would_find_other_neighbours_stays(root: Path) -> None:
    neighbour = library(root, "one.libs/libn.so", "-Wl,-soname,libn.so")
    flags = ("-Wl,-soname,libx.so", "-Wl,--no-as-needed", str(neighbour), "-Wl,-rpath,$ORIGIN")
    library(root, "one.libs/libx.so", *flags, source="int g(void) { return 2; }\n")
    copy(root, "one.libs/libx.so", "two.libs/libx.so")
    assert "other files" in reason(root, "two.libs/libx.so", frozen(root))
    copy(root, "one.libs/libn.so", "two.libs/libn.so")
    expected = {"two.libs/libn.so": "../one.libs/libn.so", "two.libs/libx.so": "../one.libs/libx.so"}
    assert links(root, frozen(root)) == expected


def test_a_library_that_asks_where_it_lies_stays(root: Path) -> None:
    source = "int dladdr(const void *, void *);\nint f(void *x) { return dladdr(f, x); }\n"
    library(root, "one.libs/libx.so", "-Wl,-soname,libx.so", source=source)
    copy(root, "one.libs/libx.so", "two.libs/libx.so")
    assert "asks the loader" in reason(root, "two.libs/libx.so", frozen(root))


def test_programs_are_linked_in_their_own_folder_only(root: Path) -> None:
    library(root, "bin/tool", "-pie", source="int main(void) { return 0; }\n")
    copy(root, "bin/tool", "bin/tool-1.0")
    copy(root, "bin/tool", "other/tool")
    assert links(root, frozen(root)) == {"bin/tool-1.0": "tool"}
    assert "beside its own" in reason(root, "other/tool", frozen(root))


def test_a_damaged_library_stays(root: Path) -> None:
    put(root, "pkg/a.so", b"\x7fELF" + BYTES)
    put(root, "pkg/b.so", b"\x7fELF" + BYTES)
    assert "headers" in reason(root, "pkg/b.so")


def test_on_windows_nothing_is_linked_and_one_finding_tells(root: Path) -> None:
    dll = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + BYTES
    put(root, "pkg/x.dll", dll)
    put(root, "pkg/a.bin")
    put(root, "pkg/b.bin")
    changes, context = plan(root)
    assert changes == {}
    assert context.codes == ["MB401"]
    assert "(1, 10.2 kB)" in context.findings[0].message
    library(root, "pkg/libx.so")
    changes, context = plan(root)
    assert (list(changes), context.codes) == (["pkg/b.bin"], [])


@pytest.mark.skipif(sys.platform != "linux", reason="runs ELF programs")
def test_an_application_runs_as_before(root: Path, tmp_path: Path) -> None:
    """A program with its library in one folder, copies of both, and data that is read through a link."""
    library(root, "app/libx.so.1", "-Wl,-soname,libx.so.1", source="int f(void) { return 7; }\n")
    copy(root, "app/libx.so.1", "app/libx.so")
    source = '#include <stdio.h>\nint f(void);\nint main(int c, char **v) { printf("%d %d\\n", f(), fgetc(fopen(v[1], "r"))); return 0; }\n'
    (tmp_path / "p.c").write_text(source)
    subprocess.run(
        ["gcc", "-o", root / "app" / "p", tmp_path / "p.c", f"-L{root / 'app'}", "-l:libx.so.1", "-Wl,-rpath,$ORIGIN"], check=True
    )
    copy(root, "app/p", "app/p-1.0")
    put(root, "app/one.bin")
    put(root, "app/data/two.bin")
    before = subprocess.run([root / "app" / "p-1.0", root / "app" / "data" / "two.bin"], capture_output=True, check=True)
    registry = load_registry()
    settings = {"optimizers": ["deduplicate"], "cache": {"enabled": False}}
    optimize(prepare(project_config(tmp_path, registry, settings), registry, project=tmp_path), root, root)
    made = {path.relative_to(root).as_posix(): str(path.readlink()) for path in root.rglob("*") if path.is_symlink()}
    assert made == {"app/libx.so": "libx.so.1", "app/p-1.0": "p", "app/data/two.bin": "../one.bin"}
    after = subprocess.run([root / "app" / "p-1.0", root / "app" / "data" / "two.bin"], capture_output=True, check=True)
    assert (before.stdout, after.stdout) == (b"7 0\n", b"7 0\n")
