from __future__ import annotations

import marshal
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.bundles.marshal_table import read_table, write_table

leaves = st.one_of(st.text(max_size=300), st.integers(-(1 << 31), (1 << 31) - 1))
values = st.recursive(leaves, lambda inner: st.one_of(st.lists(inner, max_size=5), st.lists(inner, max_size=5).map(tuple)), max_leaves=4)
rows = st.lists(st.tuples(st.text(max_size=40), st.tuples(st.integers(0, 3), st.integers(0, 1 << 30), st.integers(0, 1 << 30))))


@settings(deadline=None)
@given(rows)
def test_what_marshal_writes_is_read_and_what_is_written_marshal_reads(value: list[object]) -> None:
    assert read_table(marshal.dumps(value)) == value
    assert marshal.loads(write_table(value)) == value
    assert read_table(write_table(value)) == value


@settings(deadline=None)
@given(values)
def test_references_are_followed(value: object) -> None:
    shared = [value, value, (value, value)]
    assert read_table(marshal.dumps(shared)) == shared


@settings(deadline=None)
@given(rows.filter(bool))
def test_every_table_that_ends_too_early_is_damaged(value: list[object]) -> None:
    data = marshal.dumps(value)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="damaged table"):
            read_table(data[:end])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_a_value_error_or_a_value(data: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(read_table(data), int | str | list | tuple)


@pytest.mark.parametrize(
    "data",
    [
        b"[" + struct.pack("<I", 1 << 31),
        b"(" + struct.pack("<I", 0xFFFFFFFF),
        b"u" + struct.pack("<I", 0x7FFFFFFF) + b"x",
        b")\x01" * 100_000,
        b"\xdb\x01\0\0\0r\0\0\0\0",
        b"r\x05\0\0\0",
        marshal.dumps(compile("1", "x", "exec")),
        marshal.dumps([None]),
        marshal.dumps({}),
    ],
    ids=["list", "tuple", "string", "depth", "itself", "reference", "code", "none", "dict"],
)
def test_bombs_and_other_objects_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged table"):
        read_table(data)
