"""The archive around a PyTorch file: whatever is wrong with it is one clear line."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from hatch_mlbundle.errors import KeptError, ModelError
from hatch_mlbundle.models import torch_zip
from hatch_mlbundle.models.torch_checkpoint import open_checkpoint
from hatch_mlbundle.models.torch_shrink import examine, shrink
from hatch_mlbundle.models.torch_zip import NotTorchError, open_archive
from tests.models.torchsmith import Storage, archive, numbers, pickled, tensor, view

REAL = Path(__file__).with_name("checkpoint_of_torch.pt")
VALUE = {"a": tensor(100), "b": tensor(10)}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return stream.getvalue()


def refused(path: Path, data: bytes) -> str:
    """Return the one line with which opening such a file ends."""
    path.write_bytes(data)
    with pytest.raises(ModelError) as told, open_checkpoint(path):
        pass
    assert len(str(told.value).splitlines()) == 1
    return str(told.value)


def test_what_torch_wrote_is_found_in_it() -> None:
    with open_archive(REAL) as found:
        assert (found.root, found.version, found.byte_order) == ("checkpoint_of_torch/", b"3\n", b"little")
        assert len(found.storages) == 6
        assert found.read_at("5", 8, 8) == b"".join(found.chunks("5"))[8:16]
        with pytest.raises(ModelError, match="too early"):
            found.read_at("5", 8, 8_000)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = REAL.read_bytes()
    for size in [*range(1, 58), *range(58, len(data), 97), len(data) - 1]:
        path = tmp_path / "cut.pt"
        refused(path, data[:size])
        known = examine(path, drop_training_state=True)
        assert known == {} if size < 58 else set(known) == {"broken"}, size


def test_a_flipped_bit_in_a_storage_is_found_where_torch_says_nothing(tmp_path: Path) -> None:
    data = bytearray(archive(*pickled(VALUE)))
    data[data.index(numbers(4, 50)) + 1] ^= 4
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"data/0.*CRC-32"):
        shrink(path, tmp_path / "new.pt", drop_training_state=True)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"0": None}, "'0' is not there"),
        ({"0": bytes(399)}, "has 399 bytes, where 400 are declared"),
        ({"0": bytes(4000)}, "has 4000 bytes, where 400 are declared"),
    ],
)
def test_storages_must_be_what_the_pickle_says(tmp_path: Path, change: dict[str, bytes | None], problem: str) -> None:
    data, storages = pickled(VALUE)
    changed = {key: each for key, each in {**storages, **change}.items() if each is not None}
    assert problem in refused(tmp_path / "a.pt", archive(data, changed))


def test_a_storage_has_one_kind(tmp_path: Path) -> None:
    one, other = Storage(bytes(400), key="0"), Storage(bytes(400), "int64", key="0")
    assert "two kinds" in refused(tmp_path / "a.pt", archive(*pickled([view(one, (1,)), view(other, (1,))])))


@pytest.mark.parametrize("name", ["../data/0", "model/data/../../x", "/model/x", "model/data\\0", "other/x"])
def test_members_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    data, _ = pickled({})
    refused(tmp_path / "a.pt", zipped({"model/data.pkl": data, name: b""}))


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    """torch never writes them; a bomb is one of them."""
    data, storages = pickled({"a": view(Storage(bytes(200_000)), (50_000,))})
    members = {"model/data.pkl": data, **{f"model/data/{key}": each for key, each in storages.items()}}
    assert "compressed" in refused(tmp_path / "a.pt", zipped(members, zipfile.ZIP_DEFLATED))


def test_a_huge_pickle_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_zip, "LARGEST_PICKLE", 100)
    assert "its pickle has" in refused(tmp_path / "a.pt", archive(*pickled(VALUE)))


def test_a_member_of_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    data = archive(*pickled(VALUE), extra={"data/9": b""})
    assert "two members" in refused(tmp_path / "a.pt", data.replace(b"model/data/9", b"model/data/1"))


def test_a_record_that_should_be_short_is(tmp_path: Path) -> None:
    refused(tmp_path / "a.pt", archive(*pickled(VALUE), extra={"byteorder": bytes(5000)}))


def test_big_endian_storages_are_left_alone(tmp_path: Path) -> None:
    assert "big-endian" in refused(tmp_path / "a.pt", archive(*pickled(VALUE), extra={"byteorder": b"big"}))


def test_other_archives_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(archive(*pickled({}), extra={"constants.pkl": b"", "code/model.py": b""}))
    with pytest.raises(KeptError, match="TorchScript"), open_checkpoint(path):
        pass
    assert "TorchScript" in examine(path, drop_training_state=True)["keep"]
    path.write_bytes(zipped({"a.txt": b"a"}))
    with pytest.raises(NotTorchError), open_checkpoint(path):
        pass
    assert examine(path, drop_training_state=True) == {}


def test_what_begins_otherwise_is_no_file_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for data in (b"", b"P", b"PK\x03\x04", b"GGUF", b"\x80\x04}.", bytes(100)):
        path.write_bytes(data)
        assert examine(path, drop_training_state=True) == {}
    path.write_bytes(bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024de9032e"))
    assert "before 1.6" in examine(path, drop_training_state=True)["keep"]
