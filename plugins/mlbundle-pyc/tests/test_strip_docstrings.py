from __future__ import annotations

import importlib.util
import json
import marshal
import py_compile
from collections.abc import Mapping
from pathlib import Path
from types import CodeType

import pytest
from pycsmith import codes, folder_of, names, optimized, reasons, run, unpacked, wheel_of

from tests.frozensmith import frozen_folder, says

DOC = "About this. " * 50
FILES = {
    "pkg/__init__.py": f'"""{DOC}"""\n',
    "pkg/mod.py": f'"""{DOC}"""\ndef f():\n    """{DOC}"""\n    return "text"\nclass C:\n    """{DOC}"""\n    x: int = 1\n',
}


def compiled(folder: Path, files: Mapping[str, str], *, cached: bool = False) -> dict[str, bytes | str]:
    """Return files with the bytecode of the modules: in their place, or beside them as Python caches it."""
    made: dict[str, bytes | str] = dict(files) if cached else {path: text for path, text in files.items() if not path.endswith(".py")}
    folder_of(folder, files)
    for path in files:
        if path.endswith(".py"):
            mode = py_compile.PycInvalidationMode.TIMESTAMP
            target = importlib.util.cache_from_source(path) if cached else f"{path}c"
            py_compile.compile(str(folder / path), cfile=str(folder / "made"), dfile=path, doraise=True, invalidation_mode=mode)
            made[target] = (folder / "made").read_bytes()
    return made


def test_docstrings_go_and_the_rest_stays(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, compiled(tmp_path / "src", FILES))
    before = wheel.stat().st_size
    manifest = optimized(wheel, "strip_docstrings")
    (step,) = manifest["steps"]
    assert step["changes"] == {"rewrite": 2}
    assert step["saved"]["installed"] > 2 * len(DOC)  # equal ones were there once
    assert wheel.stat().st_size < before
    site = unpacked(wheel, tmp_path / "site")
    code = "from pkg.mod import f, C; import pkg; print(f(), C.x, C.__annotations__, f.__doc__, C.__doc__, pkg.__doc__)"
    assert run(site, code).strip() == "text 1 {'x': <class 'int'>} None None None"


