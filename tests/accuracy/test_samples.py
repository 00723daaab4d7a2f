from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hatch_mlbundle.accuracy.evaluator import Samples, unbatched
from hatch_mlbundle.accuracy.samples import LARGEST, check_samples, load_samples
from hatch_mlbundle.errors import AccuracyError


def fault_of(path: Path) -> str:
    with pytest.raises(AccuracyError) as caught:
        check_samples(path, "data/s.npz")
    told = str(caught.value)
    assert "\n" not in told
    return told.removeprefix("data/s.npz: cannot be used as samples: ")


def test_arrays_are_taken_apart_by_their_first_axis(tmp_path: Path) -> None:
    ids, mask = np.arange(12).reshape(4, 3), np.ones((4, 2, 2), "f2")
    np.savez_compressed(tmp_path / "s.npz", ids=ids, mask=mask)
    assert check_samples(tmp_path / "s.npz", "s.npz") == 4
    samples = load_samples(tmp_path / "s.npz")
    assert samples.names == ("ids", "mask")
    assert len(samples.rows) == 4
    for number, row in enumerate(samples.rows):
        assert (row["ids"] == ids[number]).all()
        assert row["mask"].shape == (2, 2)


def test_lines_are_read_as_json_whatever_ends_them(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "gr\xc3\xbc\xc3\x9f dich"}\r\n\n{"text": "b"}')
    assert check_samples(path, "s.jsonl") == 2
    assert load_samples(path).rows == [{"text": "grüß dich"}, {"text": "b"}]


def test_batches_are_of_rows_of_one_shape() -> None:
    rows = [{"ids": [1, 2]}, {"ids": [3, 4]}, {"ids": [5, 6]}, {"ids": [7]}, {"ids": [8, 9]}]
    batches = [each["ids"].tolist() for each in Samples(rows=rows).batches(2)]
    assert batches == [[[1, 2], [3, 4]], [[5, 6]], [[7]], [[8, 9]]]


