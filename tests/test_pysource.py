from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.importpaths import ImportPaths, companion_of, installed, module_of
from hatch_mlbundle.pysource import References, defines_tests, examine_names, examine_references, parse, telling_lines
from tests.builders import bundle_of, file_of


def read(source: str, *words: str) -> References:
    return References.from_json(examine_references(file_of("pkg/a.py", source.encode()), words=words))


def names(source: str, *words: str) -> list[tuple[str, str]]:
    return [(literal.text, literal.use) for literal in read(source, *words).literals]


def test_imports_with_line_scope_and_level() -> None:
    found = read("import a.tests\n\nasync def f():\n    from ..tests import x, y\n", "test").imports
    assert [(each.line, each.scope, each.level, each.module, each.names) for each in found] == [
        (1, "", 0, "a.tests", ()),
        (4, "f", 2, "tests", ("x", "y")),
    ]


@pytest.mark.parametrize(
    ("source", "text", "use"),
    [
        ("x = join(here, 'tests', 'data', name)", "tests/data/*", "path"),
        ("x = here / 'tests' / 'a.csv'", "tests/a.csv", "path"),
        ("x = f'{here}/tests/a.csv'", "*/tests/a.csv", "text"),
        ("x = '{}/tests/a.csv'.format(here)", "*/tests/a.csv", "text"),
        ("x = '%s/tests/%(a)s.csv'", "*/tests/*.csv", "text"),
        ("files('pkg.tests')", "pkg.tests", "package"),
        ("x = ['tests/a\\\\b.csv']", "tests/a/b.csv", "text"),
    ],
)
def test_strings_and_what_they_are_used_for(source: str, text: str, use: str) -> None:
    assert (text, use) in names(source, "test")


def test_prose_and_docstrings_are_no_names() -> None:
    assert not names("'''tests'''\nx = 'the tests of this'\nclass A:\n    'tests'\n", "test")


def test_line_ends_of_old_systems_do_not_matter() -> None:
    for end in ("\n", "\r\n", "\r"):
        assert [each.line for each in read(end.join(["x = 1", "import tests", "y = 2"]), "test").imports] == [2]


def test_what_cannot_be_parsed_gives_its_words() -> None:
    for source in ("print 'x'\nfrom .tests import b", "from .tests import b\0", "import tests\n" + "x = " + "(" * 3000):
        found = read(source, "test")
        assert found.error
        assert any("tests" in literal.text for literal in found.literals)


def test_parsing_warns_nobody() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parse(b"x = '\\d' is 1")
    assert not caught


@settings(deadline=None)
@given(st.lists(st.sampled_from(["import a.tests", "x = 1", "'''tests'''", "y = 'tests/a'", "(tests,", ")", "\tz", "# tests"]), max_size=8))
def test_the_cheap_look_misses_nothing_that_parsing_finds(lines: list[str]) -> None:
    source = "\n".join(lines)
    everything, selected = read(source), read(source, "test")
    if everything.error is None:
        assert set(selected.imports) == {each for each in everything.imports if "test" in each.module}
        assert {each.text for each in selected.literals} >= {each.text for each in everything.literals if "test" in each.text}


def test_telling_lines_are_few() -> None:
    assert telling_lines(b"# all tests\nthe test is\nimport tests\nx = test_it(a)\n", ["test"]) == [3]


@pytest.mark.parametrize(
    ("source", "tests"),
    [
        ("def test_a(): ...", True),
        ("async def test_a(): ...", True),
        ("class TestA:\n    def test(self): ...", True),
        ("class A(unittest.TestCase):\n    def test(self): ...", True),
        ("class Mixin:\n    def test_get(self): ...", False),
        ("class TestCase: ...", False),
        ("def test_a(): ...\nif __name__ == '__main__':\n    unittest.main()", True),
        ("def test_a(): ...\nif __name__ == '__main__':\n    main()", False),
        ("def test_a(:", False),
    ],
)
def test_what_defines_tests(source: str, tests: bool) -> None:
    assert defines_tests(source.encode()) is tests


def test_names_in_native_files() -> None:
    data = b"\0pkg.tests._x\0tests\0" + b"a" * 300 + b".tests.b\0pkg.tests.last"
    assert examine_names(file_of("a.so", data), words=["test"]) == ["pkg.tests._x", "pkg.tests.last"]


@pytest.mark.parametrize(
    ("path", "module", "companion"),
    [
        ("a/b.py", "a/b", None),
        ("a/__init__.py", "a", None),
        ("a/b.cpython-311-x86_64-linux-gnu.so", "a/b", None),
        ("a/b.abi3.so", "a/b", None),
        ("a/b.cp311-win_amd64.pyd", "a/b", None),
        ("a-1.0.data/purelib/a/b.py", "a/b", None),
        ("a/__pycache__/b.cpython-311.pyc", None, "a/b"),
        ("a/__pycache__/__init__.cpython-311.opt-1.pyc", None, "a"),
        ("a/b.pyi", None, "a/b"),
        ("a/libb-1234.so.3", None, None),
        ("a/data.csv", None, None),
    ],
)
def test_modules_by_path(path: str, module: str | None, companion: str | None) -> None:
    assert (module_of(path), companion_of(path)) == (module, companion)


def test_import_paths() -> None:
    files = [
        "x/_internal/a/__init__.py",
        "x/_internal/a/b/c.py",
        "site/n/m/p/__init__.py",
        "site/p-1.dist-info/METADATA",
        "q-1.data/platlib/a/d.py",
    ]
    modules = ImportPaths(bundle_of(dict.fromkeys(files, b"")))
    assert modules.find("a.b.c") == ["x/_internal/a/b/c.py"]
    assert modules.find("n.m.p") == ["site/n/m/p/__init__.py"]
    assert modules.find("a.d") == ["q-1.data/platlib/a/d.py"]
    assert modules.find("not a name") == []
    assert modules.find_beside("x/_internal/a/b/c.py", 2, "b.c") == ["x/_internal/a/b/c.py"]
    assert modules.name("site/n/m/p/__init__.py") == "n.m.p"
    assert modules.top_level("x/_internal/a/b/c.py") == "x/_internal/a"
    assert modules.packages_above("x/_internal/a/b/c.py") == ["x/_internal/a/__init__.py"]
    assert installed("q-1.data/platlib/a/d.py") == "a/d.py"
