"""The format: what is sound is read as the library reads it, and nothing else is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.dtypes import BITS, SIZES, numpy_dtype, size_of
from hatch_mlbundle.models.safetensors import Header, Tensor, layout, read_header
from tests.models.safesmith import entry, file_with, raw_file, weights, write_tensors

ONE = {"a": entry("F32", [2], 0, 8)}


def test_a_file_of_the_library_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    tensors = {"w": weights(3, 5), "n": np.arange(4), "empty": np.zeros((0, 7), np.float16), "scalar": np.array(2, np.float32)}
    library.save_file(tensors, tmp_path / "m.safetensors", {"format": "np"})
    header = read_header(tmp_path / "m.safetensors")
    assert header.metadata == {"format": "np"}
    assert header.size == (tmp_path / "m.safetensors").stat().st_size
    content = (tmp_path / "m.safetensors").read_bytes()
    read = {
        each.name: np.frombuffer(content[each.start : each.end], numpy_dtype(each.dtype)).reshape(each.shape) for each in header.tensors
    }
    assert {name: (array.dtype, array.tolist()) for name, array in read.items()} == {
        name: (array.dtype, array.tolist()) for name, array in tensors.items()
    }
    assert [each.start for each in header.tensors] == sorted(each.start for each in header.tensors)
    assert {each.name: (each.count, each.nbytes) for each in header.tensors} == {n: (t.size, t.nbytes) for n, t in tensors.items()}


def test_a_file_laid_out_here_is_read_by_the_library(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    first, second = weights(2, 3), np.arange(5, dtype=np.int8)
    head, header = layout([("first", "F32", (2, 3)), ("zweite\u00e4", "I8", (5,))], {"format": "np"})
    assert len(head) == header.data_start
    assert header.data_start % 8 == 0
    path = tmp_path / "m.safetensors"
    path.write_bytes(head + first.tobytes() + second.tobytes())
    assert read_header(path) == header
    loaded = library.load_file(path)
    assert np.array_equal(loaded["first"], first)
    assert np.array_equal(loaded["zweite\u00e4"], second)


def test_data_begins_no_sooner_than_asked_for(tmp_path: Path) -> None:
    head, header = layout([("a", "U8", (1,))], {}, least=1000)
    assert (len(head), header.data_start) == (1000, 1000)
    (tmp_path / "m").write_bytes(head + b"x")
    assert read_header(tmp_path / "m") == header


SOUND: dict[str, tuple[Any, bytes]] = {
    "nothing": ({}, b""),
    "metadata alone": ({"__metadata__": {"format": "pt"}}, b""),
    "an empty tensor": ({"a": entry("F32", [3, 0], 0, 0)}, b""),
    "empty tensors around one": ({"a": entry("F32", [0], 0, 0), "b": entry("U8", [2], 0, 2), "c": entry("I8", [0], 2, 2)}, b"12"),
    "data that is not aligned": ({"a": entry("U8", [1], 0, 1), "b": entry("F32", [1], 1, 5)}, b"12345"),
    "an order of its own": ({"b": entry("U8", [2], 1, 3), "a": entry("U8", [1], 0, 1)}, b"123"),
    "elements of four bits": ({"a": entry("F4", [4], 0, 2)}, b"12"),
    "a scalar": ({"a": entry("F64", [], 0, 8)}, b"12345678"),
    "names of folders": ({"model/a..b/c": entry("U8", [1], 0, 1)}, b"1"),
}


@pytest.mark.parametrize("what", SOUND)
def test_what_the_format_allows_is_taken(what: str, tmp_path: Path) -> None:
    entries, data = SOUND[what]
    header = read_header(file_with(tmp_path / "m.safetensors", entries, data))
    assert {each.name for each in header.tensors} == set(entries) - {"__metadata__"}
    starts = [each.start - header.data_start for each in header.tensors]
    assert starts == sorted(entries[each.name]["data_offsets"][0] for each in header.tensors)


BAD: dict[str, tuple[Any, bytes, str]] = {
    "cut off": (ONE, b"1234567", "ends 1 bytes behind the end of the file"),
    "too long": (ONE, b"123456789", "1 bytes at its end belong to no tensor"),
    "an overlap": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"123", "an overlap at tensor 'b'"),
    "the same bytes twice": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 0, 2)}, b"12", "an overlap at tensor 'b'"),
    "a hole": ({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, b"123", "a hole before tensor 'b'"),
    "a hole at the start": ({"a": entry("U8", [1], 1, 2)}, b"12", "a hole before tensor 'a'"),
    "offsets that run back": ({"a": entry("U8", [0], 1, 0)}, b"1", "no offsets of a beginning and an end"),
    "negative offsets": ({"a": entry("U8", [1], -1, 0)}, b"1", "no offsets"),
    "offsets of floats": ({"a": entry("U8", [1], 0.0, 1)}, b"1", "no offsets"),
    "three offsets": ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 1]}}, b"1", "no offsets"),
    "offsets beyond 63 bits": ({"a": entry("U8", [2**64], 0, 2**64)}, b"1", "no shape of at most 64 whole numbers"),
    "a wrong size": ({"a": entry("F32", [3], 0, 8)}, b"12345678", "has 8 bytes, but its shape and dtype F32 need 12"),
    "half a byte": ({"a": entry("F4", [3], 0, 1)}, b"1", "need 1.5"),
    "a negative shape": ({"a": entry("U8", [-1], 0, 0)}, b"", "no shape"),
    "a shape of booleans": ({"a": entry("U8", [True], 0, 1)}, b"1", "no shape"),
    "a shape of strings": ({"a": entry("U8", "1", 0, 1)}, b"1", "no shape"),
    "many axes": ({"a": entry("U8", [1] * 65, 0, 1)}, b"1", "no shape"),
    "an overflow": ({"a": entry("F64", [2**40, 2**40], 0, 0)}, b"", "a shape whose size overflows"),
    "an overflow that a zero hides": ({"a": entry("F64", [0, 2**40, 2**40], 0, 0)}, b"", "a shape whose size overflows"),
    "an unknown dtype": ({"a": entry("F128", [0], 0, 0)}, b"", "the unknown dtype 'F128'"),
    "a dtype that is none": ({"a": entry(["F32"], [0], 0, 0)}, b"", "the unknown dtype ['F32']"),  # type: ignore[arg-type]
    "a key too many": ({"a": entry("U8", [1], 0, 1, code="x")}, b"1", "no dtype, shape and data_offsets alone"),
    "a key too few": ({"a": {"dtype": "U8", "shape": [1]}}, b"1", "no dtype, shape and data_offsets alone"),
    "an entry that is none": ({"a": 3}, b"", "no dtype, shape and data_offsets alone"),
    "a NUL in a name": ({"a\0b": entry("U8", [1], 0, 1)}, b"1", "holds control characters"),
    "a line break in a name": ({"a\nb": entry("U8", [1], 0, 1)}, b"1", "holds control characters"),
    "half a character": ({"a\ud800": entry("U8", [1], 0, 1)}, b"1", "holds control characters"),
    "a way out": ({"../../x": entry("U8", [1], 0, 1)}, b"1", "a path out of a folder"),
    "a way out of Windows": ({"a\\..\\x": entry("U8", [1], 0, 1)}, b"1", "a path out of a folder"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", "other things than strings"),
    "metadata that is a list": ({"__metadata__": []}, b"", "other things than strings"),
    "metadata of half a character": ({"__metadata__": {"a": "\udfff"}}, b"", "half a character"),
    "a list": ([], b"", "no JSON object"),
    "a string": ("{", b"", "no JSON object"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_it_does_not_allow_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    entries, data, message = BAD[what]
    with pytest.raises(ModelError) as caught:
        read_header(file_with(tmp_path / "m.safetensors", entries, data))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


RAW: dict[str, tuple[bytes, int | None, str]] = {
    "a header of 2^60 bytes": (b"{}", 2**60, "claims 1152921504606846976 bytes, more than the 100000000"),
    "a header longer than the file": (b"{}", 99, "claims 99 bytes, but 2 follow"),
    "a header of no bytes": (b"", 0, "is no JSON object"),
    "no JSON": (b"{,}", None, "its header is no JSON"),
    "no UTF-8": (b'{"\xff": 1}', None, "its header is no JSON"),
    "a byte order mark": (b"\xef\xbb\xbf{}", None, "is no JSON object"),
    "UTF-16": ("{}".encode("utf-16"), None, "is no JSON object"),
    "NaN": (b'{"a": NaN}', None, "NaN stands in its header"),
    "a name twice": (
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        None,
        "the name 'a' comes twice",
    ),
    "a key twice": (b'{"a":{"dtype":"U8","dtype":"F32","shape":[0],"data_offsets":[0,0]}}', None, "the name 'dtype' comes twice"),
    "deep nesting": (b'{"a":' + b"[" * 100_000, None, "its header is"),
    "a long number": (b'{"a":' + b"9" * 10_000 + b"}", None, "its header is no JSON"),
    "blanks before it": (b" {}", None, "is no JSON object"),
    "two objects": (b"{}{}", None, "its header is no JSON"),
}


@pytest.mark.parametrize("what", RAW)
def test_headers_that_are_none(what: str, tmp_path: Path) -> None:
    header, length, message = RAW[what]
    with pytest.raises(ModelError, match=message.replace("^", r"\^")):
        read_header(raw_file(tmp_path / "m.safetensors", header, length=length))


@pytest.mark.parametrize(
    "content", [b"", b"1234567", b"MLBUNDLE\nmodel: the weights are elsewhere\n", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_files_that_are_something_else(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ModelError, match="is no sound safetensors file"):
        read_header(tmp_path / "m")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_a_header_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    for whole in (content, length.to_bytes(8, "little") + content, len(content).to_bytes(8, "little") + content):
        path.write_bytes(whole)
        assert is_read_or_refused(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**65) | st.floats() | st.text(max_size=3) | st.sampled_from([*BITS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NUMBERS = st.integers(0, 9) | VALUES
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*BITS]) | VALUES,
        "shape": st.lists(NUMBERS, max_size=3),
        "data_offsets": st.lists(NUMBERS, min_size=2, max_size=2),
    }
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]) | st.text(max_size=3), ENTRIES | VALUES, max_size=3), st.binary(max_size=20)
)
def test_any_json_is_a_header_or_refused(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Any], data: bytes) -> None:
    assert is_read_or_refused(file_with(tmp_path_factory.getbasetemp() / "fuzzed", entries, data))


def is_read_or_refused(path: Path) -> bool:
    try:
        header = read_header(path)
    except ModelError as error:
        return len(str(error).splitlines()) == 1
    sizes = sum(each.nbytes for each in header.tensors)
    with pytest.importorskip("safetensors").safe_open(path, "np") as library:  # what is taken here is taken there
        assert set(library.keys()) == {each.name for each in header.tensors}
    return isinstance(header, Header) and header.data_start + sizes == header.size == path.stat().st_size


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z.]{1,8}", fullmatch=True),
        st.tuples(st.sampled_from([*SIZES]), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    ),
    st.dictionaries(st.text('ab\u00e9\n"\\', max_size=3), st.text(max_size=3, alphabet='ab\u00e9\n"\\'), max_size=2),
)
def test_what_is_laid_out_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, tuple[str, list[int]]], metadata: dict[str, str]
) -> None:
    tensors.pop("..", None)
    head, header = layout([(name, dtype, tuple(shape)) for name, (dtype, shape) in tensors.items()], metadata)
    path = tmp_path_factory.getbasetemp() / "laid-out"
    path.write_bytes(head + bytes(header.size - header.data_start))
    assert read_header(path) == header


def test_a_size_is_told_in_whole_bytes() -> None:
    assert (size_of("F4", 4), size_of("F6_E2M3", 4), size_of("C64", 2)) == (2, 3, 16)
    with pytest.raises(ValueError, match="do not fill whole bytes"):
        size_of("F4", 3)


@pytest.mark.parametrize("dtype", SIZES)
def test_numpy_has_a_type_of_the_same_size(dtype: str) -> None:
    assert numpy_dtype(dtype).itemsize == SIZES[dtype]


def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - any of them
        read_header(tmp_path / "missing")


def test_a_header_holds_values_that_do_not_change(tmp_path: Path) -> None:
    header = read_header(write_tensors(tmp_path / "m", {"a": weights(2)}, {"k": "v"}))
    assert header.tensors == (Tensor(name="a", dtype="F32", shape=(2,), start=header.data_start, end=header.data_start + 8),)
    assert json.dumps(dict(header.metadata)) == '{"k": "v"}'
