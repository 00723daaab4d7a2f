"""What a packed file is laid out as, and what the writer refuses."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from hatch_mlbundle.models.packed import PackedTensor, plan_packed, signpost
from hatch_mlbundle.runtime.weights import PackedFile
from tests.packsmith import samples, tied, write_packed

SAMPLES = [each.tensor for each in samples()]


def test_the_header_is_as_the_format_says() -> None:
    layout = plan_packed([PackedTensor("a", "F32", (2, 3), "int8-row", "I8")], {"format": "pt"})
    text = (
        '{"metadata":{"format":"pt"},"tensors":{"a":{"dtype":"F32","shape":[2,3],"encoding":"int8-row","stored":"I8",'
        '"scale_dtype":"F32","parts":{"data":[0,6],"scale":[64,72]}}}}'
    )
    length = int.from_bytes(layout.header[16:24], "little")
    assert layout.header[:16] == b"MLBUNDLE\x01\0\0\0\0\0\0\0"
    assert len(layout.header) == 24 + length == 256
    assert layout.header[24:].decode() == text.ljust(length)
    assert layout.parts == {"a": {"data": (256, 262), "scale": (320, 328)}}
    assert layout.size == 328


def test_parts_begin_at_multiples_of_64_and_do_not_overlap() -> None:
    layout = plan_packed(SAMPLES, {})
    ranges = sorted({place for parts in layout.parts.values() for place in parts.values()})
    assert all(first % 64 == 0 for first, _ in ranges)
    assert all(last <= first < last + 64 for (_, last), (first, _) in pairwise(ranges))
    assert ranges[0][0] == len(layout.header)
    assert ranges[-1][1] == layout.size


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = samples()
    with PackedFile(
        write_packed(tmp_path / "w", *tensors, tied("again", tensors[9]), metadata={"format": "pt", "\u00fc": "\u2603"})
    ) as file:
        assert file.keys() == [*(each.name for each in SAMPLES), "again"]
        assert file.metadata() == {"format": "pt", "\u00fc": "\u2603"}
        assert file.entries["again"].parts == file.entries[tensors[9].tensor.name].parts


def test_the_same_tensors_give_the_same_header() -> None:
    assert plan_packed(SAMPLES, {"a": "1"}) == plan_packed(iter(SAMPLES), {"a": "1"})


def test_a_signpost_is_no_safetensors_file(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    path.write_bytes(signpost(path.name))
    assert path.read_bytes() == (
        b"MLBUNDLE\nmodel.safetensors: the weights are in model.safetensors.mlbundle, packed by hatch-mlbundle;"
        b" call hatch_mlbundle.runtime.install() before they are loaded\n"
    )
    with pytest.raises(safetensors.SafetensorError, match=r"(?i)header"):
        safetensors.safe_open(path, framework="np")


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (PackedTensor("a", "F32", (2,), "zip", "F32"), "'zip' is unknown"),
        (PackedTensor("a", "F4", (2,), "raw", "F4"), "'F4'.*unknown"),
        (PackedTensor("a", "F32", (2,), "raw", "F16"), "cannot be stored"),
        (PackedTensor("a", "I64", (2,), "cast", "F32"), "cannot be stored"),
        (PackedTensor("a", "F32", (), "int8-row", "I8"), "cannot be stored"),
        (PackedTensor("a", "F32", (2,), "int8-group", "I8"), "no size"),
        (PackedTensor("a", "F32", (-1,), "raw", "F32"), "shape is none"),
        (PackedTensor("a", "F32", (2,), "sparse", "F32"), "`nnz`"),
        (PackedTensor("a", "F32", (2,), "raw", "F32", nnz=1), "`nnz`"),
        (PackedTensor("a", "F32", (2,), "raw", "F32", same_as="b"), "cannot be tied"),
    ],
)
def test_what_cannot_be_packed_is_refused(tensor: PackedTensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        plan_packed([tensor], {})


def test_two_of_a_name_and_ties_to_what_is_stored_otherwise_are_refused() -> None:
    tensor = PackedTensor("a", "F32", (2, 2), "raw", "F32")
    with pytest.raises(ValueError, match="two tensors are called a"):
        plan_packed([tensor, tensor], {})
    with pytest.raises(ValueError, match="stored otherwise"):
        plan_packed([tensor, PackedTensor("b", "F32", (2, 2), "int8-row", "I8", same_as="a")], {})
