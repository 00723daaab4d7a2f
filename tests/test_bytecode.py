from __future__ import annotations

import marshal
from collections.abc import Mapping

import pytest

from hatch_mlbundle.bytecode import examine_bytecode, strings_holding
from hatch_mlbundle.optimizers.test_data import TestData, TestDataOptions
from hatch_mlbundle.pysource import References
from tests.builders import Plan, bundle_of, file_of, plan_of
from tests.pythons import RELEASES, compile_with, find_python

TEST = "def test_it():\n    pass\n"


def compiled(source: str, release: str = "3.11") -> bytes:
    python = find_python(release)
    if python is None:
        pytest.skip(f"no Python {release} here")
    return compile_with(python, source)


def read(data: bytes, *words: str) -> References:
    return References.from_json(examine_bytecode(file_of("app.pyz/pkg/a.pyc", data), words=words))


def plan(files: Mapping[str, str], release: str = "3.11") -> Plan:
    """Plan on modules that exist as bytecode alone; what is no module lies beside."""
    contents = {
        f"_internal/app.pyz/{path}c" if path.endswith(".py") else f"_internal/{path}": compiled(text, release)
        if path.endswith(".py")
        else text.encode()
        for path, text in files.items()
    }
    return plan_of(TestData(TestDataOptions()), bundle_of(contents))


def package(core: str) -> dict[str, str]:
    return {
        "pkg/__init__.py": "",
        "pkg/core.py": core,
        "pkg/tests/__init__.py": "",
        "pkg/tests/support.py": "",
        "pkg/tests/test_core.py": TEST,
        "pkg/tests/table.csv": "1,2",
    }


@pytest.mark.parametrize("release", RELEASES)
def test_strings_are_found_by_a_word_in_them(release: str) -> None:
    data = compiled("a = 'pkg.tests.support'\nb = 'a sentence on tests'\nc = 'päth/tests/a'\nlatest = 1\n", release)
    assert set(strings_holding(data, ["test"])) >= {"pkg.tests.support", "latest"}


def test_a_word_in_prose_is_no_name() -> None:
    assert read(compiled("'''Words on tests and latest things.'''\n"), "test") == References()


def test_imports_are_exact_and_strings_stand_as_they_are() -> None:
    data = compiled("from .tests import support\nimport os\nx = ['tests/a.csv', f'{os.name}.tests.b', 'other.txt']\n")
    found = read(data, "test")
    assert [(each.level, each.module, each.names) for each in found.imports] == [(1, "tests", ("support",))]
    assert {(each.text, each.use) for each in found.literals} == {
        ("tests/a.csv", "part"),
        (".tests.b", "part"),
        ("*.tests.b", "part"),
        ("tests/a.csv", "file"),
        (".tests.b", "file"),
        ("other.txt", "file"),
    }


def test_of_code_nobody_can_read_every_string_may_be_imported() -> None:
    data = compiled("from pkg.tests import support\n")
    found = read(b"\xe3" + b"\0" * 20 + b"X" + data, "test")
    assert ("pkg.tests", True) in {(each.module, "support" in each.names) for each in found.imports if each.level == 0}


def test_long_and_foreign_strings_are_found() -> None:
    name = "pkg." + "x" * 150 + ".tests"
    for text in (name, "päckage.tests"):
        assert text in set(strings_holding(marshal.dumps(text), ["tests"]))
        assert text in set(strings_holding(marshal.dumps((text, text)), ["tests"]))


@pytest.mark.parametrize("release", RELEASES)
def test_modules_of_an_archive_are_in_sight(release: str) -> None:
    result = plan(package("import os"), release)
    assert sorted(result.dropped) == [
        "_internal/app.pyz/pkg/tests/__init__.pyc",
        "_internal/app.pyz/pkg/tests/support.pyc",
        "_internal/app.pyz/pkg/tests/test_core.pyc",
        "_internal/pkg/tests/table.csv",
    ]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    "core",
    [
        "from .tests import support",
        "def f():\n    from pkg.tests import support",
        "import pkg.tests.support",
        "import importlib\nimportlib.import_module('pkg.tests.support')",
        "import importlib\nimportlib.import_module('.tests.support', __package__)",
        "name = 'pkg'\nload(f'{name}.tests.support')",
    ],
)
def test_what_bytecode_imports_or_names_stays(core: str, release: str) -> None:
    result = plan(package(core), release)
    assert "_internal/app.pyz/pkg/tests/support.pyc" in result.kept
    assert "_internal/app.pyz/pkg/tests/test_core.pyc" in result.dropped


def test_a_file_of_a_folder_that_bytecode_names_stays() -> None:
    result = plan(package("import os\nopen(os.path.join(os.path.dirname(__file__), 'tests', 'table.csv'))"))
    assert "_internal/pkg/tests/table.csv" in result.kept
    assert "_internal/app.pyz/pkg/tests/support.pyc" in result.dropped


PROGRAM = b"\x7fELF" + bytes(60)


def test_test_programs_of_a_package_go_unless_something_names_them() -> None:
    files = {
        "_internal/app.pyz/pkg/__init__.pyc": compiled("import os\nhelper = os.path.join('bin', 'test_named')\n"),
        "_internal/pkg/bin/test_api": PROGRAM,
        "_internal/pkg/bin/StoreTest": PROGRAM,
        "_internal/pkg/bin/test_named": PROGRAM,
        "_internal/pkg/bin/shm_manager": PROGRAM,
        "_internal/pkg/lib/libtest_one.so": PROGRAM,
        "_internal/pkg/lib/test_two.so.1": PROGRAM,
        "_internal/test_root": PROGRAM,
        "test_app": PROGRAM,
    }
    result = plan_of(TestData(TestDataOptions()), bundle_of(files))
    assert sorted(result.dropped) == ["_internal/pkg/bin/StoreTest", "_internal/pkg/bin/test_api"]
    assert list(result.kept) == ["_internal/pkg/bin/test_named"]
