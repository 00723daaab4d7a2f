from __future__ import annotations

from typing import Any, get_args

import pytest

from hatch_mlbundle.filegroups import GROUPS
from hatch_mlbundle.optimizers.exclude import Exclude, ExcludeOptions, GroupName
from tests.builders import Plan, bundle_of, plan_of

ARCHIVE = b"!<arch>\n"
FILES: dict[str, bytes | str] = {
    "pkg/__init__.py": "def get_include(): ...",
    "pkg/py.typed": "",
    "pkg/_core.pyi": "",
    "pkg/_core.pyx": "",
    "pkg/LICENSE.md": "MIT",
    "pkg/README.md": "hello",
    "pkg/include/pkg/api.h": "",
    "pkg/include/Eigen/Core": "",
    "pkg/data/table.inc": "",
    "pkg/lib/libpkg.a": ARCHIVE,
    "pkg/lib/cmake/pkg-config.cmake": "",
    "pkg/lib/pkgconfig/pkg.pc": "",
    "pkg/core.dll.pdb": "",
    "pkg/core.dSYM/Contents/Resources/DWARF/core": "",
    "pkg/docs/index.html": "",
    "pkg/docs/NOTICE.txt": "",
    "pkg/docs/conf.py": "",
    "pkg/__pycache__/__init__.cpython-311.pyc": b"x",
    "pkg/__pycache__/alone.cpython-311.pyc": b"x",
    "pkg-1.0.dist-info/METADATA": "",
    "pkg-1.0.dist-info/RECORD": "",
    "pkg-1.0.dist-info/README.md": "",
    "pkg-1.0.dist-info/licenses/LICENSE": "",
}


def plan(files: dict[str, bytes | str], **options: Any) -> Plan:
    return plan_of(Exclude(ExcludeOptions(**options)), bundle_of(files))


@pytest.mark.parametrize(
    ("group", "gone"),
    [
        ("headers", {"pkg/include/pkg/api.h", "pkg/include/Eigen/Core"}),
        ("static-libs", {"pkg/lib/libpkg.a"}),
        ("cmake", {"pkg/lib/cmake/pkg-config.cmake", "pkg/lib/pkgconfig/pkg.pc"}),
        ("type-stubs", {"pkg/_core.pyi"}),
        ("bytecode", {"pkg/__pycache__/__init__.cpython-311.pyc"}),
        ("docs", {"pkg/README.md", "pkg/docs/index.html"}),
        ("debug-files", {"pkg/core.dll.pdb", "pkg/core.dSYM/Contents/Resources/DWARF/core"}),
        ("sources", {"pkg/_core.pyx"}),
    ],
)
def test_each_group(group: str, gone: set[str]) -> None:
    result = plan(FILES, groups=(group,))
    assert set(result.dropped) == gone
    assert all(reason.startswith(f"group '{group}': ") for reason in result.dropped.values())
    assert not result.findings


def test_every_group_can_be_configured() -> None:
    assert set(get_args(GroupName)) == set(GROUPS)


def test_bytecode_without_source_stays() -> None:
    assert "is the module" in plan(FILES, groups=("bytecode",)).kept["pkg/__pycache__/alone.cpython-311.pyc"]


def test_globs_are_those_of_gitignore_and_the_last_decides() -> None:
    result = plan(FILES, paths=("docs/", "*.pyi", "!pkg/docs/conf.py"))
    assert set(result.dropped) == {"pkg/docs/index.html", "pkg/docs/NOTICE.txt", "pkg/_core.pyi"}
    assert result.dropped["pkg/_core.pyi"] == "the configuration leaves out '*.pyi'"


def test_metadata_goes_only_by_its_whole_path_and_the_needed_part_never() -> None:
    result = plan(FILES, paths=("*.dist-info/", "/pkg-1.0.dist-info/README.md", "/pkg-1.0.dist-info/RECORD"))
    assert set(result.dropped) == {"pkg-1.0.dist-info/README.md"}
    assert result.kept["pkg-1.0.dist-info/RECORD"] == "installers and importlib.metadata need it"
    assert "whole path" in result.kept["pkg-1.0.dist-info/licenses/LICENSE"]


def test_a_glob_that_matches_nothing_is_reported_and_a_group_is_not() -> None:
    result = plan({"pkg/__init__.py": ""}, paths=("*.tpyo", "!*.py"), groups=("headers",))
    (finding,) = result.findings
    assert finding.code == "MB303"
    assert "'*.tpyo'" in finding.message


@pytest.mark.parametrize(
    "source",
    ["from torch.utils.cpp_extension import load", "cc = shutil.which('gcc')", "lib = open_cudalib('nvrtc')", "load_inline(name='x')"],
)
def test_headers_of_a_package_that_compiles_at_run_time_stay(source: str) -> None:
    files: dict[str, bytes | str] = {**FILES, "jit/__init__.py": "\n" + source, "jit/include/a.h": "", "jit/a.cu": ""}
    result = plan(files, groups=("headers", "sources"))
    assert result.kept["jit/include/a.h"] == "its package compiles code while it runs: jit/__init__.py:2"
    assert "jit/a.cu" in result.kept
    assert "pkg/include/pkg/api.h" in result.dropped
    assert [(finding.code, finding.path) for finding in result.findings] == [("MB302", "jit/a.cu")]
    assert "jit/include/a.h" in plan(files, groups=("headers",), paths=("/jit/include/",)).dropped


def test_what_builds_extension_modules_is_no_reason_to_keep_headers() -> None:
    result = plan({**FILES, "pkg/distutils/cc.py": "which('gcc')", "pkg/f2py/x.py": "which('gcc')"}, groups=("headers",))
    assert "pkg/include/pkg/api.h" in result.dropped


def test_a_stub_that_lazy_loader_reads_stays() -> None:
    files: dict[str, bytes | str] = {
        "a/__init__.py": "x = lazy_loader.attach_stub(__name__, __file__)",
        "a/__init__.pyi": "",
        "a/b.pyi": "",
    }
    result = plan(files, groups=("type-stubs",))
    assert result.kept == {"a/__init__.pyi": "a/__init__.py reads it when it is imported"}
    assert set(result.dropped) == {"a/b.pyi"}


def test_a_document_that_a_module_reads_stays() -> None:
    result = plan({**FILES, "pkg/__init__.py": "__doc__ = open(HERE / 'README.md').read()"}, groups=("docs",))
    assert result.kept["pkg/README.md"].startswith("pkg/__init__.py:1 names")
