"""Smaller PyTorch files: what goes, what stays, and that every byte that stays is the same."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.errors import UnsoundResultError
from hatch_mlbundle.models.torch_checkpoint import Checkpoint, open_checkpoint, tensor_names, tensors_in, without_training_state
from hatch_mlbundle.models.torch_layout import plan_storages
from hatch_mlbundle.models.torch_shrink import check_shrunk, examine, shrink
from hatch_mlbundle.models.torch_values import Parameter, Tensor
from hatch_mlbundle.models.torch_views import row_major_chunks
from hatch_mlbundle.models.torch_writer import ALIGNMENT, write_checkpoint
from tests.models.torchsmith import Global, Made, Storage, numbers, ordered, parameter, save, tensor, view

REAL = Path(__file__).with_name("checkpoint_of_torch.pt")


def shrunk(tmp_path: Path, value: Any, **settings: Any) -> tuple[Path, dict[str, Any]]:
    """Write the value and make it smaller; return the new file and the detail."""
    source, target = save(tmp_path / "model.pt", value, **settings), tmp_path / "new.pt"
    detail = shrink(source, target, drop_training_state=True)
    check_shrunk(source, target, drop_training_state=True)
    return target, detail


def content(found: Checkpoint, tensor: Tensor) -> bytes:
    return b"".join(row_major_chunks(tensor, lambda offset, size: found.read(tensor, offset, size)))


def optimizer(count: int = 1000) -> dict[str, Any]:
    return {"state": {0: {"exp_avg": tensor(count), "step": 3}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def test_a_view_takes_along_what_it_shows_and_no_more(tmp_path: Path) -> None:
    big = Storage(numbers(100_000))
    target, detail = shrunk(tmp_path, {"a": view(big, (10, 10), offset=5000)})
    assert target.stat().st_size < 2000
    assert detail == {"storages": [{"tensors": ["a"], "size": [400_000, 400]}]}
    with open_checkpoint(target) as found:
        assert content(found, found.value["a"]) == numbers(100, 5000)


def test_tensors_that_are_attributes_are_told_by_their_owners_names(tmp_path: Path) -> None:
    first, second = (view(Storage(numbers(1000)), (10,)) for _ in range(2))
    arguments = (tensor(3), True, ordered({}), {"scale": first})
    weight = Made(Global("torch._utils", "_rebuild_parameter_with_state"), arguments)
    _, detail = shrunk(tmp_path, {"m": ordered({"w": weight}, extra=second)})
    assert [row["tensors"] for row in detail["storages"]] == [["m.w.scale"], ["m.extra"]]


def test_views_of_one_storage_stay_views_of_one(tmp_path: Path) -> None:
    big = Storage(numbers(10_000))
    value = {
        "a": view(big, (10,), offset=100),
        "b": view(big, (10,), offset=105),
        "far": view(big, (2, 2), offset=9000),
        "same": view(big, (10,), offset=100),
        "none": view(big, (0, 3), offset=77),
    }
    target, _ = shrunk(tmp_path, value)
    with open_checkpoint(target) as found:
        tensors = found.value
        assert {tensor.storage.key for tensor in tensors.values()} == {"0"}
        assert tensors["a"].storage.nbytes == 4 * (15 + 4)
        assert tensors["b"].offset - tensors["a"].offset == 5
        assert tensors["same"].place == tensors["a"].place
        assert content(found, tensors["far"]) == numbers(4, 9000)
        assert content(found, tensors["b"]) == numbers(10, 105)


def test_columns_are_gathered_and_transposed_ones_stay_as_they_are(tmp_path: Path) -> None:
    table = Storage(numbers(64 * 64))
    square = Storage(numbers(16))
    value = {
        "column": view(table, (64, 2), (64, 1), 3),
        "turned": view(square, (4, 4), (1, 4)),
        "every": view(Storage(numbers(9)), (3,), (4,)),
    }
    target, _ = shrunk(tmp_path, value)
    with open_checkpoint(target) as found:
        column, turned, every = found.value.values()
        assert (column.stride, column.storage.nbytes) == ((2, 1), 512)
        assert content(found, column) == b"".join(numbers(2, 64 * row + 3) for row in range(64))
        assert (turned.stride, turned.storage.nbytes) == ((1, 4), 64)
        assert content(found, every) == b"".join(numbers(1, 4 * index) for index in range(3))


def test_repeated_elements_stay_repeated(tmp_path: Path) -> None:
    """An expanded tensor says it has 2^60 elements; nothing is to be written out."""
    target, _ = shrunk(tmp_path, {"a": view(Storage(numbers(5000)), (1 << 30, 1 << 30, 2), (0, 0, 1))})
    with open_checkpoint(target) as found:
        assert (found.value["a"].stride, found.value["a"].storage.nbytes) == ((0, 0, 1), 8)


def test_elements_of_several_sizes_over_one_storage_stay_aligned(tmp_path: Path) -> None:
    storage = Storage(bytes(range(256)) * 40, untyped=True)
    value = {
        "bytes": view(storage, (3,), offset=1001, dtype="int8"),
        "doubles": view(storage, (2,), offset=600, dtype="float64"),
        "bits": view(storage, (4,), offset=5000, dtype="uint16"),
    }
    target, _ = shrunk(tmp_path, value)
    with open_checkpoint(target) as found:
        assert found.value["doubles"].storage.nbytes < 64
        assert content(found, found.value["bytes"]) == bytes([1001 % 256, 1002 % 256, 1003 % 256])
        assert content(found, found.value["doubles"]) == bytes(at % 256 for at in range(4800, 4816))
        assert content(found, found.value["bits"]) == bytes(at % 256 for at in range(10000, 10008))


@pytest.mark.parametrize("name", ["optimizer", "anything"])
def test_the_state_of_an_optimizer_goes_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    value = {"epoch": 3, "model": ordered({"w": tensor(10)}, _metadata=1), name: optimizer(), "lr_scheduler": {"last_epoch": 3}}
    target, detail = shrunk(tmp_path, value)
    assert detail == {"dropped": [{"entry": name, "size": 4000}, {"entry": "lr_scheduler", "size": 0}]}
    with open_checkpoint(target) as found:
        assert list(found.value) == ["epoch", "model"]
        assert found.value["model"].attributes == {"_metadata": 1}


@pytest.mark.parametrize(
    "states",
    [[optimizer(10), optimizer(10)], {"actor": optimizer(10), "critic": optimizer(10)}],
    ids=["lightning", "by name"],
)
def test_several_optimizers_go_too(states: Any, tmp_path: Path) -> None:
    source = save(tmp_path / "a.ckpt", {"state_dict": {"w": tensor(2)}, "optimizer_states": states})
    with open_checkpoint(source) as found:
        assert without_training_state(found.value)[1] == ["optimizer_states"]


@pytest.mark.parametrize(
    "value",
    [
        {"scheduler": ordered({"conv.weight": tensor(4)}), "vae": ordered({"w": tensor(4)})},
        {"optimizer": optimizer(4)},
        {"state": {0: tensor(4)}, "weights": [tensor(3)]},
        [optimizer(4), tensor(2)],
        ordered({"optimizer": tensor(2), "b": tensor(3)}),
    ],
)
def test_what_may_be_weights_stays(value: Any, tmp_path: Path) -> None:
    with open_checkpoint(save(tmp_path / "a.pt", value)) as found:
        assert without_training_state(found.value) == (found.value, [])


def test_training_goes_on_where_it_is_asked_for(tmp_path: Path) -> None:
    source = save(tmp_path / "a.pt", {"model": {"w": tensor(10)}, "optimizer": optimizer()})
    assert examine(source, drop_training_state=False)["saves"] == 0
    assert examine(source, drop_training_state=True)["saves"] == 4000


def test_an_optimizer_that_shares_the_weights_takes_none_of_them_along(tmp_path: Path) -> None:
    weights = tensor(1000)
    shared = {"state": {0: {"master": weights, "exp_avg": tensor(10)}}, "param_groups": []}
    target, detail = shrunk(tmp_path, {"model": {"w": weights}, "optimizer": shared})
    assert detail == {"dropped": [{"entry": "optimizer", "size": 40}]}
    with open_checkpoint(target) as found:
        assert content(found, found.value["model"]["w"]) == numbers(1000)


def test_objects_keep_their_kind_and_their_ties(tmp_path: Path) -> None:
    weights = parameter(tensor(100))
    size = Made(Global("torch", "Size"), ((1, 2),))
    value = {"a": weights, "tied": weights, "size": size, "list": [size, (1, "é", None, 2.5)], "big": view(Storage(bytes(9000)), (2,))}
    target, _ = shrunk(tmp_path, value)
    with open_checkpoint(target) as found:
        assert isinstance(found.value["a"], Parameter)
        assert found.value["a"] is found.value["tied"]
        assert found.value["size"] is found.value["list"][0]
        assert found.value["list"][1] == (1, "é", None, 2.5)


def test_storages_begin_where_they_can_be_mapped_and_the_bytes_are_always_the_same(tmp_path: Path) -> None:
    value = {"x" * length: tensor(length) for length in range(1, 80, 7)}
    value["big"] = view(Storage(bytes(9000)), (2,))
    first, _ = shrunk(tmp_path / "one", value)
    second, _ = shrunk(tmp_path / "two", value)
    assert first.read_bytes() == second.read_bytes()
    with open_checkpoint(first) as found:
        assert {member.data_offset % ALIGNMENT for member in found.archive.storages.values()} == {0}
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "model/data.pkl"


def test_what_torch_wrote_is_read_made_smaller_and_the_same(tmp_path: Path) -> None:
    target = tmp_path / "new.pt"
    detail = shrink(REAL, target, drop_training_state=True)
    check_shrunk(REAL, target, drop_training_state=True)
    assert [row["entry"] for row in detail["dropped"]] == ["optimizer"]
    assert detail["storages"] == [{"tensors": ["view", "column"], "size": [512, 136]}]
    with open_checkpoint(target) as found:
        assert content(found, found.value["view"]) == numbers(10, 10)
        assert tensor_names(found.value)[id(found.value["weight"].tensor)] == "weight"


def test_a_result_with_another_byte_is_unsound(tmp_path: Path) -> None:
    source = save(tmp_path / "a.pt", {"w": view(Storage(numbers(9000)), (100,)), "n": 1})
    other = save(tmp_path / "b.pt", {"w": tensor(100, start=1), "n": 1})
    with pytest.raises(UnsoundResultError, match="bytes"):
        check_shrunk(source, other, drop_training_state=True)


@pytest.mark.parametrize(
    "value",
    [
        {"w": tensor(100), "n": 2},
        {"w": tensor(100)},
        {"n": 1, "w": tensor(100)},
        ordered({"w": tensor(100), "n": 1}),
        {"w": parameter(tensor(100)), "n": 1},
        {"w": tensor(10, 10), "n": 1},
        {"w": tensor(100), "n": 1.0},
    ],
)
def test_a_result_with_other_objects_is_unsound(tmp_path: Path, value: Any) -> None:
    source = save(tmp_path / "a.pt", {"w": tensor(100), "n": 1})
    with pytest.raises(UnsoundResultError, match="objects"):
        check_shrunk(source, save(tmp_path / "b.pt", value), drop_training_state=True)


def test_a_result_without_the_ties_is_unsound(tmp_path: Path) -> None:
    one = tensor(3)
    source = save(tmp_path / "a.pt", [view(one.arguments[0], (3,)), view(one.arguments[0], (3,))])
    with pytest.raises(UnsoundResultError, match="share"):
        check_shrunk(source, save(tmp_path / "b.pt", [tensor(3), tensor(3)]), drop_training_state=True)


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    source = save(tmp_path / "a.pt", {"w": tensor(100_000)})
    before = source.read_bytes()
    with open_checkpoint(source) as found, pytest.raises(OSError, match="No space left"):
        write_checkpoint(found, found.value, plan_storages(tensors_in([found.value])), Path("/dev/full"))
    assert source.read_bytes() == before
