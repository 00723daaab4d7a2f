from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.tables import Entry, Tables, TablesArtifact
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Add, Bundle, Drop, Kind, Link, MemoryContent, Rewrite
from tests.builders import file_of
from tests.bundles.test_folder import Incompressible


def tables_of(folder: Path, name: str = "app", **sources: str) -> Tables:
    """Return tables with a file for each keyword: its text, under its own name; `lib` is a library."""
    folder.mkdir(exist_ok=True)
    rows: list[Entry] = []
    for path, text in sources.items():
        (folder / path).write_text(text)
        rows.append((path, str(folder / path), "DATA"))
    pure = [("pkg", "/x/pkg/__init__.py", "PYMODULE"), ("pkg.mod", "/x/pkg/mod.py", "PYMODULE"), ("space", "-", "PYMODULE")]
    return Tables(name=name, files=([], rows), pure=pure, code=lambda entry: entry[0].encode())


def change(tables: list[Tables], target: Path, edit: Callable[[Bundle], Bundle]) -> Bundle:
    with ThreadPoolExecutor(2) as pool:
        artifact = TablesArtifact(tables, pool)
        bundle = artifact.scan().bundle
        with artifact.rewriting(edit(bundle), target, Incompressible()):
            pass
    return bundle


def test_files_and_modules_have_the_bytes_that_they_will_take(tmp_path: Path) -> None:
    bundle = change([tables_of(tmp_path / "a", data="text")], tmp_path / "out", lambda bundle: bundle)
    assert {path: (file.size, file.kind, file.owner) for path, file in bundle.items() if path != "data"} == {
        "app.pyz/pkg/__init__.pyc": (len(zlib.compress(b"pkg", 6)), Kind.BYTECODE, "pkg"),
        "app.pyz/pkg/mod.pyc": (len(zlib.compress(b"pkg.mod", 6)), Kind.BYTECODE, "pkg"),
    }
    assert bundle["app.pyz/pkg/mod.pyc"].read() == b"pkg.mod"
    assert bundle["data"].read() == b"text"


def test_rows_are_dropped_rewritten_added_and_linked_in_place(tmp_path: Path) -> None:
    tables = tables_of(tmp_path / "a", gone="1", stays="2", new="3", link="4")

    def edit(bundle: Bundle) -> Bundle:
        linked = replace(file_of("link", b"", link="stays"))
        return bundle.without(["gone", "app.pyz/pkg/mod.pyc"]).replacing([file_of("new", b"N"), linked, file_of("dir/added", b"A")])

    change([tables], tmp_path / "out", edit)
    assert tables.files[1] == [
        ("stays", str(tmp_path / "a/stays"), "DATA"),
        ("new", str(tmp_path / "out/new"), "DATA"),
        ("link", "stays", "SYMLINK"),
        ("dir/added", str(tmp_path / "out/dir/added"), "DATA"),
    ]
    assert [row[0] for row in tables.pure] == ["pkg", "space"]
    assert [(tmp_path / "out" / name).read_text() for name in ("new", "dir/added")] == ["N", "A"]


def test_what_analyses_share_is_changed_in_all_and_a_namesake_is_not(tmp_path: Path) -> None:
    one, two = tables_of(tmp_path / "a", shared="1", own="A"), tables_of(tmp_path / "b", own="B")
    two.files[1].append(one.files[1][0])
    change([one, two], tmp_path / "out", lambda bundle: bundle.replacing([file_of("shared", b"S"), file_of("own", b"O")]))
    assert one.files[1] == [("shared", str(tmp_path / "out/shared"), "DATA"), ("own", str(tmp_path / "out/own"), "DATA")]
    assert two.files[1] == [("own", str(tmp_path / "b/own"), "DATA"), ("shared", str(tmp_path / "out/shared"), "DATA")]


def test_what_pyinstaller_takes_from_elsewhere_is_no_part_of_it(tmp_path: Path) -> None:
    tables = replace(tables_of(tmp_path / "a", zlib="1", other="2"), fixed=frozenset({"zlib"}))
    rows = list(tables.files[1])
    assert "zlib" not in change([tables], tmp_path / "out", lambda bundle: bundle.without(["other"]))
    assert tables.files[1] == rows[:1]