def test_bytecode_that_python_cached_is_still_fresh(tmp_path: Path) -> None:
    """Its header, with the time and size of the source, stays as it is."""
    wheel = wheel_of(tmp_path, compiled(tmp_path / "src", FILES, cached=True))
    manifest = optimized(wheel, "strip_docstrings")
    changed = [row for row in manifest["files"] if any(change["action"] == "rewrite" for change in row["changes"])]
    headers = {row["path"]: len(row["path"]) for row in changed if "__pycache__" in row["path"]}
    assert len(headers) == 2
    site, source = unpacked(wheel, tmp_path / "site"), tmp_path / "src"
    for path in headers:
        fresh = (source / importlib.util.source_from_cache(path)).stat()
        data = (site / path).read_bytes()
        assert data[8:16] == (int(fresh.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + fresh.st_size.to_bytes(4, "little")
        assert isinstance(marshal.loads(data[16:]), CodeType)


def test_a_second_run_finds_nothing(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, compiled(tmp_path / "src", FILES))
    optimized(wheel, "strip_docstrings")
    data = wheel.read_bytes()
    optimized(wheel, "strip_docstrings")
    assert wheel.read_bytes() == data


def test_what_something_may_read_stays_with_a_reason(tmp_path: Path) -> None:
    files = {
        **FILES,
        "pkg/reader.py": f'def show(x):\n    """{DOC}"""\n    return x.__doc__\n',
        "pkg/calls.py": f'from .reader import show\ndef f():\n    """{DOC}"""\nshow(f)\n',
        "tool/__init__.py": f'import typer\ndef command():\n    """{DOC}"""\n',
        "other/__init__.py": f'"""{DOC}"""\nimport argparse\nparser = argparse.ArgumentParser(description=__doc__)\n',
    }
    manifest = optimized(wheel_of(tmp_path, compiled(tmp_path / "src", files)), "strip_docstrings")
    assert reasons(manifest) == {
        "pkg/reader.pyc": "its docstrings stay: it reads docstrings, or sources",
        "pkg/calls.pyc": "its docstrings stay: show, which reads docstrings, is named in it",
        "tool/__init__.pyc": "its docstrings stay: typer may show or parse them",
        "other/__init__.pyc": "its docstrings stay: it reads docstrings, or sources",
    }


def test_a_source_that_reads_docstrings_counts(tmp_path: Path) -> None:
    files = {**compiled(tmp_path / "src", FILES), "pkg/help.py": "from .mod import f\nprint(f.__doc__)\n"}
    wheel = wheel_of(tmp_path, files)
    optimized(wheel, "strip_docstrings")
    site = unpacked(wheel, tmp_path / "site")
    assert run(site, "import pkg.help; from pkg.mod import C; print(C.__doc__)").split("\n")[:2] == [DOC, "None"]


def test_the_configuration_decides(tmp_path: Path) -> None:
    files = {**FILES, "tool/__init__.py": f'import typer\n"""x"""\ndef command():\n    """{DOC}"""\n'}
    wheel = wheel_of(tmp_path, compiled(tmp_path / "src", files))
    manifest = optimized(wheel, "strip_docstrings", packages=["tool"], keep=["pkg.mod", "gone"])
    assert reasons(manifest) == {"pkg/mod.pyc": "the configuration keeps its docstrings"}
    assert codes(manifest) == ["MB942"]
    assert (
        run(unpacked(wheel, tmp_path / "site"), "import sys, types; sys.modules['typer'] = types; import tool; print(tool.command.__doc__)")
        == "None\n"
    )


def test_bytecode_of_another_python_stays(tmp_path: Path) -> None:
    made = compiled(tmp_path / "src", FILES)
    foreign = b"\x33\x0d\x0d\x0a" + bytes(12) + b"\xe3" + bytes(30)
    wheel = wheel_of(tmp_path, {**made, "pkg/old.pyc": foreign, "pkg/short.pyc": b"", "pkg/text.pyc": b"no bytecode at all"})
    manifest = optimized(wheel, "strip_docstrings")
    assert codes(manifest) == ["MB941"]
    assert manifest["findings"][0]["message"].startswith("3 bytecode files are not of CPython")
    assert manifest["steps"][0]["changes"] == {"rewrite": 2}


@pytest.mark.parametrize("data", [b"", b"c", b"\xe3" + bytes(400), b")\1" * 5000, b"{N0", b"i\0\0\0\0"])
def test_hostile_bytecode_is_kept(tmp_path: Path, data: bytes) -> None:
    made = compiled(tmp_path / "src", FILES)
    wheel = wheel_of(tmp_path, {**made, "pkg/bad.pyc": importlib.util.MAGIC_NUMBER + bytes(12) + data})
    manifest = optimized(wheel, "strip_docstrings")
    assert reasons(manifest)["pkg/bad.pyc"].startswith("it cannot be read: ")
    assert "pkg/bad.pyc" in names(manifest)


def test_nothing_is_done_without_bytecode(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, FILES)
    before = wheel.read_bytes()
    manifest = optimized(wheel, "strip_docstrings")
    assert (wheel.read_bytes(), codes(manifest)) == (before, [])


@pytest.mark.slow
def test_the_modules_in_a_frozen_executable(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    before = {path: path.stat().st_size for path in app.rglob("*") if path.is_file()}
    manifest = optimized(app, "strip_docstrings")
    assert says(app / "app") == says(app / "app") == "Mia 2 3 data run"
    rows = {row["path"]: row for row in manifest["files"]}
    shrunk = [path for path, row in rows.items() if ".pyz/" in path and row["after"]["size"] < row["before"]["size"]]
    assert len(shrunk) > 20
    assert (app / "app").stat().st_size < before[app / "app"]
    assert sum(row["after"]["size"] for row in rows.values()) == manifest["artifact"]["after"]["installed"]
    assert manifest["artifact"]["after"]["installed"] == sum(
        path.stat().st_size for path in app.rglob("*") if path.is_file() and not path.is_symlink()
    )
    from PyInstaller.archive.readers import CArchiveReader  # PyInstaller's own reader

    archive = CArchiveReader(str(app / "app")).open_embedded_archive("PYZ.pyz")
    code = archive.extract("textwrap") if "textwrap" in archive.toc else None
    assert code is None or code.co_consts[0] is None
    from hatch_mlbundle.cli import main

    assert main(["verify", "-q", str(app)]) == 0
    once = (app / "app").read_bytes()
    optimized(app, "strip_docstrings")
    assert (app / "app").read_bytes() == once
    assert json.dumps(manifest["findings"]) == "[]"
