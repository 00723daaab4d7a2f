"""State dicts of PyTorch files as safetensors, read by the format's own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hatch_mlbundle.errors import KeptError, ModelError, UnsoundResultError
from hatch_mlbundle.models.safetensors import read_header
from hatch_mlbundle.models.torch_checkpoint import open_checkpoint, state_dict
from hatch_mlbundle.models.torch_duplicates import first_difference, safetensors_digests, torch_digests
from hatch_mlbundle.models.torch_names import Family, family, read_index, safetensors_path
from hatch_mlbundle.models.torch_safetensors import check_same_safetensors, plan_safetensors
from hatch_mlbundle.models.torch_shrink import convert
from tests.models.torchsmith import Storage, archive, numbers, ordered, parameter, pickled, save, tensor, view


def converted(tmp_path: Path, value: Any) -> tuple[Path, dict[str, Any]]:
    source, target = save(tmp_path / "model.pt", value), tmp_path / "model.safetensors"
    return target, convert(source, target, drop_training_state=True)[1]


def test_tensors_are_what_they_were(tmp_path: Path) -> None:
    value = ordered(
        {
            "b": tensor(3, 4),
            "a": parameter(tensor(5, start=7)),
            "turned": view(Storage(numbers(6)), (2, 3), (1, 2)),
            "whole": view(Storage(np.arange(3, dtype="<i8").tobytes(), "int64"), (3,)),
            "none": tensor(0, 3),
            "one": tensor(),
        },
        _metadata=1,
    )
    target, detail = converted(tmp_path, value)
    found = load_file(target)
    assert detail == {"from": "a PyTorch file"}
    assert {name: array.tolist() for name, array in found.items()} == {
        "b": np.arange(12.0).reshape(3, 4).tolist(),
        "a": np.arange(7.0, 12.0).tolist(),
        "turned": np.arange(6.0).reshape(3, 2).T.tolist(),
        "whole": [0, 1, 2],
        "none": [],
        "one": 0.0,
    }
    with safe_open(target, "np") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_the_file_is_laid_out_as_the_library_lays_it_out(tmp_path: Path) -> None:
    value = {
        "b": tensor(3),
        "a": tensor(5),
        "half": view(Storage(bytes(6), "float16"), (3,)),
        "w": view(Storage(bytes(16), "float64"), (2,)),
    }
    target, _ = converted(tmp_path, value)
    save_file(load_file(target), tmp_path / "theirs.safetensors", {"format": "pt"})
    assert [tensor.name for tensor in read_header(target).tensors] == [
        tensor.name for tensor in read_header(tmp_path / "theirs.safetensors").tensors
    ]


def test_tied_tensors_are_stored_once_under_the_name_that_loaders_tie_from(tmp_path: Path) -> None:
    shared = Storage(numbers(6))
    value = {"lm_head.weight": view(shared, (2, 3)), "z.embed.weight": view(shared, (2, 3)), "other": view(shared, (3, 2))}
    target, detail = converted(tmp_path, value)
    assert set(load_file(target)) == {"z.embed.weight", "other"}
    assert detail["tied"] == {"lm_head.weight": "z.embed.weight"}
    with safe_open(target, "np") as opened:
        assert opened.metadata() == {"format": "pt", "lm_head.weight": "z.embed.weight"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([tensor(2)], "no dict"),
        (tensor(2), "no dict"),
        ({"model": {"w": tensor(2)}, "epoch": 1}, "'model' is no tensor .a nested checkpoint"),
        ({"w": tensor(2), "epoch": 1}, "'epoch' is no tensor"),
        ({1: tensor(2)}, "'1' is no tensor"),
        ({"w": view(Storage(numbers(2), "complex64"), (1,), metadata={"conj": True})}, "conjugated"),
        ({"w": view(Storage(numbers(2)), (1 << 50, 2), (0, 1))}, "stride of 0"),
    ],
)
def test_what_safetensors_cannot_hold_stays(tmp_path: Path, value: Any, problem: str) -> None:
    with pytest.raises(KeptError, match=problem):
        converted(tmp_path, value)


def test_a_name_that_no_reader_should_take_is_found_before_anyone_does(tmp_path: Path) -> None:
    with pytest.raises(UnsoundResultError, match="out of a folder"):
        converted(tmp_path, {"../../x": tensor(2)})


@pytest.mark.parametrize("whole", [True, False])
def test_a_flipped_bit_is_found(tmp_path: Path, whole: bool) -> None:
    count = 100 if whole else 50
    data = bytearray(archive(*pickled({"w": view(Storage(numbers(100)), (count,))})))
    data[data.index(numbers(4, 50))] ^= 1
    source = tmp_path / "a.pt"
    source.write_bytes(data)
    with pytest.raises(ModelError, match="CRC-32"):
        convert(source, tmp_path / "a.safetensors", drop_training_state=True)


def test_another_byte_in_the_result_is_unsound(tmp_path: Path) -> None:
    target, _ = converted(tmp_path, {"w": tensor(100)})
    data = bytearray(target.read_bytes())
    data[-3] ^= 1
    target.write_bytes(data)
    with open_checkpoint(tmp_path / "model.pt") as found:
        plan = plan_safetensors(state_dict(found.value))
        with pytest.raises(UnsoundResultError, match="'w' does not have the bytes"):
            check_same_safetensors(found, plan, target)
        target.write_bytes(data[:-1])
        with pytest.raises(UnsoundResultError, match="no sound safetensors"):
            check_same_safetensors(found, plan, target)


def test_second_copies_are_known_by_every_byte(tmp_path: Path) -> None:
    shared = Storage(numbers(6))
    tied = {"head": view(shared, (6,)), "embed": view(shared, (6,)), "w": tensor(4, start=1)}
    torch = torch_digests(save(tmp_path / "a.bin", tied))

    def beside(**arrays: np.ndarray[Any, Any]) -> str | None:
        save_file(arrays, tmp_path / "a.safetensors")
        return first_difference(torch, safetensors_digests(tmp_path / "a.safetensors"))

    six, four = np.arange(6, dtype="f4"), np.arange(1, 5, dtype="f4")
    assert beside(embed=six, w=four, more=six) is None
    assert beside(embed=six, head=six, w=four) is None
    assert beside(embed=six) == "w"
    assert beside(w=four) in {"head", "embed"}
    assert beside(embed=six, w=four + 1) == "w"
    assert beside(embed=six, w=four.reshape(2, 2)) == "w"
    assert beside(embed=six, w=four.view("i4")) == "w"
    assert beside(embed=six, head=six + 1, w=four) in {"head", "embed"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("m/pytorch_model.bin", "m/model.safetensors"),
        ("pytorch_model.fp16.bin", "model.fp16.safetensors"),
        ("m/pytorch_model-00001-of-00002.bin", "m/model-00001-of-00002.safetensors"),
        ("m/pytorch_model.bin.index.json", "m/model.safetensors.index.json"),
        ("m/pytorch_model.bin.index.fp16.json", "m/model.safetensors.index.fp16.json"),
        ("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors"),
        ("adapter_model.bin", "adapter_model.safetensors"),
        ("a/resnet.pt", "a/resnet.safetensors"),
        ("a/pytorch_model.pt", "a/pytorch_model.safetensors"),
        ("x.y.pth", "x.y.safetensors"),
    ],
)
def test_files_get_the_names_that_loaders_know(path: str, expected: str) -> None:
    assert safetensors_path(path) == expected


def test_families_are_those_that_loaders_choose_from() -> None:
    assert family("m/pytorch_model-00001-of-00002.bin") == family("m/model.safetensors") == Family("m", "model", "")
    assert family("m/pytorch_model.fp16.bin") == Family("m", "model", ".fp16")
    assert family("m/pytorch_model.bin.index.json") == Family("m", "model", "")
    assert family("m/resnet.pt") is family("training_args.bin") is family("m/optimizer.bin") is None


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": 1}}', b'{"weight_map": {"a": "../x"}}', b"[" * 100_000, b"\xff"],
)
def test_an_index_that_cannot_be_believed_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="no index of shards"):
        read_index("a/pytorch_model.bin.index.json", data)
