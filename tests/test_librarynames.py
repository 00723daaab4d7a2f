from __future__ import annotations

import marshal

import pytest

from hatch_mlbundle.librarynames import Wanted, names_in, names_in_code, wanted_for
from hatch_mlbundle.model import CHUNK, MemoryContent


@pytest.mark.parametrize(
    ("names", "parts", "bare"),
    [
        (["libfoo.so"], ("libfoo",), "foo"),
        (["libfoo.so.1.2", "libfoo.so"], ("libfoo",), "foo"),
        (["libgfortran-040039e1-0352e75f.so.5.0.0"], ("libgfortran",), "gfortran"),
        (["libsndfile_x86_64.so"], ("libsndfile_x86_64", "libsndfile_x86", "libsndfile"), "sndfile_x86_64"),
        (["libnvrtc-builtins.so.12.8"], ("libnvrtc-builtins", "libnvrtc"), "nvrtc-builtins"),
        (["libc_x.so"], ("libc_x",), "c_x"),
        (["plugin.so"], ("plugin",), None),
    ],
)
def test_a_library_is_searched_for_without_suffix_and_hash_and_by_beginnings(names: list[str], parts: tuple[str, ...], bare: str) -> None:
    assert wanted_for(names) == Wanted(parts=tuple(parts), bare=bare)


def test_names_are_found_across_pieces() -> None:
    content = MemoryContent(b"x" * (CHUNK - 3) + b"libfoo.so" + b"libbar")
    assert names_in(content, ["libfoo", "libbar", "libbaz"]) == ["libbar", "libfoo"]
    assert names_in(content, []) == []


SOURCES = {
    "ctypes.CDLL('libfoo.so.1')": (["libfoo"], [], False),
    "ctypes.CDLL(find_library('foo'))": ([], ["foo"], False),
    "x = 'foo'": ([], [], False),
    "ctypes.CDLL(find_library('food'))": ([], [], False),
    "def f(name):\n    ctypes.CDLL(f'lib{name}.so')": ([], [], True),
    "def f(name):\n    ctypes.CDLL('lib%s.so' % name)": ([], [], True),
    "def f(name):\n    ctypes.CDLL('lib' + name + '.so')": ([], [], True),
    "for x in glob('lib*.so'):\n    torch.ops.load_library(x)": ([], [], True),
    "suffix = '.so'": ([], [], False),
    "ctypes.CDLL('libother.so')": ([], [], False),
}


@pytest.mark.parametrize("source", SOURCES)
def test_source_and_its_bytecode_say_the_same(source: str) -> None:
    names, bares, composes = SOURCES[source]
    expected = {"names": names, "bares": bares, "composes": composes}
    assert names_in_code(source.encode(), ["libfoo"], ["foo"], compiled=False) == expected
    code = marshal.dumps(compile(source, "m.py", "exec"))
    assert names_in_code(code, ["libfoo"], ["foo"], compiled=True) == expected