def test_a_failure_changes_no_table(tmp_path: Path) -> None:
    tables = tables_of(tmp_path / "a", data="1")
    before = [list(tables.files[1]), list(tables.pure)]
    with ThreadPoolExecutor(2) as pool:
        artifact = TablesArtifact([tables], pool)
        smaller = artifact.scan().bundle.without(["data", "app.pyz/pkg/mod.pyc"])
        with pytest.raises(RuntimeError), artifact.rewriting(smaller, tmp_path / "out", Incompressible()):
            raise RuntimeError
    assert [tables.files[1], tables.pure] == before
    assert not (tmp_path / "out").exists()


def test_modules_can_only_be_dropped(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        artifact = TablesArtifact([tables_of(tmp_path / "a")], pool)
        assert artifact.refuses(Rewrite(path="app.pyz/pkg/mod.pyc", reason="")) == "a module in an executable can only be dropped"
        assert artifact.refuses(Link(path="app.pyz/pkg/mod.pyc", reason="", target="x"))
        assert artifact.refuses(Drop(path="app.pyz/pkg/mod.pyc", reason="")) is None
        assert artifact.refuses(Rewrite(path="data", reason="")) is None


def test_a_module_that_pyinstaller_leaves_out_is_not_counted(tmp_path: Path) -> None:
    tables = replace(tables_of(tmp_path / "a"), code=lambda entry: None if entry[0] == "pkg.mod" else b"code")
    assert list(change([tables], tmp_path / "out", lambda bundle: bundle)) == ["app.pyz/pkg/__init__.pyc"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("../x", "'..'"), ("/etc/x", "is absolute"), ("x.pyz/m.pyc", "ends in .pyz"), ("absent", "cannot be read: No such file")],
)
def test_rows_that_cannot_be_are_one_line(tmp_path: Path, name: str, told: str) -> None:
    tables = tables_of(tmp_path / "a")
    tables.files[1].append((name, str(tmp_path / "nowhere"), "DATA"))
    with pytest.raises(ArtifactError, match=told.replace(".", r"\.")):
        change([tables], tmp_path / "out", lambda bundle: bundle)


def test_packed_weights_get_their_loader_or_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    packed = Add(path="m.safetensors.mlbundle", reason="", content=MemoryContent(b"W"))
    tables = tables_of(tmp_path / "a")
    with ThreadPoolExecutor(1) as pool:
        artifact = TablesArtifact([tables], pool)
        artifact.scan()
        refused = artifact.refuses(packed)
    assert refused is not None
    assert refused.startswith("app: has no numpy, which packed weights need")
    names = ["numpy", *sorted(sys.stdlib_module_names)]
    tables.pure.extend((name, f"/x/{name}/__init__.py", "PYMODULE") for name in names)
    with ThreadPoolExecutor(1) as pool:
        artifact = TablesArtifact([tables], pool)
        artifact.scan()
        assert artifact.refuses(packed) is None
    tables.run.append(("app", "app.py", "PYSOURCE"))
    change([tables], tmp_path / "out", lambda bundle: bundle.replacing([file_of(packed.path, b"W")]))
    script = tmp_path / "out/app.scripts/pyi_rth_mlbundle_weights.py"
    assert tables.run == [("pyi_rth_mlbundle_weights", str(script), "PYSOURCE"), ("app", "app.py", "PYSOURCE")]
    compile(script.read_bytes(), "script", "exec")
    assert tables.files[1] == [(packed.path, str(tmp_path / "out" / packed.path), "DATA")]


def test_what_tells_of_machines_comes_with_a_statement_of_them(tmp_path: Path) -> None:
    row = '{"path": "x.so", "size": 1, "cpu": {"level": "x86-64-v3"}}'
    statement = f'{{"format": "mlbundle-machine", "format_version": "1.0", "libraries": [{row}]}}'.encode()
    for libraries, scripts in ((statement, ["pyi_rth_mlbundle_machine"]), (statement.replace(row.encode(), b""), [])):
        folder = tmp_path / str(len(scripts))
        folder.mkdir()
        tables = tables_of(folder / "a")
        change([tables], folder / "out", partial(Bundle.replacing, files=[file_of("mlbundle-machine.json", libraries)]))
        assert [name for name, _, _ in tables.run] == scripts
        assert [path for path, _, _ in tables.files[1]] == ["mlbundle-machine.json"]
        for _, script, _ in tables.run:
            compile(Path(script).read_bytes(), "script", "exec")
