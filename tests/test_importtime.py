from __future__ import annotations

import pytest

from hatch_mlbundle.importtime import Needs, examine_needs
from hatch_mlbundle.model import File, Kind
from tests.builders import file_of
from tests.pythons import RELEASES, compile_with, find_python

CASES = {
    "import a": "a",
    "import a.b as c": "a.b",
    "from a import b, c": "a:b,c",
    "from . import b": ".:b",
    "from ..a.b import *": "..a.b:*",
    "if x:\n    import a\nelse:\n    import b": "a b",
    "for each in x:\n    import a": "a",
    "with open(x):\n    import a": "a",
    "class C:\n    import a": "a",
    "try:\n    import a\nfinally:\n    x = 1": "a",
    "try:\n    import a\nexcept KeyError:\n    pass": "a",
    "try:\n    import a\nexcept ImportError:\n    raise RuntimeError('install a')": "a",
    "try:\n    import a\nexcept ImportError as error:\n    if x:\n        raise\n    print(error)": "a",
    "try:\n    import a\nexcept ImportError:\n    a = None": "",
    "try:\n    import a\nexcept (AttributeError, ImportError) as error:\n    print(error)": "",
    "try:\n    import a\nexcept KeyError:\n    pass\nexcept ModuleNotFoundError:\n    pass": "",
    "try:\n    import a\nexcept Exception:\n    pass": "",
    "try:\n    import a\nexcept:\n    pass": "",
    "try:\n    import a\nexcept ImportError:\n    import b": "b",
    "try:\n    import a\nexcept ImportError:\n    pass\nelse:\n    import b\nfinally:\n    import c": "b c",
    "try:\n    if x:\n        import a\nexcept ImportError:\n    pass": "",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b": "typing:TYPE_CHECKING b",
    "import typing\nif typing.TYPE_CHECKING:\n    import a": "typing",
    "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import a": "typing:TYPE_CHECKING a",
    "from typing import TYPE_CHECKING\nif x or TYPE_CHECKING:\n    import a": "typing:TYPE_CHECKING a",
    "import typing\nif x is None or typing.TYPE_CHECKING:\n    import a": "typing a",
    "def f():\n    import a": "",
    "f = lambda: __import__('a')": "",
}
LATER = {
    "def f():\n    import a": "a",
    "class C:\n    def f(self):\n        from a import b": "a:b",
    "def f():\n    try:\n        import a\n    except ImportError:\n        return None": "",
    "def f():\n    try:\n        import a\n    except ImportError as error:\n        raise KeyError from error": "a",
    "import a": "",
}


def written(rows: tuple[tuple[int, str, tuple[str, ...]], ...]) -> str:
    return " ".join(sorted("." * level + module + (":" + ",".join(names) if names else "") for level, module, names in rows))


def as_source(source: str) -> File:
    return file_of("pkg/module.py", source.encode())


def as_bytecode(source: str, release: str) -> File:
    python = find_python(release)
    if python is None:
        pytest.skip(f"no Python {release} here")
    return file_of("app.pyz/pkg/module.pyc", compile_with(python, source))


@pytest.mark.parametrize(("source", "expected"), CASES.items())
def test_source_tells_what_a_module_needs(source: str, expected: str) -> None:
    needs = Needs.from_json(examine_needs(as_source(source)))
    assert written(needs.first) == " ".join(sorted(expected.split()))


@pytest.mark.parametrize("release", RELEASES)
def test_bytecode_of_every_release_tells_the_same(release: str) -> None:
    expected = {source: " ".join(sorted(needs.split())) for source, needs in CASES.items()}
    found = {source: written(Needs.from_json(examine_needs(as_bytecode(source, release))).first) for source in CASES}
    assert found == expected


@pytest.mark.parametrize("release", RELEASES)
def test_both_tell_what_functions_import(release: str) -> None:
    assert {source: written(Needs.from_json(examine_needs(as_source(source))).later) for source in LATER} == LATER
    assert {source: written(Needs.from_json(examine_needs(as_bytecode(source, release))).later) for source in LATER} == LATER


@pytest.mark.parametrize("release", RELEASES)
def test_many_names_do_not_confuse_it(release: str) -> None:
    """Beyond 255 names and constants instructions have longer arguments."""
    many = "".join(f"name_{number} = {number}\n" for number in range(600))
    source = (
        many
        + "try:\n    import a\nexcept ImportError:\n    pass\nfrom . import b\nif x:\n"
        + "".join(f"    {each}\n" for each in many.split("\n"))
    )
    assert written(Needs.from_json(examine_needs(as_bytecode(source, release))).first) == ".:b"


def test_attributes_are_found_in_both_forms() -> None:
    source = "import torch\ndef f(model):\n    return torch.compile(model)\n"
    for file in (as_source(source), as_bytecode(source, RELEASES[1])):
        assert Needs.from_json(examine_needs(file, attributes=["torch.compile", "torch.export"])).uses == ("torch.compile",)


def test_what_cannot_be_read_says_why() -> None:
    broken = Needs.from_json(examine_needs(as_source("import a\nprint 1\n")))
    assert (broken.first, broken.error is None) == ((), False)
    noise = file_of("app.pyz/pkg/module.pyc", b"noise")
    assert noise.kind is Kind.BYTECODE
    assert Needs.from_json(examine_needs(noise)).error == "holds no code" or Needs.from_json(examine_needs(noise)).error


def test_unknown_instructions_are_refused() -> None:
    code = bytearray(as_bytecode("import a", "3.11").read())
    start = code.index(bytes([151, 0]))
    code[start] = 150
    assert "unknown release" in str(Needs.from_json(examine_needs(file_of("a.pyz/m.pyc", bytes(code)))).error)