@pytest.mark.parametrize(("row", "told"), [({"text": "a"}, "sample 1: 'text' is no number"), ({"x": [[1], [2, 3]]}, "rows of several")])
def test_what_is_no_number_makes_no_batch(row: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        list(Samples(rows=[row]).batches(2))


def test_a_batch_of_outputs_is_taken_apart() -> None:
    outputs = list(unbatched({"a": np.arange(6).reshape(3, 2), "b": np.arange(3)}, 3))
    assert [(each["a"].tolist(), int(each["b"])) for each in outputs] == [([0, 1], 0), ([2, 3], 1), ([4, 5], 2)]
    for array in (np.zeros((2, 2)), np.float32(1)):
        with pytest.raises(ValueError, match="output 'a' has the shape"):
            list(unbatched({"a": array}, 3))


LINES = {
    b"": "there is no sample in it",
    b"\n \n": "there is no sample in it",
    b'{"a": 1}\n{"a": 1\n': "line 2 is no JSON (",
    b'{"a": 1}\n\n[1, 2]\n': 'line 3 is no JSON object with inputs by name, like {"text": "..."}',
    b"3": "line 1 is no JSON object with inputs by name",
    b"{}": "line 1 is no JSON object with inputs by name",
    b'{"a": 1}\n{"b": 1}\n': "line 2 has the keys 'b', the first one 'a'",
    b'{"a": "\xff\xfe"}\n': "line 1 is no UTF-8",
    b"[" * 100_000: "line 1 is no JSON (",
    b'{"a": ' + b"9" * 10_000 + b"}": "line 1 is no JSON (",
    b"PK\x03\x04\x00\x00": "line 1 is no JSON (",
}


@pytest.mark.parametrize("data", LINES, ids=range(len(LINES)))
def test_a_line_that_is_no_sample_is_told_by_its_number(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(data)
    assert fault_of(path).startswith(LINES[data])


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for name in ("s.npz", "s.jsonl"):
        assert fault_of(tmp_path / name) == "No such file or directory"
        (tmp_path / name).mkdir()
        assert fault_of(tmp_path / name) == "Is a directory"


def npy(shape: str = "(2, 3)", descr: str = "'<f4'", data: int = 24, extra: str = "") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}{extra}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(data)


def archive(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return sink.getvalue()


def saved(**arrays: Any) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def encrypted() -> bytes:
    """Set the flag that says that a member is encrypted, in its own header and in the directory."""
    data = bytearray(archive({"a.npy": npy()}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("executed",)


ARCHIVES = {
    "nothing": (b"", "File is not a zip file"),
    "no archive": (b"\x93NUMPY\x01\x00" + bytes(50), "File is not a zip file"),
    "empty": (archive({}), "there is no sample in it"),
    "no rows": (saved(a=np.zeros((0, 3))), "there is no sample in it"),
    "pickle": (saved(a=np.array([Evil()], dtype=object)), "array 'a' holds pickled objects, which are never loaded; store numbers"),
    "texts": (saved(a=np.array(["x", "y"])), "array 'a' holds <U1, no numbers; texts go into a .jsonl file"),
    "no axis": (saved(a=np.float32(3)), "array 'a' has no axis that counts the samples"),
    "other lengths": (saved(a=np.zeros((3, 2)), b=np.zeros(4)), "count different numbers of samples ('a' 3, 'b' 4)"),
    "other file": (archive({"a.txt": b"text"}), "'a.txt' is no array of numpy's"),
    "truncated": (saved(a=np.zeros((3, 2)))[:-30], "File is not a zip file"),
    "magic": (archive({"a.npy": b"\x93NUMPZ" + bytes(100)}), "array 'a' has a header that cannot be read"),
    "short": (archive({"a.npy": b"\x93NUM"}), "array 'a' has a header that cannot be read"),
    "version": (archive({"a.npy": b"\x93NUMPY\x09\x00" + bytes(100)}), "array 'a' has a header that cannot be read"),
    "expression": (archive({"a.npy": npy("__import__('os').system('false')")}), "array 'a' has a header that cannot be read"),
    "descr": (archive({"a.npy": npy(descr="'nonsense'")}), "array 'a' has a header that cannot be read"),
    "extra key": (archive({"a.npy": npy(extra=", 'more': 1")}), "array 'a' has a header that cannot be read"),
    "negative": (archive({"a.npy": npy("(-2, 3)")}), "array 'a' has a negative axis"),
    "lies": (archive({"a.npy": npy("(1000000000000, 1000000000)")}), "array 'a' is not as long as its header says"),
    "overlong": (archive({"a.npy": npy(data=25)}), "array 'a' is not as long as its header says"),
    "encrypted": (encrypted(), "is encrypted, password required for extraction"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_that_holds_no_samples_is_told(tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, told = ARCHIVES[case]
    path = tmp_path / "s.npz"
    path.write_bytes(data)
    assert told in fault_of(path)
    assert capsys.readouterr().out == ""


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as made:
        made.writestr("a.npy", npy())
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("a.npy", npy("(3, 2)"))
    assert fault_of(tmp_path / "s.npz") == "two of its arrays have the same name"


def test_more_than_fits_into_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """An archive that says of a few bytes that they become 4.2 GB: only directory and header are looked at."""
    size = LARGEST + 200_000_000
    header = npy(f"({size // 4000}, 1000)", data=0)
    data = bytearray(archive({"a.npy": header}))
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<L", len(header) + size)
    (tmp_path / "s.npz").write_bytes(data)
    assert fault_of(tmp_path / "s.npz") == "it takes 4.20 GB, more than 4.00 GB; take fewer samples"


def test_more_samples_than_can_be_kept_apart_are_refused(tmp_path: Path) -> None:
    """Arrays without elements take no bytes, however many they claim to be."""
    np.savez(tmp_path / "s.npz", past=np.zeros((10**12, 0), "f4"))
    assert fault_of(tmp_path / "s.npz") == "it holds more than 1,000,000 samples; take fewer"
    (tmp_path / "s.jsonl").write_bytes(b'{"x":1}\n' * 1_000_001)
    assert fault_of(tmp_path / "s.jsonl") == "it holds more than 1,000,000 samples; take fewer"


def test_a_damaged_array_is_found_when_it_is_read(tmp_path: Path) -> None:
    data = bytearray(saved(a=np.arange(6.0).reshape(3, 2)))
    data[data.index(b"\x00\x00\x00\x00\x00\x00\xf0\x3f") + 3] ^= 1
    (tmp_path / "s.npz").write_bytes(data)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        load_samples(tmp_path / "s.npz")
